"""What crosses from one stage to the next: frozen records with ids derived from their content.

    Prompt ─► Response ─► Revision (steps of critique and revision)
                 └──────────┴─► Comparison ─► Judgement … ─► Preference ─► TrainingPair

A record says what was asked, answered and judged. It holds no time, duration or machine path (those are the
manifest's), so that equal inputs give equal bytes. ``p_a`` is always the probability that response A is better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Role = Literal["system", "user", "assistant"]
Order = Literal["ab", "ba"]
"""The order in which a judge saw the two responses of a comparison."""

FailureKind = Literal["request_error", "refusal", "unparsed", "truncated", "too_long", "empty"]
"""Why one model call gave nothing usable. A failure is data: it stays on its item and never becomes a score."""

AbstainReason = Literal["order_conflict", "low_mass", "request_error", "refusal", "unparsed", "truncated", "too_long"]

Probability = Annotated[float, Field(ge=0, le=1), AfterValidator(lambda value: round(value, 6) + 0.0)]
"""In [0, 1], kept to six decimals: well above what batching does to float32 arithmetic. Never -0.0, which would digest
differently from the 0.0 that equals it."""

Score = Annotated[float, AfterValidator(lambda value: round(value, 6) + 0.0)]
"""Any number, kept to six decimals."""


def complement(p: float | None) -> float | None:
    """1 − p, kept to the decimals of a ``Probability``, so that taking it twice gives ``p`` back."""
    return None if p is None else round(1 - p, 6)


def digest(*parts: Any, length: int = 16) -> str:
    """The first ``length`` hex digits of SHA-256 over the canonical JSON of ``parts``."""
    return hashlib.sha256(canonical_json(parts)).hexdigest()[:length]


def canonical_json(value: Any) -> bytes:
    """JSON that is equal for equal values: sorted keys, no spaces, models as their fields."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no canonical form")


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    role: Role
    content: str


Conversation = tuple[Message, ...]


def conversation(text_or_turns: str | Sequence[Message]) -> Conversation:
    """A conversation from its turns, or from a single user message."""
    if isinstance(text_or_turns, str):
        return (Message(role="user", content=text_or_turns),)
    return tuple(text_or_turns)


class Record(BaseModel):
    """A frozen record whose ``id`` is a digest of the fields named in ``identity``.

    Raises:
        pydantic.ValidationError: an unknown field, a wrong type, or an ``id`` that does not belong to the content.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    identity: ClassVar[tuple[str, ...]] = ()

    id: str = ""

    @model_validator(mode="after")
    def _derive_id(self) -> Self:
        try:
            derived = digest(type(self).__name__, *(getattr(self, field) for field in self.identity))
        except TypeError as error:  # a lone surrogate: Python can hold one, no file can
            raise ValueError(f"the text can't be written as UTF-8 ({error})") from error
        if self.id and self.id != derived:
            raise ValueError(f"the id {self.id} does not belong to this content (expected {derived}); remove it")
        object.__setattr__(self, "id", derived)
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; with ``update`` it is validated and gets the id of its own content."""
        if not update:
            return super().model_copy(deep=deep)
        return type(self).model_validate({**dict(self), "id": "", **update})

    def to_json(self) -> bytes:
        """One line of JSON, without the line end."""
        return orjson.dumps(self.model_dump(mode="json"))


class Prompt(Record):
    """A conversation that waits for an answer: its last turn is the user's."""

    identity = ("messages",)

    messages: Conversation = Field(min_length=1)
    source: str = "file"
    demonstration: str | None = None
    """A human's answer, where the input has one; supervised fine-tuning may use it."""


class Response(Record):
    """One answer of a policy to a prompt. ``failure`` says why where there is none."""

    identity = ("prompt_id", "model", "sample", "text", "failure")

    prompt_id: str
    prompt: Conversation
    model: str
    sample: int = 0
    text: str
    finish: Literal["stop", "length"] | None = None
    failure: FailureKind | None = None


class RevisionStep(BaseModel):
    """One critique and, where it found a fault, the revision that answers it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    round: int
    principle_id: str
    critique: str | None = None
    clean: bool = False
    """The critique found no fault."""
    revision: str | None = None
    p_improved: Probability | None = None
    """The judge's probability that this step improved the response; None where it was not asked."""
    accepted: bool = False
    failure: FailureKind | None = None


class Revision(Record):
    """A response and all the steps that revised it; ``text`` is what the accepted steps made of it."""

    identity = ("response_id", "judge", "constitution", "steps", "text")

    response_id: str
    prompt_id: str
    prompt: Conversation
    original: str
    text: str
    policy: str
    judge: str
    constitution: str
    """The hash of the constitution."""
    steps: tuple[RevisionStep, ...] = ()

    @property
    def changed(self) -> bool:
        return self.text.strip() != self.original.strip()


class Comparison(Record):
    """Two responses to one prompt. Which side is which carries no meaning (see ``raif.feedback.pairs``)."""

    identity = ("prompt", "response_a", "response_b", "source")

    prompt: Conversation
    response_a: str
    response_b: str
    source: str
    """Where the pair comes from: ``responses``, ``revisions``, or the name of a file of pairs."""
    origin_a: str = ""
    """Who wrote response A: a model's identity, ``revision``, or ``file``."""
    origin_b: str = ""
    human_p_a: Probability | None = None
    """The human label, where the input has one. It is for measuring agreement; no judge ever sees it."""

    def swap(self) -> Comparison:
        """The same two responses with their sides exchanged: ``c.swap().swap() == c``."""
        return Comparison(
            prompt=self.prompt,
            response_a=self.response_b,
            response_b=self.response_a,
            source=self.source,
            origin_a=self.origin_b,
            origin_b=self.origin_a,
            human_p_a=complement(self.human_p_a),
        )


class Judgement(BaseModel):
    """One answer of the judge: about one order of a comparison, under one principle."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    order: Order | None
    """None where each response was judged by itself, so that there was no order."""
    principle_id: str
    weight: float
    p_a: Probability | None = None
    """Probability that the comparison's response A is better, whichever side the judge saw it on."""
    p_tie: Probability | None = None
    mass: Probability | None = None
    """How much probability the judge gave to the offered answers together; the rest went elsewhere."""
    scores: tuple[Score, Score] | None = Field(None, exclude_if=lambda value: value is None)
    """What response A and response B were given where each was judged by itself: the expected grade, rescaled to
    [-1, 1], or the reward."""
    failure: FailureKind | Literal["low_mass"] | None = None

    def swap(self) -> Judgement:
        """The same judgement about the swapped comparison."""
        order = {"ab": "ba", "ba": "ab"}.get(self.order or "")
        scores = None if self.scores is None else self.scores[::-1]
        return self.model_copy(update={"order": order, "p_a": complement(self.p_a), "scores": scores})


class Preference(Record):
    """What all the judgements of one comparison add up to. Abstentions are outcomes with a reason, never scores."""

    identity = ("comparison", "judge", "constitution", "judgements")

    comparison: Comparison
    outcome: Literal["a", "b", "tie", "abstain"]
    reason: AbstainReason | None = None
    p_a: Probability | None = None
    p_a_by_order: tuple[Probability | None, Probability | None] = (None, None)
    """``p_a`` as judged in the order ``ab`` and in the order ``ba``, before any calibration."""
    judge: str
    constitution: str
    template: str
    """The hash of the template that asked; a digest of their hashes where there were several."""
    judgements: tuple[Judgement, ...] = ()

    def swap(self) -> Preference:
        """The same preference about the swapped comparison: ``label(c.swap()) == label(c).swap()``."""
        swapped: dict[str, Any] = {"comparison": self.comparison.swap(), "p_a": complement(self.p_a)}
        swapped["outcome"] = {"a": "b", "b": "a"}.get(self.outcome, self.outcome)
        swapped["p_a_by_order"] = tuple(complement(p) for p in reversed(self.p_a_by_order))
        swapped["judgements"] = sorted((one.swap() for one in self.judgements), key=lambda one: one.order or "")
        return self.model_copy(update=swapped)

    @property
    def decided(self) -> bool:
        return self.outcome in ("a", "b")

    @property
    def flipped(self) -> bool | None:
        """Whether the two orders prefer different responses; None where one of them has no answer."""
        first, second = self.p_a_by_order
        if first is None or second is None:
            return None
        return (first - 0.5) * (second - 0.5) < 0


class TrainingPair(Record):
    """A decided preference in TRL's conversational format: ``DPOTrainer`` takes a file of these as it is."""

    identity = ("prompt", "chosen", "rejected", "p_chosen")

    prompt: Conversation
    chosen: Conversation
    rejected: Conversation
    p_chosen: Annotated[Probability, Field(ge=0.5)]
    comparison_id: str = ""
    source: str = "file"

    @classmethod
    def from_preference(cls, preference: Preference) -> TrainingPair:
        """The training pair of a decided preference.

        Raises:
            ValueError: the preference is a tie or an abstention.
        """
        if not preference.decided or preference.p_a is None:
            raise ValueError(f"an undecided preference ({preference.outcome}) has no chosen response")
        comparison, p_a = preference.comparison, preference.p_a
        a_wins = preference.outcome == "a"
        a = (Message(role="assistant", content=comparison.response_a),)
        b = (Message(role="assistant", content=comparison.response_b),)
        return cls(
            prompt=comparison.prompt,
            chosen=a if a_wins else b,
            rejected=b if a_wins else a,
            p_chosen=p_a if a_wins else 1 - p_a,
            comparison_id=comparison.id,
            source=comparison.source,
        )
