"""The flags that mean the same everywhere, and how they become a ``RunConfig``.

``@configured("policy", "judge", ...)`` gives a command the named flags and ``--config``, ``--set``, ``--run``,
``--quiet`` and ``--json``, resolves them, and hands it one ``Invocation``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from raif.cli.progress import make_reporter
from raif.config import RunConfig
from raif.reporting import Reporter
from raif.settings import resolve

F = TypeVar("F", bound=Callable[..., Any])


_POSITIVE = click.IntRange(min=1)

FLAGS: dict[str, tuple[str, Callable[[F], F]]] = {
    "preset": (
        "preset",
        click.option(
            "--preset", type=click.Choice(["cai-2022", "rlaif-2023"]), help="Settings of a paper, beneath other flags."
        ),
    ),
    "policy": ("policy", click.option("--policy", metavar="SPEC", help="Model to improve, such as hf:PATH_OR_ID.")),
    "judge": ("judge", click.option("--judge", metavar="SPEC", help="Model that judges; self: the policy.")),
    "constitution": ("constitution", click.option("--constitution", metavar="FILE", help="Principle file.")),
    "prompts": ("prompts", click.option("--prompts", metavar="FILE|ID", help="Prompts to answer.")),
    "pairs": ("pairs", click.option("--pairs", metavar="FILE|ID", help="Pairs of responses.")),
    "limit": ("limit", click.option("--limit", type=_POSITIVE, help="At most this many prompts or pairs.")),
    "shard": (
        "shard",
        click.option("--shard", metavar="I/N", help="Do the I-th of N parts alone; raif merge joins them."),
    ),
    "seed": ("seed", click.option("--seed", type=click.IntRange(min=0), help="Seed of all that is drawn.")),
    "device": (
        "device",
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where local models run."),
    ),
    "dtype": (
        "dtype",
        click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), help="Of local models."),
    ),
    "batch_size": ("batch_size", click.option("--batch-size", type=_POSITIVE, help="Requests in one batch.")),
    "prompt_column": ("input.prompt_column", click.option("--prompt-column", help="Column of the prompt.")),
    "response_column": ("input.response_column", click.option("--response-column", help="Column of a human answer.")),
    "chosen_column": ("input.chosen_column", click.option("--chosen-column", help="Column of the chosen response.")),
    "rejected_column": ("input.rejected_column", click.option("--rejected-column", help="… of the rejected one.")),
    "split": ("input.split", click.option("--split", help="Split of a datasets id or folder.")),
    "on_bad_row": (
        "input.on_bad_row",
        click.option("--on-bad-row", type=click.Choice(["skip", "fail"]), help="Report and skip, or stop."),
    ),
    "samples": ("generate.samples", click.option("--samples", type=_POSITIVE, help="Answers for each prompt.")),
    "temperature": (
        "generate.temperature",
        click.option("--temperature", type=click.FloatRange(min=0), help="0 is greedy."),
    ),
    "max_new_tokens": (
        "generate.max_tokens",
        click.option("--max-new-tokens", type=_POSITIVE, help="Longest answer, in tokens."),
    ),
    "max_requests": (
        "budget.max_requests",
        click.option("--max-requests", type=_POSITIVE, help="Stop after this many requests; the cache's are free."),
    ),
    "max_tokens": (
        "budget.max_tokens",
        click.option("--max-tokens", type=_POSITIVE, help="Stop after this many tokens, prompts and completions."),
    ),
    "max_cost": (
        "budget.max_cost",
        click.option(
            "--max-cost", type=click.FloatRange(min=0, min_open=True), help="Stop after this much money, by `prices`."
        ),
    ),
    "rounds": ("revise.rounds", click.option("--rounds", type=_POSITIVE, help="Rounds of critique and revision.")),
    "verify": ("revise.verify", click.option("--verify/--no-verify", default=None, help="Check each revision.")),
    "until_clean": (
        "revise.until_clean",
        click.option(
            "--until-clean/--all-rounds",
            default=None,
            help="End a response's rounds once every principle finds it without fault.",
        ),
    ),
    "keep_unverified": (
        "revise.keep_unverified",
        click.option(
            "--keep-unverified/--drop-unverified",
            default=None,
            help="Keep revisions that the check did not find better, and train on them.",
        ),
    ),
    "orders": ("label.orders", click.option("--orders", type=click.Choice(["both", "one"]), help="Orders to ask in.")),
    "principles": ("label.principles", click.option("--principles", metavar="all|K", help="All, or draw K of them.")),
    "mode": (
        "label.mode",
        click.option(
            "--mode",
            type=click.Choice(["logprob", "cot", "votes", "score", "rank"]),
            help="How the judge answers: at once, after reasoning, by samples, in grades; or a ranking by pairs.",
        ),
    ),
    "votes": ("label.votes", click.option("--votes", type=_POSITIVE, help="Answers to sample in mode votes.")),
    "scale": ("label.scale", click.option("--scale", type=click.IntRange(9, 10), help="Grades in mode score.")),
    "examples": (
        "label.examples",
        click.option("--examples", type=click.IntRange(min=0), help="Worked comparisons of each principle to show."),
    ),
    "calibration": (
        "label.calibration",
        click.option("--calibration", metavar="FILE", help="Correct p_a by this; raif judge calibrate makes it."),
    ),
    "foreign_calibration": (
        "label.foreign_calibration",
        click.option(
            "--foreign-calibration/--own-calibration",
            default=None,
            help="Apply it even where another judge, constitution or way of asking made it.",
        ),
    ),
    "allow_tie": (
        "label.allow_tie",
        click.option("--allow-tie/--no-tie", default=None, help="Offer TIE as an answer."),
    ),
    "pair_source": (
        "label.pairs",
        click.option(
            "--pair-source", type=click.Choice(["responses", "revisions", "both"]), help="What a run folder compares."
        ),
    ),
}
"""Flag name to the configuration key it sets and the option that reads it."""

CAPS = ("max_requests", "max_tokens", "max_cost")
"""The flags of a command that asks models: what it may spend before it stops with exit code 3."""

_ESTIMATE = (
    click.option("--estimate", is_flag=True, help="Do nothing but say what this would ask, cost and take."),
    click.option(
        "--estimate-sample",
        type=_POSITIVE,
        default=48,
        show_default=True,
        metavar="N",
        help="Prompts that --estimate really asks about; their answers are kept.",
    ),
)

redo_option = click.option("--redo", is_flag=True, help="Throw away what is there and make it again.")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the common flags of one command came to."""

    config: RunConfig
    run: Path | None
    out: Path | None
    as_json: bool
    reporter: Reporter
    estimate: int | None = None
    """Estimate, from a sample of this many prompts, and do nothing else."""

    def result(self, value: dict[str, Any], text: str | None = None) -> None:
        """Print the result: one JSON object with ``--json``, else ``text`` (nothing where there is none)."""
        if self.as_json:
            click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
        elif text:
            click.echo(text)


def _beside(config_file: Path | None) -> Path | None:
    """The run folder of a configuration that names none: ``runs/NAME`` beside it."""
    return None if config_file is None else config_file.parent / "runs" / config_file.resolve().stem


def configured(
    *names: str, out: bool = True, estimate: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a command the flags ``names`` and the common ones; it receives an ``Invocation`` first.

    Args:
        out: with ``--out``.
        estimate: with ``--estimate``.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapper(
            config_file: Path | None,
            sets: tuple[str, ...],
            run: Path | None,
            quiet: bool,
            as_json: bool,
            **values: Any,
        ) -> Any:
            flags = {FLAGS[name][0]: values.pop(name.rpartition(".")[2]) for name in names}
            config_file = values.get("config_path") or config_file
            destination: Path | None = values.pop("out", None)
            if config_file is None and run is not None and (run / "raif.yaml").is_file():
                config_file = run / "raif.yaml"
            config = resolve(config_file, flags=flags, sets=sets)
            size: int | None = values.pop("estimate_sample", None)
            invocation = Invocation(
                config,
                run or config.run or _beside(config_file),
                destination,
                as_json,
                make_reporter(quiet),
                size if values.pop("estimate", False) else None,
            )
            return command(invocation, **values)

        options = [FLAGS[name][1] for name in names]
        if estimate:
            options += _ESTIMATE
        if out:
            options.append(click.option("--out", type=click.Path(path_type=Path), help="Write here, outside a run."))
        options += [
            click.option("--run", type=click.Path(path_type=Path), metavar="DIR", help="Run folder to read and write."),
            click.option("--config", "config_file", type=click.Path(path_type=Path), help="A raif.yaml."),
            click.option(
                "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any key, such as train.dpo.beta=0.2."
            ),
            click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object."),
            click.option("--quiet", is_flag=True, help="No progress and no notes."),
        ]
        for option in reversed(options):
            wrapper = option(wrapper)
        return wrapper

    return decorate
