"""Opening a base model. Whatever can be refused is refused here, before its weights are read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raif.config import LoraConfig
from raif.errors import ConfigError, ModelSpecError

Task = Literal["causal", "reward"]


@dataclass(frozen=True, slots=True)
class Backbone:
    """A base model, its weights not yet read. ``identity`` changes with its content and holds no path."""

    source: str
    identity: str
    config: Any
    tokenizer: Any
    trust_remote_code: bool

    @property
    def positions(self) -> int | None:
        """How many tokens the model can tell apart by position; None where it doesn't say."""
        found: int | None = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return found

    @property
    def end_tokens(self) -> set[int]:
        """The ids at which the model stops: the tokenizer's and the generation configuration's."""
        from transformers import GenerationConfig

        ends: list[Any] = [self.tokenizer.eos_token_id]
        try:
            stated = GenerationConfig.from_pretrained(self.source).eos_token_id
        except (OSError, ValueError):  # many models have no generation_config.json
            stated = self.config.get_text_config().eos_token_id
        ends += stated if isinstance(stated, list) else [stated]
        return {end for end in ends if end is not None}


def open_backbone(base: Path | str, *, trust_remote_code: bool = False) -> Backbone:
    """The configuration and the tokenizer of a local transformers folder or a hub id.

    Raises:
        ModelSpecError: no such model, not a transformers folder, or no chat template.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = Path(base)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelSpecError("is not a transformers model folder: it has no config.json", path=base)
    if not folder.is_dir() and (isinstance(base, Path) or folder.is_absolute() or base.count("/") != 1):
        raise ModelSpecError("there is no such model folder", path=base)
    source = str(base)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ModelSpecError(f"can't be opened as a model: {_first_line(error)}", path=base) from error
    if not tokenizer.chat_template:
        raise ModelSpecError(
            "has no chat template, so raif can't tell where its answers begin; put a chat_template.jinja "
            "into the folder, or start from the model's chat or instruct variant",
            path=base,
        )
    identity = content_hash(folder) if folder.is_dir() else f"{source}@{getattr(config, '_commit_hash', None)}"
    return Backbone(source, identity, config, tokenizer, trust_remote_code)


def content_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of what makes a model: weights, configuration, tokenizer, chat template."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name in ("train.json", "README.md") or path.suffix not in (".safetensors", ".json", ".jinja", ".model"):
            continue
        total.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def parameter_hash(folder: Path) -> str:
    """SHA-256 over name, type, shape and bytes of every tensor of a folder, however it is cut into files."""
    import torch
    from safetensors import safe_open

    total = hashlib.sha256()
    where = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            where.update(dict.fromkeys(tensors.keys(), path))
    for name in sorted(where):
        with safe_open(where[name], framework="pt") as tensors:
            tensor = tensors.get_tensor(name)
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def check_lora(backbone: Backbone, task: Task, lora: LoraConfig) -> None:
    """Refuses adapters on layers that the model doesn't have; builds the model without weights to know.

    Raises:
        ConfigError: names the layers that are missing and those that are there.
    """
    if not lora.enabled or lora.target_modules == "all-linear":
        return
    import torch
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    with torch.device("meta"):
        model = _auto_class(task).from_config(backbone.config, trust_remote_code=backbone.trust_remote_code)
    outputs = {id(model.get_output_embeddings()), id(getattr(model, "score", None))}
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and id(module) not in outputs
    ]
    missing = [
        target
        for target in lora.target_modules
        if not any(layer == target or layer.endswith(f".{target}") for layer in layers)
    ]
    if missing:
        there = ", ".join(sorted({layer.rsplit(".", 1)[-1] for layer in layers}))
        raise ConfigError(
            f"lora.target_modules: the model has no layer {', '.join(missing)} that can carry an adapter; "
            f"its linear layers are {there} (or say all-linear)"
        )


def load_model(backbone: Backbone, task: Task, *, dtype: str, seed: int) -> Any:
    """The model with its weights, and a row for each token of the tokenizer. What is new is drawn from ``seed``: a
    reward model's head, and rows for tokens that the base has none for.

    Raises:
        ModelSpecError: weights that are missing, not safetensors, or of an architecture without the task.
    """
    import torch
    from transformers import set_seed

    set_seed(seed)
    options: dict[str, Any] = {"num_labels": 1} if task == "reward" else {}
    try:
        model = _auto_class(task).from_pretrained(
            backbone.source,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=backbone.trust_remote_code,
            **options,
        )
    except (OSError, ValueError, RuntimeError) as error:
        what = "a reward model" if task == "reward" else "a language model"
        raise ModelSpecError(f"can't be opened as {what}: {_first_line(error)}", path=backbone.source) from error
    if len(backbone.tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(backbone.tokenizer), mean_resizing=False)
    return model


def _auto_class(task: Task) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    return AutoModelForSequenceClassification if task == "reward" else AutoModelForCausalLM


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].strip()
