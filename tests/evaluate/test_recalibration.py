"""Fitting a calibration: known temperatures are found, symmetric data give symmetric fits, figures are held out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from raif.errors import InputError
from raif.evaluate.recalibration import cross_validated, fit, gain


def judged(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A judge whose log-odds are ``temperature`` times the true ones; two pairs a prompt."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(0, 1.5, n)
    y = (generator.random(n) < 1 / (1 + np.exp(-odds))).astype(float)
    p = np.round(1 / (1 + np.exp(-temperature * odds)), 6)
    return p, y, [f"prompt {i // 2}" for i in range(n)]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    p, y, _ = judged(4000, temperature)
    found = fit(p, y, "temperature").temperature
    assert found is not None
    assert found == pytest.approx(temperature, rel=0.08)


def test_one_confidence_by_hand() -> None:
    # 75 of 100 judgements of .9 are right: without the prior T = ln 9 / ln 3 = 2, and the prior pulls by log T.
    p, y = [0.9] * 100, [1.0] * 75 + [0.0] * 25
    t = fit(p, y, "temperature").temperature
    assert t is not None
    right = 1 / (1 + math.exp(-math.log(9) / t))
    assert 100 * (0.75 - right) * math.log(9) / t + math.log(t) == pytest.approx(0, abs=1e-3)
    assert t == pytest.approx(2, abs=0.1)


def test_few_labels_decide_little() -> None:
    one, many = (fit([0.7] * n, [1.0] * n, "temperature").temperature for n in (1, 300))
    assert one is not None
    assert many is not None
    assert 0.5 < one < 1
    assert many < 0.2


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=30),
    st.sampled_from(["temperature", "isotonic"]),
)
@settings(deadline=None)
def test_swapping_the_sides_of_pairs_changes_nothing(items: list[tuple[int, bool]], method: str) -> None:
    p = np.array([n / 20 for n, _ in items])
    y = np.array([float(b) for _, b in items])
    straight = fit(p, y, method)  # type: ignore[arg-type]
    turned = np.arange(len(p)) % 2 == 0
    assert fit(np.where(turned, 1 - p, p), np.where(turned, 1 - y, y), method) == straight  # type: ignore[arg-type]


def test_an_isotonic_fit_is_that_of_the_pairs_and_their_swaps_together() -> None:
    p, y, _ = judged(300, 2.0, seed=4)
    curve = fit(p, y, "isotonic")
    both, right = np.concatenate((p, 1 - p)).round(6), np.concatenate((y, 1 - y))
    x, which = np.unique(both, return_inverse=True)
    weights = np.bincount(which).astype(float)
    wanted = isotonic_regression(np.bincount(which, weights=right) / weights, weights=weights).x
    edge = 1 / 302
    assert [curve(value) for value in x] == pytest.approx(np.clip(wanted, edge, 1 - edge), abs=2e-6)


def test_no_isotonic_fit_is_certain_and_none_turns_a_preference_round() -> None:
    # All right: as sure as 8 labels allow, 1 − 1/10. All wrong: no better than a coin.
    assert fit([0.9] * 8, [1.0] * 8, "isotonic")(0.9) == 0.9
    assert fit([0.9] * 98, [1.0] * 98, "isotonic")(0.9) == 0.99
    assert fit([0.9] * 8, [0.0] * 8, "isotonic")(0.9) == 0.5


def test_nothing_is_fitted_to_nothing() -> None:
    with pytest.raises(ValueError, match="as many labels"):
        fit([], [], "temperature")
    with pytest.raises(ValueError, match="as many labels"):
        fit([0.5], [], "isotonic")


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_no_pair_is_corrected_by_its_own_prompt(method: str) -> None:
    p, y, prompts = judged(60, 2.0)
    straight = cross_validated(p, y, prompts, method)  # type: ignore[arg-type]
    for prompt in ("prompt 0", "prompt 7"):
        own = np.array([name == prompt for name in prompts])
        # Whatever its own labels say, its own pairs are corrected alike.
        other = cross_validated(p, np.where(own, 1 - y, y), prompts, method)  # type: ignore[arg-type]
        assert other[own].tolist() == straight[own].tolist()
        assert other[~own].tolist() != straight[~own].tolist()


def test_the_order_of_the_file_decides_nothing() -> None:
    p, y, prompts = judged(60, 2.0)
    back = cross_validated(p[::-1], y[::-1], prompts[::-1], "temperature")
    assert back[::-1].tolist() == cross_validated(p, y, prompts, "temperature").tolist()


def test_too_few_labels_are_refused() -> None:
    p, y, prompts = judged(60, 2.0)
    with pytest.raises(InputError, match="19 pairs of 10 prompts"):
        cross_validated(p[:19], y[:19], prompts[:19], "temperature")
    with pytest.raises(InputError, match="at least 2 prompts"):
        cross_validated(p, y, ["one"] * 60, "temperature")


def test_figures_by_hand() -> None:
    # Before: four of .9, three right. After: .75 each, as right as it is sure.
    found = gain([0.9] * 4, [0.75] * 4, [1, 1, 1, 0], list("abcd"))
    assert found.before.log_loss.value == pytest.approx((-3 * math.log(0.9) - math.log(0.1)) / 4)
    assert found.after.log_loss.value == pytest.approx((-3 * math.log(0.75) - math.log(0.25)) / 4)
    assert found.before.brier.value == pytest.approx((3 * 0.01 + 0.81) / 4)
    assert (found.before.ece.value, found.after.ece.value) == (pytest.approx(0.15), pytest.approx(0))
    assert found.log_loss.value == pytest.approx(found.before.log_loss.value - found.after.log_loss.value)
    assert found.before.n == found.before.brier.clusters == 4


def test_overconfidence_is_mended_and_calibration_is_not_improved_on() -> None:
    for temperature, helps in ((3.0, True), (1.0, False)):
        p, y, prompts = judged(600, temperature)
        found = gain(p, cross_validated(p, y, prompts, "temperature"), y, prompts)
        assert found.helps is helps
        assert found.log_loss.low <= found.log_loss.value <= found.log_loss.high
        assert found.after.ece.value < 2 * found.after.ece_if_calibrated


def test_intervals_know_that_pairs_share_a_prompt() -> None:
    p, y, _ = judged(200, 2.0)
    p, y = np.repeat(p, 5), np.repeat(y, 5)
    apart = gain(p, p, y, [str(i) for i in range(1000)]).before.brier
    together = gain(p, p, y, [str(i // 5) for i in range(1000)]).before.brier
    # Five copies of each say no more than one: the interval is √5 times as wide.
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(5**0.5, rel=0.15)
    assert gain(p, p, y, [str(i) for i in range(1000)]).brier.value == 0
