"""What a section of the report is made of. Sections build blocks; the template alone knows what they look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from markupsafe import Markup

Status = Literal["good", "bad", "unclear", "unknown", "plain"]


@dataclass(frozen=True)
class Facts:
    """A few named figures."""

    kind: ClassVar[str] = "facts"
    items: list[tuple[str, str]]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows whose first cell names them."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: list[str]
    rows: list[list[str]]
    numeric: bool = True
    """All cells but the first are figures."""


@dataclass(frozen=True)
class Plot:
    """A drawing, and the same figures as a table for whoever can't see it."""

    kind: ClassVar[str] = "plot"
    svg: Markup
    caption: str
    table: Table


@dataclass(frozen=True)
class Notice:
    """What a reader must not overlook."""

    kind: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph, and perhaps a command to run."""

    kind: ClassVar[str] = "text"
    text: str
    command: str = ""


@dataclass(frozen=True)
class Example:
    """One prompt with two texts: what came before and what came after."""

    prompt: str
    before_label: str
    before: str
    after_label: str
    after: str
    notes: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Examples:
    """Texts side by side, and how they were picked."""

    kind: ClassVar[str] = "examples"
    caption: str
    items: list[Example]


Block = Facts | Table | Plot | Notice | Text | Examples


@dataclass(frozen=True)
class Section:
    """A headline that says what was found, and the blocks that show it."""

    id: str
    title: str
    headline: str
    blocks: list[Block]


@dataclass(frozen=True)
class Finding:
    """The short answer to one of the questions that a report is read for."""

    question: str
    status: Status
    answer: str
    figure: str
    because: str
    section: str
    """The id of the section that shows it."""
