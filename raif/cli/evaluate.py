"""``raif eval`` and ``raif report``."""

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


@click.command(name="eval")
@configured(
    "policy",
    "judge",
    "constitution",
    "prompts",
    "limit",
    "seed",
    "device",
    "dtype",
    "batch_size",
    *CAPS,
    estimate=True,
)
@click.option(
    "--against",
    multiple=True,
    metavar="NAME=SPEC",
    help="A policy to compare with --policy, such as dpo=hf:dpo; may be repeated; with --out.",
)
@redo_option
def evaluate(invocation: Invocation, against: tuple[str, ...], redo: bool) -> None:
    """Put policies side by side on held-out prompts: answers, and win rates as the judge sees them.

    In a run folder: the policy it began with against each that it trained. With --out: --policy against each
    --against, on all of --prompts.

    \b
    --json prints: baseline, prompts, policies
    \b
    Example:
      raif eval --policy hf:before --against after=hf:dpo --judge hf:my-judge --prompts held-out.jsonl --out eval.json
    """

    async def alone(session: Session, out: Path) -> Outcome:
        from raif.inputs import read_prompts
        from raif.pipeline import describe_input
        from raif.stages.evaluation import BASELINE, compare_policies

        config = session.config
        policies = {BASELINE: config.policy}
        for text in against:
            name, separator, spec = text.partition("=")
            if not separator or not name.isidentifier() or name in policies:
                raise ConfigError(f"--against {text}: expected NAME=SPEC with a new name, such as dpo=hf:dpo")
            policies[name] = spec
        source = session.require(config.prompts, "prompts", "--prompts FILE|ID")
        prompts = read_prompts(source, config.input, limit=config.limit, on_note=session.note)
        describe_input(session, source, len(prompts))
        return await compare_policies(session, policies, prompts, out.with_suffix(""), out)

    perform(invocation, "eval", redo, alone)


@click.command()
@configured()
def report(invocation: Invocation) -> None:
    """Write one self-contained HTML file about a run: 80_report.html in its folder, or --out.

    \b
    --json prints: report
    \b
    Example:
      raif report --run runs/first
    """
    from raif.report import build_report
    from raif.store import RunFolder, write_atomically

    if invocation.run is None:
        raise ConfigError("no run to report on; give --run DIR")
    run = RunFolder(invocation.run, create=False)
    target = invocation.out or run.report
    write_atomically(target, build_report(run.path).encode())
    invocation.result({"report": str(target)}, str(target))
