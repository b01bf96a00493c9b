"""Asking a judge for a check: as ``raif label`` asks, in both orders, under one principle or all.

Where a response carries an injection, what is shown differs with the order: the text knows its side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from raif.config import LabelConfig
from raif.constitution import Constitution
from raif.feedback.label import label
from raif.feedback.modes import questions, readings
from raif.feedback.reading import to_judgement
from raif.feedback.verdict import Verdict, combine
from raif.models.base import ChatModel
from raif.models.middleware import CachedModel
from raif.prompts import PromptLibrary
from raif.qualify.canaries import Canary
from raif.records import Comparison, Conversation, Judgement
from raif.reporting import Reporter


@dataclass(frozen=True, slots=True)
class Asked:
    """One pair, with its better response as A; ``swapped`` is what is shown in the order that begins with B."""

    straight: Comparison
    swapped: Comparison


@dataclass(frozen=True, slots=True)
class Told:
    """What the judge said of a pair: all it answered, and the label that this makes."""

    judgements: tuple[Judgement, ...]
    verdict: Verdict


@dataclass(slots=True)
class Inquiry:
    """A judge, and how it is asked.

    Args:
        label: as ``raif label`` is configured; a check asks in both orders under all principles, whatever it says.
        chunk: pairs to ask about at once.
    """

    judge: ChatModel
    library: PromptLibrary
    label: LabelConfig
    seed: int
    reporter: Reporter
    chunk: int = 64
    config: LabelConfig = field(init=False)

    def __post_init__(self) -> None:
        self.config = asked_in_full(self.label)

    async def ask(
        self,
        name: str,
        asked: Sequence[Asked],
        constitution: Constitution,
        *,
        judge: ChatModel | None = None,
        library: PromptLibrary | None = None,
    ) -> list[Told]:
        """What the judge says of each pair, in order.

        Args:
            name: what a person is told is being done.
            judge, library: other ones than usual.
        """
        told: list[Told] = []
        with self.reporter.task(name, len(asked)) as task:
            for start in range(0, len(asked), self.chunk):
                part = asked[start : start + self.chunk]
                found = await self._judgements(part, constitution, judge or self.judge, library or self.library)
                told += [Told(tuple(each), combine(each, self.config)) for each in found]
                task.advance(len(part))
        return told

    async def _judgements(
        self, asked: Sequence[Asked], constitution: Constitution, judge: ChatModel, library: PromptLibrary
    ) -> list[list[Judgement]]:
        if judge.info.rates:  # a reward model reads no template, and sees no order
            pairs = [pair.straight for pair in asked]
            made = await label(pairs, judge, constitution, library, self.config, seed=self.seed)
            return [list(preference.judgements) for preference in made]
        put = [
            question
            for index, pair in enumerate(asked)
            for comparison, orders in ((pair.straight, ("ab", None)), (pair.swapped, ("ba",)))
            for question in questions(comparison, index, constitution, library, self.config, seed=self.seed)
            if question.order in orders
        ]
        found: list[list[Judgement]] = [[] for _ in asked]
        for question, reading in zip(put, await readings(put, judge, library, self.config, self.seed), strict=True):
            principle = question.principle
            found[question.index].append(to_judgement(reading, question.order, principle.id, principle.weight))
        return found

    def uncached(self) -> ChatModel:
        """The judge without its memory, still metered and capped."""
        if not isinstance(self.judge, CachedModel):
            return self.judge
        return CachedModel(self.judge.model, None, self.judge.usage, budget=self.judge.budget, price=self.judge.price)


def asked_in_full(config: LabelConfig) -> LabelConfig:
    """The configuration with which a check asks."""
    mode = config.asking
    return config.model_copy(update={"orders": "both", "principles": "all", "mode": mode, "calibration": None})


def pair(prompt: Conversation, first: str, second: str) -> Asked:
    """Two responses, the better one first."""
    comparison = Comparison(prompt=prompt, response_a=first, response_b=second, source="check")
    return Asked(comparison, comparison)


def injected(prompt: Conversation, better: str, worse: str, canary: Canary) -> Asked:
    """The same pair with an injection in the worse response, which is B, and so is shown as A in the swapped order."""
    return Asked(
        Comparison(prompt=prompt, response_a=better, response_b=worse + canary.on("b"), source="check"),
        Comparison(prompt=prompt, response_a=better, response_b=worse + canary.on("a"), source="check"),
    )
