"""The requests that raif makes of a server: a completion, scores, one vote, and a first word to see what it can do."""

from __future__ import annotations

from dataclasses import dataclass

from raif.models.base import Completion, Failure, GenerateRequest, Sampling, ScoreRequest, Scores
from raif.models.openai.dialect import Dialect
from raif.models.openai.wire import (
    Target,
    UnusableReply,
    generate_body,
    read_completion,
    read_scores,
    score_body,
    vote_body,
)
from raif.records import conversation

_FIRST_WORD = conversation("Which of these letters comes first in the alphabet, A or B? Answer A or B alone.")


@dataclass(frozen=True, slots=True)
class Generate:
    """One completion."""

    target: Target
    request: GenerateRequest

    def body(self, dialect: Dialect) -> bytes:
        return generate_body(self.target, self.request, dialect)

    def read(self, data: bytes) -> Completion | Failure:
        return read_completion(data)


@dataclass(frozen=True, slots=True)
class Score:
    """The probabilities of the offered answers, out of log-probabilities."""

    target: Target
    request: ScoreRequest

    def body(self, dialect: Dialect) -> bytes:
        return score_body(self.target, self.request, dialect)

    def read(self, data: bytes) -> Scores | Failure:
        return read_scores(data, self.request.choices)


@dataclass(frozen=True, slots=True)
class Vote:
    """One of the samples that stand in for log-probabilities."""

    target: Target
    request: ScoreRequest
    sample: int
    max_tokens: int

    def body(self, dialect: Dialect) -> bytes:
        return vote_body(self.target, self.request, self.sample, self.max_tokens, dialect)

    def read(self, data: bytes) -> Completion | Failure:
        return read_completion(data)


def greeting(target: Target) -> Generate:
    """A request that any server answers, with a word."""
    return Generate(target, GenerateRequest(_FIRST_WORD, Sampling(temperature=1.0, max_tokens=1)))


@dataclass(frozen=True, slots=True)
class FirstWord(Score):
    """The same question with log-probabilities; a reply without them is a failure of kind ``unparsed``."""

    def read(self, data: bytes) -> Scores | Failure:
        try:
            return read_scores(data, self.request.choices)
        except UnusableReply as error:
            if not error.bare:
                raise
            return Failure("unparsed", str(error), error.prompt_tokens, error.completion_tokens)


def first_word(target: Target) -> FirstWord:
    """The question that shows whether a server tells log-probabilities."""
    return FirstWord(target, ScoreRequest(_FIRST_WORD, ("A", "B")))
