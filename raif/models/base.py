"""The one protocol that every model, local or remote, real or scripted, answers to.

A policy is asked to ``generate``; a judge is also asked to ``score``, that is, for the probabilities of the answers it
was offered. Results come back in the order of the requests, one for each: a result or a typed ``Failure``, so that one
bad reply never costs its neighbours anything. A backend that breaks as a whole raises ``ModelError``. Who wants to keep
results while a call still runs gives ``deliver``, and is called with each as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, runtime_checkable

from raif.records import Conversation, FailureKind


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn. ``temperature`` 0 is greedy; ``top_p`` 1 and ``top_k`` 0 cut nothing."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    seed: int = 0


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One completion to draw.

    ``sample`` tells the N completions of one prompt apart: it enters the random stream and the cache's key.
    """

    messages: Conversation
    sampling: Sampling
    sample: int = 0


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """The probabilities of ``choices`` as the first thing that the model says next."""

    messages: Conversation
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RateRequest:
    """The reward of a conversation that ends with an assistant's turn."""

    messages: Conversation


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said. ``finish`` is ``length`` where it was cut off at ``max_tokens``; ``retries`` counts the
    attempts beyond the first that it took."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """Raw probability of each offered answer, in the order offered; they add up to ``mass`` ≤ 1.

    The probability of an answer is the sum over all first tokens that begin it and no other offered answer.
    """

    probabilities: tuple[float, ...]
    prompt_tokens: int
    completion_tokens: int = 1
    retries: int = 0

    @property
    def mass(self) -> float:
        return sum(self.probabilities)


@dataclass(frozen=True, slots=True)
class Rating:
    """The reward of a conversation. Higher is better; zero means nothing, and a difference is in log-odds."""

    value: float
    prompt_tokens: int
    completion_tokens: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one request has no result. ``detail`` is for people: one line, without secrets."""

    kind: FailureKind
    detail: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0


R = TypeVar("R", Completion | Failure, Scores | Failure, Rating | Failure)

Result = Completion | Scores | Rating | Failure

Deliver = Callable[[int, Result], None]
"""Called on the event loop's thread with a request's index and its result, as soon as there is one, in any order.

If it raises, the model asks no more and lets the error through."""


def delivered(results: list[R], deliver: Deliver | None) -> list[R]:
    """``results`` of a model that has them all at once, delivered."""
    if deliver is not None:
        for index, result in enumerate(results):
            deliver(index, result)
    return results


SHAPING = ("dtype", "revision", "scoring", "max_model_len")
"""Details of a model, beside its identity, that its answers depend on."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model this is.

    ``identity`` goes into records and cache keys: it names the model and, for local weights, their fingerprint, but no
    path of this machine. ``spec`` is what the user wrote, and ``details`` (path, revision, dtype, device …) goes into
    the manifest. ``in_flight`` is how many requests it answers at once, each independently of the others; 0 where it
    answers a batch at a time, and the rows of a batch touch each other's rounding. ``rates`` is true of a ``Rater``,
    which is asked for rewards and for nothing else.
    """

    spec: str
    identity: str
    details: dict[str, str] = field(default_factory=dict)
    in_flight: int = 0
    rates: bool = False

    @property
    def shaping(self) -> dict[str, str]:
        """The details that its answers depend on: a name may stand for other weights after a server's next start."""
        return {name: self.details[name] for name in SHAPING if name in self.details}


@runtime_checkable
class ChatModel(Protocol):
    """A model that chats. All methods are coroutines; raif runs one event loop, at the command line's edge."""

    @property
    def info(self) -> ModelInfo: ...

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        """One completion or failure a request, in order. Equal requests give equal completions."""
        ...

    async def score(self, requests: Sequence[ScoreRequest], deliver: Deliver | None = None) -> list[Scores | Failure]:
        """One set of scores or a failure a request, in order."""
        ...

    async def close(self) -> None:
        """Free what the model holds. Calling it twice is fine."""
        ...


@runtime_checkable
class Starter(ChatModel, Protocol):
    """A model that takes long to get ready, and does so when it is first asked, or when it is told to."""

    async def start(self) -> None:
        """Return once it is ready. A second time there is nothing to do."""
        ...


@runtime_checkable
class Rater(ChatModel, Protocol):
    """A reward model: it gives a number to a conversation, and has no words. ``info.rates`` is true of it."""

    async def rate(self, requests: Sequence[RateRequest], deliver: Deliver | None = None) -> list[Rating | Failure]:
        """One reward or failure a request, in order."""
        ...
