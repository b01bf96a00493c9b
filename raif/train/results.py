"""What a training run amounts to, and the file ``train.json`` that says so."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["sft", "reward", "dpo"]


class TrainResult(BaseModel):
    """One finished training run.

    ``OUT/train.json`` holds it without ``path``, ``seconds``, ``resumed_from`` and ``reused``, so that equal inputs
    give equal bytes, whether or not the run was interrupted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    fingerprint: str
    """Digest of data, configuration, seed, precision and base model: an equal one means an equal run."""
    steps: int
    examples: int
    """Trained on; for the reward model without those held out."""
    left_out: dict[str, int] = Field(default_factory=dict)
    """Not trained on, by reason: ``too_long``, ``no_completion``, ``held_out`` …"""
    metrics: dict[str, float | int | None] = Field(default_factory=dict)
    """``loss_first`` and ``loss_last`` for all; what else there is depends on ``kind``."""
    notes: tuple[str, ...] = ()
    """What the user should know about this run: a pad token that was added, a template without an end of turn …"""
    parameters: str
    """SHA-256 over the names, types, shapes and bytes of all tensors of the final model."""
    path: Path = Path()
    seconds: float = 0.0
    resumed_from: int | None = None
    """The step of the checkpoint that this run went on from."""
    reused: bool = False
    """An earlier run with the same fingerprint had finished; nothing was trained."""

    def to_json(self) -> bytes:
        """The content of ``train.json``."""
        return self.model_dump_json(indent=2, exclude={"path", "seconds", "resumed_from", "reused"}).encode() + b"\n"


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927), at 95 % unless ``z`` says otherwise.

    (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n) with p = successes / n; (0, 1) where n is 0.
    """
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)
