"""Everything about a constitution file that is worth a second look, each with its line and column.

Errors keep the file from loading; warnings load, but would probably not do what their author wants.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from raif.constitution.load import parse
from raif.constitution.model import SLUG, Constitution, Principle
from raif.constitution.source import Document, Location, UnreadableError, read_document
from raif.constitution.wording import alike, compound, is_empty, length, opposed, same_words
from raif.errors import ConstitutionError

Severity = Literal["error", "warning"]

MAX_WORDS = 60
"""A statement longer than this is rarely one principle, and small judges lose it."""

DROWNED = 0.1
"""One principle drowns the others where all of them together have less than this share of the weight."""

_POSITIONAL = re.compile(r"(?:[a-z]|pr|principle|rule|item|number|no|nr|const|statement)?[-_]?\d+|[a-z]", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One thing to look at again. ``str`` gives the line that is printed."""

    path: str
    line: int
    column: int
    severity: Severity
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.severity} {self.code}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def lint(path: Path | str) -> list[Finding]:
    """All findings about one file, in the order of the file.

    Raises:
        UnreadableError: there is no text to check.
    """
    path = Path(path)
    try:
        document = read_document(path)
    except UnreadableError:
        raise
    except ConstitutionError as error:
        code = "duplicate-key" if "written twice" in error.message else "syntax"
        return [Finding(str(path), error.line or 1, error.column or 1, "error", code, error.message)]
    found = parse(document)
    if isinstance(found, Constitution):
        warnings = {
            Finding(str(path), *document.place(location), "warning", code, message)
            for location, code, message in _warnings(found, document)
        }
        return sorted(warnings, key=lambda finding: (finding.line, finding.column, finding.code, finding.message))
    return [Finding(str(path), *problem.place, "error", problem.code, problem.message) for problem in found]


Warned = tuple[Location, str, str]
"""Where in the document, a code, and a message."""


def _warnings(constitution: Constitution, document: Document) -> Iterator[Warned]:
    for field, why in (
        ("version", "so that results can be told apart"),
        ("description", "so that others know its aim"),
    ):
        if not getattr(constitution, field):
            yield (field,), f"missing-{field}", f"the constitution has no {field}; give it one {why}"
    for index, principle in enumerate(constitution.principles):
        at: Location = ("principles", index)
        yield from _about_id(principle, at)
        yield from _about_statements(principle, at)
        repeated = sorted({tag for tag in principle.tags if principle.tags.count(tag) > 1})
        if repeated:
            yield (*at, "tags"), "duplicate-tag", f"{principle.id} has the tag {repeated[0]!r} twice"
    yield from _about_weights(constitution)
    for (i, first), (j, second) in combinations(enumerate(constitution.principles), 2):
        yield from _about_pair(first, second, i, j, document)


def _about_id(principle: Principle, at: Location) -> Iterator[Warned]:
    at = (*at, "id")
    if _POSITIONAL.fullmatch(principle.id):
        message = f"the id {principle.id!r} names a position, which changes when principles move; name what it asks for"
        yield at, "unstable-id", message
    elif not SLUG.fullmatch(principle.id):
        slug = "-".join(re.findall(r"[a-z0-9]+", principle.id.lower())) or "non-evasive"
        yield at, "id-not-slug", f"the id {principle.id!r} is not a plain name; write it as, say, {slug!r}"


def _about_statements(principle: Principle, at: Location) -> Iterator[Warned]:
    for field in principle.given:
        statement = getattr(principle, field)
        if is_empty(statement):
            message = f"{principle.id}: {field} is {statement!r}, which says nothing that could be judged by"
            yield (*at, field), "empty-statement", message
        # A revision may well be an instruction in several steps.
        elif field != "revision" and (evidence := compound(statement)):
            message = f"{principle.id}: {field} makes several demands ({_short(evidence)!r}); split the principle"
            yield (*at, field), "compound-statement", message
        if (words := length(statement)) > MAX_WORDS:
            message = f"{principle.id}: {field} has {words} words; a judge follows {MAX_WORDS} or fewer better"
            yield (*at, field), "overlong-statement", message
    for first, second in combinations(principle.given, 2):
        if opposed(getattr(principle, first), getattr(principle, second)):
            message = f"{principle.id}: {second} asks for the opposite of {first}"
            yield (*at, second), "contradiction", message


def _about_weights(constitution: Constitution) -> Iterator[Warned]:
    total = sum(principle.weight for principle in constitution.principles)
    for index, principle in enumerate(constitution.principles):
        others = total - principle.weight
        if len(constitution.principles) > 1 and others < DROWNED * total:
            message = (
                f"{principle.id} has {principle.weight / total:.0%} of the whole weight; "
                "the other principles hardly count"
            )
            yield ("principles", index, "weight"), "weight-drowns-others", message


def _about_pair(first: Principle, second: Principle, i: int, j: int, document: Document) -> Iterator[Warned]:
    """At most one finding for a pair of principles, placed where the second one repeats or contradicts the first.

    Critiques and revisions may be shared: "Say it in a kinder way." answers more than one fault.
    """
    line = document.place(("principles", i)).line
    for field in ("comparison", "text"):
        one, other = getattr(first, field), getattr(second, field)
        where = ("principles", j, _written(second, field))
        if same_words(one, other):
            if first.weight != second.weight:
                message = f"{second.id} says the same as {first.id} (line {line}) with another weight; keep one"
                yield where, "conflicting-weights", message
            else:
                yield where, "duplicate-statement", f"{second.id} says the same as {first.id} (line {line}); keep one"
            return
        kinship = alike(one, other)
        if kinship < 0:
            message = f"{second.id} seems to ask for the opposite of {first.id} (line {line})"
            yield where, "contradiction", message
            return
        if kinship > 0:
            yield where, "near-duplicate", f"{second.id} says nearly the same as {first.id} (line {line})"
            return


def _written(principle: Principle, field: str) -> str:
    """The statement in the file that a resolved one comes from (see ``Principle``)."""
    order = (field, "text", "comparison", "critique", "revision")
    return next(name for name in order if name in principle.given)


def _short(text: str) -> str:
    return text if len(text) <= 50 else text[:49] + "…"
