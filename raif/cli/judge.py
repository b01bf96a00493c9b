"""``raif judge``: whether a judge is to be trusted, and how its probabilities are to be corrected."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from raif.cli.lazy import LazyGroup
from raif.cli.options import CAPS, Invocation, configured

COMMANDS = {"check": "raif.cli.judge:check", "calibrate": "raif.cli.calibrate:calibrate"}
"""Subcommand to ``module:attribute``; a module is imported when its command is."""

NOWHERE = Path(os.devnull) / "manifest.json"
"""A check writes no manifest: its certificate says what was asked."""


@click.group(name="judge", cls=LazyGroup, table=COMMANDS)
def group() -> None:
    """Check a judge before it labels, and correct its probabilities.

    \b
    Example:
      raif judge check --judge demo:judge --constitution constitution/demo.yaml
    """


@click.command()
@click.option("--gold", metavar="FILE|ID", help="Pairs with the response that a human preferred; see above.")
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the certificate here, not with the cache (judge_check.certificate).",
)
@click.option("--unprotected", is_flag=True, help="Try the injections also with the defences off.")
@click.option("--redo", is_flag=True, help="Ask everything again, whatever an earlier check has found.")
@configured(
    "judge",
    "policy",
    "constitution",
    "mode",
    "votes",
    "scale",
    "examples",
    "allow_tie",
    "calibration",
    "chosen_column",
    "rejected_column",
    "prompt_column",
    "limit",
    "seed",
    "split",
    "on_bad_row",
    "device",
    "dtype",
    "batch_size",
    *CAPS,
    out=False,
)
@click.pass_context
def check(
    ctx: click.Context,
    invocation: Invocation,
    gold: str | None,
    certificate: Path | None,
    unprotected: bool,
    redo: bool,
) -> None:
    """Print a judge's report card, and leave a certificate; exit 1 where it misses a threshold.

    Asked, in both orders, are pairs of which the better response is known: accuracy, flips, leanings to a position or
    to length, answers that can't be read, calibration, sameness when asked again; and the same pairs with injections in
    the worse response, of families that are held out from what the defences were made with. The thresholds are those
    under judge_check in raif.yaml.

    --gold is read as by `raif label --pairs`; a column "principle" may say under which principle (by id or statement) a
    pair was judged. Without --gold: the comparisons worked out in the constitution (examples), and for principles
    worded as in constitution/demo.yaml pairs that ship with raif.

    The certificate holds what was found under each principle, and lies with the cache. `raif label` looks for it.
    Principles that an earlier check has found something about, with the same gold, are not asked about again.

    \b
    --json prints: judge, constitution, qualified, missed, certificate, checked, known,
      lines (name, value, low, high, n, limit, unit, passed, remark),
      families (family, held_out, flipped, lost, turned, unprotected)
    \b
    Example:
      raif judge check --judge demo:judge --constitution constitution/demo.yaml
      raif judge check --judge hf:my-judge --constitution principles.yaml --gold human.jsonl
    """
    from raif.qualify.gold import gather
    from raif.session import Session
    from raif.stages.qualification import check_judge

    config = invocation.config
    if certificate is not None:
        kept = config.judge_check.model_copy(update={"certificate": certificate})
        config = config.model_copy(update={"judge_check": kept})
    session = Session(config, invocation.reporter, NOWHERE)
    pairs = gather(
        gold,
        session.constitution,
        config.input,
        shown=config.label.examples,
        limit=config.limit,
        seed=config.seed,
        on_note=session.note,
    )
    outcome = asyncio.run(check_judge(session, pairs, again=redo, unprotected=unprotected))
    invocation.result(outcome.summary, outcome.line)
    ctx.exit(0 if outcome.summary["qualified"] else 1)
