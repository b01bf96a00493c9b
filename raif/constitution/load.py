"""A file → a ``Constitution``, or errors that name the file, the line and the column, the field, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from raif.constitution.model import STATEMENTS, ComparisonExample, Constitution, CritiqueExample, Principle
from raif.constitution.source import Document, Location, Place, read_document
from raif.errors import ConstitutionError
from raif.resources import folder

DEFAULT = "default.yaml"

_KINDS: dict[str, type[BaseModel]] = {"comparison": ComparisonExample, "critique": CritiqueExample}
_CODES = {
    "extra_forbidden": "unknown-field",
    "missing": "missing-field",
    "duplicate_id": "duplicate-id",
    "no_statement": "no-statement",
    "string_too_short": "empty-value",
    "greater_than": "weight-not-positive",
}


@dataclass(frozen=True)
class Problem:
    """One way in which a document is not a constitution."""

    place: Place
    code: str
    message: str


def load_constitution(path: Path | str | None = None) -> Constitution:
    """The constitution in a file, or raif's default one.

    A constitution without a name takes the file's.

    Raises:
        ConstitutionError: the file is unreadable, malformed, or not a constitution; says where and what to do.
    """
    path = folder("constitution") / DEFAULT if path is None else Path(path)
    found = parse(read_document(path))
    if isinstance(found, Constitution):
        return found
    first, others = found[0], len(found) - 1
    more = "" if not others else f" (and {others} more: `raif constitution lint` lists them)"
    raise ConstitutionError(first.message + more, path=path, line=first.place.line, column=first.place.column)


def parse(document: Document) -> Constitution | list[Problem]:
    """The constitution in a document, or everything that keeps it from being one, in the order of the file."""
    data = document.data
    if data is None:
        return [Problem(Place(1, 1), "empty-file", "the file is empty; a constitution has at least `principles:`")]
    if not isinstance(data, dict):
        message = f"a constitution is a mapping with `principles:`; found {describe(data)} at the top"
        return [Problem(document.place(()), "not-a-mapping", message)]
    named: Mapping[Any, Any] = data if data.get("name", "") != "" else {**data, "name": document.path.stem}
    try:
        return Constitution.model_validate(named)
    except ValidationError as error:
        # Pydantic counts only the good items of a list: where all are bad it also calls the list too short.
        all_details = [d for d in error.errors(include_url=False) if not (d["type"] == "too_short" and d["input"])]
        problems = [_problem(document, details) for details in all_details]
        problems = [problem for problem in problems if problem.code != "duplicate-id"] + _repeated_ids(document)
        return sorted(problems, key=lambda problem: (problem.place, problem.message))


def _repeated_ids(document: Document) -> list[Problem]:
    """Found in the document itself: the model looks for them only where all else is right, and stops at the first."""
    seen: dict[str, int] = {}
    problems = []
    principles = document.data.get("principles")
    for index in range(len(principles) if isinstance(principles, list) else 0):
        at = ("principles", index, "id")
        identity = (document.raw(at) or "").strip()
        if identity in seen:
            message = f"the id {identity!r} is taken (line {seen[identity]}); give each principle its own"
            problems.append(Problem(document.place(at), "duplicate-id", message))
        elif identity:
            seen[identity] = document.place(at).line
    return problems


def describe(value: Any, raw: str | None = None) -> str:
    """A value for an error message: ``3 (a number)``, ``a list``, ``nothing``; never long, whatever it holds."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple | set):
        return "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "…")
    shown = (raw if raw is not None else str(value))[:40]
    kind = "true or false" if isinstance(value, bool) else "a number" if isinstance(value, int | float) else "a date"
    return f"{shown} ({kind})"


def _problem(document: Document, details: ErrorDetails) -> Problem:
    location = _in_the_file(details["loc"])
    at_key = details["type"] in ("extra_forbidden", "invalid_key")
    place = document.place(location, key=at_key)
    return Problem(place, _CODES.get(details["type"], "wrong-value"), _message(document, details, location))


def _in_the_file(location: tuple[str | int, ...]) -> Location:
    """Pydantic's location without the names of example kinds, which no file contains."""
    return tuple(
        part
        for index, part in enumerate(location)
        if not (index == 4 and location[2:3] == ("examples",) and part in _KINDS)
    )


def _message(document: Document, details: ErrorDetails, location: Location) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    field = _name(location, document)
    found = describe(value, document.raw(location))
    match kind:
        case "missing":
            return f"{_name(location[:-1], document)} lacks `{location[-1]}`"
        case "extra_forbidden" | "invalid_key":
            return _unknown(document, details, location)
        case "no_statement":
            return f"{field} has no statement; give it at least one of {', '.join(STATEMENTS)}"
        case "string_type":
            remedy = "; put it in quotes" if isinstance(value, int | float) or "date" in found else ""
            return f"{field} must be text; found {found}{remedy}"
        case "string_too_short":
            return f"{field} is empty; write it, or leave the field out"
        case "greater_than":
            return f"{field} must be greater than 0; found {found}"
        case "float_type" | "finite_number":
            return f"{field} must be a number greater than 0; found {found}"
        case "literal_error":
            return f"{field} must be {context['expected']}; found {found}"
        case "tuple_type":
            return f"{field} must be a list; found {found}"
        case "too_short":
            return f"{field} is empty; a constitution has at least one principle"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{field} must be a mapping of fields such as `id: …`; found {found}"
        case _:
            return f"{field} {details['msg'][:1].lower()}{details['msg'][1:]}"


def _unknown(document: Document, details: ErrorDetails, location: Location) -> str:
    owner, model = _name(location[:-1], document), _model(details["loc"])
    field, known = str(location[-1]), list(model.model_fields)
    close = difflib.get_close_matches(field, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"its fields are {', '.join(known)}"
    return f"{owner} has no field `{field}`; {hint}"


def _model(location: tuple[str | int, ...]) -> type[BaseModel]:
    if len(location) <= 1:
        return Constitution
    return _KINDS.get(str(location[4]), Principle) if len(location) > 5 else Principle


def _name(location: Location, document: Document) -> str:
    """What a location is called in a message: ``principles[2].weight ('honest')``."""
    if not location:
        return "the constitution"
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    identity = document.raw((*location[:2], "id")) if len(location) > 1 and location[-1] != "id" else None
    return f"`{name}`" + (f" ({identity})" if identity else "")
