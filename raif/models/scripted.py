"""A model that answers by rules: a biased, refusing or broken judge in a few lines, for tests and dry runs.

``scripted:FILE`` reads JSONL, one rule a line, of which the first that matches answers:

    {"match": "burglar", "reply": "I won't help with that."}
    {"match": "burglar", "sample": 1, "reply": "Try the window", "finish": "length"}
    {"match": "kinder", "probabilities": {"A": 0.7, "B": 0.2}}
    {"match": "", "fail": "refusal"}

``match`` is a regular expression (Python's), searched in the messages' contents joined by blank lines; ``sample``
limits a rule to one sample index. ``probabilities`` are what ``score`` answers; a rule with a ``reply`` alone is
certain of the offered answer that the reply equals, and one with ``probabilities`` alone replies with the likeliest.
``fail`` is a kind of failure. The first line may be ``{"settings": {"log": FILE, "delay": SECONDS}}``: every request is
then appended to the log, before it is answered, and every call takes that long.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from raif.errors import ModelSpecError
from raif.models.base import (
    Completion,
    Deliver,
    Failure,
    GenerateRequest,
    ModelInfo,
    ScoreRequest,
    Scores,
    delivered,
)
from raif.records import Conversation, FailureKind, digest

Request = GenerateRequest | ScoreRequest
Reply = str | Mapping[str, float] | Completion | Scores | Failure
"""What a callable may answer: a text, probabilities by answer, or a result."""
R = TypeVar("R", GenerateRequest, ScoreRequest)

_Mass = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_Strict):
    """One line of a scripted model; see the module.

    Raises:
        pydantic.ValidationError: a malformed expression, no answer, or probabilities of more than 1 together.
    """

    match: str
    reply: str | None = None
    probabilities: dict[str, _Mass] | None = None
    fail: FailureKind | None = None
    finish: Literal["stop", "length"] = "stop"
    sample: int | None = None

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is not a regular expression ({error})") from error
        return value

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if self.fail is not None and (self.reply is not None or self.probabilities is not None):
            raise ValueError("a rule that fails can't also reply")
        if self.fail is None and self.reply is None and not self.probabilities:
            raise ValueError("needs one of reply, probabilities, fail")
        if self.probabilities and sum(self.probabilities.values()) > 1 + 1e-9:
            raise ValueError("the probabilities add up to more than 1")
        return self

    def applies(self, text: str, sample: int | None) -> bool:
        """Whether the rule answers a prompt of this text; ``sample`` is None for a request to score."""
        return (self.sample is None or self.sample == sample) and re.search(self.match, text) is not None


class Settings(_Strict):
    """The first line of a scripted model, where there is one."""

    log: Path | None = None
    """Appended to, a line a request; relative to the script's folder."""
    delay: float = Field(0.0, ge=0, le=60)
    """Seconds that each call takes."""


class _Header(_Strict):
    settings: Settings


class ScriptedModel:
    """A model made of rules, or of a function from a request to its answer.

    Args:
        rules: rules, first match wins, or a function.
        name: what the identity calls it; two scripts that answer differently need different names, or a shared
            completion cache will mix them up.
        settings: log and delay.
    """

    def __init__(
        self,
        rules: Sequence[Rule | Mapping[str, object]] | Callable[[Request], Reply],
        *,
        name: str = "script",
        settings: Settings | None = None,
        info: ModelInfo | None = None,
    ) -> None:
        self._function = rules if callable(rules) else None
        self._rules = [] if callable(rules) else [Rule.model_validate(rule) for rule in rules]
        self._settings = settings or Settings()
        self._info = info or ModelInfo(f"scripted:{name}", f"scripted:{name}")
        self._calls = 0

    @classmethod
    def from_file(cls, path: Path) -> ScriptedModel:
        """The model that a file of rules describes.

        Raises:
            ModelSpecError: no such file, no rules, or a malformed line (named by its number).
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelSpecError(
                f"can't be read ({error.strerror}); scripted:FILE names a JSONL file", path=path
            ) from error
        settings, rules = Settings(), []
        for number, line in enumerate(content.splitlines(), start=1):
            if not line.strip():
                continue
            parsed = _parse(line, path, number)
            if isinstance(parsed, Rule):
                rules.append(parsed)
            elif rules:
                raise ModelSpecError("settings come before all rules", path=path, line=number)
            else:
                settings = parsed
        if not rules:
            raise ModelSpecError("holds no rules", path=path)
        if settings.log is not None:
            settings = settings.model_copy(update={"log": path.parent / settings.log})
        fingerprint = digest([rule.model_dump(mode="json") for rule in rules])
        info = ModelInfo(
            f"scripted:{path}",
            f"scripted:{path.stem}@{fingerprint[:8]}",
            {"path": str(path.resolve()), "fingerprint": fingerprint, "rules": str(len(rules))},
        )
        return cls(rules, settings=settings, info=info)

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        """One completion or failure a request, in order."""
        await self._enter("generate", requests)
        return delivered([_completion(self._reply(request), request) for request in requests], deliver)

    async def score(self, requests: Sequence[ScoreRequest], deliver: Deliver | None = None) -> list[Scores | Failure]:
        """One set of scores or a failure a request, in order."""
        await self._enter("score", requests)
        return delivered([_scores(self._reply(request), request) for request in requests], deliver)

    async def close(self) -> None:
        """Nothing is held."""

    async def _enter(self, kind: str, requests: Sequence[Request]) -> None:
        """Log what was asked, and take the time that a call takes."""
        self._calls += 1
        if self._settings.log is not None:
            lines = [
                {"kind": kind, "request": digest(kind, request), "process": os.getpid(), "call": self._calls}
                for request in requests
            ]
            _append(self._settings.log, lines)
        if self._settings.delay:
            await asyncio.sleep(self._settings.delay)

    def _reply(self, request: Request) -> Reply:
        if self._function is not None:
            return self._function(request)
        text = _text(request.messages)
        sample = request.sample if isinstance(request, GenerateRequest) else None
        rule = next((rule for rule in self._rules if rule.applies(text, sample)), None)
        if rule is None:
            return Failure("request_error", "no rule of the script matches this prompt")
        if rule.fail is not None:
            return Failure(rule.fail, "the script says so", prompt_tokens=len(text.split()))
        if isinstance(request, ScoreRequest) and rule.probabilities is not None:
            return rule.probabilities
        if rule.reply is None:
            return dict(rule.probabilities or {})
        return Completion(rule.reply, rule.finish, len(text.split()), len(rule.reply.split()))


def _append(path: Path, lines: Iterable[object]) -> None:
    """Append JSON lines in one write, which no kill of this process can undo.

    Raises:
        ModelSpecError: the log can't be written.
    """
    content = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    try:
        with path.open("ab", buffering=0) as file:
            file.write(content)
    except OSError as error:
        raise ModelSpecError(f"the script's log can't be written ({error.strerror})", path=path) from error


def _parse(line: bytes, path: Path, number: int) -> Rule | Settings:
    try:
        value = orjson.loads(line)
        if not isinstance(value, dict):
            raise ModelSpecError("a rule is a JSON object", path=path, line=number)
        return _Header.model_validate(value).settings if "settings" in value else Rule.model_validate(value)
    except orjson.JSONDecodeError as error:
        raise ModelSpecError(f"is not JSON ({error})", path=path, line=number) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        raise ModelSpecError(f"{where}: {what}" if where else what, path=path, line=number) from error


def _text(messages: Conversation) -> str:
    return "\n\n".join(message.content for message in messages)


def _completion(reply: Reply, request: GenerateRequest) -> Completion | Failure:
    """A reply as a completion; probabilities become the likeliest answer (the first among equals)."""
    if isinstance(reply, Completion | Failure):
        return reply
    if isinstance(reply, Scores):
        raise TypeError("a scripted model answered a request to generate with scores")
    text = reply if isinstance(reply, str) else max(reply, key=lambda answer: reply[answer])
    return Completion(text, "stop", len(_text(request.messages).split()), len(text.split()))


def _scores(reply: Reply, request: ScoreRequest) -> Scores | Failure:
    """A reply as scores; a text is certain of the answer that it equals, and says nothing where it equals none."""
    if isinstance(reply, Scores | Failure):
        return reply
    text = reply.text if isinstance(reply, Completion) else reply
    given = {text.strip(): 1.0} if isinstance(text, str) else text
    probabilities = tuple(float(given.get(choice, 0.0)) for choice in request.choices)
    return Scores(probabilities, len(_text(request.messages).split()))
