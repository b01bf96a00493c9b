"""When revising ends, which principle comes next, what is kept: until_clean, draw, keep_unverified, examples."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Any

import pytest

from raif.config import ReviseConfig
from raif.constitution import Constitution, Principle
from raif.constitution.model import CritiqueExample
from raif.errors import ConfigError, PromptError
from raif.feedback.revise import check, drawn, revise
from raif.models.scripted import ScriptedModel
from raif.prompts import PromptLibrary
from raif.records import Prompt, Response, Revision, conversation

KIND = Principle(id="kind", text="It is kind.")
SHORT = Principle(id="short", text="It is short.")
TRUE = Principle(id="true", text="It is true.")
CONSTITUTION = Constitution(principles=(KIND, SHORT, TRUE))
LIBRARY = PromptLibrary()


def response(text: str) -> Response:
    asked = conversation("hello")
    return Response(prompt_id=Prompt(messages=asked).id, prompt=asked, model="m", text=text)


class Judge:
    """Finds the fault that each principle is named for, mends it by leaving the word out, and says it is better."""

    def __init__(self, p_better: float = 0.9) -> None:
        self.p_better = p_better
        self.critiques: list[str] = []

    def __call__(self, request: Any) -> Any:
        text = request.messages[-1].content
        if "Answer YES or NO" in text:
            return {"YES": self.p_better, "NO": 1 - self.p_better}
        said = text.split("<response>\n")[1].split("\n</response>")[0]
        fault = "not " + text.rpartition("It is ")[2].removesuffix(".")
        if "Name the worst fault" in text:
            self.critiques.append(fault)
            return f"It is {fault}." if fault in said else "No fault."
        return said.replace(fault, "fine", 1)


def revised(text: str, judge: Any = None, constitution: Constitution = CONSTITUTION, **config: Any) -> Revision:
    (made,) = asyncio.run(
        revise([response(text)], ScriptedModel(judge or Judge()), constitution, LIBRARY, ReviseConfig(**config), seed=0)
    )
    return made


# until_clean


def test_a_clean_response_ends_after_one_pass_over_all_principles() -> None:
    judge = Judge()
    made = revised("all is well", judge, rounds=20, until_clean=True)
    assert [step.clean for step in made.steps] == [True] * 3
    assert {step.principle_id for step in made.steps} == {"kind", "short", "true"}
    assert len(judge.critiques) == 3


def test_a_new_text_has_to_pass_every_principle_again() -> None:
    made = revised("not short", rounds=20, until_clean=True)
    assert made.text == "fine"
    mended = next(at for at, step in enumerate(made.steps) if step.accepted)
    after = made.steps[mended + 1 :]
    assert [step.clean for step in after] == [True] * 3
    assert {step.principle_id for step in after} == {"kind", "short", "true"}
    assert [step.round for step in made.steps] == list(range(len(made.steps)))


def test_no_principle_is_asked_twice_about_a_text_it_has_passed() -> None:
    made = revised("not short and not short and not kind", rounds=30, until_clean=True)
    assert made.text == "fine and fine and fine"
    passed: set[str] = set()
    for step in made.steps:
        assert step.principle_id not in passed
        if step.clean:
            passed.add(step.principle_id)
        if step.accepted:
            passed.clear()
    assert passed == {"kind", "short", "true"}


def test_rounds_are_the_limit() -> None:
    made = revised("not short", Judge(p_better=0.1), rounds=7, until_clean=True)
    # The fault is never mended, so that the response is never clean.
    assert len(made.steps) == 7
    assert made.text == "not short"
    assert sum(step.clean for step in made.steps) == 2


def test_responses_end_each_in_its_own_time() -> None:
    judge = Judge()
    config = ReviseConfig(rounds=9, until_clean=True)
    made = asyncio.run(
        revise(
            [response(text) for text in ("well", "not true", "good")],
            ScriptedModel(judge),
            CONSTITUTION,
            LIBRARY,
            config,
            seed=0,
        )
    )
    alone = [revised(text, rounds=9, until_clean=True) for text in ("well", "not true", "good")]
    assert made == alone
    assert [len(one.steps) for one in made][::2] == [3, 3]


def test_without_it_every_round_is_gone_through() -> None:
    assert len(revised("all is well", rounds=5).steps) == 5


# draw


def test_independent_draws_may_repeat_and_cycles_may_not() -> None:
    def ids(draw: str, seed: int) -> list[str]:
        return [p.id for p in islice(drawn("r", CONSTITUTION.principles, seed, draw), 3)]

    assert all(len(set(ids("cycle", seed))) == 3 for seed in range(50))
    # Three independent draws of three differ with a chance of 3!/27 = 2/9: 300 of 1,350 seeds, give or take 15.3.
    different = sum(len(set(ids("independent", seed))) == 3 for seed in range(1350))
    assert abs(different - 300) < 4 * 15.3


def test_independent_draws_until_clean_pass_over_who_has_passed() -> None:
    made = revised("all is well", rounds=20, until_clean=True, draw="independent")
    assert sorted(step.principle_id for step in made.steps) == ["kind", "short", "true"]


# keep_unverified


def test_what_is_no_better_is_dropped_unless_asked_for() -> None:
    dropped = revised("not kind", Judge(p_better=0.2), rounds=3)
    assert (dropped.text, dropped.changed) == ("not kind", False)
    kept = revised("not kind", Judge(p_better=0.2), rounds=3, keep_unverified=True)
    assert (kept.text, kept.changed) == ("fine", True)
    step = next(step for step in kept.steps if step.accepted)
    assert step.p_improved == 0.2  # asked all the same, and on record


# Refusals, examples


def test_a_refusal_is_no_critique() -> None:
    def judge(request: Any) -> Any:
        assert "Name the worst fault" in request.messages[-1].content
        return "I'm sorry, I can't criticise that."

    made = revised("not kind", judge, rounds=2)
    assert [(s.failure, s.critique, s.clean, s.accepted) for s in made.steps] == [("refusal", None, False, False)] * 2


def test_worked_critiques_are_shown_on_request_alone() -> None:
    seen: list[str] = []

    def judge(request: Any) -> Any:
        seen.append(request.messages[-1].content)
        return Judge()(request)

    bare = CritiqueExample(prompt="q1", response="r1", critique="c1")
    mended = CritiqueExample(prompt="q2", response="r2", critique="c2", revision="v2")
    taught = Constitution(principles=(KIND.model_copy(update={"examples": (bare, mended)}),))
    revised("not kind", judge, taught, rounds=1)
    assert not any("Worked examples" in text for text in seen)
    seen.clear()
    revised("not kind", judge, taught, rounds=1, examples=1)
    critique, rewrite, verify = seen
    assert "Critique: c1\n" in critique
    assert "c2" not in critique
    assert "Critique: c2\nRevision: v2\n" in rewrite  # one that shows no revision teaches no rewriting
    assert "c1" not in rewrite
    assert "Worked examples" not in verify


def test_examples_that_nobody_would_see_are_refused(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"revise\.examples: the constitution has no worked example"):
        check(ReviseConfig(examples=1), CONSTITUTION, LIBRARY)
    (tmp_path / "own.jinja").write_text("{{ response }}")
    example = CritiqueExample(prompt="q1", response="r1", critique="c1")
    taught = Constitution(principles=(KIND.model_copy(update={"examples": (example,)}),))
    check(ReviseConfig(examples=1), taught, LIBRARY)
    with pytest.raises(PromptError, match="shows no examples"):
        check(ReviseConfig(examples=1), taught, PromptLibrary({"revise": tmp_path / "own.jinja"}))
