"""A thread for a model that blocks: the event loop stays free, hears Ctrl-C, and gets results as they come."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TypeVar

from raif.errors import ModelError
from raif.models.base import Deliver, Result

T = TypeVar("T")


class Caller:
    """Whom a worker works for. ``stop`` is set once the caller has gone: no one is left to work for."""

    def __init__(self, deliver: Deliver | None) -> None:
        self.stop = threading.Event()
        self.error: Exception | None = None
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, Result]] = deque()

    def check(self) -> None:
        """On the worker's thread, before more work.

        Raises:
            ModelError: the caller has gone.
        """
        if self.stop.is_set():
            raise ModelError("stopped")

    def give(self, results: Iterable[tuple[int, Result]]) -> None:
        """On the worker's thread: some requests' indices and results, to be delivered."""
        if self._deliver is not None:
            self._waiting.extend(results)
            self._loop.call_soon_threadsafe(self.deliver)

    def deliver(self) -> None:
        """On the loop's thread: deliver what was given; whoever refuses it is gone."""
        while self._deliver is not None and self._waiting and not self.stop.is_set():
            try:
                self._deliver(*self._waiting.popleft())
            except Exception as error:
                self.error = error
                self.stop.set()


async def work(pool: Executor, action: Callable[[Caller], T], deliver: Deliver | None) -> T:
    """What ``action`` returns on a thread of ``pool``, after all that it gave has been delivered.

    Raises:
        Exception: what ``deliver`` raised, or else ``action``; what was finished before is delivered all the same.
    """
    caller = Caller(deliver)
    future = asyncio.get_running_loop().run_in_executor(pool, action, caller)
    try:
        await asyncio.wait([future])
        caller.deliver()
    finally:  # also where this call was cancelled
        caller.stop.set()
        future.cancel()
    broken = future.exception()
    if caller.error is not None:
        raise caller.error
    if broken is not None:
        raise broken
    return future.result()
