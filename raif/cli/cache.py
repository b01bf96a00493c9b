"""``raif cache``: what the completion cache holds, and how it is kept small."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from raif.errors import ConfigError, InputError

_SIZES = {
    **{name: 1000**power for power, names in enumerate((("", "B"), ("K", "KB"), ("M", "MB"))) for name in names},
    **{name: 1000**power for power, names in ((3, ("G", "GB")), (4, ("T", "TB"))) for name in names},
    **{f"{name}IB": 1024**power for power, name in enumerate("KMGT", start=1)},
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def size(text: str) -> int:
    """Bytes, of ``500MB``, ``1.5GB`` or ``1GiB``.

    Raises:
        click.BadParameter: it is no size.
    """
    found = _QUANTITY.fullmatch(text.strip())
    if not found or found[2].upper() not in _SIZES:
        raise click.BadParameter(f"{text!r} is no size; write a number and MB, GB, TB, MiB or GiB, such as 1GB")
    return int(float(found[1]) * _SIZES[found[2].upper()])


def duration(text: str) -> float:
    """Seconds, of ``30d``, ``12h`` or ``2w``.

    Raises:
        click.BadParameter: it is no duration.
    """
    found = _QUANTITY.fullmatch(text.strip())
    if not found or found[2].lower() not in _SECONDS:
        raise click.BadParameter(f"{text!r} is no duration; write a number and s, m, h, d or w, such as 30d")
    return float(found[1]) * _SECONDS[found[2].lower()]


def _read_by(read: Callable[[str], float]) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    return lambda context, parameter, value: None if value is None else read(value)


def show_size(count: int) -> str:
    """A size for people: ``1.2 GB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
quiet_option = click.option("--quiet", is_flag=True, help="Nothing but errors, and the result with --json.")
model_option = click.option("--model", metavar="IDENTITY", help="Of this model alone; * stands for anything.")


@click.group(name="cache")
def group() -> None:
    """Look at the completion cache, and keep it small.

    It is one file, in RAIF_CACHE or else the user's cache folder, that holds what models replied, so that nothing is
    paid for twice.

    \b
    Example:
      raif cache stats
      raif cache prune --older-than 30d --max-size 1GB
    """


def _path() -> Path:
    from raif.cache import cache_path

    path = cache_path()
    if path is None:
        raise ConfigError("the completion cache is switched off (RAIF_CACHE=off)")
    return path


@group.command()
@json_option
@quiet_option
def stats(as_json: bool, quiet: bool) -> None:
    """Show the file, its size, and what it holds by model and kind of question.

    Replies that an older raif kept have no model and no kind: they are called unknown.

    \b
    --json prints: file, bytes, entries, oldest, newest, models (model, kind, entries, bytes)
    \b
    Example:
      raif cache stats
    """
    from raif.cache.upkeep import Stats, open_existing
    from raif.cache.upkeep import stats as look

    path = _path()
    if path.is_file():
        with open_existing(path) as cache:
            found = look(cache)
    else:
        found = Stats(str(path), 0, 0, None, None, ())
    if as_json:
        _print_json(asdict(found))
    elif not quiet:
        span = f", {_day(found.oldest)} to {_day(found.newest)}" if found.entries else ""
        click.echo(f"{found.file}: {found.entries:,} replies, {show_size(found.bytes)}{span}")
        for held in found.models:
            click.echo(f"{held.entries:>12,}  {show_size(held.bytes):>8}  {held.kind:<9} {held.model}")


@group.command()
@click.option(
    "--older-than", callback=_read_by(duration), metavar="DURATION", help="Older than this, such as 30d or 12h."
)
@model_option
@click.option(
    "--max-size", callback=_read_by(size), metavar="SIZE", help="Then the oldest, until the file is no larger: 1GB."
)
@click.option("--dry-run", is_flag=True, help="Remove nothing; say what would be.")
@json_option
@quiet_option
def prune(
    older_than: float | None, model: str | None, max_size: int | None, dry_run: bool, as_json: bool, quiet: bool
) -> None:
    """Remove replies, by age, by model or both, and give their room back to the disk.

    What is removed will be asked again when it is needed. Age counts from when a reply was kept; one that an older
    raif kept counts from when this one first opened the file.

    \b
    --json prints: removed, kept, bytes_before, bytes_after, dry_run
    \b
    Example:
      raif cache prune --older-than 30d --model 'openai:*' --dry-run
    """
    from raif.cache.upkeep import open_existing
    from raif.cache.upkeep import prune as remove

    if older_than is None and model is None and max_size is None:
        raise ConfigError("what is to go? give --older-than, --model or --max-size")
    with open_existing(_path()) as cache:
        found = remove(cache, older_than=older_than, model=model, max_bytes=max_size, dry_run=dry_run)
    if as_json:
        _print_json(asdict(found))
    elif not quiet:
        verb = "would be removed" if dry_run else "removed"
        click.echo(
            f"{found.removed:,} replies {verb}, {found.kept:,} kept; "
            f"{show_size(found.bytes_before)} before, {'about ' * dry_run}{show_size(found.bytes_after)} after"
        )


@group.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    required=True,
    help="JSONL; gzipped where the name ends in .gz.",
)
@click.option("--redo", is_flag=True, help="Replace what is there.")
@model_option
@json_option
@quiet_option
def export(out: Path, redo: bool, model: str | None, as_json: bool, quiet: bool) -> None:
    """Write the replies to a JSONL file, a line each: key, model, kind, created, value.

    \b
    --json prints: out, entries
    \b
    Example:
      raif cache export --out replies.jsonl.gz
    """
    from raif.cache.upkeep import export as write
    from raif.cache.upkeep import open_existing

    with open_existing(_path()) as cache:
        count = write(cache, out, model, redo=redo)
    if model is not None and not count:
        raise InputError(f"no reply is of a model {model}; `raif cache stats` lists the models, {out} holds nothing")
    if as_json:
        _print_json({"out": str(out), "entries": count})
    elif not quiet:
        click.echo(f"{out}: {count:,} replies")


def _day(seconds: int | None) -> str:
    return "–" if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _print_json(value: dict[str, Any]) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
