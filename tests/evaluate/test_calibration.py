"""Calibration error beside its null, and Brier's score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raif.evaluate.calibration import calibration


def test_ece_by_hand() -> None:
    # 20 items at .95 of which 18 are right (.9), 20 at .75 of which 12 are right (.6): ½·.05 + ½·.15 = .10
    p = [0.95] * 20 + [0.75] * 20
    y = [1] * 18 + [0] * 2 + [1] * 12 + [0] * 8
    found = calibration(p, y)
    assert found.ece == pytest.approx(0.10)
    assert [(b.n, b.confidence, b.accuracy) for b in found.bins] == [
        (20, pytest.approx(0.75), pytest.approx(0.6)),
        (20, pytest.approx(0.95), pytest.approx(0.9)),
    ]
    # (18·.05² + 2·.95² + 12·.25² + 8·.75²)/40 = (.045 + 1.805 + .75 + 4.5)/40
    assert found.brier == pytest.approx(7.1 / 40)


def test_the_null_of_a_calibrated_judge() -> None:
    # the published mean for n = 200 in 10 bins is .067; E|error| of a bin of 20 is about √(2/π · E p(1−p)/20)
    generator = np.random.default_rng(1)
    nulls, over = [], 0
    for trial in range(60):
        p = generator.random(200)
        y = (generator.random(200) < p).astype(float)
        found = calibration(p, y, draws=200, seed=trial)
        nulls.append(found.ece_if_calibrated)
        over += found.ece > found.ece_if_calibrated_95
    assert np.mean(nulls) == pytest.approx(0.067, abs=0.004)
    assert over <= 8  # 5 % of 60 is 3; more than 8 has a chance of 0.4 %


def test_an_overconfident_judge_stands_out() -> None:
    generator = np.random.default_rng(2)
    p = np.where(generator.random(300) < 0.5, 0.98, 0.02)
    y = (generator.random(300) < np.where(p > 0.5, 0.7, 0.3)).astype(float)
    found = calibration(p, y)
    assert found.ece > found.ece_if_calibrated_95


def test_undecided_is_half_right() -> None:
    found = calibration([0.5, 0.5], [1, 1])
    assert found.ece == 0
    assert found.brier == 0.25


@pytest.mark.parametrize(("p", "y"), [([], []), ([0.5], [1, 0])])
def test_nothing_to_calibrate(p: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="calibration needs"):
        calibration(p, y)


@given(st.lists(st.tuples(st.integers(0, 64), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_sides_carry_no_meaning(items: list[tuple[int, bool, bool]]) -> None:
    # sixty-fourths, so that 1 − p is exact
    p, y = [i / 64 for i, _, _ in items], [float(right) for _, right, _ in items]
    swapped_p = [1 - a if swap else a for a, (_, _, swap) in zip(p, items, strict=True)]
    swapped_y = [1 - a if swap else a for a, (_, _, swap) in zip(y, items, strict=True)]
    first, second = calibration(p, y, draws=20), calibration(swapped_p, swapped_y, draws=20)
    assert (first.ece, first.brier) == pytest.approx((second.ece, second.brier))
    assert first.ece_if_calibrated == second.ece_if_calibrated
    assert len(first.bins) == len(second.bins)
