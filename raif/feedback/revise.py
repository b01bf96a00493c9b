"""Critique and revision against a constitution (Constitutional AI, arXiv 2212.08073, section 3.1).

In each round one principle is drawn for each response, without repeating one before all have been used (or, as in the
paper, each round by itself); the judge names the worst fault by that principle, or none; where there is one it rewrites
the response; and, with ``verify``, it is asked whether the rewriting is better. Every step is kept, and the text moves
on by accepted steps alone: by those that the judge found better, unless ``keep_unverified`` accepts all.

With ``until_clean`` a response is done as soon as every principle has found its present text without fault. A new text
has to pass them all again; a principle that has passed it is not asked about it twice. ``rounds`` stays the limit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from raif.config import ReviseConfig
from raif.constitution import Constitution, Principle
from raif.feedback.draws import draw_principles
from raif.feedback.examples import all_critique_examples, check_examples, critique_examples
from raif.feedback.verdict import found_no_fault, improvement, is_refusal
from raif.models.base import ChatModel, Completion, Failure, GenerateRequest, Sampling, ScoreRequest
from raif.prompts import PromptLibrary
from raif.records import FailureKind, Response, Revision, RevisionStep, conversation

TEMPLATES = ("critique", "revise", "check_revision")


@dataclass(slots=True)
class _Draft:
    """A response on its way through the rounds: its text, the principle of the round, and those still to come.

    ``passed`` holds the ids of the principles that found ``text`` without fault.
    """

    response: Response
    text: str
    upcoming: Iterator[Principle]
    passed: set[str]
    principle: Principle = field(init=False)
    steps: list[RevisionStep] = field(default_factory=list)

    def step(self, **fields: object) -> None:
        """Keep what became of the round, and move on by what was accepted."""
        made = RevisionStep.model_validate({"principle_id": self.principle.id, **fields})
        self.steps.append(made)
        if made.clean:
            self.passed.add(made.principle_id)
        if made.accepted and made.revision is not None:
            self.text = made.revision
            self.passed.clear()


def drawn(
    response_id: str, principles: Sequence[Principle], seed: int, draw: str, left_out: Collection[str] = ()
) -> Iterator[Principle]:
    """The principles of a response's rounds, without end.

    ``cycle`` draws an order of all of them whenever the last one is used up; ``independent`` draws each by itself
    (arXiv 2212.08073, section 3.4). What is in ``left_out`` when its turn comes is passed over.
    """
    count = 0
    while True:
        among = principles if draw == "cycle" else [p for p in principles if p.id not in left_out]
        for principle in draw_principles(among, len(among) if draw == "cycle" else 1, seed, response_id, count):
            count += 1
            if principle.id not in left_out:
                yield principle


def check(config: ReviseConfig, constitution: Constitution, library: PromptLibrary) -> None:
    """Refuse settings that would be passed over in silence.

    Raises:
        ConfigError: examples, where the constitution has none.
        PromptError: a template of the user's leaves them out.
    """
    if config.examples:
        shown = all_critique_examples(constitution, config.examples)
        check_examples("revise.examples", shown, library, ("critique", "revise"))


class _Reviser:
    def __init__(self, judge: ChatModel, library: PromptLibrary, config: ReviseConfig, seed: int) -> None:
        self.judge, self.library, self.config = judge, library, config
        self.sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens, seed=seed)

    async def _generate(self, texts: Sequence[str], round_: int) -> list[tuple[str | None, FailureKind | None]]:
        requests = [GenerateRequest(conversation(text), self.sampling, sample=round_) for text in texts]
        return [_read(answer) for answer in await self.judge.generate(requests)]

    async def round(self, drafts: Sequence[_Draft], round_: int) -> None:
        """Take every draft one step further."""
        critiques = await self._generate([self._critique(draft) for draft in drafts], round_)
        faulty = []
        for draft, (critique, failure) in zip(drafts, critiques, strict=True):
            if critique is not None and is_refusal(critique):
                draft.step(round=round_, failure="refusal")
            elif critique is None or found_no_fault(critique):
                draft.step(round=round_, critique=critique, clean=critique is not None, failure=failure)
            else:
                faulty.append((draft, critique))
        rewritten = await self._generate([self._revision(draft, critique) for draft, critique in faulty], round_)
        improved = await self._improved([draft for draft, _ in faulty], [text for text, _ in rewritten])
        for (draft, critique), (text, failure), p_improved in zip(faulty, rewritten, improved, strict=True):
            kept = not self.config.verify or self.config.keep_unverified or (p_improved or 0.0) >= 0.5
            draft.step(
                round=round_,
                critique=critique,
                revision=text,
                p_improved=p_improved,
                accepted=text is not None and kept,
                failure=failure,
            )

    async def _improved(self, drafts: Sequence[_Draft], texts: Sequence[str | None]) -> list[float | None]:
        """P(the rewriting is better) for each draft; None where there is none or where nobody asks."""
        result: list[float | None] = [None] * len(drafts)
        if not self.config.verify:
            return result
        asked = [index for index, text in enumerate(texts) if text is not None]
        prompts = [self._prompt("check_revision", drafts[i], original=drafts[i].text, revision=texts[i]) for i in asked]
        requests = [ScoreRequest(conversation(prompt), ("YES", "NO")) for prompt in prompts]
        for index, answer in zip(asked, await self.judge.score(requests), strict=True):
            result[index] = improvement(answer, self.config.min_mass)
        return result

    def _critique(self, draft: _Draft) -> str:
        return self._prompt("critique", draft, examples=critique_examples(draft.principle, self.config.examples))

    def _revision(self, draft: _Draft, critique: str) -> str:
        examples = critique_examples(draft.principle, self.config.examples, revised=True)
        return self._prompt("revise", draft, critique=critique, examples=examples)

    def _prompt(self, template: str, draft: _Draft, **values: object) -> str:
        return self.library.render(
            template,
            conversation=draft.response.prompt,
            response=draft.text,
            principle=draft.principle,
            **values,
        )


def _read(answer: Completion | Failure) -> tuple[str | None, FailureKind | None]:
    if isinstance(answer, Failure):
        return None, answer.kind
    if answer.finish == "length":
        return None, "truncated"
    return (answer.text, None) if answer.text else (None, "empty")


def _begin(response: Response, constitution: Constitution, config: ReviseConfig, seed: int) -> _Draft:
    passed: set[str] = set()
    left_out = passed if config.until_clean else ()
    upcoming = drawn(response.id, constitution.principles, seed, config.draw, left_out)
    return _Draft(response, response.text, upcoming, passed)


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
    drafts = [_begin(response, constitution, config, seed) for response in responses]
    reviser = _Reviser(judge, library, config, seed)
    going = drafts
    for round_ in range(config.rounds):
        for draft in going:
            draft.principle = next(draft.upcoming)
        await reviser.round(going, round_)
        if config.until_clean:
            going = [draft for draft in going if len(draft.passed) < len(constitution.principles)]
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
