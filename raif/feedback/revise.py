"""Critique and revision against a constitution (Constitutional AI, arXiv 2212.08073, section 3.1).

In each round one principle is drawn for each response, without repeating one before all have been used; the judge
names the worst fault by that principle, or none; where there is one it rewrites the response; and, with ``verify``, it
is asked whether the rewriting is better. Every step is kept, and the text moves on by accepted steps alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from raif.config import ReviseConfig
from raif.constitution import Constitution, Principle
from raif.feedback.draws import draw_principles
from raif.feedback.verdict import found_no_fault, improvement
from raif.models.base import ChatModel, Completion, Failure, GenerateRequest, Sampling, ScoreRequest
from raif.prompts import PromptLibrary
from raif.records import FailureKind, Response, Revision, RevisionStep, conversation

TEMPLATES = ("critique", "revise", "check_revision")


@dataclass(slots=True)
class _Draft:
    """A response on its way through the rounds."""

    response: Response
    text: str
    plan: list[Principle]
    steps: list[RevisionStep] = field(default_factory=list)


def plan(response_id: str, principles: Sequence[Principle], rounds: int, seed: int) -> list[Principle]:
    """The principle of each round: a fresh draw over all of them whenever the last one is used up."""
    drawn: list[Principle] = []
    while len(drawn) < rounds:
        drawn += draw_principles(principles, len(principles), seed, response_id, len(drawn))
    return drawn[:rounds]


class _Reviser:
    def __init__(self, judge: ChatModel, library: PromptLibrary, config: ReviseConfig, seed: int) -> None:
        self.judge, self.library, self.config = judge, library, config
        self.sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens, seed=seed)

    async def _generate(self, texts: Sequence[str], round_: int) -> list[tuple[str | None, FailureKind | None]]:
        requests = [GenerateRequest(conversation(text), self.sampling, sample=round_) for text in texts]
        return [_read(answer) for answer in await self.judge.generate(requests)]

    async def round(self, drafts: Sequence[_Draft], round_: int) -> None:
        """Take every draft one step further."""
        critiques = await self._generate([self._prompt("critique", draft, round_) for draft in drafts], round_)
        faulty = []
        for draft, (critique, failure) in zip(drafts, critiques, strict=True):
            principle_id = draft.plan[round_].id
            if critique is None or found_no_fault(critique):
                clean = critique is not None
                draft.steps.append(
                    RevisionStep(
                        round=round_, principle_id=principle_id, critique=critique, clean=clean, failure=failure
                    )
                )
            else:
                faulty.append((draft, critique))
        rewritten = await self._generate(
            [self._prompt("revise", draft, round_, critique=critique) for draft, critique in faulty], round_
        )
        improved = await self._improved([draft for draft, _ in faulty], [text for text, _ in rewritten], round_)
        for (draft, critique), (text, failure), p_improved in zip(faulty, rewritten, improved, strict=True):
            accepted = text is not None and (not self.config.verify or (p_improved or 0.0) >= 0.5)
            draft.steps.append(
                RevisionStep(
                    round=round_,
                    principle_id=draft.plan[round_].id,
                    critique=critique,
                    revision=text,
                    p_improved=p_improved,
                    accepted=accepted,
                    failure=failure,
                )
            )
            if accepted and text is not None:
                draft.text = text

    async def _improved(self, drafts: Sequence[_Draft], texts: Sequence[str | None], round_: int) -> list[float | None]:
        """P(the rewriting is better) for each draft; None where there is none or where nobody asks."""
        result: list[float | None] = [None] * len(drafts)
        if not self.config.verify:
            return result
        asked = [index for index, text in enumerate(texts) if text is not None]
        requests = [
            ScoreRequest(
                conversation(
                    self._prompt("check_revision", drafts[i], round_, original=drafts[i].text, revision=texts[i])
                ),
                ("YES", "NO"),
            )
            for i in asked
        ]
        for index, answer in zip(asked, await self.judge.score(requests), strict=True):
            result[index] = improvement(answer, self.config.min_mass)
        return result

    def _prompt(self, template: str, draft: _Draft, round_: int, **values: object) -> str:
        return self.library.render(
            template,
            conversation=draft.response.prompt,
            response=draft.text,
            principle=draft.plan[round_],
            **values,
        )


def _read(answer: Completion | Failure) -> tuple[str | None, FailureKind | None]:
    if isinstance(answer, Failure):
        return None, answer.kind
    if answer.finish == "length":
        return None, "truncated"
    return (answer.text, None) if answer.text else (None, "empty")


async def revise(
    responses: Sequence[Response],
    judge: ChatModel,
    constitution: Constitution,
    library: PromptLibrary,
    config: ReviseConfig,
    *,
    seed: int,
) -> list[Revision]:
    """One revision for each response, in order. ``judge`` may be the policy itself (self-critique, as in the paper)."""
    drafts = [
        _Draft(response, response.text, plan(response.id, constitution.principles, config.rounds, seed))
        for response in responses
    ]
    reviser = _Reviser(judge, library, config, seed)
    for round_ in range(config.rounds):
        await reviser.round(drafts, round_)
    return [
        Revision(
            response_id=draft.response.id,
            prompt_id=draft.response.prompt_id,
            prompt=draft.response.prompt,
            original=draft.response.text,
            text=draft.text,
            policy=draft.response.model,
            judge=judge.info.identity,
            constitution=constitution.hash,
            steps=tuple(draft.steps),
        )
        for draft in drafts
    ]
