"""How long a trainer would take: its first steps, on what there is to train on, and nothing saved."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any

from raif.config import DpoConfig, RewardConfig, TrainerConfig
from raif.records import Record
from raif.session import Session
from raif.stages.forecast import FORWARD, Pace
from raif.train.dpo import train_dpo
from raif.train.reward import train_reward
from raif.train.sft import train_sft

STEPS, SECONDS = 8, 10.0
"""A trial ends after this many steps, or after the third once they have taken this long."""
TRAINERS: Mapping[str, Any] = {"reward": train_reward, "sft": train_sft, "dpo": train_dpo}


class _EnoughError(Exception):
    """Ends a trial from within."""


def learnt_from(config: TrainerConfig, examples: float) -> float:
    """Of ``examples``, those that are not held out."""
    return examples * (1 - config.eval_share) if isinstance(config, RewardConfig) else examples


def only_read(config: TrainerConfig, examples: float) -> float:
    """How many examples go through the model without being learnt from, beside the steps: all pairs for DPO, which
    asks the reference policy about them first, and those held out for the reward model, which is measured on them."""
    if isinstance(config, DpoConfig):
        return examples
    return examples - learnt_from(config, examples)


def try_training(
    session: Session, name: str, examples: Sequence[Record], base: str, config: TrainerConfig, out: Path
) -> Pace:
    """The pace of a trainer (``reward``, ``sft`` or ``dpo``), from a few of its steps.

    Args:
        examples: what there is to train on.
        out: a folder to throw away; no model is written to it.

    Raises:
        RaifError: as the trainer does.
    """
    times: list[float] = []

    def watch(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        times.append(time.perf_counter())
        if len(times) == STEPS or (len(times) > 2 and times[-1] - times[0] > SECONDS):
            raise _EnoughError

    begun = time.perf_counter()
    with suppress(_EnoughError):
        TRAINERS[name](
            examples,
            base=base,
            out=out,
            # One step more than will be made, and no checkpoint on the way.
            config=config.model_copy(update={"max_steps": STEPS + 1, "save_steps": STEPS + 2}),
            seed=session.config.seed,
            device=session.config.device,
            dtype=session.config.dtype,
            trust_remote_code=session.config.trust_remote_code,
            on_progress=watch,
        )
    batch = _batch(learnt_from(config, len(examples)), config)
    step = (times[-1] - times[0]) / (len(times) - 1)
    example = step / batch
    read_before = len(examples) if isinstance(config, DpoConfig) else 0
    return Pace(max(0.0, times[0] - begun - step - FORWARD * example * read_before), example)


def _batch(examples: float, config: TrainerConfig) -> float:
    """Examples in a step of the trial, on average: an epoch's last step has what is left."""
    whole = config.batch_size * config.accumulate
    return whole if examples >= whole * STEPS else examples / ceil(examples / whole)
