"""One training run: from a recipe to a finished folder, resumable at any moment.

    open the base ─► tokenise ─► begin or resume ─► train ─► merge adapters, save ─► measure ─► train.json

Under ``torchrun`` every process runs this; the first alone writes.
"""

from __future__ import annotations

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson

from raif.config import TrainerConfig
from raif.errors import ConfigError, TrainingError
from raif.records import Record, digest
from raif.store import lock_for
from raif.train.backbone import Backbone, Task, check_lora, load_model, open_backbone, parameter_hash
from raif.train.folder import TrainFolder
from raif.train.precision import Precision
from raif.train.quiet import quiet
from raif.train.results import Kind, TrainResult
from raif.train.tokens import Row, Tokenised

OnProgress = Callable[[int, int, Mapping[str, float]], None]
"""Called after each optimiser step with (step, total steps, metrics of the step)."""
OnNote = Callable[[str], None]

NOT_IN_FINGERPRINT = {"save_steps", "keep_checkpoints", "data", "helpful_share", "demonstrations", "base", "start"}
"""What doesn't change the result, or enters the fingerprint as the examples or the base themselves."""


@dataclass(frozen=True, slots=True)
class Run:
    """What every trainer is called with. ``base`` is a local transformers folder or a hub id."""

    base: Path | str
    out: Path
    config: TrainerConfig
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    trust_remote_code: bool = False
    on_progress: OnProgress | None = None
    on_note: OnNote | None = None

    def note(self, text: str) -> None:
        if self.on_note and is_main():
            self.on_note(text)


class Recipe(ABC):
    """What sets one trainer apart from another."""

    kind: ClassVar[Kind]
    task: ClassVar[Task]

    def __init__(self, examples: Sequence[Record]) -> None:
        self.examples = examples

    def inputs(self) -> Any:
        """What enters the fingerprint beside the configuration; must have a canonical JSON form."""
        return [example.id for example in self.examples]

    @abstractmethod
    def tokenise(self, backbone: Backbone, limit: int) -> Tokenised:
        """The rows to train on. May change the backbone's tokenizer; no weights are loaded yet."""

    @abstractmethod
    def trainer(self, config: Any, common: dict[str, Any], parts: dict[str, Any]) -> Any:
        """The TRL trainer, from raif's configuration, the common training arguments and the trainer's parts."""

    def measure(self, model: Any, tokenizer: Any, log: list[dict[str, float]]) -> dict[str, float | int | None]:
        """What ``metrics`` says beside the losses. ``model`` is final, merged and in evaluation mode."""
        return {}


def is_main() -> bool:
    """Whether this process writes: the only one, or the first of those that torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def train(recipe: Recipe, run: Run) -> TrainResult:
    """Trains, or goes on from the last checkpoint, or returns the result that is there already.

    Raises:
        ModelSpecError: the base can't be opened. ConfigError: a setting that can't work with it.
        TrainingError: too few examples, a loss or gradient that is not finite, or not enough memory.
        InputError, StoreError: ``out`` can't be written to, or isn't raif's. RunLockedError: another process writes it.
    """
    started = time.monotonic()
    _check(run)
    with quiet(), lock_for(run.out) if is_main() else nullcontext():
        backbone = open_backbone(run.base, trust_remote_code=run.trust_remote_code)
        check_lora(backbone, recipe.task, run.config.lora)
        precision = Precision.of(run.device, run.dtype, adapters_only=run.config.lora.enabled)
        settings = run.config.model_dump(mode="json", exclude=NOT_IN_FINGERPRINT)
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        fingerprint = digest(
            recipe.kind, backbone.identity, recipe.inputs(), settings, run.seed, precision.key, processes, length=64
        )
        folder = TrainFolder(run.out)
        if done := folder.finished(fingerprint):
            if is_main() and not run.config.keep_checkpoints:
                folder.clear()
            run.note(f"{run.out}: already trained, with the same data, configuration and base; nothing to do")
            return done
        rows = _rows(recipe, run, backbone)
        with precision.threads(run.config.threads):
            trainer, resumed_from = _prepare(recipe, run, backbone, rows, precision, folder, fingerprint)
            _fit(trainer, folder.latest(), run)
            result = TrainResult(
                kind=recipe.kind,
                fingerprint=fingerprint,
                steps=trainer.state.global_step,
                examples=len(rows.rows),
                left_out=dict(sorted(rows.left_out.items())),
                notes=tuple(rows.notes),
                parameters="",
                path=run.out,
                resumed_from=resumed_from,
            )
            if is_main():
                result = _finish(recipe, run, trainer, backbone, folder, result)
            trainer.accelerator.wait_for_everyone()
    return result.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def _check(run: Run) -> None:
    if Path(run.base).is_dir() and Path(run.base).resolve() == run.out.resolve():
        raise ConfigError("the trained model would overwrite its base; choose another --out", path=run.out)
    if run.config.max_steps == 0:
        raise ConfigError("max_steps: 0 steps train nothing; give a positive number, or -1 for whole epochs")


def _rows(recipe: Recipe, run: Run, backbone: Backbone) -> Tokenised:
    limit = min(run.config.max_length, backbone.positions or run.config.max_length)
    rows = recipe.tokenise(backbone, limit)
    for text in rows.notes:
        run.note(text)
    if left_out := sum(rows.left_out.values()):
        reasons = ", ".join(f"{name} {count}" for name, count in sorted(rows.left_out.items()))
        run.note(f"{left_out} of {left_out + len(rows.rows)} examples are not trained on: {reasons}")
    if not rows.rows:
        why = f" (all left out; max_length is {limit} tokens)" if rows.left_out else ""
        raise TrainingError(f"{recipe.kind}: there is nothing to train on{why}")
    return rows


def _prepare(
    recipe: Recipe,
    run: Run,
    backbone: Backbone,
    rows: Tokenised,
    precision: Precision,
    folder: TrainFolder,
    fingerprint: str,
) -> tuple[Any, int | None]:
    """The TRL trainer, ready to go, and the step that it resumes from."""
    from accelerate import PartialState
    from transformers.trainer_callback import PrinterCallback

    from raif.train.steps import StepCallback

    if is_main() and (made_way := folder.begin(fingerprint)):
        run.note(made_way)
    PartialState(cpu=precision.cpu).wait_for_everyone()
    model = load_model(backbone, recipe.task, dtype=precision.weights, seed=run.seed)
    parts = {
        "model": model,
        "train_dataset": _dataset(rows.rows),
        "processing_class": backbone.tokenizer,
        "peft_config": _adapters(run.config, recipe.task),
        "callbacks": [StepCallback(folder, run, writes=is_main())],
    }
    try:
        trainer = recipe.trainer(run.config, _arguments(run, precision, folder), parts)
    except ValueError as error:
        raise TrainingError(f"{recipe.kind}: {str(error).splitlines()[0]}") from error
    trainer.remove_callback(PrinterCallback)
    latest = folder.latest()
    resumed_from = int(latest.name.rpartition("-")[2]) if latest else None
    if resumed_from:
        run.note(f"{run.out}: going on from step {resumed_from}")
    return trainer, resumed_from


def _fit(trainer: Any, checkpoint: Path | None, run: Run) -> None:
    import torch

    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"not enough GPU memory for batches of {run.config.batch_size}: lower batch_size and raise accumulate "
            "by as much, set gradient_checkpointing, or enable lora"
        ) from error


def _finish(
    recipe: Recipe, run: Run, trainer: Any, backbone: Backbone, folder: TrainFolder, result: TrainResult
) -> TrainResult:
    import torch

    incoming = folder.incoming()
    model = trainer.accelerator.unwrap_model(trainer.model)
    dtype = getattr(torch, run.config.save_dtype)
    model.config.use_cache = getattr(backbone.config, "use_cache", True)  # training switches it off
    if run.config.lora.enabled:
        model.save_pretrained(incoming / "adapter")
        model = model.to(dtype).merge_and_unload()
    model.to(dtype).save_pretrained(incoming)
    backbone.tokenizer.save_pretrained(incoming)
    log = [orjson.loads(line) for line in folder.log.read_bytes().splitlines()]
    metrics: dict[str, float | int | None] = {"loss_first": log[0]["loss"], "loss_last": log[-1]["loss"]}
    with torch.inference_mode():
        metrics |= recipe.measure(model.eval(), backbone.tokenizer, log)
    result = result.model_copy(update={"metrics": metrics, "parameters": parameter_hash(incoming)})
    folder.commit(result)
    if not run.config.keep_checkpoints:
        folder.clear()
    return result


def _dataset(rows: list[Row]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)


def _adapters(config: TrainerConfig, task: Task) -> Any:
    """PEFT's configuration, or None. A reward model's head is new, so it is trained whole beside the adapters."""
    if not config.lora.enabled:
        return None
    from peft import LoraConfig

    targets = config.lora.target_modules
    return LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="SEQ_CLS" if task == "reward" else "CAUSAL_LM",
        modules_to_save=["score"] if task == "reward" else None,
    )


def _arguments(run: Run, precision: Precision, folder: TrainFolder) -> dict[str, Any]:
    """The training arguments that all of TRL's configurations share."""
    from transformers import TrainingArguments

    config = run.config
    # the old name warns where there is the new one; TRL's default is True under either
    fields = TrainingArguments.__dataclass_fields__
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in fields else "gradient_checkpointing"
    return {
        "output_dir": str(folder.checkpoints),
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps,
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.accumulate,
        "learning_rate": config.learning_rate,
        # transformers reads a number below 1 as a share of the steps and 1 as one step
        "warmup_steps": min(config.warmup, math.nextafter(1.0, 0.0)),
        # its plain "constant" has no warm-up
        "lr_scheduler_type": "constant_with_warmup" if config.scheduler == "constant" else config.scheduler,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "optim": "adamw_torch",
        "seed": run.seed,
        "data_seed": run.seed,
        "max_length": None,  # TRL would cut; too long examples are left out before
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": precision.cpu,
        "bf16": precision.bf16,
        "fp16": precision.fp16,
        checkpointing: config.gradient_checkpointing,
        "dataloader_pin_memory": not precision.cpu,
    }
