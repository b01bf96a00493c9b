"""``raif generate``, ``raif revise``, ``raif label``: the stages that ask models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from raif.cli.options import CAPS, Invocation, configured, redo_option
from raif.cli.place import perform
from raif.errors import ConfigError

if TYPE_CHECKING:
    from raif.session import Session
    from raif.stages.outcome import Outcome

INPUT = ("limit", "shard", "seed", "split", "on_bad_row")
LOCAL = ("device", "dtype", "batch_size")


@click.command()
@configured(
    "policy",
    "prompts",
    "samples",
    "temperature",
    "max_new_tokens",
    "prompt_column",
    "response_column",
    *INPUT,
    *LOCAL,
    *CAPS,
    estimate=True,
)
@redo_option
def generate(invocation: Invocation, redo: bool) -> None:
    """Draw the policy's answers to prompts.

    In a run folder the prompts held out for evaluation are left alone; with --out all prompts are answered.

    \b
    --json prints: out, n, prompts, failures, truncated, length
    \b
    Example:
      raif generate --policy hf:my-model --prompts prompts.jsonl --samples 4 --out responses.jsonl
      raif generate --policy hf:my-model --prompts prompts.jsonl --samples 4 --out responses.jsonl --estimate
    """

    async def alone(session: Session, out: Path) -> Outcome:
        from raif.inputs import read_prompts
        from raif.pipeline import describe_input
        from raif.stages import feedback

        config = session.config
        source = session.require(config.prompts, "prompts", "--prompts FILE|ID")
        prompts = read_prompts(source, config.input, limit=config.limit, on_note=session.note)
        describe_input(session, source, len(prompts))
        return await feedback.generate(session, prompts, out)

    perform(invocation, "generate", redo, alone)


@click.command()
@configured(
    "preset",
    "policy",
    "judge",
    "constitution",
    "rounds",
    "until_clean",
    "verify",
    "keep_unverified",
    "limit",
    "shard",
    "seed",
    *LOCAL,
    *CAPS,
    estimate=True,
)
@click.option(
    "--responses",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Responses to revise, as `raif generate` writes them; with --out.",
)
@redo_option
def revise(invocation: Invocation, responses: Path | None, redo: bool) -> None:
    """Let the judge critique and revise responses, a principle at a time.

    With --judge self the policy critiques and revises itself, as in the Constitutional AI paper (--preset cai-2022). A
    revision that the judge does not find better is dropped. --until-clean ends a response's rounds, of which there are
    at most --rounds, once every principle has found its text without fault.

    \b
    --json prints: out, n, changed, clean, failures, by_principle
    \b
    Example:
      raif revise --responses responses.jsonl --judge hf:my-judge --constitution principles.yaml --out revisions.jsonl
    """

    async def alone(session: Session, out: Path) -> Outcome:
        from raif.pipeline import describe_input, read_given
        from raif.records import Response
        from raif.stages import feedback

        if responses is None:
            raise ConfigError("nothing to revise; give --responses FILE with --out, or --run DIR")
        found = read_given(session, responses, Response, "--responses", "generate")[: session.config.limit]
        describe_input(session, str(responses), len(found))
        return await feedback.revise(session, found, out)

    perform(invocation, "revise", redo, alone)


@click.command()
@configured(
    "preset",
    "judge",
    "policy",
    "constitution",
    "pairs",
    "orders",
    "principles",
    "mode",
    "votes",
    "scale",
    "examples",
    "allow_tie",
    "calibration",
    "foreign_calibration",
    "pair_source",
    "chosen_column",
    "rejected_column",
    "prompt_column",
    *INPUT,
    *LOCAL,
    *CAPS,
    estimate=True,
)
@click.option(
    "--preferences",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the decided ones here, in TRL's conversational preference format; with --out.",
)
@click.option(
    "--responses",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Responses to compare with one another, as `raif generate` writes them; in the place of --pairs, with --out.",
)
@redo_option
def label(invocation: Invocation, preferences: Path | None, responses: Path | None, redo: bool) -> None:
    """Label pairs of responses with the judge's soft preference, in both orders, under the principles.

    Which response a file calls chosen is never shown to the judge; where a file says it, agreement is reported. With
    --judge reward:DIR a reward model judges. --mode rank puts all responses to a prompt in their order: rankings lie
    beside --out, named after it, and --preferences gets the best against the worst of each prompt.

    \b
    --json prints: out, n, prompts, decided, ties, abstained, coverage, missing, flip_rate, position_preference,
      decisiveness, longer_preferred, revision_preferred, by_principle, human, human_missing, ranking
    \b
    Example:
      raif label --pairs pairs.jsonl --judge demo:judge --constitution constitution/demo.yaml --out labels.jsonl
      raif label --pairs pairs.jsonl --judge demo:judge --out labels.jsonl --estimate
      raif label --pairs pairs.jsonl --judge demo:judge --out labels.jsonl --max-requests 10000
      raif label --mode rank --responses responses.jsonl --judge demo:judge --out labels.jsonl
    """

    async def alone(session: Session, out: Path) -> Outcome:
        from raif.feedback.pairs import to_label
        from raif.inputs import read_pairs
        from raif.pipeline import describe_input, read_given
        from raif.records import Response
        from raif.stages import feedback

        config = session.config
        if responses is not None:
            found = read_given(session, responses, Response, "--responses", "generate")
            describe_input(session, str(responses), len(found))
            pairs = to_label(found, (), config.label, seed=config.seed)[: config.limit]
        else:
            source = session.require(config.pairs, "pairs", "--pairs FILE|ID")
            pairs = read_pairs(source, config.input, limit=config.limit, seed=config.seed, on_note=session.note)
            describe_input(session, source, len(pairs))
        rankings = out.with_name(f"{out.stem}.rankings.jsonl") if config.shard is None else None
        written = preferences if invocation.estimate is None else None
        return await feedback.label(session, pairs, out, written, rankings)

    perform(invocation, "label", redo, alone)
