"""Whether a judge's probabilities mean what they say: calibration error beside what chance shows, and Brier.

Which response is A carries no meaning, so everything is about the *preferred* side: p_a = 0.2 counts as 80 % sure of B.
Swapping the sides of any comparison changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict


class CalibrationBin(BaseModel):
    """The items whose confidence lies in (low, high]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    n: int
    confidence: float
    """Mean confidence in the preferred side, in [0.5, 1]."""
    accuracy: float
    """Share of items in which the preferred side is the right one."""


class Calibration(BaseModel):
    """How far confidence and accuracy lie apart, over ``n`` items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    ece: float
    """Expected calibration error: mean |confidence − accuracy| over bins, weighted by their items."""
    ece_if_calibrated: float
    """The ECE that a perfectly calibrated judge with these confidences shows on average, by chance alone."""
    ece_if_calibrated_95: float
    """What 95 % of perfectly calibrated judges stay below: a larger ECE is evidence of miscalibration."""
    brier: float
    """Mean (p_a − y)²; 0.25 is what always saying ½ gets, 0 is perfect."""
    bins: tuple[CalibrationBin, ...]


class _Binned(NamedTuple):
    bin: NDArray[np.intp]
    size: NDArray[np.float64]
    confidence: NDArray[np.float64]


def _sums(which: NDArray[np.intp], weights: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(which, weights=weights, minlength=bins), dtype=np.float64)


def _bin(confidence: NDArray[np.float64], bins: int) -> _Binned:
    which = np.clip(np.ceil((confidence - 0.5) * 2 * bins).astype(np.intp) - 1, 0, bins - 1)
    return _Binned(which, _sums(which, np.ones_like(confidence), bins), _sums(which, confidence, bins))


def _ece(binned: _Binned, correct: NDArray[np.float64]) -> float:
    hits = _sums(binned.bin, correct, len(binned.size))
    return float(np.abs(hits - binned.confidence).sum() / len(correct))


def calibration(
    p_a: ArrayLike, a_is_better: ArrayLike, *, bins: int = 10, draws: int = 500, seed: int = 0
) -> Calibration:
    """Calibration of ``p_a`` against what is so (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599).

    A raw ECE misleads on few items: a perfectly calibrated judge shows 0.067 on 200 items in 10 bins. The null is found
    by drawing outcomes from the judge's own confidences (Vaicenavicius et al. 2019, arXiv 1902.06977).

    Args:
        p_a: the judge's probabilities, shape [n].
        a_is_better: the truth or the human label, 1 or 0, shape [n].
        bins: equal-width bins of the confidence in [0.5, 1].
        draws: outcomes drawn for the null; with ``seed`` they are always the same.

    Raises:
        ValueError: no items, or lengths that differ.
    """
    p, y = np.asarray(p_a, dtype=np.float64), np.asarray(a_is_better, dtype=np.float64)
    if len(p) == 0 or p.shape != y.shape:
        raise ValueError(f"calibration needs as many outcomes as probabilities, and some ({len(p)}, {len(y)})")
    confidence = np.maximum(p, 1 - p)
    correct = np.where(p == 0.5, 0.5, ((p > 0.5) == (y > 0.5)).astype(float))
    binned = _bin(confidence, bins)
    generator = np.random.default_rng(seed)
    null = [_ece(binned, (generator.random(len(p)) < confidence).astype(float)) for _ in range(draws)]
    hits = _sums(binned.bin, correct, bins)
    return Calibration(
        n=len(p),
        ece=_ece(binned, correct),
        ece_if_calibrated=float(np.mean(null)),
        ece_if_calibrated_95=float(np.quantile(null, 0.95)),
        brier=float(np.mean((p - y) ** 2)),
        bins=tuple(
            CalibrationBin(
                low=0.5 + 0.5 * i / bins,
                high=0.5 + 0.5 * (i + 1) / bins,
                n=int(binned.size[i]),
                confidence=float(binned.confidence[i] / binned.size[i]),
                accuracy=float(hits[i] / binned.size[i]),
            )
            for i in range(bins)
            if binned.size[i]
        ),
    )
