"""``raif merge``: the shards of a stage, joined."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from raif.cli.progress import make_reporter
from raif.errors import ConfigError, InputError


@click.command()
@click.argument("shards", metavar="SHARD...", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the whole here.")
@click.option(
    "--run",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write it into this run folder, whose stage it is; raif run goes on from there.",
)
@click.option("--redo", is_flag=True, help="Replace what is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--quiet", is_flag=True, help="No notes.")
def merge(shards: tuple[Path, ...], out: Path | None, run: Path | None, redo: bool, as_json: bool, quiet: bool) -> None:
    """Join the shards that `raif generate`, `raif revise` or `raif label` made with --shard.

    The result is, byte for byte, what the command makes without --shard (a local model rounds by its batches, so its
    sixth decimals may differ). All N shards are needed, finished, and made from one input with the same settings,
    models, constitution and templates; the first thing that differs is named.

    \b
    --json prints: out, stage, shards, items, rows
    \b
    Example:
      raif label --pairs pairs.jsonl --shard 1/2 --out labels.1.jsonl
      raif label --pairs pairs.jsonl --shard 2/2 --out labels.2.jsonl
      raif merge labels.1.jsonl labels.2.jsonl --out labels.jsonl
    """
    from contextlib import ExitStack

    from raif.manifest import SIDE_MANIFEST, Manifest
    from raif.pipeline import between
    from raif.stages.merge import join, read_parts, whole_manifest
    from raif.store import RunFolder, lock_for

    if (out is None) == (run is None):
        raise ConfigError("where to? give --out FILE, or --run DIR for the run folder whose stage was split")
    parts = read_parts(shards, make_reporter(quiet).note)
    entry = parts[0].entry
    with ExitStack() as locks:
        if run is not None:
            place = RunFolder(run, create=False)
            locks.enter_context(place.lock())
            out, side = place.path / between(entry.stage, entry.stage)[0].writes[0], place.manifest
            whole = Manifest.load(side) if side.exists() else whole_manifest(parts)
        else:
            assert out is not None
            side = out.with_name(out.name + SIDE_MANIFEST)
            locks.enter_context(lock_for(side))
            whole = whole_manifest(parts)
        if out.exists() and not redo:
            raise InputError("is there already; add --redo to replace it, or write elsewhere", path=out)
        rows = join(parts, out, whole)
        whole.save(side)
    result = {"out": str(out), "stage": entry.stage, "shards": entry.of, "items": entry.items, "rows": rows}
    if as_json:
        click.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    elif not quiet:
        click.echo(f"{out}: {rows:,} rows of {entry.items:,} items, from {entry.of} shards", err=True)
