"""Summaries of responses, revisions and labels, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from raif.evaluate.statistics import wilson
from raif.evaluate.summary import coverage_line, label_summary, response_summary, revision_summary
from raif.records import (
    Comparison,
    Judgement,
    Preference,
    Prompt,
    Response,
    Revision,
    RevisionStep,
    complement,
    conversation,
)


def preference(
    prompt: str,
    p_ab: float | None,
    p_ba: float | None,
    *,
    outcome: str | None = None,
    reason: str | None = None,
    judgements: tuple[Judgement, ...] = (),
    **comparison: Any,
) -> Preference:
    sides = {"response_a": "yes", "response_b": "no, never", "source": "responses"} | comparison
    answered = [p for p in (p_ab, p_ba) if p is not None]
    p_a = sum(answered) / len(answered) if answered else None
    if outcome is None:
        outcome = "abstain" if reason else "tie" if p_a == 0.5 else "a" if (p_a or 0) > 0.5 else "b"
    return Preference.model_validate(
        {
            "comparison": Comparison.model_validate({"prompt": conversation(prompt), **sides}),
            "outcome": outcome,
            "reason": reason,
            "p_a": p_a,
            "p_a_by_order": (p_ab, p_ba),
            "judge": "judge",
            "constitution": "c",
            "template": "t",
            "judgements": judgements,
        }
    )


def swapped(label: Preference) -> Preference:
    first, second = label.p_a_by_order
    return Preference(
        comparison=label.comparison.swap(),
        outcome={"a": "b", "b": "a"}.get(label.outcome, label.outcome),  # type: ignore[arg-type]
        reason=label.reason,
        p_a=complement(label.p_a),
        p_a_by_order=(complement(second), complement(first)),
        judge=label.judge,
        constitution=label.constitution,
        template=label.template,
        judgements=tuple(judgement.swap() for judgement in label.judgements),
    )


def judged(principle: str, p_ab: float | None, p_ba: float | None) -> tuple[Judgement, Judgement]:
    return (
        Judgement(
            order="ab", principle_id=principle, weight=1, p_a=p_ab, failure=None if p_ab is not None else "refusal"
        ),
        Judgement(
            order="ba", principle_id=principle, weight=1, p_a=p_ba, failure=None if p_ba is not None else "refusal"
        ),
    )


LABELS = [
    # A wins in both orders; "no, never" is longer than "yes": the shorter wins
    preference("1", 0.9, 0.7, judgements=(*judged("kind", 0.9, 0.7), *judged("true", 0.2, 0.4)), human_p_a=1.0),
    # B wins though the order ab prefers A: a flip; the longer wins
    preference("1", 0.55, 0.1, judgements=(*judged("kind", 0.55, 0.1), *judged("true", None, 0.3)), human_p_a=1.0),
    # a tie
    preference("2", 0.5, 0.5, human_p_a=0.0),
    # an order conflict, first shown preferred twice; it is no flip that decided anything
    preference("3", 0.9, 0.1, reason="order_conflict", human_p_a=0.0),
    # nothing was answered; the human found both alike
    preference("4", None, None, reason="unparsed", human_p_a=0.5),
]


def test_label_summary_by_hand() -> None:
    summary = label_summary(LABELS)
    assert (summary.n, summary.prompts, summary.decided, summary.ties) == (5, 4, 2, 1)
    assert summary.abstained == {"order_conflict": 1, "unparsed": 1}
    assert summary.coverage == pytest.approx(2 / 5)
    assert summary.flip_rate is not None
    assert (summary.flip_rate.value, summary.flip_rate.n) == (0.5, 4)
    # first shown: (.9 first, .7 second), (.55 first, .1 first), half and half, first twice: (1 + 2 + 1 + 2)/8
    assert summary.position_preference is not None
    assert (summary.position_preference.value, summary.position_preference.n) == (0.75, 8)
    # |.8−.5|, |.325−.5|, 0, 0 over the four with a p_a
    assert summary.decisiveness == pytest.approx((0.3 + 0.175) / 4)
    assert summary.longer_preferred is not None
    assert (summary.longer_preferred.value, summary.longer_preferred.n) == (0.5, 2)
    assert summary.revision_preferred is None


def test_the_longer_response() -> None:
    # "no, never" (B) is longer than "yes": it wins one of three; equal lengths say nothing
    labels = [preference("1", 0.9, 0.9), preference("2", 0.1, 0.1), preference("3", 0.9, 0.9)]
    equal = preference("4", 0.1, 0.1, response_a="same", response_b="size")
    longer = label_summary([*labels, equal]).longer_preferred
    assert longer is not None
    assert (longer.value, longer.n) == (pytest.approx(1 / 3), 3)


def test_principles_by_hand() -> None:
    kind, true = label_summary(LABELS).by_principle.values()
    assert (kind.judgements, kind.failed, true.judgements, true.failed) == (4, 0, 4, 1)
    assert kind.flip_rate is not None
    assert true.flip_rate is not None
    assert (kind.flip_rate.value, kind.flip_rate.n) == (0.5, 2)
    assert (true.flip_rate.value, true.flip_rate.n) == (0.0, 1)
    # the winner is A, then B: kind gives it .8 and 1 − .325; true .3 and 1 − .3
    assert kind.p_winner == pytest.approx((0.8 + 0.675) / 2)
    assert true.p_winner == pytest.approx((0.3 + 0.7) / 2)
    assert true.disagreement is not None
    assert (true.disagreement.value, true.disagreement.n) == (0.5, 2)
    assert kind.disagreement is not None
    assert (kind.disagreement.value, kind.disagreement.n) == (0.0, 2)
    assert true.decisiveness == pytest.approx((0.3 + 0.1 + 0.2) / 3)


def test_human_agreement_is_over_decided_items() -> None:
    human = label_summary(LABELS).human
    assert human is not None
    # four items have a label that prefers a side, two of them are decided, one of those agrees; both share a prompt
    assert (human.labelled, human.coverage, human.agreement.n) == (4, 0.5, 2)
    assert human.agreement.value == 0.5
    assert (human.agreement.low, human.agreement.high) == wilson(0.5, 1)
    assert human.kappa.value == 0
    # Brier: ((.8 − 1)² + (.325 − 1)²)/2
    assert human.calibration.brier == pytest.approx((0.04 + 0.455625) / 2)


def test_why_there_is_no_agreement() -> None:
    bare = label_summary([preference("1", 0.9, 0.9)])
    assert bare.human is None
    assert bare.human_missing == "the comparisons have no human label"
    undecided = label_summary([preference("1", 0.5, 0.5, human_p_a=1.0)])
    assert undecided.human is None
    assert undecided.human_missing == "the judge decided none of the 1 comparisons that have a human label"


def test_nothing_to_sum_up() -> None:
    summary = label_summary([])
    assert (summary.n, summary.coverage, summary.flip_rate, summary.by_principle) == (0, None, None, {})
    assert coverage_line(summary) == "no comparisons"
    assert response_summary([]).length is None
    assert revision_summary([]).changed is None


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return round(value, 9) if isinstance(value, float) else value


def test_swapping_any_sides_changes_nothing() -> None:
    half = [swapped(label) if index % 2 else label for index, label in enumerate(LABELS)]
    assert rounded(label_summary(half).model_dump()) == rounded(label_summary(LABELS).model_dump())


def test_revision_against_original() -> None:
    def pair(prompt: str, p: float, revision_is: str) -> Preference:
        origins = {"origin_a": "policy", "origin_b": "revision"}
        if revision_is == "a":
            origins = {"origin_a": "revision", "origin_b": "policy"}
        return preference(prompt, p, p, source="revisions", **origins)

    summary = label_summary([pair("1", 0.9, "a"), pair("2", 0.9, "b"), pair("3", 0.1, "b"), pair("4", 0.5, "b")])
    assert summary.revision_preferred is not None
    assert summary.revision_preferred.value == pytest.approx((1 + 0 + 1 + 0.5) / 4)


def test_coverage_line() -> None:
    labels = [
        *(preference(f"{i}", 0.9, 0.9) for i in range(371)),
        *(preference(f"{i}", 0.5, 0.5) for i in range(12)),
        *(preference(f"{i}", None, None, reason="low_mass") for i in range(2)),
        *(preference(f"{i}", 0.9, 0.1, reason="order_conflict") for i in range(15)),
    ]
    assert coverage_line(label_summary(labels)) == (
        "400 comparisons: 371 decided, 12 ties, 17 abstained (order_conflict 15, low_mass 2); coverage 92.8 %"
    )
    assert coverage_line(label_summary(labels[:1])) == "1 comparison: 1 decided, 0 ties, 0 abstained; coverage 100.0 %"


def response(prompt: str, text: str, **fields: Any) -> Response:
    turns = conversation(prompt)
    return Response(prompt_id=Prompt(messages=turns).id, prompt=turns, model="m", text=text, **fields)


def test_response_summary_by_hand() -> None:
    summary = response_summary(
        [
            response("1", "four", finish="stop"),
            response("1", "eight888", finish="length", sample=1),
            response("2", "", failure="refusal"),
        ]
    )
    assert (summary.n, summary.prompts, summary.failures) == (3, 2, {"refusal": 1})
    assert summary.truncated is not None
    assert summary.length is not None
    assert (summary.truncated.value, summary.truncated.n) == (0.5, 2)
    assert (summary.length.value, summary.length.low) == (6, None)  # one prompt says nothing about how prompts differ


def test_revision_summary_by_hand() -> None:
    def revision(number: int, text: str, *steps: RevisionStep) -> Revision:
        turns = conversation("p")
        return Revision(
            response_id=str(number),
            prompt_id="p",
            prompt=turns,
            original="old",
            text=text,
            policy="m",
            judge="j",
            constitution="c",
            steps=steps,
        )

    def step(principle: str, **fields: Any) -> RevisionStep:
        return RevisionStep(round=0, principle_id=principle, critique="…", **fields)

    summary = revision_summary(
        [
            revision(1, "new", step("kind", revision="new", accepted=True, p_improved=0.9), step("true", clean=True)),
            revision(2, "old", step("kind", revision="new", p_improved=0.2), step("true", failure="empty")),
            revision(3, "old", step("kind", clean=True), step("true", clean=True)),
            revision(4, "old "),
        ]
    )
    assert (summary.n, summary.clean, summary.failures) == (4, 1, {"empty": 1})
    assert summary.changed is not None
    assert summary.changed.value == 0.25
    kind, true = summary.by_principle["kind"], summary.by_principle["true"]
    assert (kind.steps, kind.clean, kind.accepted, kind.rejected, kind.failed) == (3, 1, 1, 1, 0)
    assert (true.steps, true.clean, true.accepted, true.rejected, true.failed) == (3, 2, 0, 0, 1)
    assert kind.p_improved == pytest.approx(0.55)
    assert true.p_improved is None
