"""The one protocol that every model, local or remote, real or scripted, answers to.

A policy is asked to ``generate``; a judge is also asked to ``score``, that is, for the probabilities of the answers it
was offered. Results come back in the order of the requests, one for each: a result or a typed ``Failure``, so that one
bad reply never costs its neighbours anything. A backend that breaks as a whole raises ``ModelError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

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
class Completion:
    """What a model said. ``finish`` is ``length`` where it was cut off at ``max_tokens``."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Raw probability of each offered answer, in the order offered; they add up to ``mass`` ≤ 1.

    The probability of an answer is the sum over all first tokens that begin it and no other offered answer.
    """

    probabilities: tuple[float, ...]
    prompt_tokens: int
    completion_tokens: int = 1

    @property
    def mass(self) -> float:
        return sum(self.probabilities)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one request has no result. ``detail`` is for people: one line, without secrets."""

    kind: FailureKind
    detail: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model this is.

    ``identity`` goes into records and cache keys: it names the model and, for local weights, their fingerprint, but no
    path of this machine. ``spec`` is what the user wrote, and ``details`` (path, revision, dtype, device …) goes into
    the manifest.
    """

    spec: str
    identity: str
    details: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class ChatModel(Protocol):
    """A model that chats. All methods are coroutines; raif runs one event loop, at the command line's edge."""

    @property
    def info(self) -> ModelInfo: ...

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """One completion or failure a request, in order. Equal requests give equal completions."""
        ...

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores | Failure]:
        """One set of scores or a failure a request, in order."""
        ...

    async def close(self) -> None:
        """Free what the model holds. Calling it twice is fine."""
        ...
