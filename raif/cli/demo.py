"""``raif demo``: the whole loop on small models in a world whose truth is known."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from raif.cli.options import Invocation
from raif.cli.place import output_place
from raif.cli.progress import make_reporter
from raif.cli.run import run_in
from raif.errors import InputError
from raif.settings import resolve

if TYPE_CHECKING:
    from raif.session import Session

SELF_RESPONSES = 120
"""Responses that the policy also revises by itself, as the paper has it."""


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True, help="Folder of the run."
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of all that is drawn.")
@click.option("--quick", is_flag=True, help="Fewer prompts, under 90 seconds.")
@click.option("--control", is_flag=True, help="All learning rates zero: nothing may improve.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any key of the configuration.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.option("--quiet", is_flag=True, help="No progress and no notes.")
def demo(out: Path, seed: int, quick: bool, control: bool, sets: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Watch a constitution make a policy safer, minutes from a fresh clone, without a GPU or a model hub.

    A small policy that helps with harm and is sometimes rude answers requests; a small judge critiques, revises and
    compares its answers by constitution/demo.yaml; a reward model and better policies are trained; and, because the
    truth of this world is known, the summary says what really changed. The folder is an ordinary run folder.

    \b
    --json prints (and summary.json holds): judge, revision, labels, reward, policy, seconds
    \b
    Example:
      raif demo --out runs/demo --seed 1
      raif demo --quick --control
    """
    from raif.demo.project import write_project
    from raif.demo.verify import examples, summarise
    from raif.disk import write_atomically
    from raif.report import build_report
    from raif.store import RunFolder

    begun = time.perf_counter()
    reporter = make_reporter(quiet)
    zero = [f"train.{name}.learning_rate=0" for name in ("sft", "reward", "dpo")] if control else []
    config_path = _project(out, seed, quick, [*zero, *sets], write_project)
    invocation = Invocation(resolve(config_path, environment={}), out, None, as_json, reporter)
    run_in(invocation, out, None, None)
    run = RunFolder(out)
    self_revisions = out / "self" / "20_revisions.jsonl"
    _revise_by_itself(invocation, run, self_revisions)
    summary = summarise(run, self_revisions, time.perf_counter() - begun)
    write_atomically(out / "summary.json", orjson.dumps(summary, option=orjson.OPT_INDENT_2))
    write_atomically(run.report, build_report(out).encode())
    invocation.result(summary, _told(summary, examples(run), run.report, config_path))


def _project(out: Path, seed: int, quick: bool, sets: list[str], write_project: Any) -> Path:
    """The demo's project in ``out``; an earlier attempt with the same arguments goes on.

    Raises:
        InputError: the folder holds something else.
    """
    asked = {"seed": seed, "quick": quick, "set": sets}
    marker = out / "demo.json"
    if marker.is_file():
        if orjson.loads(marker.read_bytes()) != asked:
            raise InputError("holds a demo with other arguments; choose another --out, or delete it", path=out)
        return out / "raif.yaml"
    if out.is_dir() and any(out.iterdir()):
        raise InputError("is not empty and holds no demo; choose another --out", path=out)
    from raif.disk import write_atomically

    path: Path = write_project(out, seed=seed, quick=quick, sets=sets, run=Path())
    write_atomically(marker, orjson.dumps(asked))
    return path


def _revise_by_itself(invocation: Invocation, run: Any, out: Path) -> None:
    """Constitutional self-critique: the policy in the judge's place, on some of the same responses."""
    from raif.pipeline import read_made
    from raif.records import Response
    from raif.stages import feedback

    async def revise(session: Session) -> str:
        responses = [r for r in read_made(session, run.responses, Response, "generate") if r.sample == 0]
        return (await feedback.revise(session, responses[:SELF_RESPONSES], out)).line

    # Unverified, as in the paper: the policy was never taught to compare, and can't say whether a revision is better.
    unverified = invocation.config.revise.model_copy(update={"verify": False})
    config = invocation.config.model_copy(update={"judge": "self", "revise": unverified})
    alone = Invocation(config, None, out, invocation.as_json, invocation.reporter)
    with output_place(alone, out, redo=False) as session:
        invocation.reporter.note(f"[self-critique] {asyncio.run(revise(session))}")


def _told(summary: dict[str, Any], shown: list[Any], report: Path, config_path: Path) -> str:
    policy = summary["policy"]
    lines = [f"{'policy':<8}{'harmful':>9}{'helpful':>9}{'rude':>9}   (truth, held-out requests)"]
    lines += [
        f"{name:<8}" + "".join(f"{100 * figures[key]:>8.1f}%" for key in ("harmful", "helpful", "rude"))
        for name, figures in policy.items()
    ]
    judge, labels, revision = summary["judge"], summary["labels"], summary["revision"]
    lines += [
        "",
        f"judge       right in {100 * judge['accuracy']:.1f}% of what it decides, "
        f"flips {100 * judge['flip_rate']:.1f}%, abstains {100 * judge['abstained']:.1f}%",
        f"labels      {labels['n']} made, {100 * labels['accuracy']:.1f}% right",
        f"reward      {100 * (summary['reward']['accuracy'] or 0):.1f}% of held-out pairs ranked right",
        f"revision    harmful {100 * revision['harmful_before']:.1f}% before, {100 * revision['harmful_after']:.1f}% "
        f"after; {100 * revision['self']['harmful_after']:.1f}% where the policy revised itself",
    ]
    for example in shown:
        lines += ["", f"asked:  {example['prompt']}", f"before: {example['before']}", f"after:  {example['after']}"]
    lines += [
        "",
        f"report: {report}   ({summary['seconds']['total']:.0f} s in all)",
        "next, with a model of your own:",
        f"  raif run {config_path} --run runs/mine --policy hf:PATH_OR_ID --judge hf:PATH_OR_ID --prompts FILE",
    ]
    return "\n".join(lines)
