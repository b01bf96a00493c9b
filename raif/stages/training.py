"""The stages that train: records in, a folder with a model out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raif.records import Prompt, Revision
from raif.session import Session
from raif.stages.outcome import Outcome, reasons
from raif.train.data import Selection, sft_examples
from raif.train.dpo import train_dpo
from raif.train.results import TrainResult
from raif.train.reward import train_reward
from raif.train.sft import train_sft


def sft(session: Session, revisions: list[Revision], demonstrations: list[Prompt], base: str, out: Path) -> Outcome:
    """Supervised fine-tuning on what the accepted steps made of responses, on human answers, or on a mixture."""
    config = session.config.train.sft
    chosen = sft_examples(revisions, demonstrations, config, session.config.seed)
    return _train(session, "sft", train_sft, chosen, config, base, out)


def reward(session: Session, pairs: Selection[Any], base: str, out: Path) -> Outcome:
    """A Bradley–Terry reward model on decided pairs."""
    return _train(session, "reward", train_reward, pairs, session.config.train.reward, base, out)


def dpo(session: Session, pairs: Selection[Any], base: str, out: Path) -> Outcome:
    """Direct preference optimisation on decided pairs."""
    return _train(session, "dpo", train_dpo, pairs, session.config.train.dpo, base, out)


def _train(
    session: Session,
    name: str,
    trainer: Callable[..., TrainResult],
    chosen: Selection[Any],
    config: Any,
    base: str,
    out: Path,
) -> Outcome:
    with session.stage(name) as log, session.reporter.task(name, 0) as task:

        def progress(step: int, total: int, metrics: Mapping[str, float]) -> None:
            info = f"loss {metrics['loss']:.3f}" if "loss" in metrics else ""
            task.reach(step, total, info)

        result = trainer(
            chosen.examples,
            base=base,
            out=out,
            config=config,
            seed=session.config.seed,
            device=session.config.device,
            dtype=session.config.dtype,
            trust_remote_code=session.config.trust_remote_code,
            on_progress=progress,
            on_note=session.note,
        )
        left_out = {**chosen.left_out, **result.left_out}
        log.counts.update(steps=result.steps, examples=result.examples, left_out=left_out)
    return Outcome(
        {"out": str(out), **result.model_dump(mode="json", exclude={"path"}), "left_out": left_out},
        _line(name, result, left_out),
    )


def _line(name: str, result: TrainResult, left_out: Mapping[str, int]) -> str:
    metrics = result.metrics
    parts = [f"{name}: {result.examples:,} examples, {result.steps:,} steps"]
    if left_out:
        parts.append(f"{sum(left_out.values()):,} left out{reasons(left_out)}")
    if (first := metrics.get("loss_first")) is not None and (last := metrics.get("loss_last")) is not None:
        parts.append(f"loss {first:.3f} → {last:.3f}")
    if (accuracy := metrics.get("accuracy")) is not None:
        low, high = metrics.get("accuracy_low") or 0.0, metrics.get("accuracy_high") or 1.0
        parts.append(
            f"accuracy on {metrics.get('n'):,} held-out pairs {100 * accuracy:.1f} % "
            f"(95 % CI {100 * low:.1f}–{100 * high:.1f})"
        )
    return "; ".join(parts)
