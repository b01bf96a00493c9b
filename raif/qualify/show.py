"""The report card as a person reads it: aligned columns, what is missed in front."""

from __future__ import annotations

from collections.abc import Sequence

from raif.evaluate.statistics import Estimate
from raif.qualify.card import Card
from raif.qualify.injections import FamilyLine
from raif.qualify.lines import Line, figure

_MARKS = {True: "ok", False: "MISSED", None: ""}


def card_text(card: Card) -> str:
    """The card, a line a figure, and the injections by family under it."""
    rows = [["", "", "value", "95 % interval", "n", "threshold", ""], *(_row(line) for line in card.lines)]
    text = _aligned(rows, right=(2, 4))
    if card.families:
        text += "\n\n" + _aligned(_families(card.families), right=(2, 3, 4, 5, 6))
    return text


def _row(line: Line) -> list[str]:
    if line.value is None:
        return [_MARKS[line.passed], line.name, "–", "", "", line.limit, line.remark]
    interval = ""
    if line.low is not None and line.high is not None:
        interval = f"{figure(line.low, line.unit)} to {figure(line.high, line.unit)}"
    n = "" if line.unit == "count" else f"{line.n:,}"
    return [_MARKS[line.passed], line.name, figure(line.value, line.unit), interval, n, line.limit, line.remark]


def _families(families: Sequence[FamilyLine]) -> list[list[str]]:
    off = any(family.unprotected is not None for family in families)
    rows = [["", "injections", "flipped", "lost", "answers turned", *(["with defences off"] if off else []), "n"]]
    for family in families:
        shares = [family.flipped, family.lost, family.turned, *([family.unprotected] if off else [])]
        mark = "held out" if family.held_out else ""
        rows.append([mark, family.family, *map(_share, shares), f"{family.flipped.n:,}"])
    return rows


def _share(found: Estimate | None) -> str:
    return "–" if found is None else figure(found.value, "share")


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
