"""Figures and foreign text as a reader should see them: uncertainty beside every figure, nothing hidden in any text."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Protocol

from markupsafe import Markup, escape

NONE = "not recorded"
LONGEST = 1200
"""Characters of one quoted text; the report says how many more there are."""

_SPACE = "\u00a0"
_JOINERS = re.compile(r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])")
"""Zero-width joiners inside a word or an emoji of a script that needs them: the ones that hide nothing."""


class Figure(Protocol):
    """What ``Estimate`` and ``Mean`` share."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def n(self) -> int: ...


def percent(value: float | None, digits: int = 1) -> str:
    """0.928 as "92.8 %"."""
    return NONE if value is None else f"{100 * value:.{digits}f}{_SPACE}%"


def share(figure: Figure | None, *, n: bool = True) -> str:
    """A share with its interval: "81.2 % (74.1–86.7; n = 312)"."""
    if figure is None:
        return NONE
    ends = "" if figure.low is None or figure.high is None else f"{100 * figure.low:.1f}–{100 * figure.high:.1f}"
    size = f"n{_SPACE}={_SPACE}{figure.n:,}" if n else ""
    inside = "; ".join(part for part in (ends, size) if part)
    return percent(figure.value) + (f" ({inside})" if inside else "")


def quantity(figure: Figure | None, digits: int = 0) -> str:
    """A mean with its interval: "412 (398–426)"."""
    if figure is None:
        return NONE
    ends = ""
    if figure.low is not None and figure.high is not None:
        ends = f" ({figure.low:,.{digits}f}–{figure.high:,.{digits}f})"
    return f"{figure.value:,.{digits}f}{ends}"


def number(value: Any, digits: int = 3) -> str:
    """Any figure from a file, in few digits; whatever is no number says so."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NONE if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def duration(seconds: Any) -> str:
    """Seconds as a person says them."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return NONE
    if seconds < 60:
        return f"{seconds:.1f}{_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{_SPACE}h {minutes:02}{_SPACE}min" if hours else f"{minutes}{_SPACE}min {rest:02}{_SPACE}s"


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def reasons(counts: dict[str, int]) -> str:
    """Counts by reason in one line."""
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.items()) or "none"


def _hidden(character: str) -> bool:
    if character in "\n\t":
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def visible(text: object) -> Markup:
    """``text`` as safe HTML in which every invisible character shows: controls, bidi overrides, zero-width, tags.

    A response could otherwise read one way here and another way to the judge.
    """
    raw = str(text).replace("\r\n", "\n")
    kept = {match.start() for match in _JOINERS.finditer(raw)}
    parts: list[Markup] = []
    start = 0
    for place, character in enumerate(raw):
        if _hidden(character) and place not in kept:
            parts.append(escape(raw[start:place]))
            name = unicodedata.name(character, "control character").lower()
            parts.append(Markup('<span class="hidden" title="{}">U+{:04X}</span>').format(name, ord(character)))
            start = place + 1
    parts.append(escape(raw[start:]))
    return Markup("").join(parts)


def plain(text: object) -> str:
    """``text`` with every invisible character written out, for attributes and drawings, which hold no markup."""
    return "".join(f"⟨U+{ord(character):04X}⟩" if _hidden(character) else character for character in str(text))


def quoted(text: str) -> Markup:
    """``visible`` text, cut where it is very long."""
    if len(text) <= LONGEST:
        return visible(text)
    rest = Markup('<span class="cut">… {:,} more characters</span>').format(len(text) - LONGEST)
    return visible(text[:LONGEST]) + rest
