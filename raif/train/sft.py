"""Supervised fine-tuning on revisions, demonstrations, or both: the supervised half of Constitutional AI.

    from raif.train.sft import train_sft
    train_sft(sft_examples(revisions, [], config, seed=0).examples, base="policy/", out=Path("sft/"), config=config)

The loss is the mean negative log-likelihood of the answers' tokens; a prompt's tokens have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raif.config import SftConfig
from raif.train.backbone import Backbone
from raif.train.data import SftExample
from raif.train.engine import OnNote, OnProgress, Recipe, Run, train
from raif.train.quiet import Silent
from raif.train.results import TrainResult
from raif.train.tokens import Tokenised, note_missing_end, sft_rows


def train_sft(
    examples: Sequence[SftExample],
    *,
    base: Path | str,
    out: Path,
    config: SftConfig,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
) -> TrainResult:
    """Teaches ``base`` the answers and saves the result in ``out``. Raises what ``engine.train`` raises."""
    run = Run(base, out, config, seed, device, dtype, trust_remote_code, on_progress, on_note)
    return train(SftRecipe(examples), run)


class SftRecipe(Recipe):
    """How the engine trains a policy to imitate examples."""

    kind = "sft"
    task = "causal"
    examples: Sequence[SftExample]

    def tokenise(self, backbone: Backbone, limit: int) -> Tokenised:
        rows = sft_rows(backbone.tokenizer, self.examples, limit)
        note_missing_end(rows, "labels", backbone.end_tokens)
        return rows

    def trainer(self, config: SftConfig, common: dict[str, Any], parts: dict[str, Any]) -> Any:
        from trl import SFTConfig, SFTTrainer

        class Trainer(Silent, SFTTrainer):
            pass

        return Trainer(args=SFTConfig(**common), **parts)

    def measure(self, model: Any, tokenizer: Any, log: list[dict[str, float]]) -> dict[str, float | int | None]:
        return {"token_accuracy_last": log[-1].get("mean_token_accuracy")}
