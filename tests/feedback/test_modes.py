"""The modes of asking: what each sends, how its answers are read, which reasons it can abstain for, its symmetry."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raif.config import LabelConfig
from raif.constitution import Constitution, Principle
from raif.constitution.model import ComparisonExample
from raif.errors import ConfigError, PromptError
from raif.feedback.calibrate import Curve
from raif.feedback.label import REWARD, label
from raif.feedback.modes import check, questions, requests, template_hash
from raif.models.base import Completion, Failure, GenerateRequest, ModelInfo, Rating, ScoreRequest
from raif.models.scripted import ScriptedModel
from raif.prompts import PromptLibrary
from raif.records import Comparison, Preference, conversation

KIND = Principle(id="kind", text="It is kind.", comparison="Choose the kinder response.", weight=2)
SHORT = Principle(id="short", text="It is short.", comparison="Choose the shorter response.", weight=1)
CONSTITUTION = Constitution(name="test", version="1", principles=(KIND, SHORT))
LIBRARY = PromptLibrary()
COMPARISON = Comparison(prompt=conversation("hello"), response_a="you fool", response_b="dear friend", source="file")

CONFIGS = {
    "logprob": LabelConfig(),
    "logprob, ties": LabelConfig(allow_tie=True),
    "logprob, one order": LabelConfig(orders="one", principles=1),
    "cot": LabelConfig(mode="cot", clamp=(0.4, 0.6)),
    "cot, soft": LabelConfig(mode="cot", cot_answer="probability", clamp=(0.1, 0.9)),
    "votes": LabelConfig(mode="votes", votes=3, allow_tie=True),
    "score": LabelConfig(mode="score"),
    "score of ten": LabelConfig(mode="score", scale=10),
    "rank": LabelConfig(mode="rank", rank_by="votes", votes=2),
}


def labelled(judge: Any, config: LabelConfig, comparison: Comparison = COMPARISON, **more: Any) -> Preference:
    model = ScriptedModel(judge) if callable(judge) else judge
    (made,) = asyncio.run(label([comparison], model, CONSTITUTION, LIBRARY, config, seed=3, **more))
    return made


def shown(request: Any) -> tuple[str, str]:
    """The response shown first and the other."""
    text = request.messages[0].content
    return tuple(text.split(f"<response_{side}>\n")[1].split(f"\n</response_{side}>")[0] for side in "ab")  # type: ignore[return-value]


# What is asked


def test_votes_are_samples_of_one_question() -> None:
    config = LabelConfig(mode="votes", votes=3, vote_temperature=0.7, max_tokens=9)
    asked = questions(COMPARISON, 0, CONSTITUTION, LIBRARY, config, seed=1)
    sent = requests(asked, config, 1)
    assert [[r.sample for r in own] for own in sent] == [[0, 1, 2]] * 4
    first = sent[0][0]
    assert isinstance(first, GenerateRequest)
    assert (first.sampling.temperature, first.sampling.max_tokens, first.messages) == (0.7, 9, asked[0].messages)
    assert first.messages[0].content.endswith("Answer A or B alone.\nPrinciple: Choose the kinder response.")


@pytest.mark.parametrize(("scale", "lowest", "offered"), [(9, "1", "123456789"), (10, "0", "0123456789")])
def test_each_response_is_graded_by_itself_and_without_an_order(scale: Any, lowest: str, offered: str) -> None:
    config = LabelConfig(mode="score", scale=scale)
    asked = questions(COMPARISON, 0, CONSTITUTION, LIBRARY, config, seed=1)
    assert [(q.order, q.principle.id, len(q.prompts)) for q in asked] == [(None, "kind", 2), (None, "short", 2)]
    sent = zip(requests(asked, config, 1)[0], ("you fool", "dear friend"), ("friend", "fool"), strict=True)
    for request, own, other in sent:
        assert isinstance(request, ScoreRequest)
        assert request.choices == tuple(offered)
        text = request.messages[0].content
        assert f"<response>\n{own}\n</response>" in text
        assert other not in text
        assert f"a number from {lowest} (not at all) to 9 (perfectly)" in text


def test_a_principle_is_graded_once_however_many_orders_are_wanted() -> None:
    for orders in ("both", "one"):
        config = LabelConfig(mode="score", orders=orders)
        assert len(questions(COMPARISON, 0, CONSTITUTION, LIBRARY, config, seed=1)) == 2


def test_examples_are_shown_to_those_who_want_them_and_to_no_one_else() -> None:
    tie = ComparisonExample(prompt="q0", response_a="x0", response_b="y0", better="tie")
    one = ComparisonExample(prompt="q1", response_a="x1", response_b="y1", better="b", reason="It is warmer.")
    two = ComparisonExample(prompt="q2", response_a="x2", response_b="y2", better="a")
    taught = Constitution(principles=(KIND.model_copy(update={"examples": (tie, one, two)}), SHORT))

    def prompt(config: LabelConfig) -> list[str]:
        asked = questions(COMPARISON, 0, taught, LIBRARY, config, seed=1)
        return [q.messages[0].content for q in asked]

    plain = [q.messages[0].content for q in questions(COMPARISON, 0, CONSTITUTION, LIBRARY, LabelConfig(), seed=1)]
    assert prompt(LabelConfig()) == plain
    kind, short, *_ = prompt(LabelConfig(examples=1))
    # The tie is no answer to a question that does not offer one, so the first example is the second.
    assert "y1" in kind
    assert "y0" not in kind and "y2" not in kind  # noqa: PT018
    assert "</response_b>\nAnswer: B\n" in kind
    assert kind.index("dear friend") < kind.index("y1") < kind.index("Principle: Choose the kinder")
    assert short == plain[1]
    reasoned, *_ = prompt(LabelConfig(mode="cot", examples=2))
    assert "It is warmer.\nVerdict: B\n" in reasoned
    assert "</response_b>\nVerdict: A\n" in reasoned
    assert "Answer: TIE" in prompt(LabelConfig(examples=1, allow_tie=True))[0]


def test_both_orders_see_the_same_examples() -> None:
    one = ComparisonExample(prompt="q1", response_a="x1", response_b="y1", better="b")
    taught = Constitution(principles=(KIND.model_copy(update={"examples": (one,)}),))
    asked = questions(COMPARISON, 0, taught, LIBRARY, LabelConfig(examples=1), seed=1)
    blocks = [q.messages[0].content.partition("\nWorked examples")[2] for q in asked]
    assert blocks[0] == blocks[1] != ""


def test_settings_that_nobody_would_see_are_refused(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="no worked example to show"):
        check(LabelConfig(examples=2), CONSTITUTION, LIBRARY)
    with pytest.raises(ConfigError, match="mode score shows none"):
        check(LabelConfig(mode="score", examples=2), CONSTITUTION, LIBRARY)
    (tmp_path / "own.jinja").write_text("{{ response_a }} {{ principle.text }}")
    one = ComparisonExample(prompt="q1", response_a="x1", response_b="y1", better="b")
    taught = Constitution(principles=(KIND.model_copy(update={"examples": (one,)}),))
    with pytest.raises(PromptError, match=r"own\.jinja: shows no examples"):
        check(LabelConfig(examples=2), taught, PromptLibrary({"compare": tmp_path / "own.jinja"}))
    (tmp_path / "mark.jinja").write_text("{{ response }} {{ principle.text }} 1 to 9")
    library = PromptLibrary({"score": tmp_path / "mark.jinja"})
    with pytest.raises(PromptError, match="ten grades"):
        check(LabelConfig(mode="score", scale=10), CONSTITUTION, library)
    check(LabelConfig(mode="score"), CONSTITUTION, library)
    check(LabelConfig(examples=1), taught, LIBRARY)


def test_the_wording_s_hash_covers_every_template_that_asks() -> None:
    assert template_hash(LIBRARY, LabelConfig(mode="votes")) == LIBRARY.hash("compare")
    assert template_hash(LIBRARY, LabelConfig(mode="score")) == LIBRARY.hash("score")
    assert template_hash(LIBRARY, LabelConfig(mode="rank", rank_by="cot")) == LIBRARY.hash("compare_cot")
    both = template_hash(LIBRARY, LabelConfig(mode="cot", cot_answer="probability"))
    assert both not in {LIBRARY.hash(name) for name in LIBRARY.names()}


# What is read


def test_votes_make_a_share_of_them() -> None:
    def judge(request: GenerateRequest) -> str:
        # The kind one wins two votes of three under kindness; under brevity all three go to the first shown.
        if "shorter" in request.messages[0].content:
            return "A"
        kind = "B" if shown(request)[0] == "you fool" else "A"
        return kind if request.sample < 2 else {"A": "B", "B": "A"}[kind]

    made = labelled(judge, LabelConfig(mode="votes", votes=3, conflict_margin=0.5))
    # Kindness: 1/3 for A in both orders, kept as .333333. Brevity: 1 for A in order ab, 0 in order ba. Weights 2 and 1:
    # ab (.666666 + 1)/3 = .555555, ba (.666666 + 0)/3 = .222222; mean (1.666666 + .666666)/6 = .388889.
    assert made.p_a_by_order == (0.555555, 0.222222)
    assert made.p_a == 0.388889
    assert {j.mass for j in made.judgements} == {1.0}


def test_the_expected_grade_decides_and_one_grade_is_one_unit_of_log_odds() -> None:
    def judge(request: ScoreRequest) -> dict[str, float]:
        if "you fool" in request.messages[0].content:
            return {"2": 0.4, "4": 0.4}  # expectation 3 of mass .8
        return {"4": 0.5, "5": 0.5}  # expectation 4.5

    made = labelled(judge, LabelConfig(mode="score"))
    # σ(3 − 4.5) = .182426; rescaled from 1 … 9 to [−1, 1]: (3 − 5)/4 = −.5 and (4.5 − 5)/4 = −.125.
    assert made.p_a == round(1 / (1 + math.exp(1.5)), 6) == 0.182426
    assert made.judgements[0].scores == (-0.5, -0.125)
    assert [(j.order, j.mass) for j in made.judgements] == [(None, 0.8), (None, 0.8)]
    assert (made.outcome, made.p_a_by_order, made.flipped) == ("b", (None, None), None)


def test_ten_grades_are_those_of_the_paper() -> None:
    """Σ i·P(i) over 1 … 10, rescaled to [−1, 1], is Σ i·P(i) over 0 … 9, rescaled (arXiv 2309.00267, 2.2.2)."""
    made = labelled(lambda r: {"0": 0.25, "9": 0.75}, LabelConfig(mode="score", scale=10))
    # As 1 … 10: .25·1 + .75·10 = 7.75, (7.75 − 5.5)/4.5 = .5.
    assert made.judgements[0].scores == (0.5, 0.5)
    assert (made.outcome, made.p_a) == ("tie", 0.5)


def test_after_the_reasoning_the_answer_s_probability_is_read_and_clamped() -> None:
    def judge(request: Any) -> Any:
        kind = "B" if shown(request)[0] == "you fool" else "A"
        if isinstance(request, GenerateRequest):
            return f"The other one is warm. Verdict: {kind}"
        roles = [message.role for message in request.messages]
        assert roles == ["user", "assistant", "user"]
        assert request.messages[1].content.startswith("The other one is warm.")
        principle = "kinder" if "kinder" in request.messages[0].content else "shorter"
        assert request.messages[2].content.endswith(f"Principle: Choose the {principle} response.")
        return {kind: 0.72, "A" if kind == "B" else "B": 0.08}  # .9 of the mass

    soft = labelled(judge, LabelConfig(mode="cot", cot_answer="probability"))
    assert (soft.outcome, soft.p_a, soft.judgements[0].mass) == ("b", 0.1, 0.8)
    clamped = labelled(judge, LabelConfig(mode="cot", cot_answer="probability", clamp=(0.4, 0.6)))
    assert (clamped.outcome, clamped.p_a) == ("b", 0.4)


def test_a_calibration_corrects_the_label_and_leaves_what_was_judged() -> None:
    def judge(request: ScoreRequest) -> dict[str, float]:
        return {"A": 0.2, "B": 0.8} if shown(request)[0] == "you fool" else {"A": 0.8, "B": 0.2}

    made = labelled(judge, LabelConfig(), calibrate=Curve(temperature=2.0))
    # logit .8 = ln 4; half of it is ln 2: 2/3 for B, 1/3 for A.
    assert (made.p_a, made.p_a_by_order, made.outcome) == (0.333333, (0.2, 0.2), "b")
    assert {j.p_a for j in made.judgements} == {0.2}
    assert labelled(judge, LabelConfig(), calibrate=Curve(temperature=90.0)).outcome == "tie"


def test_a_calibration_does_not_hide_a_conflict() -> None:
    def judge(request: ScoreRequest) -> dict[str, float]:
        return {"A": 0.9, "B": 0.1}

    made = labelled(judge, LabelConfig(), calibrate=Curve(temperature=90.0))
    assert (made.outcome, made.reason) == ("abstain", "order_conflict")


# A reward model


class Rater:
    """A reward model made of a function from the response's text."""

    info = ModelInfo("reward:test", "reward:test@1", rates=True)

    def __init__(self, reward: Callable[[str], float | Failure]) -> None:
        self.reward = reward
        self.asked: list[Any] = []

    async def rate(self, asked: Any, deliver: Any = None) -> list[Rating | Failure]:
        self.asked += asked
        made = [self.reward(request.messages[-1].content) for request in asked]
        return [one if isinstance(one, Failure) else Rating(one, 5) for one in made]


def test_a_reward_model_judges_once_by_the_difference_of_its_rewards() -> None:
    rater = Rater({"you fool": -1.0, "dear friend": 0.5}.__getitem__)
    made = labelled(rater, LabelConfig())
    # σ(−1 − .5) = .182426.
    assert (made.outcome, made.p_a, made.judge) == ("b", 0.182426, "reward:test@1")
    (only,) = made.judgements
    assert (only.order, only.principle_id, only.scores, only.weight) == (None, REWARD, (-1.0, 0.5), 1.0)
    assert (made.constitution, made.template) == ("", "")
    assert [[m.role for m in request.messages] for request in rater.asked] == [["user", "assistant"]] * 2


@pytest.mark.parametrize("kind", ["too_long", "request_error"])
def test_a_reward_that_is_missing_abstains(kind: Any) -> None:
    made = labelled(Rater(lambda text: Failure(kind) if "fool" in text else 1.0), LabelConfig())
    assert (made.outcome, made.reason, made.p_a) == ("abstain", kind, None)


# Reasons


TEXTS = {
    "refusal": "I'm sorry, but I can't compare these.",
    "unparsed": "Both have their merits.",
    "truncated": Completion("Verdict: A, since", "length", 1, 1),
}
FAILURES = {"request_error": Failure("request_error"), "too_long": Failure("too_long"), "unparsed": Failure("empty")}


def reasons_of(config: LabelConfig) -> set[str]:
    """Every reason that some judge makes a mode abstain for."""
    replies: list[Any] = [*TEXTS.values(), *FAILURES.values(), Failure("refusal"), Failure("truncated")]
    replies += [{"A": 0.01, "B": 0.02, "1": 0.01}, {"A": 0.9, "B": 0.1, "5": 0.9}, "A", "Verdict: A"]
    found = {labelled(lambda _, reply=reply: reply, config).reason for reply in replies if _fits(reply, config)}

    def mostly_silent(request: Any) -> Any:
        if isinstance(request, ScoreRequest):
            return {"A": 0.01}
        return "A" if request.sample == 0 else "Neither."

    if config.asking != "score":
        found.add(labelled(mostly_silent, config).reason)
    return {reason for reason in found if reason is not None}


def _fits(reply: Any, config: LabelConfig) -> bool:
    return config.asking in ("logprob", "score") or not isinstance(reply, dict)


FAILING = {"request_error", "too_long", "refusal", "unparsed", "truncated"}


@pytest.mark.parametrize(
    ("config", "reasons"),
    [
        (LabelConfig(), FAILING | {"low_mass", "order_conflict"}),
        # A verdict is there or not: nothing of it goes elsewhere.
        (LabelConfig(mode="cot"), FAILING | {"order_conflict"}),
        (LabelConfig(mode="cot", cot_answer="probability"), FAILING | {"low_mass", "order_conflict"}),
        (LabelConfig(mode="votes", votes=12), FAILING | {"low_mass", "order_conflict"}),
        # There are no orders to be in conflict.
        (LabelConfig(mode="score"), FAILING | {"low_mass"}),
    ],
    ids=["logprob", "cot", "cot, soft", "votes", "score"],
)
def test_every_reason_can_be_reached(config: LabelConfig, reasons: set[str]) -> None:
    assert reasons_of(config) == reasons


@pytest.mark.parametrize("mode", ["cot", "votes"])
@pytest.mark.parametrize(("reason", "reply"), TEXTS.items())
def test_text_without_an_answer_says_why(mode: Any, reason: str, reply: Any) -> None:
    made = labelled(lambda _: reply, LabelConfig(mode=mode))
    assert (made.outcome, made.reason) == ("abstain", reason)
    assert {j.failure for j in made.judgements} == {reason}


def test_a_refusal_to_reason_is_not_asked_on() -> None:
    def judge(request: Any) -> Any:
        assert isinstance(request, GenerateRequest)
        return TEXTS["refusal"]

    assert labelled(judge, LabelConfig(mode="cot", cot_answer="probability")).reason == "refusal"


# Symmetry


def scripted(salt: int) -> Callable[[Any], Any]:
    """A judge of arbitrary answers, equal ones to equal requests; some fail, some are cut off, some say nothing."""

    def judge(request: Any) -> Any:
        words = [message.content for message in request.messages]
        key = repr((salt, words, getattr(request, "sample", None), getattr(request, "choices", None)))
        drawn = hashlib.sha256(key.encode()).digest()
        if drawn[0] < 20:
            return Failure("request_error" if drawn[1] % 2 else "too_long")
        if isinstance(request, ScoreRequest):
            weights = [byte + 1 for byte in drawn[2 : 2 + len(request.choices)]]
            return {c: 0.9 * w / sum(weights) for c, w in zip(request.choices, weights, strict=True)}
        if drawn[0] < 30:
            return Completion("Verdict: A", "length", 1, 1)
        return ("Verdict: A", "Verdict: B", "Answer: A", "B", "Verdict: TIE", "I cannot say.")[drawn[1] % 6]

    return judge


words = st.text(st.sampled_from("abc "), min_size=1, max_size=6)


@pytest.mark.parametrize("name", CONFIGS)
@given(a=words, b=words, prompt=words, salt=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_label_of_a_swap_is_the_swap_of_the_label(name: str, a: str, b: str, prompt: str, salt: int) -> None:
    if a == b:
        b += "!"
    comparison = Comparison(prompt=conversation(prompt), response_a=a, response_b=b, source="file", human_p_a=0.25)
    calibrate = Curve(temperature=1.7) if salt % 2 else None
    straight = labelled(scripted(salt), CONFIGS[name], comparison, calibrate=calibrate)
    swapped = labelled(scripted(salt), CONFIGS[name], comparison.swap(), calibrate=calibrate)
    assert swapped == straight.swap()  # to the last digit, and with the same id
    assert straight.swap().swap() == straight


@given(a=st.floats(-20, 20), b=st.floats(-20, 20))
@settings(deadline=None)
def test_so_it_is_of_a_reward_model(a: float, b: float) -> None:
    rater = Rater({"you fool": a, "dear friend": b}.__getitem__)
    assert labelled(rater, LabelConfig(), COMPARISON.swap()) == labelled(rater, LabelConfig()).swap()
