"""A line of the report card: a figure with its interval, held against its threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from raif.evaluate.statistics import Estimate

Unit = Literal["share", "number", "count"]


class Line(BaseModel):
    """One figure of the card. ``passed`` is None where it has no threshold, or where nothing could be asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    limit: str = ""
    unit: Unit = "share"
    passed: bool | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """A threshold: at least, at most, both, or so far from one half."""

    least: float | None = None
    most: float | None = None
    around: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a value keeps to it."""
        off = 1e-9  # a share of 13 in 20 is at least 0.65
        return (
            (self.least is None or value >= self.least - off)
            and (self.most is None or value <= self.most + off)
            and (self.around is None or abs(value - 0.5) <= self.around + off)
        )

    def text(self, unit: Unit) -> str:
        """As a person reads it."""
        if self.around is not None:
            return f"{figure(0.5 - self.around, unit)} to {figure(0.5 + self.around, unit)}"
        if self.least is not None and self.most is not None:
            return f"{figure(self.least, unit)} to {figure(self.most, unit)}"
        if self.least is not None:
            return f"≥ {figure(self.least, unit)}"
        return f"≤ {figure(self.most, unit)}" if self.most is not None else ""


def figure(value: float, unit: Unit) -> str:
    """A figure as a person reads it."""
    if unit == "count":
        return f"{value:.0f}"
    text = f"{100 * value:.1f} %" if unit == "share" else f"{value:.3f}"
    return text.replace("-", "−")


def line_of(
    name: str,
    found: Estimate | None,
    limits: Limits | None = None,
    *,
    unit: Unit = "share",
    needed: bool = True,
    remark: str = "",
) -> Line:
    """A line about what was found; one that is ``needed`` and has no figure is not passed."""
    limit = "" if limits is None else limits.text(unit)
    if found is None:
        passed = False if limits is not None and needed else None
        return Line(name=name, limit=limit, unit=unit, passed=passed, remark=remark or "not measured")
    passed = None if limits is None else limits.holds(found.value)
    return Line(
        name=name,
        value=found.value,
        low=None if unit == "count" else found.low,
        high=None if unit == "count" else found.high,
        n=found.n,
        limit=limit,
        unit=unit,
        passed=passed,
        remark=remark,
    )


def count(n: int) -> Estimate:
    """A number of things, which has no interval."""
    return Estimate(value=n, low=n, high=n, n=n)
