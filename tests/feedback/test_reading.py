"""How answers that are not a verdict are read: short answers, votes, grades, rewards, and refusals."""

from __future__ import annotations

import math

import pytest

from raif.config import LabelConfig
from raif.feedback.reading import (
    Reading,
    grades,
    logistic,
    read_after_reasoning,
    read_grades,
    read_reasoning,
    read_rewards,
    read_votes,
    to_judgement,
)
from raif.feedback.verdict import is_refusal, most_frequent, parse_answer
from raif.models.base import Completion, Failure, Rating, Scores

VOTES = LabelConfig(mode="votes", allow_tie=True)


def said(text: str, finish: str = "stop") -> Completion:
    return Completion(text, finish, 1, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("A", "A"),
        (" b.\n", "B"),
        ("**B**", "B"),
        ("(A)", "A"),
        ("Response B", "B"),
        ("The answer is A.", "A"),
        ("Answer: B", "B"),
        ("The better response is\n\nB", "B"),
        ("Verdict: A", "A"),
        ("A\n\nIt is warmer than the other one.", "A"),
        # A response may quote an answer; the last line that answers counts, and a verdict after it counts more.
        ("It says:\nA\nbut no.\nB", "B"),
        ("A\nOn reflection, verdict: B", "B"),
        # What was not offered is not traded for what was.
        ("A\nTIE", None),
        ("A is better", None),
        ("Alas", None),
        ("A or B", None),
        ("", None),
    ],
)
def test_the_last_line_that_answers_counts(text: str, answer: str | None) -> None:
    assert parse_answer(text, ("A", "B")) == answer


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "Sorry, I can't.",
        "I cannot compare these responses.",
        "I can’t judge this.",
        "I won't choose.",
        "I will not choose.",
        "I am unable to assist.",
        "I am not comfortable with this.",
        "I must decline.",
        "I apologize, but no.",
        "My apologies, no.",
        "As an AI language model, I have no preference.",
        "Unfortunately, I cannot say.",
        "I don't feel comfortable judging this.",
        "I'd rather not say.",
        "We cannot do that.",
    ],
)
def test_refusals_are_known_by_how_they_begin(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "Both are fine.",
        "The response says it is sorry.",
        "It apologises without cause.",
        "I think that A is kinder.",
        "Icannot",
        "No fault.",
        "",
    ],
)
def test_what_talks_of_refusal_is_none(text: str) -> None:
    assert not is_refusal(text)


def test_votes_by_hand() -> None:
    answers = [said("A"), said("A"), said("B"), said("TIE"), said("I can't say."), Failure("refusal")]
    reading = read_votes(answers, VOTES)
    # Four of six vote: two for A and half a TIE of four is .625; a quarter says TIE.
    assert (reading.p_first, reading.p_tie) == (0.625, 0.25)
    assert reading.mass == pytest.approx(4 / 6)
    # A vote that was lost on the way may still be had: no label is made of the others.
    assert read_votes([*answers, Failure("request_error")], VOTES) == Reading(failure="request_error")


def test_too_few_votes_are_no_label() -> None:
    answers = [said("A"), *[said("Hm.")] * 19]
    reading = read_votes(answers, LabelConfig(mode="votes", min_mass=0.1))
    assert (reading.p_first, reading.failure, reading.mass) == (None, "low_mass", 0.05)
    assert read_votes(answers, LabelConfig(mode="votes", min_mass=0.05)).p_first == 1.0


def test_no_vote_at_all_has_the_most_frequent_reason() -> None:
    answers = [said("Hm."), said("I'm sorry."), said("A", "length"), said("A", "length"), Failure("too_long")]
    assert read_votes(answers, VOTES).failure == "truncated"
    assert most_frequent(["unparsed", "refusal"]) == most_frequent(["refusal", "unparsed"]) == "refusal"


def test_a_reasoning_that_was_cut_off_has_no_verdict_even_where_it_quotes_one() -> None:
    config = LabelConfig(mode="cot")
    assert read_reasoning(said('The first says "Verdict: A", and', "length"), config).failure == "truncated"
    assert read_reasoning(said('The first says "Verdict: A".\nVerdict: B'), config).p_first == 0.0


def test_the_probability_after_reasoning_is_clamped_on_both_sides() -> None:
    config = LabelConfig(mode="cot", clamp=(0.4, 0.6))
    found = [read_after_reasoning(Scores(p, 1), config).p_first for p in ((0.99, 0.01), (0.5, 0.5), (0.05, 0.95))]
    assert found == [0.6, 0.5, 0.4]
    assert read_after_reasoning(Scores((0.01, 0.02), 1), config).failure == "low_mass"
    assert read_after_reasoning(Failure("too_long"), config).failure == "too_long"


def test_no_grade_begins_another() -> None:
    assert grades(9) == tuple("123456789")
    assert grades(10) == tuple("0123456789")


def test_grades_by_hand() -> None:
    config = LabelConfig(mode="score")
    certain = [0.0] * 9
    seven, eight = certain.copy(), certain.copy()
    seven[6] = eight[7] = 0.5
    reading = read_grades([Scores(tuple(eight), 1), Scores(tuple(seven), 1)], config)
    # One grade more is one unit of log-odds: σ(1) = .731059. (8 − 5)/4 = .75 and (7 − 5)/4 = .5; half of the mass.
    assert reading.p_first == pytest.approx(0.731059, abs=1e-6)
    assert (reading.scores, reading.mass) == ((0.75, 0.5), 0.5)


def test_a_grade_that_is_missing_leaves_no_label() -> None:
    config = LabelConfig(mode="score")
    good, faint = Scores((0.0,) * 8 + (0.9,), 1), Scores((0.0,) * 8 + (0.05,), 1)
    for answers in ([good, faint], [faint, good]):
        reading = read_grades(answers, config)
        assert (reading.p_first, reading.failure, reading.mass) == (None, "low_mass", 0.05)
    assert read_grades([Failure("too_long"), faint], config).failure == "low_mass"
    assert read_grades([Failure("too_long"), Failure("too_long")], config).mass is None
    assert read_grades([Scores((0.0,) * 9, 1), good], LabelConfig(mode="score", min_mass=0.0)).failure == "low_mass"


def test_rewards_are_log_odds() -> None:
    assert read_rewards([Rating(3.0, 1), Rating(1.0, 1)]).p_first == pytest.approx(1 / (1 + math.exp(-2)))
    assert read_rewards([Rating(-900.0, 1), Rating(900.0, 1)]).p_first == 0.0
    assert read_rewards([Rating(1.0, 1), Failure("too_long")]).failure == "too_long"


@pytest.mark.parametrize("x", [0.0, 1e-9, 0.3, 5.0, 40.0, 1000.0])
def test_the_logistic_is_symmetric_and_never_overflows(x: float) -> None:
    assert logistic(-x) == 1 - logistic(x)
    assert 0 <= logistic(-x) <= 0.5 <= logistic(x) <= 1


def test_what_was_judged_without_an_order_is_recorded_so() -> None:
    made = to_judgement(read_rewards([Rating(0.1234567, 1), Rating(2.0, 1)]), None, "(reward)", 1.0)
    assert (made.order, made.scores) == (None, (0.123457, 2.0))
    swapped = made.swap()
    assert (swapped.order, swapped.scores, swapped.swap()) == (None, (2.0, 0.123457), made)
    assert "scores" not in to_judgement(read_rewards([Failure("too_long")]), None, "x", 1.0).model_dump()
