"""Preference labels: a comparison is asked about in its orders, under its principles, and the answers add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raif.config import LabelConfig
from raif.constitution import Constitution, Principle
from raif.feedback.draws import draw_order, draw_principles, pair_key
from raif.feedback.verdict import Reading, choices, combine, read_reasoning, read_scores, to_judgement
from raif.models.base import ChatModel, GenerateRequest, Sampling, ScoreRequest
from raif.prompts import PromptLibrary
from raif.records import Comparison, Conversation, Order, Preference, conversation

TEMPLATES = {"logprob": "compare", "cot": "compare_cot"}
"""The template that asks, by mode."""


@dataclass(frozen=True, slots=True)
class Question:
    """One comparison in one order under one principle, and what the judge is sent."""

    index: int
    order: Order
    principle: Principle
    messages: Conversation


def questions(
    comparison: Comparison,
    index: int,
    constitution: Constitution,
    library: PromptLibrary,
    config: LabelConfig,
    *,
    seed: int,
) -> list[Question]:
    """All that is asked about one comparison, order by order so that the principles of an order share their prefix."""
    orders: tuple[Order, ...] = ("ab", "ba") if config.orders == "both" else (draw_order(comparison, seed),)
    principles: Sequence[Principle] = constitution.principles
    if config.principles != "all":
        principles = draw_principles(principles, config.principles, seed, pair_key(comparison))
    asked = []
    for order in orders:
        first, second = comparison.response_a, comparison.response_b
        if order == "ba":
            first, second = second, first
        for principle in principles:
            text = library.render(
                TEMPLATES[config.mode],
                conversation=comparison.prompt,
                response_a=first,
                response_b=second,
                principle=principle,
                allow_tie=config.allow_tie,
            )
            asked.append(Question(index, order, principle, conversation(text)))
    return asked


async def _ask(asked: Sequence[Question], judge: ChatModel, config: LabelConfig, seed: int) -> list[Reading]:
    if config.mode == "logprob":
        offered = choices(config.allow_tie)
        scores = await judge.score([ScoreRequest(question.messages, offered) for question in asked])
        return [read_scores(answer, config) for answer in scores]
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens, seed=seed)
    texts = await judge.generate([GenerateRequest(question.messages, sampling) for question in asked])
    return [read_reasoning(answer, config) for answer in texts]


async def label(
    comparisons: Sequence[Comparison],
    judge: ChatModel,
    constitution: Constitution,
    library: PromptLibrary,
    config: LabelConfig,
    *,
    seed: int,
) -> list[Preference]:
    """One preference for each comparison, in order; ties and abstentions among them."""
    asked = [
        question
        for index, comparison in enumerate(comparisons)
        for question in questions(comparison, index, constitution, library, config, seed=seed)
    ]
    readings = await _ask(asked, judge, config, seed)
    judgements: list[list] = [[] for _ in comparisons]  # type: ignore[type-arg]
    for question, reading in zip(asked, readings, strict=True):
        judgements[question.index].append(
            to_judgement(reading, question.order, question.principle.id, question.principle.weight)
        )
    template = library.hash(TEMPLATES[config.mode])
    preferences = []
    for comparison, answers in zip(comparisons, judgements, strict=True):
        verdict = combine(answers, config)
        preferences.append(
            Preference(
                comparison=comparison,
                outcome=verdict.outcome,
                reason=verdict.reason,
                p_a=verdict.p_a,
                p_a_by_order=verdict.p_a_by_order,
                judge=judge.info.identity,
                constitution=constitution.hash,
                template=template,
                judgements=tuple(answers),
            )
        )
    return preferences
