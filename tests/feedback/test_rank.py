"""Rankings: which pairs are asked, what Davidson's model makes of them, and what is left without a rank."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from raif.config import LabelConfig
from raif.errors import InputError
from raif.feedback.pairs import to_label, to_rank
from raif.feedback.rank import (
    STRENGTH_PRIOR,
    TIE_PRIOR,
    Game,
    fit,
    game,
    largest_group,
    rank,
    ranking_line,
    ring,
    summarise,
    win_probability,
)
from raif.records import Comparison, Judgement, Preference, Prompt, Response, Revision, conversation

PROMPT = conversation("hello")


def preference(a: str, b: str, p_a: float | None, *, p_tie: float | None = None, prompt: str = "hello") -> Preference:
    outcome = "abstain" if p_a is None else "tie" if abs(p_a - 0.5) <= 0.02 else "a" if p_a > 0.5 else "b"
    compared = Comparison(prompt=conversation(prompt), response_a=a, response_b=b, source="rank", origin_a="m")
    judgement = Judgement(order="ab", principle_id="kind", weight=1, p_a=p_a, p_tie=p_tie)
    return Preference(
        comparison=compared,
        outcome=outcome,  # type: ignore[arg-type]
        reason="low_mass" if p_a is None else None,
        p_a=p_a,
        judge="j",
        constitution="c",
        template="t",
        judgements=(judgement,),
    )


def response(text: str, sample: int, prompt: str = "hello", failure: str | None = None) -> Response:
    asked = conversation(prompt)
    return Response(
        prompt_id=Prompt(messages=asked).id,
        prompt=asked,
        model="m",
        sample=sample,
        text=text,
        failure=failure,  # type: ignore[arg-type]
    )


# Which pairs


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 8, 9])
def test_a_ring_has_every_pair_once(n: int) -> None:
    assert sorted(tuple(sorted(pair)) for pair in ring(n)) == list(combinations(range(n), 2))


@pytest.mark.parametrize("n", [3, 4, 7, 8])
def test_a_ring_cut_off_anywhere_is_fair_and_soon_connected(n: int) -> None:
    pairs = list(ring(n))
    for size in range(1, len(pairs) + 1):
        met = [sum(place in pair for pair in pairs[:size]) for place in range(n)]
        assert max(met) - min(met) <= 2
        if size >= n - 1:
            assert largest_group(n, [Game(i, j, 1, 0, 0) for i, j in pairs[:size]]) == list(range(n))


def test_a_budget_of_pairs_is_drawn_by_the_prompt_alone() -> None:
    own = [response(f"answer {i}", i) for i in range(6)]
    other = [response(f"other {i}", i, prompt="bye") for i in range(6)]
    alone = to_rank(own, (), 7, seed=1)
    assert len(alone) == 7
    assert [pair.id for pair in to_rank(other + own, (), 7, seed=1) if pair.prompt == PROMPT] == [p.id for p in alone]
    assert len(to_rank(own, (), None, seed=1)) == 15
    assert {pair.id for pair in to_rank(own, (), 7, seed=2)} != {pair.id for pair in alone}


def test_revisions_are_ranked_with_the_responses_and_nothing_twice() -> None:
    first, *_ = responses = [response("rude", 0), response(" rude ", 1), response("", 2), response("kind", 3)]
    revision = Revision(
        response_id=first.id,
        prompt_id=first.prompt_id,
        prompt=PROMPT,
        original="rude",
        text="warm",
        policy="m",
        judge="j",
        constitution="c",
    )
    pairs = to_rank(responses, [revision], None, seed=0)
    assert {frozenset((p.response_a, p.response_b)) for p in pairs} == {
        frozenset(pair) for pair in combinations(("rude", "kind", "warm"), 2)
    }
    assert {
        p.origin_a if p.response_a == "warm" else p.origin_b for p in pairs if "warm" in (p.response_a, p.response_b)
    } == {"revision"}


def test_mode_rank_asks_of_all_responses_and_other_modes_of_their_pairs() -> None:
    own = [response(f"answer {i}", i) for i in range(4)]
    assert len(to_label(own, (), LabelConfig(mode="rank"), seed=0)) == 6
    assert len(to_label(own, (), LabelConfig(mode="rank", rank_pairs=3), seed=0)) == 3
    assert len(to_label(own, (), LabelConfig(), seed=0)) == 1
    with pytest.raises(InputError, match="no two different responses"):
        to_label(own[:1], (), LabelConfig(mode="rank"), seed=0)


# The fit


def test_two_responses_by_hand() -> None:
    strengths, ties = fit(2, [Game(0, 1, 0.9, 0.0, 0.1)])
    d = strengths[0] - strengths[1]
    # Without ties the posterior is flat where .9 − σ(d) = d/(2·10²).
    assert pytest.approx(1 / (1 + math.exp(-d)) + d / 200) == 0.9
    assert (ties, pytest.approx(strengths.sum(), abs=1e-9)) == (0.0, 0.0)


def test_the_fit_is_the_highest_point_of_the_posterior() -> None:
    games = [Game(0, 1, 0.7, 0.2, 0.1), Game(1, 2, 0.0, 1.0, 0.0), Game(2, 3, 1.0, 0.0, 0.0), Game(0, 3, 0.3, 0.1, 0.6)]

    def loss(x: np.ndarray) -> float:  # Davidson's likelihood as it stands in his paper
        pi, nu = np.exp(x[:4]), np.exp(x[4])
        total = 0.5 * np.sum((x[:4] / STRENGTH_PRIOR) ** 2) + 0.5 * (x[4] / TIE_PRIOR) ** 2
        for one in games:
            root = nu * np.sqrt(pi[one.i] * pi[one.j])
            whole = pi[one.i] + pi[one.j] + root
            parts = (one.i_wins, pi[one.i]), (one.j_wins, pi[one.j]), (one.tie, root)
            total -= sum(weight * np.log(part / whole) for weight, part in parts if weight)
        return float(total)

    wanted = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x
    strengths, ties = fit(4, games)
    assert strengths == pytest.approx(wanted[:4], abs=1e-4)
    assert ties == pytest.approx(math.exp(wanted[4]), abs=1e-4)


def test_who_wins_everything_is_strong_and_not_infinitely_so() -> None:
    strengths, _ = fit(6, [Game(i, j, 1.0, 0.0, 0.0) for i, j in combinations(range(6), 2)])
    assert all(a > b for a, b in pairwise(strengths))
    assert 3 < strengths[0] < 30


def test_a_win_and_half_a_tie_make_p_a() -> None:
    # e^1 : e^−1 and ν = 2: (e + 1)/(e + 1/e + 2) = σ(1)·… by hand (2.718282 + 1)/(2.718282 + .367879 + 2) = .731059.
    assert win_probability(2.0, 2.0) == pytest.approx((math.e + 1) / (math.e + 1 / math.e + 2))
    assert win_probability(0.0, 3.0) == 0.5
    assert win_probability(800.0) == 1.0
    assert win_probability(-3.0, 0.7) == pytest.approx(1 - win_probability(3.0, 0.7))


@given(st.permutations(range(4)), st.lists(st.integers(0, 100), min_size=6, max_size=6), st.integers(0, 63))
@settings(max_examples=40, deadline=None)
def test_neither_names_nor_sides_matter(order: list[int], shares: list[int], flips: int) -> None:
    pairs = list(combinations(range(4), 2))
    games = [Game(i, j, s / 100, 0.0, 1 - s / 100) for (i, j), s in zip(pairs, shares, strict=True)]
    turned = [
        Game(order[g.j], order[g.i], g.j_wins, g.tie, g.i_wins)
        if flips >> at & 1
        else Game(order[g.i], order[g.j], g.i_wins, g.tie, g.j_wins)
        for at, g in enumerate(games)
    ]
    straight, other = fit(4, games)[0], fit(4, turned)[0]
    assert [other[place] for place in order] == pytest.approx(straight.tolist(), abs=1e-7)


# Rankings


def test_how_a_preference_counts() -> None:
    assert game(preference("x", "y", 0.8), 0, 1) == Game(0, 1, 0.8, 0.0, pytest.approx(0.2))
    assert game(preference("x", "y", 0.51), 0, 1) == Game(0, 1, 0.0, 1.0, 0.0)  # the outcome is a tie
    # .8 with .3 of it for TIE: a win .8 − .15, a loss .2 − .15.
    shared = game(preference("x", "y", 0.8, p_tie=0.3), 0, 1)
    assert (shared.i_wins, shared.tie, shared.j_wins) == (pytest.approx(0.65), 0.3, pytest.approx(0.05))
    # A calibration may leave less room than TIE got.
    assert game(preference("x", "y", 0.9, p_tie=0.4), 0, 1).j_wins == pytest.approx(0)


def test_a_ranking_puts_responses_in_their_order() -> None:
    (made,) = rank([preference("a", "b", 0.9), preference("b", "c", 0.8), preference("c", "a", 0.2)])
    assert [(r.text, r.rank, r.compared) for r in made.responses] == [("a", 1, 2), ("b", 2, 2), ("c", 3, 2)]
    assert sum(r.strength or 0.0 for r in made.responses) == pytest.approx(0, abs=1e-5)
    assert (made.asked, made.abstained, made.tie_weight) == (3, 0, 0.0)
    pair = made.best_and_worst(0.02)
    assert pair is not None
    assert (pair.chosen[0].content, pair.rejected[0].content, pair.source) == ("a", "c", "rank")
    strengths = [r.strength or 0.0 for r in made.responses]
    assert pair.p_chosen == pytest.approx(win_probability(strengths[0] - strengths[2]), abs=1e-6)


def test_equals_share_a_rank_and_have_no_best_nor_worst() -> None:
    (made,) = rank([preference("a", "b", 0.5), preference("b", "c", 0.5), preference("c", "a", 0.5)])
    assert [r.rank for r in made.responses] == [1, 1, 1]
    assert made.best_and_worst() is None
    assert made.tie_weight > 1


def test_what_no_judgement_connects_has_no_rank() -> None:
    (made,) = rank([preference("a", "b", 0.9), preference("b", "c", 0.8), preference("d", "a", None)])
    assert [(r.text, r.rank, r.strength is None) for r in made.responses] == [
        ("a", 1, False),
        ("b", 2, False),
        ("c", 3, False),
        ("d", None, True),
    ]
    assert (made.asked, made.abstained) == (3, 1)
    (nothing,) = rank([preference("a", "b", None)])
    assert [r.rank for r in nothing.responses] == [None, None]
    assert nothing.best_and_worst() is None


def test_each_prompt_is_ranked_by_itself() -> None:
    own, other = preference("a", "b", 0.9), preference("a", "b", 0.2, prompt="bye")
    both = rank([own, other])
    assert both == [*rank([own]), *rank([other])]
    assert [one.responses[0].text for one in both] == ["a", "b"]
    figures = summarise(both, 2)
    assert figures == {"prompts_ranked": 2, "responses_ranked": 4, "responses_unconnected": 0, "best_and_worst": 2}
    assert ranking_line(figures) == "4 responses to 2 prompts ranked, 2 best against worst"
