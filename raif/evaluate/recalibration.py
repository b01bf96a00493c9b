"""Fitting a calibration to human labels, and how much better it is on labels that it has not seen.

Everything is about the *confidence* in the preferred side (see ``raif.evaluate.calibration``), so that swapping the
sides of any pair changes nothing: a temperature has no intercept, and an isotonic fit is that of the pairs and their
swaps together. What is printed is held out: whole prompts are set aside in turn, and each is corrected by a fit to the
others (cross-validation). Intervals are from a bootstrap over prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import isotonic_regression, minimize_scalar

from raif.errors import InputError
from raif.evaluate.calibration import calibration
from raif.evaluate.statistics import LEVEL, Estimate
from raif.feedback.calibrate import SUREST, Curve
from raif.records import digest

Array = NDArray[np.float64]
Method = Literal["temperature", "isotonic"]

FEWEST = 20
"""Human labels that a calibration needs at least."""
FOLDS = 10
WIDEST = 100.0
"""The highest temperature, and one over the lowest."""


def fit(p_a: ArrayLike, a_is_better: ArrayLike, method: Method) -> Curve:
    """The calibration of ``p_a`` [n] with the least log-loss (temperature) or squared error (isotonic) on labels [n].

    A temperature T has a standard normal prior on log T, which keeps a handful of labels from deciding it (Guo et al.
    2017, arXiv 1706.04599, has none). An isotonic fit (Zadrozny and Elkan 2002, KDD) stays as far from certainty as
    its number of labels allows: one in n + 2, Laplace's rule.

    Raises:
        ValueError: no items, or lengths that differ.
    """
    p, y = np.asarray(p_a, dtype=np.float64), np.asarray(a_is_better, dtype=np.float64)
    if len(p) == 0 or p.shape != y.shape:
        raise ValueError(f"a calibration needs as many labels as probabilities, and some ({len(p)}, {len(y)})")
    confidence = np.maximum(p, 1 - p).round(6)  # as near as probabilities are kept, so that p and 1 − p are equally so
    right = np.where(p == 0.5, 0.5, (p > 0.5) == (y > 0.5)).astype(np.float64)
    if method == "temperature":
        return Curve(temperature=_temperature(confidence, right))
    return Curve(knots=_knots(confidence, right))


def _temperature(confidence: Array, right: Array) -> float:
    sure = np.minimum(confidence, SUREST)
    odds = np.log(sure / (1 - sure))

    def loss(log_temperature: float) -> float:
        scaled = odds / math.exp(log_temperature)
        missed = right * np.logaddexp(0, -scaled) + (1 - right) * np.logaddexp(0, scaled)
        return float(missed.sum() + log_temperature**2 / 2)

    widest = math.log(WIDEST)
    found = minimize_scalar(loss, bounds=(-widest, widest), method="bounded", options={"xatol": 1e-8})
    return round(math.exp(float(found.x)), 6)


def _knots(confidence: Array, right: Array) -> tuple[tuple[float, float], ...]:
    x, which = np.unique(confidence, return_inverse=True)
    weights = np.bincount(which).astype(np.float64)
    rising = isotonic_regression(np.bincount(which, weights=right) / weights, weights=weights).x
    # Over the pairs and their swaps together the fit is odd about ½; on this half that is the fit, at least ½.
    y = np.clip(rising, 0.5, 1 - 1 / (len(right) + 2))
    if x[0] > 0.5:
        x, y = np.concatenate(([0.5], x)), np.concatenate(([0.5], y))
    bends = [i for i in range(len(y)) if i in (0, len(y) - 1) or not y[i - 1] == y[i] == y[i + 1]]
    return tuple((round(float(x[i]), 6), round(float(y[i]), 6)) for i in bends)


def cross_validated(
    p_a: ArrayLike, a_is_better: ArrayLike, prompts: Sequence[str], method: Method, *, seed: int = 0
) -> Array:
    """Each of ``p_a`` [n] as corrected by a fit to the labels of other prompts alone, shape [n].

    Raises:
        InputError: too few labels, or fewer than two prompts.
    """
    p, y = np.asarray(p_a, dtype=np.float64), np.asarray(a_is_better, dtype=np.float64)
    names = list(dict.fromkeys(prompts))
    if len(p) < FEWEST or len(names) < 2:
        raise InputError(
            f"there are {len(p)} pairs of {len(names)} prompts that the judge and a human have labelled; a calibration "
            f"needs {FEWEST} of at least 2 prompts"
        )
    ranked = sorted(names, key=lambda prompt: digest("fold", seed, prompt))
    fold_of = {prompt: place % min(FOLDS, len(names)) for place, prompt in enumerate(ranked)}
    folds = np.array([fold_of[prompt] for prompt in prompts])
    corrected = np.empty_like(p)
    for fold in set(folds.tolist()):
        aside = folds == fold
        curve = fit(p[~aside], y[~aside], method)
        corrected[aside] = [curve(value) for value in p[aside].tolist()]
    return corrected


class Quality(BaseModel):
    """How good probabilities are, on ``n`` labels. Lower is better in all three."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    log_loss: Estimate
    brier: Estimate
    ece: Estimate
    """A raw ECE is above zero even for a perfectly calibrated judge: compare it with ``ece_if_calibrated``."""
    ece_if_calibrated: float


class Gain(BaseModel):
    """Probabilities before and after a correction, and the differences (before − after), on the same labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: Quality
    after: Quality
    log_loss: Estimate
    brier: Estimate
    ece: Estimate

    @property
    def helps(self) -> bool:
        """Whether the held-out log-loss fell, beyond what chance explains."""
        return self.log_loss.low > 0


def gain(
    before: ArrayLike,
    after: ArrayLike,
    a_is_better: ArrayLike,
    prompts: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Gain:
    """Compare two sets of probabilities [n] against labels [n]; intervals from a bootstrap over prompts."""
    y = np.asarray(a_is_better, dtype=np.float64)
    sides = [np.asarray(p, dtype=np.float64) for p in (before, after)]
    numbers = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    which = np.array([numbers[prompt] for prompt in prompts])
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=draws)[:, which]
    weights: Array = np.ones((draws + 1, len(y)))  # the first row is the data itself
    weights[1:] = drawn
    before_, after_ = (_measures(p, y, weights) for p in sides)
    found = {name: (before_[name], after_[name]) for name in before_}

    def estimate(values: Array) -> Estimate:
        low, high = np.quantile(values[1:], ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        return Estimate(value=float(values[0]), low=float(low), high=float(high), n=len(y), clusters=len(numbers))

    qualities = [
        Quality(
            n=len(y),
            ece_if_calibrated=calibration(p, y, seed=seed).ece_if_calibrated,
            **{name: estimate(values[side]) for name, values in found.items()},
        )
        for side, p in enumerate(sides)
    ]
    differences = {name: estimate(values[0] - values[1]) for name, values in found.items()}
    return Gain(before=qualities[0], after=qualities[1], **differences)


def _measures(p: Array, y: Array, weights: Array, bins: int = 10) -> dict[str, Array]:
    """Log-loss, Brier score and calibration error [draws] of ``p`` [n] under each row of ``weights`` [draws, n]."""
    sure = np.clip(p, 1 - SUREST, SUREST)
    losses = -(y * np.log(sure) + (1 - y) * np.log(1 - sure))
    confidence = np.maximum(p, 1 - p)
    right = np.where(p == 0.5, 0.5, (p > 0.5) == (y > 0.5)).astype(np.float64)
    which = np.clip(np.ceil((confidence - 0.5) * 2 * bins).astype(np.intp) - 1, 0, bins - 1)
    over: Array = np.zeros((len(p), bins))
    over[np.arange(len(p)), which] = right - confidence
    total = weights.sum(axis=1)
    return {
        "log_loss": weights @ losses / total,
        "brier": weights @ (p - y) ** 2 / total,
        "ece": np.abs(weights @ over).sum(axis=1) / total,
    }
