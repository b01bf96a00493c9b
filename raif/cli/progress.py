"""Progress on standard error: live bars on a terminal, plain lines when piped, nothing with ``--quiet``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from raif.reporting import Reporter, SilentReporter, Task

PLAIN_INTERVAL = 10.0
"""Seconds between two plain lines."""


class _RateColumn(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


class _RichTask:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task

    def advance(self, count: int = 1, info: str = "") -> None:
        self.progress.update(self.task, advance=count, info=info)

    def reach(self, done: int, total: int, info: str = "") -> None:
        self.progress.update(self.task, completed=done, total=total, info=info)


class TerminalReporter:
    """Live bars with rates and remaining time; notes are printed above them."""

    def __init__(self, stream: TextIO) -> None:
        self.console = Console(file=stream, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator[Task]:
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[info]}", style="dim"),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield _RichTask(progress, progress.add_task(name, total=total, completed=done, info=""))


class _PlainTask:
    def __init__(self, reporter: PlainReporter, name: str, total: int, done: int) -> None:
        self.reporter, self.name, self.total, self.done = reporter, name, total, done
        self.before, self.start = done, time.monotonic()
        self.spoken = self.start

    def advance(self, count: int = 1, info: str = "") -> None:
        self.reach(self.done + count, self.total, info)

    def reach(self, done: int, total: int, info: str = "") -> None:
        if not self.total:  # the first word of a task that did not know its size: a resumed part is no speed of ours
            self.before = done
        self.done, self.total = done, total
        now = time.monotonic()
        if now - self.spoken < PLAIN_INTERVAL:
            return
        self.spoken = now
        rate = (self.done - self.before) / (now - self.start)
        left = f", {(self.total - self.done) / rate:.0f} s left" if rate else ""
        self.reporter.note(f"{self.name}: {self.done}/{self.total}, {rate:.1f}/s{left}{f' ({info})' if info else ''}")


class PlainReporter:
    """Plain lines, at most one every ``PLAIN_INTERVAL`` seconds for a task."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def task(self, name: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        @contextmanager
        def running() -> Iterator[Task]:
            yield _PlainTask(self, name, total, done)

        return running()


def make_reporter(quiet: bool, stream: TextIO | None = None) -> Reporter:
    """The reporter that fits where standard error goes."""
    stream = stream or sys.stderr
    if quiet:
        return SilentReporter()
    return TerminalReporter(stream) if stream.isatty() else PlainReporter(stream)
