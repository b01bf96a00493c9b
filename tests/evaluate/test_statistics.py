"""Statistics: published values, values derived by hand, and what must hold for any input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raif.evaluate.statistics import (
    Estimate,
    Mean,
    clustered_mean,
    clustered_proportion,
    clustered_variance,
    cohen_kappa,
    difference,
    first_shown_share,
    gwet_ac1,
    proportion,
    randomised_order_kappa,
    wilson,
    win_score,
)


def test_wilson_by_hand() -> None:
    # 8 of 10, z = 1.96: centre (.8 + 3.8415/20) / 1.38415 = .71674, half 1.95996/1.38415 · √(.016 + .0096036) = .22658
    assert wilson(8, 10) == pytest.approx((0.49016, 0.94332), abs=2e-5)
    # 0 of 59: high = z²/(n + z²) = 3.84146/62.84146
    assert wilson(0, 59) == pytest.approx((0.0, 0.061130), abs=1e-6)
    assert wilson(59, 59) == pytest.approx((1 - 0.061130, 1.0), abs=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_no_proportion(successes: float, n: float) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(successes, n)


def test_difference_published() -> None:
    # Newcombe 1998, table II, case (a): 56/70 − 48/80 = .2000, method 10 .0524 to .3339
    before, after = proportion(48, 80), proportion(56, 70)
    assert before is not None
    assert after is not None
    assert difference(before, after) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    # the way back is the mirror image
    assert difference(after, before) == pytest.approx((-0.2, -0.3339, -0.0524), abs=5e-5)


def test_nothing_to_estimate() -> None:
    assert proportion(0, 0) is None
    assert clustered_proportion([]) is None
    assert clustered_mean([]) is None
    assert first_shown_share([]) is None
    assert first_shown_share([(None, None)]) is None


def test_clustered_variance_by_hand() -> None:
    # mean .5; clusters x: residuals +.5 +.5 = 1, y: −.5 −.5 = −1 → 2/1 · (1 + 1) / 16
    assert clustered_variance([1, 1, 0, 0], ["x", "x", "y", "y"]) == pytest.approx(0.25)
    # the same values spread over the clusters cancel
    assert clustered_variance([1, 0, 1, 0], ["x", "x", "y", "y"]) == 0
    assert math.isnan(clustered_variance([1, 0], ["x", "x"]))


def test_singletons_are_plain_wilson() -> None:
    values = [1.0] * 8 + [0.0] * 2
    for clusters in (None, list(range(10))):
        estimate = clustered_proportion(values, clusters)
        assert estimate == Estimate(value=0.8, low=wilson(8, 10)[0], high=wilson(8, 10)[1], n=10, clusters=10)


def test_clusters_that_agree_within_widen_the_interval() -> None:
    # 40 prompts of 4 comparisons that all agree, 24 of them won: as much as 40 independent items, so p(1−p)/V with
    # V = 40/39 · Σ(4·residual)²/160² = 40/39 · 16·40·.24/25600 → effective 39, times (1.95996/2.02269)² = 36.618
    values = np.repeat([1.0] * 24 + [0.0] * 16, 4)
    estimate = clustered_proportion(values, np.repeat(np.arange(40), 4).tolist())
    assert estimate is not None
    assert (estimate.n, estimate.clusters) == (160, 40)
    assert (estimate.low, estimate.high) == pytest.approx(wilson(0.6 * 36.618, 36.618), abs=1e-4)


def test_unanimous_counts_each_prompt_once() -> None:
    estimate = clustered_proportion([1.0] * 80, [i // 4 for i in range(80)])
    assert estimate is not None
    assert (estimate.low, estimate.high) == wilson(20, 20)


def test_one_prompt_is_one_item() -> None:
    estimate = clustered_proportion([1.0, 1.0, 0.0], ["x"] * 3)
    assert estimate is not None
    assert (estimate.low, estimate.high) == wilson(2 / 3, 1)


def test_ties_alone_do_not_make_certain() -> None:
    estimate = clustered_proportion([0.5] * 50, [i // 2 for i in range(50)])
    assert estimate is not None
    assert (estimate.low, estimate.high) == wilson(25, 50)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        clustered_proportion([1.5])
    with pytest.raises(ValueError, match="clusters"):
        clustered_proportion([1.0, 0.0, 1.0], ["x", "y", "y", "z"])


def test_coverage_of_the_interval() -> None:
    # 30 prompts of 4 comparisons, strongly dependent (beta with ρ = .5): 95 % intervals must hold p = .7 in about 95 %
    # of 400 draws (standard error 1.1 %); intervals blind to clusters would hold it in about 78 %.
    generator, p, held, blind = np.random.default_rng(0), 0.7, 0, 0
    clusters = np.repeat(np.arange(30), 4).tolist()
    for _ in range(400):
        rates = generator.beta(p, 1 - p, 30)
        values = (generator.random((30, 4)) < rates[:, None]).astype(float).ravel()
        aware, naive = clustered_proportion(values, clusters), clustered_proportion(values)
        assert aware is not None
        assert naive is not None
        held += not aware.excludes(p)
        blind += not naive.excludes(p)
    assert 0.92 <= held / 400 <= 0.98
    assert blind / 400 < 0.85


def test_mean_by_hand() -> None:
    # 1, 2, 3: mean 2, standard error 1/√3 = .57735, t(.975, 2) = 4.30265 → 2 ± 2.48414
    estimate = clustered_mean([1, 2, 3])
    assert estimate is not None
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((2, -0.48414, 4.48414), abs=1e-5)
    alone = clustered_mean([1, 2, 3], ["x"] * 3)
    assert alone == Mean(value=2, n=3, clusters=1)


@pytest.mark.parametrize(
    ("p", "margin", "score"), [(0.5, 0, 0.5), (0.51, 0, 1), (0.51, 0.02, 0.5), (0.47, 0.02, 0), (0.53, 0.02, 1)]
)
def test_win_score(p: float, margin: float, score: float) -> None:
    assert win_score(p, margin) == score


def test_position_preference_by_hand() -> None:
    # In order ab the first is A, in ba it is B.
    # (.9, .8): first, then second; (.9, .1): first twice; (None, .3): first; (.5, None): half → (1 + 2 + 1 + .5)/6
    estimate = first_shown_share([(0.9, 0.8), (0.9, 0.1), (None, 0.3), (0.5, None)])
    assert estimate is not None
    assert estimate.value == pytest.approx(4.5 / 6)
    assert (estimate.n, estimate.clusters) == (6, 4)


def test_cohen_kappa_published() -> None:
    kappa = cohen_kappa([[20, 5], [10, 15]])
    assert kappa is not None
    assert kappa.value == pytest.approx(0.4)
    assert (kappa.low, kappa.high) == pytest.approx((0.151, 0.649), abs=5e-4)


def test_the_kappa_paradox() -> None:
    paradox = [[118, 5], [2, 0]]
    kappa = cohen_kappa(paradox)
    assert kappa is not None
    assert kappa.value == pytest.approx(-0.0234, abs=5e-5)
    assert gwet_ac1(paradox) == pytest.approx(0.9408, abs=5e-5)


def test_ac1_published() -> None:
    assert gwet_ac1([[20, 5], [10, 15]]) == pytest.approx(0.4059, abs=5e-5)


def test_kappa_is_undefined_for_a_single_answer() -> None:
    assert cohen_kappa([[7, 0], [0, 0]]) is None


@pytest.mark.parametrize("table", [[[1, 2]], [[0, 0], [0, 0]], [[1, -1], [0, 2]], [[3]]])
def test_no_agreement_table(table: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="agreement table"):
        cohen_kappa(table)


def test_randomised_order_kappa() -> None:
    # 2(.7 − .5) = .4, and the ends alike
    kappa = randomised_order_kappa(Estimate(value=0.7, low=0.6, high=0.8, n=50))
    assert (kappa.value, kappa.low, kappa.high) == pytest.approx((0.4, 0.2, 0.6))
    # ordinary κ on labels whose chosen side is always stored as A sees no agreement at all; this one does
    stored = cohen_kappa([[90, 10], [0, 0]])
    assert stored is not None
    assert stored.value == pytest.approx(0)
    ninety = proportion(90, 100)
    assert ninety is not None
    assert randomised_order_kappa(ninety).value == pytest.approx(0.8)


scores = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40)


@given(scores, st.randoms(use_true_random=False), st.integers(1, 6))
def test_intervals_hold_their_value_and_mirror(values: list[float], random: object, groups: int) -> None:
    clusters = [random.randrange(groups) for _ in values]  # type: ignore[attr-defined]
    estimate = clustered_proportion(values, clusters)
    mirrored = clustered_proportion([1 - value for value in values], clusters)
    plain = clustered_proportion(values)
    for found in (estimate, mirrored, plain):
        assert found is not None
        assert 0 <= found.low <= found.value + 1e-12
        assert found.value - 1e-12 <= found.high <= 1
    assert estimate is not None
    assert mirrored is not None
    assert plain is not None
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((estimate.low, estimate.high))
    assert estimate.high - estimate.low >= plain.high - plain.low - 1e-9


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_swapping_sides_leaves_the_position_preference(pairs: list[tuple[float, float]]) -> None:
    pairs = [(round(a, 6), round(b, 6)) for a, b in pairs]
    swapped = [(round(1 - b, 6), round(1 - a, 6)) for a, b in pairs]
    first, second = first_shown_share(pairs), first_shown_share(swapped)
    assert first is not None
    assert second is not None
    assert first.value == pytest.approx(second.value)
