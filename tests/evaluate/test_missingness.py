"""Whether missing labels differ from the rest: by hand, and false alarms no oftener than said."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from raif.evaluate.missingness import holm, missing_line, missingness
from raif.records import Comparison, Judgement, Preference, conversation


def preference(
    number: int, *, missing: bool, length: int = 10, source: str = "responses", answers: dict[str, bool] | None = None
) -> Preference:
    compared = Comparison(prompt=conversation(f"q{number}"), response_a="x" * length, response_b="y", source=source)
    judgements = tuple(
        Judgement(order="ab", principle_id=name, weight=1, p_a=0.9 if answered else None)
        for name, answered in (answers or {}).items()
    )
    return Preference(
        comparison=compared,
        outcome="abstain" if missing else "a",
        reason="refusal" if missing else None,
        p_a=None if missing else 0.9,
        judge="j",
        constitution="c",
        template="t",
        judgements=judgements,
    )


def test_holm_by_hand() -> None:
    # Sorted: .01·3 = .03; .02·2 = .04; .5·1 = .5. And .03·2 = .06 is never below what a smaller p got.
    assert holm([0.5, 0.01, 0.02]) == [0.5, 0.03, 0.04]
    assert holm([0.03, 0.02]) == [0.04, 0.04]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_sources_by_hand() -> None:
    # 8 of 10 revisions are missing, 2 of 10 responses: Fisher's exact p, and V = √(χ²/n) with
    # χ² = 20·(8·8 − 2·2)²/(10·10·10·10) = 7.2, V = .6.
    items = [preference(i, missing=i < 8, source="revisions") for i in range(10)]
    items += [preference(10 + i, missing=i < 2, source="responses") for i in range(10)]
    found = missingness(items)
    (only,) = found.differences
    assert (found.missing, found.n, only.trait) == (10, 20, "source")
    assert only.effect == pytest.approx(0.6)
    assert only.p == pytest.approx(stats.fisher_exact([[8, 2], [2, 8]]).pvalue)
    assert only.rates == {"responses": 0.2, "revisions": 0.8}
    assert found.significant == (only,)
    assert missing_line(found) == (
        "missing labels differ from the rest in source (V 0.60, p 0.023: revisions 80 %, responses 20 % missing)"
    )


def test_lengths_by_hand() -> None:
    # Together with the 1 of response B: 41 ± 1 missing, 21 ± 1 not. d = 20/√((2 + 2)/4·…): both variances are 1.
    items = [preference(i, missing=True, length=39 + i) for i in range(3)]
    items += [preference(10 + i, missing=False, length=19 + i) for i in range(3)]
    (only,) = missingness(items).differences
    assert (only.trait, only.effect) == ("length", pytest.approx(20.0))
    assert only.p == pytest.approx(0.1)  # 2/C(6,3): the most extreme of 20 arrangements, on two sides
    assert only.rates == {"longer": 1.0, "shorter": 0.0}
    assert missingness(items).significant == ()
    assert missing_line(missingness(items)) == ""


def test_principles_are_compared_answer_by_answer() -> None:
    items = [preference(i, missing=False, answers={"kind": i >= 18, "true": True, "short": True}) for i in range(20)]
    (only,) = missingness(items).differences
    assert (only.trait, only.rates) == ("principle", {"kind": 0.9, "short": 0.0, "true": 0.0})
    # 18 of 60 answers are missing, 6 expected of each principle: χ² = (12² + 6² + 6²)/6 + (12² + 6² + 6²)/14 = 51.43.
    assert only.effect == pytest.approx((51.42857 / 60) ** 0.5, abs=1e-6)
    assert only.p == pytest.approx(stats.chi2.sf(51.42857, 2), rel=1e-4)


def test_what_does_not_vary_says_nothing() -> None:
    assert missingness([]).differences == ()
    assert missingness([preference(i, missing=False) for i in range(9)]).differences == ()
    assert missingness([preference(i, missing=True, source=str(i % 2)) for i in range(9)]).differences == ()
    assert missingness([preference(i, missing=i == 0) for i in range(9)]).differences == ()


def test_lengths_with_one_value_on_each_side_have_an_effect_all_the_same() -> None:
    items = [preference(i, missing=i < 4, length=30 if i < 4 else 10) for i in range(12)]
    (only,) = missingness(items).differences
    assert 1 < only.effect < 10
    assert only.rates == {"longer": 1.0, "shorter": 0.0}


def test_false_alarms_are_as_rare_as_said() -> None:
    draw = random.Random(5)
    alarms = 0
    for _ in range(200):
        items = [
            preference(
                i,
                missing=draw.random() < 0.3,
                length=draw.randint(5, 200),
                source=draw.choice(("responses", "revisions")),
                answers={name: draw.random() < 0.8 for name in ("kind", "true", "short")},
            )
            for i in range(40)
        ]
        alarms += bool(missingness(items).significant)
    # At most 5 % of 200 is 10 ± 3.1; more than 20 has a chance below one in 500.
    assert alarms <= 20


def test_a_judge_that_leaves_long_ones_out_is_found() -> None:
    draw = random.Random(6)
    items = []
    for i in range(120):
        length = draw.randint(5, 200)
        items.append(preference(i, missing=draw.random() < length / 250, length=length))
    (only,) = missingness(items).significant
    assert only.trait == "length"
    assert only.effect > 0.5
    assert only.rates["longer"] > only.rates["shorter"]
