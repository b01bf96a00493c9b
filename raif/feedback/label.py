"""Preference labels: a comparison is asked about in its orders, under its principles, and the answers add up.

A reward model is asked otherwise: it gives each response a reward, knows no principles and sees no order, so that there
is one judgement, which names neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from raif.config import LabelConfig
from raif.constitution import Constitution
from raif.feedback.modes import Question, questions, readings, template_hash
from raif.feedback.reading import read_rewards, to_judgement
from raif.feedback.verdict import combine
from raif.models.base import ChatModel, Rater, RateRequest
from raif.prompts import PromptLibrary
from raif.records import Comparison, Judgement, Message, Preference

REWARD = "(reward)"
"""Stands in a judgement for the principle, where a reward model judged by none."""


async def label(
    comparisons: Sequence[Comparison],
    judge: ChatModel,
    constitution: Constitution,
    library: PromptLibrary,
    config: LabelConfig,
    *,
    seed: int,
    calibrate: Callable[[float], float] | None = None,
) -> list[Preference]:
    """One preference for each comparison, in order; ties and abstentions among them.

    Args:
        calibrate: corrects ``p_a``; see ``raif.feedback.calibrate``.
    """
    if judge.info.rates:
        judged, made_with = await _rewarded(comparisons, judge), ("", "")
    else:
        judged = await _judged(comparisons, judge, constitution, library, config, seed)
        made_with = (constitution.hash, template_hash(library, config))
    preferences = []
    for number, (comparison, judgements) in enumerate(zip(comparisons, judged, strict=True)):
        await _breathe(number)
        verdict = combine(judgements, config, calibrate)
        preferences.append(
            Preference(
                comparison=comparison,
                outcome=verdict.outcome,
                reason=verdict.reason,
                p_a=verdict.p_a,
                p_a_by_order=verdict.p_a_by_order,
                judge=judge.info.identity,
                constitution=made_with[0],
                template=made_with[1],
                judgements=tuple(judgements),
            )
        )
    return preferences


async def _judged(
    comparisons: Sequence[Comparison],
    judge: ChatModel,
    constitution: Constitution,
    library: PromptLibrary,
    config: LabelConfig,
    seed: int,
) -> list[list[Judgement]]:
    asked: list[Question] = []
    for index, comparison in enumerate(comparisons):
        asked += questions(comparison, index, constitution, library, config, seed=seed)
    judged: list[list[Judgement]] = [[] for _ in comparisons]
    for question, reading in zip(asked, await readings(asked, judge, library, config, seed), strict=True):
        principle = question.principle
        judged[question.index].append(to_judgement(reading, question.order, principle.id, principle.weight))
    return judged


async def _breathe(number: int) -> None:
    """Let other chunks' replies in, now and then: a server would idle while a whole chunk is worded or added up."""
    if number % 4 == 3:
        await asyncio.sleep(0)


async def _rewarded(comparisons: Sequence[Comparison], judge: ChatModel) -> list[list[Judgement]]:
    """A reward model's judgements: one for each comparison, without an order and without a principle."""
    asked = [
        RateRequest((*comparison.prompt, Message(role="assistant", content=response)))
        for comparison in comparisons
        for response in (comparison.response_a, comparison.response_b)
    ]
    answers = iter(await cast("Rater", judge).rate(asked))
    return [[to_judgement(read_rewards((next(answers), next(answers))), None, REWARD, 1.0)] for _ in comparisons]
