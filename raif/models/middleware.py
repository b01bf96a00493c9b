"""What stands between a stage and a model: a meter, caps, and the completion cache.

The key of a call covers all that its answer depends on: who answers (identity, number type), what was asked (the exact
messages), and how (sampling parameters with their seed, and the sample index; or the offered answers). A changed model
or prompt can never read an old answer, and an unchanged one is never asked twice: not by two runs, not within a call,
and not by two calls at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import orjson

from raif.cache import cache_key
from raif.errors import ModelSpecError, StoreError
from raif.models.base import (
    ChatModel,
    Completion,
    Deliver,
    Failure,
    GenerateRequest,
    ModelInfo,
    Rater,
    RateRequest,
    Rating,
    Result,
    ScoreRequest,
    Scores,
)
from raif.models.budget import Budget, Price
from raif.models.commits import CommitGroup

Request = TypeVar("Request", GenerateRequest, ScoreRequest, RateRequest)
_FORMAT = 1
"""Enters every key: raise it when the meaning of a key or of a value changes."""
_TRANSIENT = frozenset({"request_error"})
"""Failures that another attempt may not meet; they are never kept."""


@dataclass(slots=True)
class Usage:
    """What calls came to. Tokens, seconds and cost are those spent now: an answer out of the cache costs none.

    ``cache_hits`` counts the requests that reached no model: known from before, or asked twice. ``seconds`` are those
    in which at least one request was out. ``cost`` is 0 where the price is not known.
    """

    requests: int = 0
    cache_hits: int = 0
    failures: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0

    def copy(self) -> Usage:
        return replace(self)

    def since(self, earlier: Usage) -> Usage:
        """What was added after ``earlier``, a copy of this made before."""
        return Usage(**{f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(Usage)})

    def add(self, other: Usage) -> None:
        for field in fields(Usage):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class Cache(Protocol):
    """The part of ``raif.cache.CompletionCache`` that is used here."""

    def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]: ...

    def put_many(self, items: Iterable[tuple[bytes, bytes]], *, model: str = "", kind: str = "") -> None: ...


class CachedModel:
    """A model that is metered and capped, is asked nothing twice, and remembers what it was told.

    Args:
        model: the model to ask.
        cache: where answers are looked up and kept; None remembers nothing beyond a call.
        usage: the meter to count on; a new one unless given.
        budget: the caps; none unless given.
        price: of this model's tokens; None where it is not known.

    Raises:
        ConfigError: money is capped and the price is not known.
    """

    def __init__(
        self,
        model: ChatModel,
        cache: Cache | None = None,
        usage: Usage | None = None,
        *,
        budget: Budget | None = None,
        price: Price | None = None,
    ) -> None:
        self.model, self.cache = model, cache
        self.usage = Usage() if usage is None else usage
        self.budget, self.price = budget or Budget(), price
        self.budget.admit(model.info.spec, price)
        self._flying: dict[bytes, asyncio.Future[Result]] = {}
        self._calls, self._since = 0, 0.0

    @property
    def info(self) -> ModelInfo:
        return self.model.info

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        """As the model does; what is known, or asked more than once, is asked of it once at most.

        Raises:
            CapReached: a cap leaves no room for what is still to be asked; what was answered is in the cache.
        """
        answers = await self._answer("generate", requests, self.model.generate, deliver)
        return cast("list[Completion | Failure]", answers)

    async def score(self, requests: Sequence[ScoreRequest], deliver: Deliver | None = None) -> list[Scores | Failure]:
        """As ``generate``."""
        return cast("list[Scores | Failure]", await self._answer("score", requests, self.model.score, deliver))

    async def rate(self, requests: Sequence[RateRequest], deliver: Deliver | None = None) -> list[Rating | Failure]:
        """As ``generate``, of a reward model.

        Raises:
            ModelSpecError: the model is none.
        """
        if not isinstance(self.model, Rater):
            raise ModelSpecError(f"{self.info.spec} gives no rewards; name a reward model with reward:PATH")
        return cast("list[Rating | Failure]", await self._answer("rate", requests, self.model.rate, deliver))

    async def close(self) -> None:
        """Close the model. The cache stays open: others may share it."""
        await self.model.close()

    def key(self, kind: str, request: GenerateRequest | ScoreRequest | RateRequest) -> bytes:
        """The cache's key (32 bytes) of one request to this model."""
        info = self.model.info
        return cache_key(_FORMAT, info.identity, info.shaping, kind, request)

    async def _answer(
        self, kind: str, requests: Sequence[Request], ask: Callable[..., Any], deliver: Deliver | None
    ) -> list[Result]:
        keys = [self.key(kind, request) for request in requests]
        wanted = dict(zip(keys, requests, strict=True))
        awaited = {key: self._flying[key] for key in wanted if key in self._flying}
        found = self._look_up([key for key in wanted if key not in awaited])
        missing = [key for key in wanted if key not in awaited and key not in found]
        self.usage.requests += len(requests) - len(missing)
        self.usage.cache_hits += len(requests) - len(missing)
        while missing:
            room = await self.budget.reserve(len(missing), self.price)
            if self.budget.capped:  # while this call waited for room, another may have begun to ask the same, or ended
                awaited |= {key: self._flying[key] for key in missing if key in self._flying}
                found |= self._look_up([key for key in missing if key not in awaited])
                left = [key for key in missing if key not in awaited and key not in found]
                self.usage.requests += len(missing) - len(left)
                self.usage.cache_hits += len(missing) - len(left)
                missing = left
            part, missing = missing[:room], missing[room:]
            self.budget.release(room - len(part))
            if part:
                found |= await self._ask(kind, ask, {key: wanted[key] for key in part})
        for key, future in awaited.items():
            found[key] = await asyncio.shield(future)
        answers = [found[key] for key in keys]
        if deliver is not None:
            for index, answer in enumerate(answers):
                deliver(index, answer)
        return answers

    async def _ask(self, kind: str, ask: Callable[..., Any], asked: Mapping[bytes, Any]) -> dict[bytes, Result]:
        """Ask the model what nobody is asking it yet; on return the answers are in the cache."""
        loop = asyncio.get_running_loop()
        keys = list(asked)
        futures = {key: loop.create_future() for key in keys}
        self._flying |= futures
        group = CommitGroup(loop, partial(self._keep, kind), futures)
        answered: set[int] = set()

        def deliver(index: int, result: Result) -> None:
            answered.add(index)
            self._meter(result)
            group.add(keys[index], result)

        self._clock(+1)
        try:
            # Rows that touch each other's rounding are kept all or none: what a kill left of them would be asked in
            # other batches, and equal inputs must give equal bytes.
            by_itself = self.model.info.in_flight > 0
            answers: list[Result] = await ask(list(asked.values()), deliver if by_itself else None)
            for index, answer in enumerate(answers):
                if index not in answered:
                    deliver(index, answer)
            group.flush()
        except BaseException as error:
            group.fail(error)
            raise
        finally:
            self._clock(-1)
            self.budget.release(len(keys) - len(answered))
            for key in keys:
                del self._flying[key]
        return dict(zip(keys, answers, strict=True))

    def _meter(self, result: Result) -> None:
        self.usage.requests += 1
        self.usage.prompt_tokens += result.prompt_tokens
        self.usage.completion_tokens += result.completion_tokens
        self.usage.retries += result.retries
        self.usage.failures += isinstance(result, Failure)
        self.usage.cost += self.budget.spend(result, self.price)

    def _clock(self, step: int) -> None:
        """Count the seconds in which at least one call is out."""
        now = time.perf_counter()
        if self._calls:
            self.usage.seconds += now - self._since
        self._calls, self._since = self._calls + step, now

    def _look_up(self, keys: Sequence[bytes]) -> dict[bytes, Result]:
        if self.cache is None:
            return {}
        return {key: decode_result(value) for key, value in self.cache.get_many(keys).items()}

    def _keep(self, kind: str, made: Sequence[tuple[bytes, Result]]) -> None:
        if self.cache is not None:
            self.cache.put_many(
                [
                    (key, encode_result(result))
                    for key, result in made
                    if not (isinstance(result, Failure) and result.kind in _TRANSIENT)
                ],
                model=self.info.identity,
                kind=kind,
            )


_RESULTS: dict[str, type[Result]] = {
    "completion": Completion,
    "scores": Scores,
    "rating": Rating,
    "failure": Failure,
}


def encode_result(result: Result) -> bytes:
    """A result as JSON; floats come back bit for bit."""
    # Results are flat: dataclasses.asdict would copy them deeply, at the price of a tenth of the whole request.
    named = {field.name: getattr(result, field.name) for field in fields(result)}
    return orjson.dumps({"type": type(result).__name__.lower(), **named})


def decode_result(value: bytes) -> Result:
    """The result that ``encode_result`` wrote.

    Raises:
        StoreError: something else wrote it.
    """
    try:
        fields_: dict[str, Any] = orjson.loads(value)
        kind = _RESULTS[fields_.pop("type")]
        if kind is Scores:
            fields_["probabilities"] = tuple(fields_["probabilities"])
        return kind(**fields_)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            "the completion cache holds an entry that raif did not write; delete its file, or set RAIF_CACHE=off"
        ) from error
