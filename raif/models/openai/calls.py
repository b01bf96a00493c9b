"""What the workers of a pool carry: exchanges, the call that each belongs to, and how far it got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from raif.models.base import Completion, Failure, Scores
from raif.models.openai.dialect import Dialect

R_co = TypeVar("R_co", bound=Completion | Scores | Failure, covariant=True)


class Exchange(Protocol[R_co]):
    """One request: how it is written, and how the reply is read."""

    def body(self, dialect: Dialect) -> bytes: ...

    def read(self, data: bytes) -> R_co:
        """The result in a reply of status 200.

        Raises:
            UnusableReply: there is none; another attempt may bring one.
        """
        ...


class Call:
    """The exchanges of one ``Pool.run``: ``done`` is set once all have their results, or fails."""

    __slots__ = ("deliver", "done", "left", "results")

    def __init__(self, size: int, deliver: Callable[[int, Any], None] | None, done: asyncio.Future[None]) -> None:
        self.results: list[Any] = [None] * size
        self.left, self.deliver, self.done = size, deliver, done

    @property
    def over(self) -> bool:
        return self.done.done()

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def finish(self, index: int, result: Any) -> None:
        if self.done.done():
            return
        self.results[index] = result
        self.left -= 1
        try:
            if self.deliver is not None:
                self.deliver(index, result)
        except Exception as error:
            self.fail(error)
        else:
            if self.left == 0:
                self.done.set_result(None)


class Job:
    """One exchange on its way: since when, how often, and what was paid for replies that were of no use."""

    __slots__ = ("attempts", "begun", "call", "completion_tokens", "exchange", "index", "prompt_tokens")

    def __init__(self, call: Call, index: int, exchange: Exchange[Any]) -> None:
        self.call, self.index, self.exchange = call, index, exchange
        self.begun, self.attempts = 0.0, 0
        self.prompt_tokens = self.completion_tokens = 0

    def finish(self, result: Any) -> None:
        """Hand the result to the call, with all that it took."""
        if self.attempts > 1:
            result = replace(
                result,
                retries=result.retries + self.attempts - 1,
                prompt_tokens=result.prompt_tokens + self.prompt_tokens,
                completion_tokens=result.completion_tokens + self.completion_tokens,
            )
        self.call.finish(self.index, result)
