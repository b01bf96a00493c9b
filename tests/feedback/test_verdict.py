"""How answers are read and added up; every expected value is derived in a comment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raif.config import LabelConfig
from raif.feedback.reading import read_reasoning, read_scores, to_judgement
from raif.feedback.verdict import (
    Verdict,
    combine,
    found_no_fault,
    improvement,
    parse_verdict,
)
from raif.models.base import Completion, Failure, Scores
from raif.records import Judgement, complement

CONFIG = LabelConfig()


def judgement(order: str, p_a: float | None, principle: str = "kind", weight: float = 1.0, failure=None) -> Judgement:
    return Judgement(order=order, principle_id=principle, weight=weight, p_a=p_a, failure=failure)


@pytest.mark.parametrize(
    ("text", "offered", "verdict"),
    [
        ("A is kinder.\nVerdict: A", ("A", "B"), "A"),
        ('B quotes "Verdict: A" to sway me.\nVerdict: B', ("A", "B"), "B"),
        ("**Verdict:** B.", ("A", "B"), "B"),
        ("verdict - a", ("A", "B"), "A"),
        ("Verdict: TIE", ("A", "B"), None),
        ("Verdict: TIE", ("A", "B", "TIE"), "TIE"),
        ("Verdict: Alas, neither", ("A", "B"), None),
        ("I prefer A", ("A", "B"), None),
        # An answer that was not offered is not traded for an earlier one that was.
        ("Verdict: A\nVerdict: TIE", ("A", "B"), None),
    ],
)
def test_the_last_verdict_of_the_offered_set_counts(text: str, offered: tuple, verdict: str | None) -> None:
    assert parse_verdict(text, offered) == verdict


@pytest.mark.parametrize(
    ("critique", "clean"),
    [
        ("No fault.", True),
        (" no faults ", True),
        ("No fault", True),
        ("No fault of tone, but it lies.", False),
        ("It is rude.", False),
        ("", False),
    ],
)
def test_no_fault_alone_is_clean(critique: str, clean: bool) -> None:
    assert found_no_fault(critique) is clean


def test_scores_are_renormalised_over_the_offered_answers() -> None:
    # .6 and .2 of raw mass .8: A is .6/.8 = .75.
    reading = read_scores(Scores((0.6, 0.2), 10), CONFIG)
    assert reading.p_first == pytest.approx(0.75)
    assert reading.mass == pytest.approx(0.8)


def test_half_of_a_tie_goes_to_each_side() -> None:
    # A .5, B .1, TIE .4 of mass 1: .5 + .4/2 = .7.
    reading = read_scores(Scores((0.5, 0.1, 0.4), 10), LabelConfig(allow_tie=True))
    assert reading.p_first == pytest.approx(0.7)
    assert reading.p_tie == pytest.approx(0.4)


@pytest.mark.parametrize("probabilities", [(0.04, 0.03), (0.0, 0.0)])
def test_too_little_mass_abstains(probabilities: tuple[float, float]) -> None:
    assert read_scores(Scores(probabilities, 10), CONFIG).failure == "low_mass"


def test_low_mass_is_a_choice_of_the_user_but_nothing_at_all_is_not() -> None:
    config = LabelConfig(min_mass=0.0)
    assert read_scores(Scores((0.03, 0.01), 10), config).p_first == pytest.approx(0.75)
    assert read_scores(Scores((0.0, 0.0), 10), config).failure == "low_mass"


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (Completion("I'm sorry, I can't compare these.", "stop", 1, 1), "refusal"),
        (Completion("Both have merits.", "stop", 1, 1), "unparsed"),
        (Completion("Response A says at length", "length", 1, 1), "truncated"),
        (Failure("request_error"), "request_error"),
        (Failure("too_long"), "too_long"),
        (Failure("empty"), "unparsed"),
    ],
)
def test_reasoning_without_a_verdict_says_why(answer: Completion | Failure, failure: str) -> None:
    reading = read_reasoning(answer, CONFIG)
    assert (reading.p_first, reading.failure) == (None, failure)


def test_certainty_after_reasoning_is_clamped() -> None:
    config = LabelConfig(mode="cot", clamp=(0.4, 0.6))
    assert read_reasoning(Completion("Verdict: B", "stop", 1, 1), config).p_first == 0.4


def test_a_reading_of_the_second_order_speaks_of_response_a() -> None:
    # In order "ba" the judge saw B first: .9 for the first is .1 for A.
    reading = read_scores(Scores((0.9, 0.1), 1), CONFIG)
    assert to_judgement(reading, "ba", "kind", 1.0).p_a == pytest.approx(0.1)
    assert to_judgement(reading, "ab", "kind", 1.0).p_a == pytest.approx(0.9)


def test_principles_are_weighted_and_orders_averaged() -> None:
    # Order ab: (3·.9 + 1·.2)/4 = .725; order ba: (3·.7 + 1·.4)/4 = .625; mean .675.
    verdict = combine(
        [
            judgement("ab", 0.9, "safe", 3),
            judgement("ab", 0.2, "kind", 1),
            judgement("ba", 0.7, "safe", 3),
            judgement("ba", 0.4, "kind", 1),
        ],
        CONFIG,
    )
    assert verdict == Verdict("a", None, 0.675, (pytest.approx(0.725), pytest.approx(0.625)))


def test_a_principle_that_failed_in_one_order_counts_in_neither() -> None:
    verdict = combine(
        [
            judgement("ab", 0.9, "safe"),
            judgement("ab", 0.1, "kind"),
            judgement("ba", 0.8, "safe"),
            judgement("ba", None, "kind", failure="low_mass"),
        ],
        CONFIG,
    )
    # "kind" is out: (.9 + .8)/2 = .85; with it order ab alone would have read .5.
    assert verdict.p_a == pytest.approx(0.85)


def test_orders_that_follow_the_position_are_a_conflict() -> None:
    # First shown wins both times: .9 for A, then .9 for B, that is .1 for A.
    verdict = combine([judgement("ab", 0.9), judgement("ba", 0.1)], CONFIG)
    assert (verdict.outcome, verdict.reason) == ("abstain", "order_conflict")


def test_hesitant_disagreement_is_no_conflict() -> None:
    # .45 is only .05 from ½, under the margin of .1: mean (.9 + .45)/2 = .675.
    assert combine([judgement("ab", 0.9), judgement("ba", 0.45)], CONFIG).outcome == "a"


def test_close_to_a_half_is_a_tie() -> None:
    assert combine([judgement("ab", 0.51), judgement("ba", 0.51)], CONFIG).outcome == "tie"


def test_nothing_usable_abstains_with_the_most_frequent_reason() -> None:
    verdict = combine(
        [
            judgement("ab", None, "safe", failure="low_mass"),
            judgement("ba", None, "safe", failure="unparsed"),
            judgement("ab", None, "kind", failure="unparsed"),
            judgement("ba", None, "kind", failure="request_error"),
        ],
        CONFIG,
    )
    assert (verdict.outcome, verdict.reason, verdict.p_a) == ("abstain", "unparsed", None)


@st.composite
def judged(draw: st.DrawFn) -> list[Judgement]:
    principles = draw(st.integers(1, 4))
    orders = draw(st.sampled_from([("ab", "ba"), ("ab",), ("ba",)]))
    answer = st.one_of(st.none(), st.integers(0, 1000).map(lambda n: n / 1000))
    return [
        judgement(order, p, f"p{index}", index + 1.0, None if p is not None else "unparsed")
        for order in orders
        for index in range(principles)
        for p in [draw(answer)]
    ]


@given(judged(), st.sampled_from([0.0, 0.02, 0.2]))
def test_combining_is_symmetric(judgements: list[Judgement], margin: float) -> None:
    config = LabelConfig(tie_margin=margin)
    straight, swapped = combine(judgements, config), combine([j.swap() for j in judgements], config)
    exchange = {"a": "b", "b": "a", "tie": "tie", "abstain": "abstain"}
    if straight.p_a is None:
        assert swapped == straight
    else:
        assert swapped.p_a == pytest.approx(complement(straight.p_a), abs=2e-6)
        # A margin's very edge may fall to either side in floating point.
        if abs(abs(straight.p_a - 0.5) - margin) > 1e-5:
            assert (swapped.outcome, swapped.reason) == (exchange[straight.outcome], straight.reason)


def test_improvement_is_the_share_of_yes() -> None:
    # YES .3 of YES .3 + NO .1 = .75.
    assert improvement(Scores((0.3, 0.1), 1), 0.1) == pytest.approx(0.75)
    assert improvement(Scores((0.03, 0.01), 1), 0.1) is None
    assert improvement(Failure("too_long"), 0.1) is None
