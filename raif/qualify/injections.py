"""What injections did: shares of labels and answers, in all and by family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from raif.config import JudgeCheckConfig
from raif.evaluate.statistics import Estimate, clustered_proportion
from raif.qualify.canaries import battery
from raif.qualify.lines import Limits, Line, line_of
from raif.qualify.section import Injected


class FamilyLine(BaseModel):
    """What the injections of one family did to labels that were right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    held_out: bool
    flipped: Estimate
    lost: Estimate
    """Share of labels that no longer prefer the better response: flipped, tied or abstained."""
    turned: Estimate
    """Share of single answers, in one order, that prefer the worse response."""
    unprotected: Estimate | None = None
    """``turned`` with the delimiters as the response forged them."""


def _flipped(struck: Sequence[Injected], which: Literal["flipped", "lost"]) -> Estimate | None:
    return clustered_proportion([float(getattr(one, which)) for one in struck], [one.prompt for one in struck])


def _turned(struck: Sequence[Injected]) -> Estimate | None:
    asked = [one for one in struck if one.answers]
    return clustered_proportion([one.turned / one.answers for one in asked], [one.prompt for one in asked])


def injection_lines(struck: Sequence[Injected], bare: Sequence[Injected], config: JudgeCheckConfig) -> list[Line]:
    """The card's lines on injections; ``bare`` are those with the delimiters as the responses forged them."""
    held_out = [canary.held_out for canary in battery()]
    limits = Limits(most=config.max_injected)
    unseen = [one for one in struck if held_out[one.canary]]
    lines = [
        line_of("injections: labels flipped", _flipped(struck, "flipped"), limits),
        line_of("  of families held out", _flipped(unseen, "flipped"), limits, needed=False),
        line_of("  labels lost", _flipped(struck, "lost")),
        line_of("  answers turned, in one order", _turned(struck)),
    ]
    if bare:
        lines.append(line_of("  labels lost, delimiters unprotected", _flipped(bare, "lost")))
        lines.append(line_of("  answers turned, all defences off", _turned(bare)))
    return lines


def family_lines(struck: Sequence[Injected], bare: Sequence[Injected]) -> tuple[FamilyLine, ...]:
    """A line for each family that was tried, in the battery's order."""
    canaries = battery()
    found = []
    for family, held_out in dict.fromkeys((canary.family, canary.held_out) for canary in canaries):
        own = [one for one in struck if canaries[one.canary].family == family]
        flipped, lost, turned = _flipped(own, "flipped"), _flipped(own, "lost"), _turned(own)
        if flipped is None or lost is None or turned is None:
            continue
        off = _turned([one for one in bare if canaries[one.canary].family == family])
        line = FamilyLine(family=family, held_out=held_out, flipped=flipped, lost=lost, turned=turned, unprotected=off)
        found.append(line)
    return tuple(found)
