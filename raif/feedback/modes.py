"""How a judge is asked about a comparison: what it is sent in each mode, and how many times.

    logprob   A or B? in each order, under each principle; the probabilities of the answers are read
    cot       the same, after reasoning
    votes     the same, the answer sampled several times
    score     each response by itself, under each principle; there is no order

Modes differ in a template, in the requests that one question makes and in how their answers are read: one row of
``MODES`` each. ``readings`` goes through the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from raif.config import LabelConfig
from raif.constitution import Constitution, Principle
from raif.errors import ConfigError, PromptError
from raif.feedback.draws import draw_order, draw_principles, pair_key
from raif.feedback.examples import all_comparison_examples, check_examples, comparison_examples
from raif.feedback.reading import (
    Reading,
    grades,
    read_after_reasoning,
    read_grades,
    read_reasoning,
    read_scores,
    read_votes,
    unanswered,
)
from raif.feedback.verdict import choices, is_refusal
from raif.models.base import ChatModel, Completion, Failure, GenerateRequest, Sampling, ScoreRequest
from raif.prompts import PromptLibrary
from raif.records import Comparison, Conversation, Message, Order, conversation, digest

Request = GenerateRequest | ScoreRequest


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for one judgement: about the ``index``-th comparison, in one order, under one principle.

    ``prompts`` holds what the judge is sent: the comparison, or (without an order) each response by itself, A first.
    """

    index: int
    order: Order | None
    principle: Principle
    prompts: tuple[Conversation, ...]

    @property
    def messages(self) -> Conversation:
        """The prompt, where there is one."""
        return self.prompts[0]


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of asking. ``requests`` are made of a question, the configuration and the seed; ``read`` takes their
    answers, in the same order."""

    template: str
    requests: Callable[[Question, LabelConfig, int], Sequence[Request]]
    read: Callable[[Sequence[Any], LabelConfig], Reading]


def _offer(question: Question, config: LabelConfig, seed: int) -> list[Request]:
    return [ScoreRequest(question.messages, choices(config.allow_tie))]


def _reason(question: Question, config: LabelConfig, seed: int) -> list[Request]:
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens, seed=seed)
    return [GenerateRequest(question.messages, sampling)]


def _poll(question: Question, config: LabelConfig, seed: int) -> list[Request]:
    sampling = Sampling(temperature=config.vote_temperature, max_tokens=config.max_tokens, seed=seed)
    return [GenerateRequest(question.messages, sampling, sample) for sample in range(config.votes)]


def _grade(question: Question, config: LabelConfig, seed: int) -> list[Request]:
    return [ScoreRequest(prompt, grades(config.scale)) for prompt in question.prompts]


MODES = {
    "logprob": Mode("compare", _offer, lambda answers, config: read_scores(answers[0], config)),
    "cot": Mode("compare_cot", _reason, lambda answers, config: read_reasoning(answers[0], config)),
    "votes": Mode("compare", _poll, read_votes),
    "score": Mode("score", _grade, read_grades),
}
"""What ``LabelConfig.asking`` may be."""

_ANSWER = "compare_answer"
"""The template that asks for the answer once the reasoning is there."""


def templates(config: LabelConfig) -> tuple[str, ...]:
    """The names of the templates that ask."""
    template = MODES[config.asking].template
    return (template, _ANSWER) if _in_two_steps(config) else (template,)


def template_hash(library: PromptLibrary, config: LabelConfig) -> str:
    """The hash of the wording that asks; a digest of the hashes where it lies in several templates."""
    hashes = [library.hash(name) for name in templates(config)]
    return hashes[0] if len(hashes) == 1 else digest(hashes, length=64)


def _in_two_steps(config: LabelConfig) -> bool:
    return config.asking == "cot" and config.cot_answer == "probability"


def check(config: LabelConfig, constitution: Constitution, library: PromptLibrary) -> None:
    """Refuse settings that would be passed over in silence.

    Raises:
        ConfigError: examples in mode score, or where the constitution has none.
        PromptError: a template of the user's leaves out what is to be shown.
    """
    if config.asking == "score" and config.examples:
        raise ConfigError("label.examples: mode score shows none (they compare responses); set label.examples to 0")
    if config.asking == "score" and config.scale == 10 and not library.uses("score", "lowest"):
        raise PromptError(
            "does not insert {{ lowest }}, so it can't ask for ten grades (0 to 9); set label.scale to 9",
            path=library.path("score"),
        )
    if config.examples:
        shown = all_comparison_examples(constitution, config.examples, allow_tie=config.allow_tie)
        check_examples("label.examples", shown, library, (MODES[config.asking].template,))


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
    principles: Sequence[Principle] = constitution.principles
    if config.principles != "all":
        principles = draw_principles(principles, config.principles, seed, pair_key(comparison))
    if config.asking == "score":
        return [Question(index, None, p, _graded(comparison, p, library, config)) for p in principles]
    orders: tuple[Order, ...] = ("ab", "ba") if config.orders == "both" else (draw_order(comparison, seed),)
    return [
        Question(index, order, principle, (_compared(comparison, order, principle, library, config),))
        for order in orders
        for principle in principles
    ]


def _compared(
    comparison: Comparison, order: Order, principle: Principle, library: PromptLibrary, config: LabelConfig
) -> Conversation:
    first, second = comparison.response_a, comparison.response_b
    if order == "ba":
        first, second = second, first
    return conversation(
        library.render(
            MODES[config.asking].template,
            conversation=comparison.prompt,
            response_a=first,
            response_b=second,
            principle=principle,
            allow_tie=config.allow_tie,
            examples=comparison_examples(principle, config.examples, allow_tie=config.allow_tie),
        )
    )


def _graded(
    comparison: Comparison, principle: Principle, library: PromptLibrary, config: LabelConfig
) -> tuple[Conversation, ...]:
    lowest = grades(config.scale)[0]
    return tuple(
        conversation(
            library.render(
                "score", conversation=comparison.prompt, response=response, principle=principle, lowest=lowest
            )
        )
        for response in (comparison.response_a, comparison.response_b)
    )


def requests(asked: Iterable[Question], config: LabelConfig, seed: int) -> list[list[Request]]:
    """What each question makes the judge be sent, before anything is known of its answers."""
    make = MODES[config.asking].requests
    return [list(make(question, config, seed)) for question in asked]


async def readings(
    asked: Sequence[Question], judge: ChatModel, library: PromptLibrary, config: LabelConfig, seed: int
) -> list[Reading]:
    """Ask the judge; one reading a question, in order."""
    own = requests(asked, config, seed)
    answers = iter(await _ask(judge, [request for part in own for request in part]))
    answered = [[next(answers) for _ in part] for part in own]
    if _in_two_steps(config):
        return await _after_reasoning(asked, [part[0] for part in answered], judge, library, config)
    read = MODES[config.asking].read
    return [read(part, config) for part in answered]


async def _ask(judge: ChatModel, asked: Sequence[Request]) -> Sequence[Any]:
    if asked and isinstance(asked[0], ScoreRequest):
        return await judge.score(cast("Sequence[ScoreRequest]", asked))
    return await judge.generate(cast("Sequence[GenerateRequest]", asked))


async def _after_reasoning(
    asked: Sequence[Question],
    reasonings: Sequence[Completion | Failure],
    judge: ChatModel,
    library: PromptLibrary,
    config: LabelConfig,
) -> list[Reading]:
    """Ask once more, with the reasoning in view, for the probabilities of the answers."""
    found: list[Reading | None] = []
    follow_up = []
    for question, reasoning in zip(asked, reasonings, strict=True):
        why = unanswered(reasoning)
        if isinstance(reasoning, Completion) and why is None and not is_refusal(reasoning.text):
            closing = library.render(_ANSWER, principle=question.principle, allow_tie=config.allow_tie)
            said = (Message(role="assistant", content=reasoning.text), Message(role="user", content=closing))
            follow_up.append(ScoreRequest((*question.messages, *said), choices(config.allow_tie)))
            found.append(None)
        else:
            found.append(Reading(failure=why or "refusal"))
    scores = iter(await judge.score(follow_up))
    return [read_after_reasoning(next(scores), config) if reading is None else reading for reading in found]
