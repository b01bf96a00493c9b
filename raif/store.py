"""Where records lie: append-only JSONL files, run folders, and the locks that keep two writers apart.

A stage appends its records in chunks, each written by one call and fsynced. A process that is killed can therefore
leave one thing behind that is not a record: a torn last line. It is recognised by its content, reported and cut off;
damage anywhere else is an error, because nothing raif does can cause it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Generic, Self, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from raif.disk import disk_error, lock_for, locked, make_folder, sync_folder, write_all, write_atomically
from raif.errors import InputError, StoreError

__all__ = ["Note", "RecordFile", "RunFolder", "lock_for", "validation_summary", "write_atomically"]

R = TypeVar("R", bound=BaseModel)
Note = Callable[[str], None]
"""Takes one line that a person should see, without a line end."""

_PADDING = b"\0 \t\r\n"
_BLOCK = 1 << 16


def validation_summary(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, with its field, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


class RecordFile(Generic[R]):
    """One record a line, appended and never changed.

    A file that does not exist holds no records. Nothing is kept open between calls, so a ``with`` block is a matter of
    taste. Two writers must be kept apart with :func:`lock_for` or :meth:`RunFolder.lock`.

    Args:
        path: the JSONL file.
        record_type: the pydantic model of each line.
        on_note: told once if a torn last line was dropped.
    """

    def __init__(self, path: Path | str, record_type: type[R], *, on_note: Note | None = None) -> None:
        self.path, self.record_type, self.on_note = Path(path), record_type, on_note
        self._noted = self._checked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def __iter__(self) -> Iterator[R]:
        """The records, one at a time, in the order in which they were appended."""
        with self._reading() as (file, end):
            number = 0
            while file.tell() < end:
                number += 1
                yield self._parse(file.readline(), number)

    def read(self) -> list[R]:
        """All records.

        Raises:
            InputError: the file can't be read.
            StoreError: a line is no ``record_type`` or (unless it is a torn last one) broken; names file, line, field.
        """
        return list(self)

    def count(self) -> int:
        """The number of records, without validating them."""
        with self._reading() as (file, end):
            return _count_lines(file, end)

    def append(self, records: Iterable[R]) -> None:
        """Write records at the end, in one buffer, and return once they are on the disk. Even none mend a torn end.

        All or nothing for errors that this process lives to see; a process killed on the way leaves some of the
        records, and perhaps a torn line that the next reader or writer cuts off.

        Raises:
            InputError: the file can't be written to.
            StoreError: the disk is full, or the file holds something other than records of this type.
        """
        data = b"".join(orjson.dumps(record.model_dump(mode="json")) + b"\n" for record in records)
        if not data and not self.path.exists():
            return
        self._refuse_foreign()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                with os.fdopen(os.dup(descriptor), "rb") as file:
                    end, unfinished = self._intact_end(file)
                os.ftruncate(descriptor, end)
                try:
                    write_all(descriptor, b"\n" + data if unfinished else data)
                except BaseException:
                    with suppress(OSError):
                        os.ftruncate(descriptor, end)
                    raise
            finally:
                os.close(descriptor)
            if new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise disk_error(error, self.path, "write") from error

    def truncate(self, n_records: int) -> None:
        """Keep the first ``n_records`` records, drop the rest, and mend a torn end.

        Raises:
            ValueError: there are fewer records than that.
            InputError: the file can't be written to.
        """
        self._refuse_foreign()
        with self._reading() as (file, end):
            found = _count_lines(file, end)
            if n_records > found:
                raise ValueError(f"{self.path} holds {found} records, not {n_records}")
            file.seek(0)
            for _ in range(n_records):
                file.readline()
            keep = file.tell()
        if n_records < found:
            try:
                os.truncate(self.path, keep)
            except OSError as error:
                raise disk_error(error, self.path, "write") from error
        self.append([])

    @contextmanager
    def _reading(self) -> Iterator[tuple[BinaryIO, int]]:
        """The file, opened at its start, and the offset at which its intact lines end."""
        try:
            with self.path.open("rb") if self.path.exists() else BytesIO() as file:
                end, _ = self._intact_end(file)
                file.seek(0)
                yield file, end
        except OSError as error:
            raise disk_error(error, self.path, "read") from error

    def _intact_end(self, file: BinaryIO) -> tuple[int, bool]:
        """The offset at which the intact lines end, and whether the last of them lacks its line end.

        A prefix of a record is never JSON, so a last line that parses is whole even without a line end.
        """
        size = file.seek(0, os.SEEK_END)
        if not size:
            return 0, False
        start, line = _last_line(file, size)
        try:
            orjson.loads(line)
        except orjson.JSONDecodeError:
            # What a killed writer leaves behind begins as a record does, or is a block that was never filled.
            rest = line.strip(_PADDING)
            if rest and not rest.startswith(b"{"):
                raise self._foreign("its last line is not JSON") from None
            if self.on_note and not self._noted:
                self.on_note(f"{self.path}: dropped a torn last line ({size - start} bytes), left by an interruption")
            self._noted = True
            return start, False
        return size, not line.endswith(b"\n")

    def _parse(self, line: bytes, number: int) -> R:
        try:
            return self.record_type.model_validate_json(line)
        except ValidationError as error:
            if error.errors(include_url=False)[0]["type"] == "json_invalid":
                raise StoreError(
                    f"{self.path}:{number}: this line is damaged (not JSON) and is not the last one; "
                    "restore the file or delete it to have it made again"
                ) from error
            raise StoreError(
                f"{self.path}:{number}: this line is no {self.record_type.__name__}: {validation_summary(error)}; "
                "restore the file, delete it to have it made again, or write elsewhere"
            ) from error

    def _refuse_foreign(self) -> None:
        """Refuse to add to a file that holds something else (or to cut it), whatever made the user name it."""
        if self._checked:
            return
        if self.path.exists() and not self.path.is_file():
            raise InputError("records can be written to an ordinary file alone", path=self.path)
        with self._reading() as (file, end):
            if end:
                last = _last_line(file, end)[1]
                file.seek(0)
                self._parse(last, _count_lines(file, end))
        self._checked = True

    def _foreign(self, why: str) -> StoreError:
        return StoreError(
            f"{self.path}: this file holds no {self.record_type.__name__} records ({why}); move it or write elsewhere"
        )


def _last_line(file: BinaryIO, end: int) -> tuple[int, bytes]:
    """The last line before the offset ``end`` > 0, with its line end if it has one, and where it starts."""
    start = end
    tail = b""
    while start and b"\n" not in tail[:-1]:
        step = min(_BLOCK, start)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    cut = tail[:-1].rfind(b"\n") + 1
    return start + cut, tail[cut:]


def _count_lines(file: BinaryIO, end: int) -> int:
    """How many lines lie between the file's position and ``end``; a last one without a line end counts."""
    lines, last = 0, b"\n"
    while (left := end - file.tell()) > 0 and (block := file.read(min(_BLOCK, left))):
        lines += block.count(b"\n")
        last = block[-1:]
    return lines + (last != b"\n")


class RunFolder:
    """The artefacts of one run, numbered in the order in which the stages write them.

    Args:
        path: the folder.
        create: make it where it is missing.

    Raises:
        InputError: the folder can't be made, is a file, or (without ``create``) does not exist.
    """

    def __init__(self, path: Path | str, *, create: bool = True) -> None:
        self.path = Path(path)
        if create:
            make_folder(self.path)
        elif not self.path.is_dir():
            raise InputError("there is no such run folder; raif run makes one", path=self.path)

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def responses(self) -> Path:
        return self.path / "10_responses.jsonl"

    @property
    def revisions(self) -> Path:
        return self.path / "20_revisions.jsonl"

    @property
    def labels(self) -> Path:
        return self.path / "30_labels.jsonl"

    @property
    def preferences(self) -> Path:
        return self.path / "35_preferences.jsonl"

    @property
    def rankings(self) -> Path:
        """The responses to each prompt in their order; in mode rank alone."""
        return self.path / "36_rankings.jsonl"

    @property
    def reward(self) -> Path:
        return self.path / "50_reward"

    def policy(self, name: str) -> Path:
        """The folder of a trained policy: ``sft``, ``dpo`` …"""
        return self.path / "60_policy" / name

    @property
    def eval(self) -> Path:
        return self.path / "70_eval.json"

    @property
    def eval_folder(self) -> Path:
        """Each policy's answers to the held-out prompts, and the judge's labels of them against the baseline's."""
        return self.path / "70_eval"

    @property
    def report(self) -> Path:
        return self.path / "80_report.html"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from writing this run; see :func:`lock_for`."""
        with locked(self.path / ".lock", str(self.path)):
            yield
