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
    "policy": ("policy", click.option("--policy", metavar="SPEC", help="Model to improve, such as hf:PATH_OR_ID.")),
    "judge": ("judge", click.option("--judge", metavar="SPEC", help="Model that judges; self: the policy.")),
    "constitution": ("constitution", click.option("--constitution", metavar="FILE", help="Principle file.")),
    "prompts": ("prompts", click.option("--prompts", metavar="FILE|ID", help="Prompts to answer.")),
    "pairs": ("pairs", click.option("--pairs", metavar="FILE|ID", help="Pairs of responses.")),
    "limit": ("limit", click.option("--limit", type=_POSITIVE, help="At most this many prompts or pairs.")),
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
    "max_tokens": ("generate.max_tokens", click.option("--max-tokens", type=_POSITIVE, help="Longest answer.")),
    "rounds": ("revise.rounds", click.option("--rounds", type=_POSITIVE, help="Rounds of critique and revision.")),
    "verify": ("revise.verify", click.option("--verify/--no-verify", default=None, help="Check each revision.")),
    "orders": ("label.orders", click.option("--orders", type=click.Choice(["both", "one"]), help="Orders to ask in.")),
    "principles": ("label.principles", click.option("--principles", metavar="all|K", help="All, or draw K of them.")),
    "mode": (
        "label.mode",
        click.option("--mode", type=click.Choice(["logprob", "cot"]), help="How the judge answers."),
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


redo_option = click.option("--redo", is_flag=True, help="Throw away what is there and make it again.")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the common flags of one command came to."""

    config: RunConfig
    run: Path | None
    out: Path | None
    as_json: bool
    reporter: Reporter

    def result(self, value: dict[str, Any], text: str | None = None) -> None:
        """Print the result: one JSON object with ``--json``, else ``text`` (nothing where there is none)."""
        if self.as_json:
            click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
        elif text:
            click.echo(text)


def _beside(config_file: Path | None) -> Path | None:
    """The run folder of a configuration that names none: ``runs/NAME`` beside it."""
    return None if config_file is None else config_file.parent / "runs" / config_file.resolve().stem


def configured(*names: str, out: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a command the flags ``names`` and the common ones; it receives an ``Invocation`` first."""

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
            invocation = Invocation(
                config, run or config.run or _beside(config_file), destination, as_json, make_reporter(quiet)
            )
            return command(invocation, **values)

        options = [FLAGS[name][1] for name in names]
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
