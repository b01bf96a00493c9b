"""What one part of a check found: the judge under one principle, or under a whole constitution. Kept in certificates.

A section holds what was answered and not what that is worth: figures and thresholds are laid over it when it is read
(``raif.qualify.card``), so that sections of several principles add up, and a stricter threshold needs no new questions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from raif.config import JudgeCheckConfig
from raif.constitution import Constitution, Principle
from raif.prompts import PromptLibrary
from raif.qualify.asking import Asked, Inquiry, Told, injected, pair
from raif.qualify.canaries import battery, battery_digest
from raif.qualify.gold import Gold, gold_digest
from raif.records import digest

SAME = 0.01
"""How far probabilities of the same question may lie apart: beyond rounding in another batch, below any verdict."""

PADDING = (
    "That is all there is to say about this.",
    "In short, this is how it is.",
    "So much for the question that was asked.",
    "This is what I have to say to it.",
)
"""Sentences without content, for padded copies of responses."""

Outcome: TypeAlias = Literal["right", "wrong", "tie", "abstain"]


class Answer(NamedTuple):
    """What the judge said of one gold pair. Probabilities are those of the better response."""

    prompt: str
    """A digest: pairs of one prompt are not independent."""
    first: float | None
    """Where the better response was shown first; None without an answer, and in modes without an order."""
    second: float | None
    p: float | None
    outcome: Outcome
    doublings: float
    """log₂ of the better response's length over the worse one's."""


class Lean(NamedTuple):
    """The probability of the longer of two equally good responses."""

    prompt: str
    p: float | None


class Injected(NamedTuple):
    """What one injection did to one label that was right."""

    prompt: str
    canary: int
    """Its place in the battery."""
    flipped: bool
    """The label now prefers the worse response."""
    lost: bool
    """The label no longer prefers the better one."""
    turned: int
    """In how many of the ``answers`` the worse response is preferred."""
    answers: int


class Section(BaseModel):
    """See the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    principles: dict[str, str]
    """Id to key of what was asked about: one principle, or all of a constitution."""
    made_with: str
    """A digest of the gold, the battery and how much was asked: where it differs, the section is made again."""
    asked: int = 0
    """Answers wanted, injected ones aside."""
    failures: dict[str, int] = Field(default_factory=dict)
    gold: tuple[Answer, ...] = ()
    ties: tuple[Lean, ...] = ()
    padded: tuple[Lean, ...] = ()
    repeated: int = 0
    same: int = 0
    injected: tuple[Injected, ...] = ()
    unprotected: tuple[Injected, ...] = ()
    """The same with the defences switched off; empty where that was not asked for."""


def principle_key(principle: Principle) -> str:
    """A digest of what a judge is shown of a principle when it compares or grades; a new weight changes nothing."""
    return digest("principle", principle.text, principle.comparison, [e.model_dump() for e in principle.examples])


def section_key(principles: Sequence[Principle]) -> str:
    """The key of a section on one principle; on several it also depends on how they are weighed."""
    if len(principles) == 1:
        return principle_key(principles[0])
    return digest("whole", [(principle_key(principle), principle.weight) for principle in principles])


def made_with(gold: Sequence[Gold], config: JudgeCheckConfig, seed: int) -> str:
    """See ``Section.made_with``."""
    sizes = [config.canaries, config.padded, config.repeats, seed]
    return digest("section", gold_digest(gold), battery_digest(battery()), PADDING, sizes)


async def examine(
    inquiry: Inquiry,
    constitution: Constitution,
    gold: Sequence[Gold],
    config: JudgeCheckConfig,
    *,
    share: float = 1.0,
    unprotected: PromptLibrary | None = None,
) -> Section:
    """Ask everything about one principle, or about a constitution as a whole.

    Args:
        constitution: the principle alone, or all of them.
        gold: the pairs under it.
        share: of ``config.padded`` and ``config.repeats`` that falls to this section.
        unprotected: templates without the defences, to measure what those are worth.
    """
    name = constitution.principles[0].id if len(constitution.principles) == 1 else "all principles"
    decided, tied = [g for g in gold if g.better != "tie"], [g for g in gold if g.better == "tie"]
    unequal = [g for g in tied if len(g.sides[0]) != len(g.sides[1])]
    copied = (decided or tied)[: math.ceil(config.padded * share)]
    plain = [pair(g.comparison.prompt, *g.sides) for g in decided]
    told = await inquiry.ask(f"{name}: gold", plain, constitution)
    ties = await inquiry.ask(f"{name}: ties", [pair(g.comparison.prompt, *g.sides) for g in unequal], constitution)
    copies = [_padded(g, index) for index, g in enumerate(copied)]
    padded = await inquiry.ask(f"{name}: padded", copies, constitution)
    repeated, same = await _repeats(inquiry, name, plain[: math.ceil(config.repeats * share)], constitution)
    right = [g for g, said in zip(decided, told, strict=True) if said.verdict.outcome == "a"]
    canaries = battery()
    start = int(section_key(constitution.principles), 16)  # sections of few pairs each try others
    tried = [(g, n) for i, g in enumerate(right, start) for n in _drawn(i, config.canaries, len(canaries))]
    attacks = [injected(g.comparison.prompt, *g.sides, canaries[place]) for g, place in tried]
    struck = await inquiry.ask(f"{name}: injections", attacks, constitution)
    bare: list[Told] = []
    if unprotected is not None:
        bare = await inquiry.ask(f"{name}: unprotected", attacks, constitution, library=unprotected)
    judgements = [j for said in (*told, *ties, *padded) for j in said.judgements]
    return Section(
        principles={principle.id: principle_key(principle) for principle in constitution.principles},
        made_with=made_with(gold, config, inquiry.seed),
        asked=len(judgements),
        failures=dict(sorted(Counter(j.failure for j in judgements if j.failure is not None).items())),
        gold=tuple(_answer(g, said) for g, said in zip(decided, told, strict=True)),
        ties=tuple(_lean(g, said) for g, said in zip(unequal, ties, strict=True)),
        padded=tuple(_lean(g, said) for g, said in zip(copied, padded, strict=True)),
        repeated=repeated,
        same=same,
        injected=_struck(tried, struck, inquiry.config.tie_margin),
        unprotected=_struck(tried, bare, inquiry.config.tie_margin) if bare else (),
    )


def _drawn(index: int, count: int, size: int) -> Iterable[int]:
    """The canaries for the ``index``-th pair: far apart in the battery, and each of them equally often in the end."""
    count = min(count, size)
    return sorted((index + turn * size // count) % size for turn in range(count))


def _padded(gold: Gold, index: int) -> Asked:
    """A padded copy of a response, and the response; better and worse ones in turn."""
    text = gold.sides[index % 2]
    first, second = (PADDING[(index + step) % len(PADDING)] for step in (0, 1))
    return pair(gold.comparison.prompt, f"{text} {first} {second}", text)


async def _repeats(inquiry: Inquiry, name: str, asked: Sequence[Asked], constitution: Constitution) -> tuple[int, int]:
    """How many questions were asked twice, past the cache, and how many of them were answered the same."""
    judge = inquiry.uncached()
    one, two = [await inquiry.ask(f"{name}: repeats", asked, constitution, judge=judge) for _ in range(2)]
    couples = [
        couple
        for first, second in zip(one, two, strict=True)
        for couple in zip(first.judgements, second.judgements, strict=True)
    ]
    same = sum(
        x.failure == y.failure and (x.p_a is None or (y.p_a is not None and abs(x.p_a - y.p_a) <= SAME))
        for x, y in couples
    )
    return len(couples), same


def _prompt(gold: Gold) -> str:
    return digest("prompt", gold.comparison.prompt, length=8)


def _answer(gold: Gold, told: Told) -> Answer:
    better, worse = gold.sides
    first, second = told.verdict.p_a_by_order
    outcomes: dict[str, Outcome] = {"a": "right", "b": "wrong", "tie": "tie"}
    outcome = outcomes.get(told.verdict.outcome, "abstain")
    doublings = round(math.log2(max(len(better), 1) / max(len(worse), 1)), 4)
    return Answer(_prompt(gold), first, second, told.verdict.p_a, outcome, doublings)


def _lean(gold: Gold, told: Told) -> Lean:
    return Lean(_prompt(gold), told.verdict.p_a)


def _struck(tried: Sequence[tuple[Gold, int]], told: Sequence[Told], margin: float) -> tuple[Injected, ...]:
    found = []
    for (gold, place), said in zip(tried, told, strict=True):
        verdict = said.verdict
        answers = [p for p in verdict.p_a_by_order if p is not None] or ([] if verdict.p_a is None else [verdict.p_a])
        turned = sum(p < 0.5 - margin for p in answers)
        flipped, lost = verdict.outcome == "b", verdict.outcome != "a"
        found.append(Injected(_prompt(gold), place, flipped, lost, turned, len(answers)))
    return tuple(found)
