"""What is written to a server that speaks the OpenAI protocol, and how its replies are read. All pure.

Scores are read from the raw log-probabilities of the first token, without structured outputs: those renormalise over
the offered answers, and so hide how little probability the answers got together. At most ``TOP`` tokens are told; an
answer that is not among them counts as 0, which only lowers the mass. The temperature of such a request is 0: that
changes which token is drawn, not the log-probabilities that vLLM, llama.cpp and OpenAI tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

import orjson

from raif.models.base import Completion, Failure, GenerateRequest, Sampling, ScoreRequest, Scores
from raif.models.choices import begins
from raif.models.openai.dialect import Dialect
from raif.models.openai.errors import one_line
from raif.records import Conversation

_MARKUP = " \t\r\n*_`\"'“”‘’([{"


class UnusableReply(Exception):
    """A reply with status 200 that holds no answer. Another attempt may do better; its tokens are paid all the same.

    ``bare`` says that all it lacks is log-probabilities.
    """

    def __init__(self, why: str, prompt_tokens: int = 0, completion_tokens: int = 0, *, bare: bool = False) -> None:
        super().__init__(why)
        self.prompt_tokens, self.completion_tokens, self.bare = prompt_tokens, completion_tokens, bare


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked: the model's name at the server, and what the user adds to every request."""

    model: str
    extra: Mapping[str, Any]

    def body(self, turns: bytes, fields: Mapping[str, Any]) -> bytes:
        return orjson.dumps({"model": self.model, "messages": orjson.Fragment(turns), **fields, **self.extra})


def turns_of(messages: Conversation) -> bytes:
    """The messages as JSON."""
    return orjson.dumps([{"role": message.role, "content": message.content} for message in messages])


def stream_of(seed: int, sample: int, turns: bytes) -> int:
    """The seed of one completion: 31 bits, which every server takes. Other prompts get other streams, so that the
    same noise does not steer all of them."""
    return int.from_bytes(blake2b(b"%d %d " % (seed, sample) + turns, digest_size=4).digest()) >> 1


def generate_body(target: Target, request: GenerateRequest, dialect: Dialect) -> bytes:
    """A request for one completion.

    ``top_p`` is sent even where it cuts nothing: vLLM takes what is missing from the model's own defaults.
    """
    sampling, turns = request.sampling, turns_of(request.messages)
    fields: dict[str, Any] = {
        dialect.limit_key: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.top_k > 0:
        fields["top_k"] = sampling.top_k
    elif dialect.whole is not None:
        fields["top_k"] = dialect.whole
    if dialect.seed and sampling.temperature > 0:
        fields["seed"] = stream_of(sampling.seed, request.sample, turns)
    return target.body(turns, fields)


def score_body(target: Target, request: ScoreRequest, dialect: Dialect) -> bytes:
    """A request for the first token, with log-probabilities where the dialect has them."""
    fields: dict[str, Any] = {dialect.limit_key: 1, "temperature": 0}
    if dialect.top_logprobs:
        fields |= {"logprobs": True, "top_logprobs": dialect.top_logprobs}
    return target.body(turns_of(request.messages), fields)


def vote_body(target: Target, request: ScoreRequest, sample: int, max_tokens: int, dialect: Dialect) -> bytes:
    """A request for one vote: a short completion, drawn at temperature 1."""
    sampling = Sampling(temperature=1.0, max_tokens=max_tokens)
    return generate_body(target, GenerateRequest(request.messages, sampling, sample), dialect)


def read_completion(data: bytes) -> Completion | Failure:
    """A completion, or why there is none: a refusal (the model's or a filter's), nothing at all, or nothing but
    reasoning that was cut off.

    Raises:
        UnusableReply: no JSON, no choices, or a choice without a message.
    """
    choice = _Choice(data)
    if (refused := choice.refused()) is not None:
        return refused
    if not choice.text.strip():
        return choice.nothing()
    return Completion(choice.text, choice.finish, choice.prompt_tokens, choice.completion_tokens)


def read_scores(data: bytes, choices: tuple[str, ...]) -> Scores | Failure:
    """The probability of each of ``choices``: the sum over the told first tokens that begin it and no other.

    Raises:
        UnusableReply: as ``read_completion``; no log-probabilities (``bare``), or malformed ones.
    """
    choice = _Choice(data)
    if (refused := choice.refused()) is not None:
        return refused
    logprobs = choice.fields.get("logprobs")
    told = logprobs.get("content") if isinstance(logprobs, dict) else None
    top = told[0].get("top_logprobs") if isinstance(told, list) and told and isinstance(told[0], dict) else None
    if not isinstance(top, list) or not top:
        if not choice.text.strip():
            return choice.nothing()
        raise choice.unusable("no log-probabilities", bare=True)
    probabilities = [0.0] * len(choices)
    try:
        for entry in top:
            index = _begun(entry["token"], choices)
            if index is not None:
                probabilities[index] += math.exp(min(entry["logprob"], 0.0))
    except (KeyError, TypeError, AttributeError):
        raise choice.unusable("malformed log-probabilities") from None
    total = sum(probabilities)
    if total > 1:  # by rounding: servers tell single precision
        probabilities = [p / total for p in probabilities]
    return Scores(tuple(probabilities), choice.prompt_tokens, choice.completion_tokens)


@lru_cache(maxsize=1 << 16)
def _begun(token: str, choices: tuple[str, ...]) -> int | None:
    """Which of the choices the token begins; None for none, and for more than one."""
    begun = [index for index, choice in enumerate(choices) if begins(token, choice)]
    return begun[0] if len(begun) == 1 else None


def read_vote(text: str, choices: tuple[str, ...]) -> int | None:
    """Which of the choices a sampled reply gives, by the rule for first tokens; marks such as ``**`` may lead."""
    return _begun(text[:256].lstrip(_MARKUP), choices)


def count_votes(votes: Sequence[Completion | Failure], choices: tuple[str, ...]) -> Scores | Failure:
    """Shares of the votes as probabilities; replies that vote for nothing lower the mass.

    A vote that could not be had at all makes a failure of the whole, which may be asked again; so does a prompt that
    no reply answers, all of them refusals or all too long.
    """
    prompt_tokens = sum(vote.prompt_tokens for vote in votes)
    completion_tokens = sum(vote.completion_tokens for vote in votes)
    retries = sum(vote.retries for vote in votes)
    counts = [0] * len(choices)
    failures = [vote for vote in votes if isinstance(vote, Failure)]
    lost = next((failure for failure in failures if failure.kind == "request_error"), None)
    if lost is None and len(failures) == len(votes) and len({failure.kind for failure in failures}) == 1:
        lost = failures[0]
    if lost is not None:
        return Failure(lost.kind, lost.detail, prompt_tokens, completion_tokens, retries)
    for vote in votes:
        index = None if isinstance(vote, Failure) else read_vote(vote.text, choices)
        if index is not None:
            counts[index] += 1
    return Scores(tuple(count / len(votes) for count in counts), prompt_tokens, completion_tokens, retries)


class _Choice:
    """The first choice of a reply, and what the reply cost.

    Raises:
        UnusableReply: the bytes hold none.
    """

    def __init__(self, data: bytes) -> None:
        self.prompt_tokens = self.completion_tokens = 0
        try:
            reply = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise UnusableReply("malformed JSON") from None
        if not isinstance(reply, dict):
            raise UnusableReply("no JSON object")
        usage = reply.get("usage")
        if isinstance(usage, dict):
            self.prompt_tokens = _count(usage.get("prompt_tokens"))
            self.completion_tokens = _count(usage.get("completion_tokens"))
        choices = reply.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            error = reply.get("error")
            raise self.unusable(f"an error in a reply: {one_line(error)}" if error else "no choices")
        self.fields: dict[str, Any] = choices[0]
        message = self.fields.get("message")
        if not isinstance(message, dict) or self.fields.get("finish_reason") == "error":
            raise self.unusable("a choice without a message")
        self.message: dict[str, Any] = message

    @property
    def finish(self) -> Literal["stop", "length"]:
        return "length" if self.fields.get("finish_reason") in ("length", "max_tokens") else "stop"

    @property
    def text(self) -> str:
        content = self.message.get("content")
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        return content if isinstance(content, str) else ""

    def refused(self) -> Failure | None:
        refusal = self.message.get("refusal")
        if isinstance(refusal, str) and refusal.strip():
            return self.failure("refusal", one_line(refusal))
        if self.fields.get("finish_reason") == "content_filter":
            return self.failure("refusal", "the server's content filter stopped the reply")
        return None

    def nothing(self) -> Failure:
        if self.finish == "length":
            return self.failure("truncated", "cut off before the answer began; allow it more tokens")
        return self.failure("empty", "an empty reply")

    def failure(self, kind: Literal["refusal", "empty", "truncated"], detail: str) -> Failure:
        return Failure(kind, detail, self.prompt_tokens, self.completion_tokens)

    def unusable(self, why: str, *, bare: bool = False) -> UnusableReply:
        return UnusableReply(why, self.prompt_tokens, self.completion_tokens, bare=bare)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
