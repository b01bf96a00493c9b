"""``--estimate``: what a command would ask, cost and take, as a table or as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from raif.cli.options import Invocation

if TYPE_CHECKING:
    from raif.estimate import Estimate
    from raif.session import Session
    from raif.stages.forecast import Forecast
    from raif.stages.outcome import Outcome

COLUMNS = ("stage", "requests", "from the cache", "prompt tokens", "completion tokens", "cost", "time")


def estimate_one(
    invocation: Invocation, stage: str, redo: bool, alone: Callable[[Session, Path], Awaitable[Outcome]]
) -> None:
    """Estimate one stage, in a run folder or as ``alone`` runs it at ``--out``, and say so."""
    from raif.estimate import estimate_output, estimate_stage

    config, reporter, size = invocation.config, invocation.reporter, invocation.estimate or 1
    if invocation.out is not None:
        working = estimate_output(config, reporter, invocation.out, stage, size, redo, alone)
    else:
        working = estimate_stage(config, reporter, invocation.run or Path(), stage, size, redo)
    _show(invocation, asyncio.run(working))


def estimate_all(invocation: Invocation, folder: Path, first: str | None, last: str | None) -> None:
    """Estimate the stages of a run from ``first`` to ``last``, and say so."""
    from raif.estimate import estimate_run
    from raif.pipeline import NAMES, between

    again = NAMES[NAMES.index(first) :] if first else ()
    size = invocation.estimate or 1
    working = estimate_run(invocation.config, invocation.reporter, folder, between(first, last), size, again)
    _show(invocation, asyncio.run(working))


def _show(invocation: Invocation, estimate: Estimate) -> None:
    spent = asdict(estimate.spent) | {"seconds": estimate.seconds}
    if not estimate.priced:
        spent["cost"] = None
    value = {
        "stages": {name: stage and asdict(stage) for name, stage in estimate.stages.items()},
        "total": asdict(estimate.total),
        "spent": spent,
        "notes": estimate.notes,
    }
    invocation.result(value, "\n".join(table(estimate)))


def table(estimate: Estimate) -> list[str]:
    """The estimate for people, line by line."""
    rows = [COLUMNS, *(_row(name, stage) for name, stage in estimate.stages.items())]
    whole = estimate.total
    if len(estimate.stages) > 1:
        rows.append(_row("total", whole))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    spent = estimate.spent
    asked = spent.requests - spent.cache_hits
    cost = _money(spent.cost if estimate.priced else None)
    lines += ["", *estimate.notes]
    if not whole.paid:
        lines.append("there is nothing to pay: no request is left for a model")
    lines.append(
        f"the estimate itself asked {asked:,} requests ({spent.prompt_tokens:,} + {spent.completion_tokens:,} tokens, "
        f"cost {cost}) in {_time(estimate.seconds)}; what the command can use of them counts above as from the cache"
        if asked
        else f"the estimate itself asked nothing, in {_time(estimate.seconds)}"
    )
    return [line.rstrip() for line in lines]


def _row(name: str, forecast: Forecast | None) -> tuple[str, ...]:
    if forecast is None:
        return name, "done", "", "", "", "", ""
    counts = (forecast.requests, forecast.cache_hits, forecast.prompt_tokens, forecast.completion_tokens)
    return name, *(f"{count:,}" for count in counts), _money(forecast.cost), _time(forecast.seconds)


def _money(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:,.2f}" if cost >= 10 or not cost else f"{cost:.2g}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
