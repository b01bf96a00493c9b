"""``raif run`` and ``raif status``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raif.cli.estimate import estimate_all
from raif.cli.options import CAPS, Invocation, configured
from raif.cli.place import run_place
from raif.errors import ConfigError, InputError

if TYPE_CHECKING:
    from raif.pipeline import Stage
    from raif.stages.outcome import Outcome

STAGE_NAMES = ("generate", "revise", "label", "reward", "sft", "dpo", "eval", "report")
"""The names in ``raif.pipeline.STAGES``, here so that ``--help`` need not load it (a test compares them)."""


@click.command()
@click.argument("config_path", metavar="[RAIF.YAML]", type=click.Path(path_type=Path), required=False)
@configured(
    "preset",
    "policy",
    "judge",
    "constitution",
    "prompts",
    "pairs",
    "limit",
    "seed",
    "device",
    "dtype",
    "batch_size",
    *CAPS,
    out=False,
    estimate=True,
)
@click.option("--from", "first", type=click.Choice(STAGE_NAMES), help="Make this stage and all after it again.")
@click.option("--until", "last", type=click.Choice(STAGE_NAMES), help="Stop after this stage.")
def run(invocation: Invocation, config_path: Path | None, first: str | None, last: str | None) -> None:
    """Run all stages, from prompts to a report; the same command goes on where a stopped run was.

    \b
    --json prints: run, stages (of those that had something to do), report
    \b
    Example:
      raif run raif.yaml
      raif run raif.yaml --estimate
      raif run raif.yaml --from label --set label.orders=one
    """
    folder = invocation.run
    if folder is None:
        raise ConfigError("no configuration and no run; give a raif.yaml (`raif init DIR` writes one) or --run DIR")
    if invocation.estimate is not None:
        estimate_all(invocation, folder, first, last)
        return
    outcomes = run_in(invocation, folder, first, last)
    report = folder / "80_report.html"
    invocation.result(
        {
            "run": str(folder),
            "stages": {name: outcome.summary for name, outcome in outcomes.items()},
            "report": str(report) if report.exists() else None,
        },
        str(report) if report.exists() else str(folder),
    )


def run_in(invocation: Invocation, folder: Path, first: str | None, last: str | None) -> dict[str, Outcome]:
    """Run the stages from ``first`` to ``last`` in ``folder``, saying what each came to."""
    from raif.disk import write_atomically
    from raif.pipeline import NAMES, between, discard, run_stages
    from raif.settings import resolve, to_yaml

    chosen = between(first, last)
    note = invocation.reporter.note

    def on_stage(stage: Stage, outcome: Outcome | None) -> None:
        note(f"[{stage.name}] {outcome.line if outcome else 'done before'}")

    with run_place(invocation, folder) as (session, place):
        if first is not None:
            discard(session, place, NAMES[NAMES.index(first) :])
        kept = place.path / "raif.yaml"
        if kept.is_file() and resolve(kept, environment={}).model_copy(update={"run": None}) == (
            invocation.config.model_copy(update={"run": None})
        ):
            return dict(asyncio.run(run_stages(session, place, chosen, on_stage)))
        settings = to_yaml(
            invocation.config.model_copy(update={"run": Path()}),
            "The settings of this run, as `raif run` resolved them.",
        )
        write_atomically(place.path / "raif.yaml", settings.encode())
        return dict(asyncio.run(run_stages(session, place, chosen, on_stage)))


@click.command()
@click.argument("folder", metavar="[RUN]", type=click.Path(path_type=Path), required=False)
@configured(out=False)
def status(invocation: Invocation, folder: Path | None) -> None:
    """Show what is done in a run and what is left.

    \b
    --json prints: run, stages (name, status, counts, seconds), left
    \b
    Example:
      raif status runs/first
    """
    from raif.manifest import Manifest
    from raif.pipeline import STAGES
    from raif.store import RunFolder

    folder = folder or invocation.run
    if folder is None:
        raise ConfigError("which run? give its folder, such as `raif status runs/first`")
    place = RunFolder(folder, create=False)
    if not place.manifest.exists():
        raise InputError("has no manifest.json, so it is no run folder", path=folder)
    manifest = Manifest.load(place.manifest)
    rows: list[dict[str, Any]] = []
    for stage in STAGES:
        entry = manifest.stages.get(stage.name)
        there = all((place.path / name).exists() for name in stage.writes)
        state: str = "left" if entry is None else entry.status if there or entry.status != "done" else "left"
        if state == "running":
            state = "running or killed"
        rows.append(
            {
                "name": stage.name,
                "status": state,
                "counts": entry.counts if entry else {},
                "seconds": entry.seconds if entry else 0.0,
            }
        )
    left = [row["name"] for row in rows if row["status"] != "done"]
    lines = [
        f"{row['name']:<10}{row['status']:<18}{row['seconds']:>8.1f} s  "
        + ", ".join(f"{key} {value}" for key, value in row["counts"].items() if not isinstance(value, dict))
        for row in rows
    ]
    lines.append(f"left: {', '.join(left)}; `raif run --run {folder}` goes on" if left else "all done")
    invocation.result({"run": str(folder), "stages": rows, "left": left}, "\n".join(line.rstrip() for line in lines))
