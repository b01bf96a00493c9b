"""How a stage tells a person what it is doing: notes and tasks. The command line decides what they look like."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Task(Protocol):
    """Something countable that goes on."""

    def advance(self, count: int = 1, info: str = "") -> None:
        """``count`` more are done; ``info`` is what matters at this moment, in a few words."""
        ...

    def reach(self, done: int, total: int, info: str = "") -> None:
        """``done`` of ``total`` are done: for work whose size shows only on the way."""
        ...


class Reporter(Protocol):
    """Where a stage's notes and progress go. Nothing of it goes to standard output, which is for results."""

    def note(self, text: str) -> None:
        """One line that a person should read, now or later."""
        ...

    def task(self, name: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        """Progress of ``total`` items, ``done`` of which an earlier attempt has finished."""
        ...


class _Silent:
    def advance(self, count: int = 1, info: str = "") -> None: ...

    def reach(self, done: int, total: int, info: str = "") -> None: ...


class SilentReporter:
    """Says nothing, and keeps the notes: for ``--quiet`` and for tests."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def task(self, name: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        return nullcontext(_Silent())
