"""What stands between the stages and every model: a meter, and the completion cache.

The key of a call covers all that its answer depends on: who answers (identity, number type), what was asked (the exact
messages), and how (sampling parameters with their seed, and the sample index; or the offered answers). A changed model
or prompt can never read an old answer, and an unchanged one is never asked twice.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol, TypeVar, cast

import orjson

from raif.cache import cache_key
from raif.errors import StoreError
from raif.models.base import ChatModel, Completion, Failure, GenerateRequest, ModelInfo, ScoreRequest, Scores

Request = TypeVar("Request", GenerateRequest, ScoreRequest)
Result = TypeVar("Result", bound=Completion | Scores | Failure)

_FORMAT = 1
"""Enters every key: raise it when the meaning of a key or of a value changes."""
_TRANSIENT = frozenset({"request_error"})
"""Failures that another attempt may not meet; they are never kept."""
_SHAPING = ("dtype", "revision")
"""Details of a model, beside its identity, that its answers depend on."""


@dataclass(slots=True)
class Usage:
    """What calls came to. Tokens and seconds are those spent now: an answer out of the cache costs none.

    ``cache_hits`` counts the requests that reached no model: known from before, or asked twice in one call.
    """

    requests: int = 0
    cache_hits: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

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

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> None: ...


class CachedModel:
    """A model that is metered, asks nothing twice within a call, and remembers what it was told.

    Args:
        model: the model to ask.
        cache: where answers are looked up and kept; None remembers nothing beyond a call.
        usage: the meter to count on; a new one unless given.
    """

    def __init__(self, model: ChatModel, cache: Cache | None = None, usage: Usage | None = None) -> None:
        self.model, self.cache = model, cache
        self.usage = Usage() if usage is None else usage

    @property
    def info(self) -> ModelInfo:
        return self.model.info

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """As the model does; what is known, or asked more than once, is asked of it once at most."""
        return await self._answer("generate", requests, self.model.generate)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores | Failure]:
        """As the model does; what is known, or asked more than once, is asked of it once at most."""
        return await self._answer("score", requests, self.model.score)

    async def close(self) -> None:
        """Close the model. The cache stays open: others may share it."""
        await self.model.close()

    def key(self, kind: str, request: GenerateRequest | ScoreRequest) -> bytes:
        """The cache's key (32 bytes) of one request to this model."""
        info = self.model.info
        shaping = {name: info.details[name] for name in _SHAPING if name in info.details}
        return cache_key(_FORMAT, info.identity, shaping, kind, request)

    async def _answer(
        self, kind: str, requests: Sequence[Request], ask: Callable[[Sequence[Request]], Awaitable[list[Result]]]
    ) -> list[Result]:
        keys = [self.key(kind, request) for request in requests]
        known = self._look_up(keys)
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        made: dict[bytes, Result] = {}
        if missing:
            begun = time.perf_counter()
            try:
                answers = await ask(list(missing.values()))
            finally:
                self.usage.seconds += time.perf_counter() - begun
            made = dict(zip(missing, answers, strict=True))
            self._keep(made)
        self.usage.requests += len(requests)
        self.usage.cache_hits += len(requests) - len(made)
        for result in made.values():
            self.usage.prompt_tokens += result.prompt_tokens
            self.usage.completion_tokens += result.completion_tokens
            self.usage.failures += isinstance(result, Failure)
        return [made[key] if key in made else cast("Result", known[key]) for key in keys]

    def _look_up(self, keys: Sequence[bytes]) -> dict[bytes, Completion | Scores | Failure]:
        if self.cache is None:
            return {}
        return {key: decode_result(value) for key, value in self.cache.get_many(keys).items()}

    def _keep(self, made: Mapping[bytes, Completion | Scores | Failure]) -> None:
        if self.cache is not None:
            self.cache.put_many(
                [
                    (key, encode_result(result))
                    for key, result in made.items()
                    if not (isinstance(result, Failure) and result.kind in _TRANSIENT)
                ]
            )


_RESULTS: dict[str, type[Completion | Scores | Failure]] = {
    "completion": Completion,
    "scores": Scores,
    "failure": Failure,
}


def encode_result(result: Completion | Scores | Failure) -> bytes:
    """A result as JSON; floats come back bit for bit."""
    return orjson.dumps({"type": type(result).__name__.lower(), **asdict(result)})


def decode_result(value: bytes) -> Completion | Scores | Failure:
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
