"""Rows of any source, one at a time, each with its number; a row that can't be read is a row that says why."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import orjson

from raif.disk import disk_error
from raif.errors import InputError

FORMATS = ".jsonl, .json, .csv, .tsv (each also .gz), .parquet, or a folder or hub id that the datasets library loads"

_LINES = {".jsonl", ".ndjson"}
_TABLES = {".csv": ",", ".tsv": "\t"}
_KNOWN = {*_LINES, *_TABLES, ".json", ".parquet", ".gz", ".txt"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(:[\w.-]+)?")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source, with its value or what is wrong with it. ``number`` counts a text file's lines, or rows."""

    number: int
    unit: Literal["line", "row"]
    value: dict[str, Any] | None = None
    problem: str | None = None


def source_name(source: str) -> str:
    """The name of a source for records, which hold no machine paths: a file's or folder's name, or the hub id."""
    path = Path(source).expanduser()
    return path.resolve().name if path.exists() else source


def read_rows(source: str, split: str = "train") -> Iterator[Row]:
    """The rows of a file, a ``datasets`` folder, or a hub id (``ID`` or ``ID:CONFIGURATION``).

    Raises:
        InputError: there is no such source, or it can't be read as a whole. What is wrong with one row is in that row.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _dataset_folder(path, split)
    if path.exists():
        return _file(path)
    suffixes = {suffix.lower() for suffix in path.suffixes[-2:]}
    if suffixes & _KNOWN or not _HUB_ID.fullmatch(source):
        raise InputError("there is no such file", path=source)
    return _hub(source, split)


def _file(path: Path) -> Iterator[Row]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = bool(suffixes) and suffixes[-1] == ".gz"
    kind = (suffixes[:-1] if zipped else suffixes)[-1:]
    suffix = kind[0] if kind else ""
    if suffix == ".parquet" and not zipped:
        return _parquet(path)
    if suffix in _LINES:
        return _json_lines(path, zipped)
    if suffix in _TABLES:
        return _table(path, zipped, _TABLES[suffix])
    return _json(path, zipped, known=suffix == ".json")


@contextmanager
def _open(path: Path, zipped: bool) -> Iterator[BinaryIO]:
    try:
        with cast("BinaryIO", gzip.open(path, "rb")) if zipped else path.open("rb") as file:
            yield file if file.seekable() else BytesIO(file.read())  # a pipe can be read once
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"damaged gzip file ({error})", path=path) from error
    except OSError as error:
        raise disk_error(error, path, "read") from error


def _json_lines(path: Path, zipped: bool) -> Iterator[Row]:
    with _open(path, zipped) as file:
        yield from _lines(file)


def _lines(file: BinaryIO) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        text = line.removeprefix(_BOM) if number == 1 else line
        if text.strip():
            yield _json_row(text, number)


def _json_row(text: bytes, number: int) -> Row:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Row(number, "line", problem=_json_problem(text, error))
    return _checked(value, number, "line")


def _json_problem(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as undecodable:
        return f"not UTF-8 (byte {undecodable.start + 1} of the line)"
    return f"not JSON ({error.msg}, column {error.colno})"


def _checked(value: Any, number: int, unit: Literal["line", "row"]) -> Row:
    if isinstance(value, dict):
        return Row(number, unit, value)
    kind = {list: "a list", str: "text", type(None): "null"}.get(type(value), "a number")
    return Row(number, unit, problem=f"{kind} where an object with named columns is expected")


def _json(path: Path, zipped: bool, *, known: bool) -> Iterator[Row]:
    """A JSON array of rows, or JSON lines under another name; which of them, the content says."""
    with _open(path, zipped) as file:
        first = next((stripped for line in file if (stripped := line.removeprefix(_BOM).strip())), b"")
        file.seek(0)
        if not first and known:
            return
        if first.startswith(b"{") and _is_json(first):
            yield from _lines(file)
            return
        if not first.startswith((b"[", b"{")):
            raise InputError(f"neither its name nor its content tells the format; raif reads {FORMATS}", path=path)
        data = file.read().removeprefix(_BOM)
    try:
        values = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputError(f"not JSON ({error.msg})", path=path, line=error.lineno, column=error.colno) from error
    if not isinstance(values, list):
        raise InputError("a JSON array of rows, or one JSON object a line, is expected", path=path)
    for number, value in enumerate(values, 1):
        yield _checked(value, number, "row")


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _table(path: Path, zipped: bool, delimiter: str) -> Iterator[Row]:
    limit = csv.field_size_limit(1 << 30)  # the default refuses long transcripts
    try:
        with _open(path, zipped) as file:
            # A byte that is not UTF-8 costs its row, not the file.
            text = TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
            reader = csv.reader(text, delimiter=delimiter)
            header = next(reader, None)
            if header is None:
                return
            if len(set(header)) < len(header):
                raise InputError(f"the header names a column twice ({', '.join(header)})", path=path, line=1)
            yield from _table_rows(reader, header, path)
    finally:
        csv.field_size_limit(limit)


def _table_rows(reader: Any, header: list[str], path: Path) -> Iterator[Row]:
    while True:
        number = reader.line_num + 1  # where the row begins; a quoted cell may span lines
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"not a readable table ({error})", path=path, line=number) from error
        if cells is None:
            return
        if not cells:
            continue
        if len(cells) != len(header):
            yield Row(number, "line", problem=f"{len(cells)} cells where the header has {len(header)} columns")
        elif not all(_encodable(cell) for cell in cells):
            yield Row(number, "line", problem="not UTF-8")
        else:
            yield Row(number, "line", dict(zip(header, map(_cell, cells), strict=True)))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cell(text: str) -> Any:
    """A cell's text, or the message list that it holds as JSON."""
    if text.startswith("[{") and text.endswith("}]") and _is_json(text.encode()):
        value = orjson.loads(text)
        if all({"role", "content"} <= set(turn) or {"from", "value"} <= set(turn) for turn in value):
            return value
    return text


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow  # type: ignore[import-untyped, unused-ignore]
    import pyarrow.parquet  # type: ignore[import-untyped, unused-ignore]

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(number, "row", value)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"not a readable Parquet file ({_first_line(error)})", path=path) from error
    except OSError as error:
        raise InputError(f"can't read ({_first_line(error)})", path=path) from error


def _dataset_folder(path: Path, split: str) -> Iterator[Row]:
    if not any(path.iterdir()):
        raise InputError("this folder is empty", path=path)
    import datasets

    saved = (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file()
    datasets.disable_progress_bars()
    try:
        found = datasets.load_from_disk(str(path)) if saved else datasets.load_dataset(str(path), split=split)
    except Exception as error:  # whatever its many readers raise
        raise InputError(f"the datasets library can't load this folder ({_first_line(error)})", path=path) from error
    if isinstance(found, dict):
        if split not in found:
            raise InputError(f"there is no split {split!r}; input.split may be {', '.join(map(str, found))}", path=path)
        found = found[split]
    return _numbered(found)


def _hub(source: str, split: str) -> Iterator[Row]:
    import datasets

    name, _, configuration = source.partition(":")
    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(name, configuration or None, split=split)
    except Exception as error:  # offline, unknown, gated, no such split: each library version has its own
        raise InputError(
            f"there is no such file or folder, and no data set of that id could be loaded ({_first_line(error)})",
            path=source,
        ) from error
    return _numbered(found)


def _numbered(values: Iterable[dict[str, Any]]) -> Iterator[Row]:
    for number, value in enumerate(values, 1):
        yield Row(number, "row", value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
