"""Direct preference optimisation (Rafailov et al. 2023) on decided pairs.

    loss = −log σ(β · ((log π(c|x) − log π₀(c|x)) − (log π(r|x) − log π₀(r|x))))

c is the chosen answer, r the rejected one, π₀ the base as it was. Its log-probabilities are computed once, before
training, so that no second model stays in memory. The labels are hard for now: ``p_chosen`` is carried by the pairs and
enters no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raif.config import DpoConfig
from raif.records import TrainingPair
from raif.train.backbone import Backbone
from raif.train.engine import OnNote, OnProgress, Recipe, Run, train
from raif.train.quiet import Silent
from raif.train.results import TrainResult
from raif.train.tokens import Tokenised, dpo_rows, note_missing_end


def train_dpo(
    pairs: Sequence[TrainingPair],
    *,
    base: Path | str,
    out: Path,
    config: DpoConfig,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
) -> TrainResult:
    """Moves ``base`` towards the chosen answers and saves it in ``out``. Raises what ``engine.train`` raises."""
    run = Run(base, out, config, seed, device, dtype, trust_remote_code, on_progress, on_note)
    return train(DpoRecipe(pairs), run)


class DpoRecipe(Recipe):
    """How the engine trains a policy on preferences."""

    kind = "dpo"
    task = "causal"
    examples: Sequence[TrainingPair]

    def tokenise(self, backbone: Backbone, limit: int) -> Tokenised:
        rows = dpo_rows(backbone.tokenizer, self.examples, limit)
        note_missing_end(rows, "chosen_ids", backbone.end_tokens)
        return rows

    def trainer(self, config: DpoConfig, common: dict[str, Any], parts: dict[str, Any]) -> Any:
        from trl import DPOConfig, DPOTrainer

        class Trainer(Silent, DPOTrainer):
            def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
                return dataset  # the rows are tokens already; unlike its siblings, TRL's DPO does not look

        arguments = DPOConfig(beta=config.beta, precompute_ref_log_probs=True, **common)
        return Trainer(args=arguments, **parts)

    def measure(self, model: Any, tokenizer: Any, log: list[dict[str, float]]) -> dict[str, float | int | None]:
        return {
            "margin_last": log[-1].get("rewards/margins"),
            "accuracy_last": log[-1].get("rewards/accuracies"),
        }
