"""A Bradley–Terry reward model: one number a conversation, read at its last token.

    loss = −log σ(r(x, chosen) − r(x, rejected))

Whole prompts are held out to measure on; the labels are hard for now.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raif.config import RewardConfig
from raif.records import TrainingPair
from raif.train.backbone import Backbone
from raif.train.data import hold_out
from raif.train.engine import OnNote, OnProgress, Recipe, Run, train
from raif.train.quiet import Silent
from raif.train.results import TrainResult, wilson
from raif.train.scoring import scores
from raif.train.tokens import Row, Tokenised, choose_pad, reward_rows


def train_reward(
    pairs: Sequence[TrainingPair],
    *,
    base: Path | str,
    out: Path,
    config: RewardConfig,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
) -> TrainResult:
    """Trains a reward model on the backbone of ``base`` and saves it in ``out``. Raises what ``engine.train`` raises.

    ``metrics``: ``accuracy`` on the ``n`` pairs held out, with Wilson's 95 % interval ``accuracy_low`` …
    ``accuracy_high``, and the mean ``margin`` r(chosen) − r(rejected). A pair with equal rewards counts as wrong.
    """
    run = Run(base, out, config, seed, device, dtype, trust_remote_code, on_progress, on_note)
    return train(RewardRecipe(pairs, config.eval_share, seed), run)


class RewardRecipe(Recipe):
    """How the engine trains a reward model on preferences."""

    kind = "reward"
    task = "reward"

    def __init__(self, pairs: Sequence[TrainingPair], eval_share: float, seed: int) -> None:
        training, self.held_out = hold_out(pairs, eval_share, seed)
        super().__init__(training)
        self.held_rows: list[Row] = []

    def inputs(self) -> Any:
        return [super().inputs(), [pair.id for pair in self.held_out]]

    def tokenise(self, backbone: Backbone, limit: int) -> Tokenised:
        rows = reward_rows(backbone.tokenizer, self.examples, limit)  # type: ignore[arg-type]
        held = reward_rows(backbone.tokenizer, self.held_out, limit)
        self.held_rows = held.rows
        rows.left_out["held_out"] = len(held.rows)
        for reason, count in held.left_out.items():
            rows.left_out[f"held_out_{reason}"] = count
        rows.left_out = +rows.left_out
        ends = {row[side][-1] for row in (*rows.rows, *held.rows) for side in ("chosen_ids", "rejected_ids")}
        if pad := choose_pad(backbone.tokenizer, ends):
            rows.note(pad)
        return rows

    def trainer(self, config: RewardConfig, common: dict[str, Any], parts: dict[str, Any]) -> Any:
        from trl import RewardConfig as TrlRewardConfig
        from trl import RewardTrainer

        class Trainer(Silent, RewardTrainer):
            pass

        return Trainer(args=TrlRewardConfig(**common), **parts)

    def measure(self, model: Any, tokenizer: Any, log: list[dict[str, float]]) -> dict[str, float | int | None]:
        n = len(self.held_rows)
        if n == 0:
            return {"n": 0, "accuracy": None, "accuracy_low": None, "accuracy_high": None, "margin": None}
        pad = tokenizer.pad_token_id
        chosen = scores(model, [row["chosen_ids"] for row in self.held_rows], pad)
        rejected = scores(model, [row["rejected_ids"] for row in self.held_rows], pad)
        right = sum(c > r for c, r in zip(chosen, rejected, strict=True))
        low, high = wilson(right, n)
        margin = sum(c - r for c, r in zip(chosen, rejected, strict=True)) / n
        return {"n": n, "accuracy": right / n, "accuracy_low": low, "accuracy_high": high, "margin": margin}
