"""``raif train sft|reward|dpo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raif.cli.options import FLAGS, Invocation, configured, redo_option
from raif.cli.place import perform
from raif.errors import ConfigError

if TYPE_CHECKING:
    from raif.session import Session
    from raif.stages.outcome import Outcome

COMMON = ("policy", "limit", "seed", "device", "dtype")


def _trainer_flags(name: str) -> tuple[str, ...]:
    """The flags of a trainer's own section, entered in ``FLAGS`` under the trainer's name."""
    options: dict[str, Any] = {
        "epochs": click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="Passes over the data."),
        "max_steps": click.option("--max-steps", type=click.IntRange(min=1), help="Stop after this many steps."),
        "learning_rate": click.option(
            "--learning-rate", "--lr", "learning_rate", type=click.FloatRange(min=0), help="Its peak."
        ),
        "batch_size": click.option("--batch-size", type=click.IntRange(min=1), help="Examples in a forward pass."),
        "accumulate": click.option("--accumulate", type=click.IntRange(min=1), help="Forward passes for each step."),
        "max_length": click.option("--max-length", type=click.IntRange(min=1), help="Longest example in tokens."),
    }
    keys = []
    for option, decorator in options.items():
        FLAGS[f"{name}.{option}"] = (f"train.{name}.{option}", decorator)
        keys.append(f"{name}.{option}")
    FLAGS[f"{name}.lora"] = (
        f"train.{name}.lora.enabled",
        click.option("--lora/--full", "lora", default=None, help="Train low-rank adapters, or all weights."),
    )
    return (*keys, f"{name}.lora")


FLAGS["dpo.beta"] = (
    "train.dpo.beta",
    click.option("--beta", type=click.FloatRange(min=0, min_open=True), help="Pull to the reference policy."),
)
FLAGS["sft.data"] = (
    "train.sft.data",
    click.option("--data", type=click.Choice(["revisions", "demonstrations", "mixture"]), help="What to imitate."),
)
FLAGS["sft.helpful_share"] = (
    "train.sft.helpful_share",
    click.option("--helpful-share", type=click.FloatRange(0, 1), help="Share of demonstrations in a mixture."),
)
FLAGS["sft.demonstrations"] = (
    "train.sft.demonstrations",
    click.option("--demonstrations", metavar="FILE", help="Prompts with a human's answer."),
)


@click.group(name="train")
def group() -> None:
    """Train a policy or a reward model.

    \b
    Example:
      raif train dpo --pairs labels.jsonl --policy hf:my-model --out dpo --lora
    """


@group.command()
@configured(*COMMON, "sft.data", "sft.helpful_share", "sft.demonstrations", *_trainer_flags("sft"))
@click.option(
    "--revisions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Revisions, as `raif revise` writes them; with --out.",
)
@redo_option
def sft(invocation: Invocation, revisions: Path | None, redo: bool) -> None:
    """Fine-tune the policy on revisions, on human demonstrations, or on a stated mixture of both.

    \b
    --json prints: out, kind, fingerprint, steps, examples, left_out, metrics, notes, parameters, seconds,
      resumed_from, reused
    \b
    Example:
      raif train sft --revisions revisions.jsonl --policy hf:my-model --out sft --epochs 2
    """

    async def alone(session: Session, out: Path) -> Outcome:
        from raif.models.registry import model_path
        from raif.pipeline import demonstrations_of, read_made
        from raif.records import Revision
        from raif.stages import training

        if revisions is None and session.config.train.sft.data != "demonstrations":
            raise ConfigError("nothing to imitate; give --revisions FILE with --out, or --run DIR")
        found = read_made(session, revisions, Revision, "revise")[: session.config.limit] if revisions else []
        return training.sft(session, found, demonstrations_of(session), model_path(session.config.policy), out)

    perform(invocation, "sft", redo, alone)


async def _on_pairs(session: Session, out: Path, stage: str, base: str) -> Outcome:
    from raif.models.registry import model_path
    from raif.pipeline import training_pairs_of
    from raif.stages import training

    source = session.require(session.config.pairs, "pairs", "--pairs FILE|ID")
    train = {"reward": training.reward, "dpo": training.dpo}[stage]
    return train(session, training_pairs_of(session, source), model_path(base), out)


@group.command()
@configured(*COMMON, "pairs", "chosen_column", "rejected_column", "split", "on_bad_row", *_trainer_flags("reward"))
@redo_option
def reward(invocation: Invocation, redo: bool) -> None:
    """Train a Bradley-Terry reward model on labels, preferences, or human pairs.

    \b
    --json prints: out, kind, fingerprint, steps, examples, left_out, metrics, notes, parameters, seconds,
      resumed_from, reused
    \b
    Example:
      raif train reward --pairs labels.jsonl --policy hf:my-model --out reward
    """

    async def alone(session: Session, out: Path) -> Outcome:
        return await _on_pairs(session, out, "reward", session.config.train.reward.base or session.config.policy)

    perform(invocation, "reward", redo, alone)


@group.command()
@configured(
    *COMMON, "pairs", "chosen_column", "rejected_column", "split", "on_bad_row", "dpo.beta", *_trainer_flags("dpo")
)
@redo_option
def dpo(invocation: Invocation, redo: bool) -> None:
    """Optimise the policy directly on labels, preferences, or human pairs.

    \b
    --json prints: out, kind, fingerprint, steps, examples, left_out, metrics, notes, parameters, seconds,
      resumed_from, reused
    \b
    Example:
      raif train dpo --pairs labels.jsonl --policy hf:my-model --out dpo --beta 0.2
    """

    async def alone(session: Session, out: Path) -> Outcome:
        return await _on_pairs(session, out, "dpo", session.config.policy)

    perform(invocation, "dpo", redo, alone)
