"""What every reader does with its rows: find the columns, report bad rows, drop duplicates, stop at the limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

from pydantic import ValidationError

from raif.config import InputConfig
from raif.errors import InputError
from raif.inputs.sources import Row, read_rows
from raif.inputs.turns import BadRow
from raif.records import Record
from raif.store import Note, validation_summary

T = TypeVar("T", bound=Record)
Value = dict[str, Any]
Converter = Callable[[Value], T | None]
"""Makes a record of one row: None for a sound row that has nothing to give. Raises BadRow."""

HEAD = 100
"""Rows looked at to find the columns: in JSON lines they may differ from row to row."""
SHOWN = 5
"""Bad rows reported one by one; of the others, the count."""


def collect(
    source: str,
    config: InputConfig,
    converter: Callable[[Sequence[Value]], Converter[T]],
    *,
    limit: int | None,
    on_note: Note | None,
    what: str,
    unique: bool = True,
    passed_over: str = "",
) -> list[T]:
    """The records in a source, in its order.

    Args:
        converter: chooses how to read a row, given the first rows; raises InputError where columns are missing.
        what: the records' name in the plural, for messages.
        unique: drop records whose id was there before.
        passed_over: what the rows are for which the converter gives None.

    Raises:
        InputError: no source, no rows, no usable rows, missing columns, or a bad row where ``on_bad_row`` is ``fail``.
    """
    rows = read_rows(source, config.split)
    head = list(islice(rows, HEAD))
    if not head:
        raise InputError(f"there are no rows here; {what} are needed", path=source)
    values = [row.value for row in head if row.value is not None]
    if not values:
        raise _bad(source, head[0], f"{head[0].problem} (as are all rows before it is clear what columns there are)")
    convert = converter(values)

    records: list[T] = []
    seen: set[str] = set()
    bad = duplicates = empty = 0
    note = on_note or (lambda line: None)
    for row in chain(head, rows):
        if limit is not None and len(records) >= limit:
            break
        try:
            record = _converted(row, convert)
        except BadRow as problem:
            if config.on_bad_row == "fail":
                raise _bad(source, row, f"{problem} (input.on_bad_row=skip goes on without such rows)") from problem
            bad += 1
            if bad <= SHOWN:
                note(f"{_place(source, row)}: skipped: {problem}")
            continue
        if record is None:
            empty += 1
        elif unique and record.id in seen:
            duplicates += 1
        else:
            seen.add(record.id)
            records.append(record)
    if bad > SHOWN:
        note(f"{source}: skipped {bad} bad rows in all, {bad - SHOWN} of them not shown")
    if duplicates:
        note(f"{source}: dropped {duplicates} duplicate {what}")
    if empty:
        note(f"{source}: left out {empty} {passed_over}")
    if not records:
        reasons = [f"{n} {why}" for n, why in ((bad, "bad rows"), (empty, passed_over)) if n]
        raise InputError(f"there are no usable {what} here ({', '.join(reasons)})", path=source)
    return records


def _converted(row: Row, convert: Converter[T]) -> T | None:
    if row.value is None:
        raise BadRow(row.problem)
    try:
        return convert(row.value)
    except ValidationError as error:
        raise BadRow(validation_summary(error)) from error


def _place(source: str, row: Row) -> str:
    return f"{source}:{row.number}" if row.unit == "line" else f"{source}: row {row.number}"


def _bad(source: str, row: Row, problem: str) -> InputError:
    if row.unit == "line":
        return InputError(problem, path=source, line=row.number)
    return InputError(f"row {row.number}: {problem}", path=source)


def column_names(values: Iterable[Value]) -> list[str]:
    """All columns of the rows, in the order in which they first appear."""
    return list(dict.fromkeys(str(name) for value in values for name in value))


def named_column(source: str, columns: Sequence[str], name: str | None, flag: str) -> str | None:
    """The column that the user named, which must be there.

    Raises:
        InputError: it is not; names those that are.
    """
    if name is not None and name not in columns:
        raise InputError(f"there is no column {name!r} ({flag}); there are {', '.join(columns)}", path=source)
    return name
