"""Group commit: results wait for one another, briefly, and are acknowledged once they are in the cache.

A commit of its own for each result would cost more than a fast server's whole reply; waiting for the end of a call
would lose all of it to a kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from raif.errors import StoreError
from raif.models.base import Result

GROUP, GROUP_SECONDS = 64, 0.05
"""Results are committed this many at a time, or once the oldest of them has waited this long."""


class CommitGroup:
    """The results of one call on their way into the cache.

    Args:
        loop: the running event loop.
        keep: commits results, by their keys.
        futures: one for each key, set once its result is committed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keep: Callable[[Sequence[tuple[bytes, Result]]], None],
        futures: Mapping[bytes, asyncio.Future[Result]],
    ) -> None:
        self._loop, self._keep, self._futures = loop, keep, futures
        self._waiting: list[tuple[bytes, Result]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None

    def add(self, key: bytes, result: Result) -> None:
        self._waiting.append((key, result))
        if len(self._waiting) >= GROUP:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(GROUP_SECONDS, self._late)

    def flush(self) -> None:
        """Commit what waits.

        Raises:
            StoreError: the cache is damaged.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._error is not None:
            raise self._error
        if self._waiting:
            self._keep(self._waiting)
            for key, result in self._waiting:
                self._futures[key].set_result(result)
            self._waiting = []

    def _late(self) -> None:
        try:
            self.flush()
        except StoreError as error:
            self._error = error  # no one listens to a timer: the next flush raises it

    def fail(self, error: BaseException) -> None:
        """Commit what waits all the same, and let those who wait for the rest know."""
        try:
            self.flush()
        except StoreError as damage:
            error = damage
        for future in self._futures.values():
            if future.done():
                continue
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # seen, even where no one waits for it
            else:
                future.cancel()
