"""What a stage came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage came to: ``summary`` for ``--json``, ``line`` for standard error."""

    summary: dict[str, Any]
    line: str


def reasons(counts: Mapping[str, int]) -> str:
    """Counts in brackets, or nothing where there are none."""
    return f" ({', '.join(f'{reason} {count:,}' for reason, count in counts.items())})" if counts else ""
