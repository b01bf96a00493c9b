"""Where a stage command works: in a run folder (``--run``), or at a stand-alone output (``--out``)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from raif.cli.options import Invocation
from raif.errors import ConfigError, InputError

if TYPE_CHECKING:
    from raif.session import Session
    from raif.stages.outcome import Outcome
    from raif.store import RunFolder


@contextmanager
def run_place(invocation: Invocation, folder: Path, *, create: bool = True) -> Iterator[tuple[Session, RunFolder]]:
    """A locked run folder and a session whose manifest is the run's."""
    from raif.session import Session
    from raif.store import RunFolder

    run = RunFolder(folder, create=create)
    with run.lock():
        yield Session(invocation.config, invocation.reporter, run.manifest), run


@contextmanager
def output_place(invocation: Invocation, out: Path, *, redo: bool) -> Iterator[Session]:
    """A locked output outside any run and a session whose manifest lies beside it."""
    from raif.manifest import SIDE_MANIFEST
    from raif.session import Session
    from raif.store import lock_for

    side = out.with_name(out.name + SIDE_MANIFEST)
    with lock_for(side):  # a trainer locks ``out`` itself
        if redo and out.exists():
            if not side.is_file():
                raise InputError(
                    f"there is no {side.name} beside it, so raif did not make it; delete it yourself", path=out
                )
            shutil.rmtree(out) if out.is_dir() else out.unlink()
            side.unlink()
        yield Session(invocation.config, invocation.reporter, side)


def perform(
    invocation: Invocation,
    stage: str,
    redo: bool,
    alone: Callable[[Session, Path], Awaitable[Outcome]],
) -> None:
    """Run one stage in the run folder, or ``alone`` at ``--out``; print its result. With ``--estimate``, estimate it.

    Raises:
        ConfigError: neither ``--run`` nor ``--out`` was given.
    """
    if invocation.estimate is not None and (invocation.out or invocation.run):
        from raif.cli.estimate import estimate_one

        estimate_one(invocation, stage, redo, alone)
        return
    if invocation.out is not None:
        with output_place(invocation, invocation.out, redo=redo) as session:
            outcome = asyncio.run(_awaited(alone(session, invocation.out)))
    elif invocation.run is not None:
        outcome = asyncio.run(_awaited(_in_run(invocation, invocation.run, stage, redo)))
    else:
        raise ConfigError("nowhere to write to; give --run DIR for a run folder, or --out PATH")
    invocation.reporter.note(outcome.line)
    invocation.result(outcome.summary)


async def _in_run(invocation: Invocation, folder: Path, stage: str, redo: bool) -> Outcome:
    """One stage in a run folder; a shard of it has a file, a manifest and a lock of its own, beside other shards."""
    from raif.pipeline import between, discard, sharded
    from raif.stages.shards import STAGES
    from raif.store import RunFolder

    row = between(stage, stage)[0]
    if invocation.config.shard is not None and stage in STAGES:
        place = RunFolder(folder)
        out = sharded(invocation.config, place.path / row.writes[0])
        with output_place(invocation, out, redo=redo) as session:
            return await row.function(session, place)
    with run_place(invocation, folder) as (session, run):
        if redo:
            discard(session, run, [stage])
        return await row.function(session, run)


async def _awaited(outcome: Awaitable[Outcome]) -> Outcome:
    return await outcome
