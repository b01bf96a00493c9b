"""Small statistics with honest intervals: shares over comparisons that share prompts, agreement, chance correction.

Everything here is a pure function of numbers. Comparisons of one prompt are not independent, so every interval over
comparisons takes the prompts as ``clusters``; without them a run with four pairs a prompt looks twice as sure as it is.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict
from scipy import stats

LEVEL = 0.95
"""Two-sided confidence level of every interval."""


class Estimate(BaseModel):
    """A figure with its interval, from ``n`` items in ``clusters`` groups."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    n: int
    clusters: int | None = None

    def excludes(self, value: float) -> bool:
        """Whether the interval leaves ``value`` out."""
        return not self.low <= value <= self.high


class Mean(BaseModel):
    """A mean with its interval, which a single cluster does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float | None = None
    high: float | None = None
    n: int
    clusters: int


def normal_quantile(level: float = LEVEL) -> float:
    """The two-sided standard normal quantile: 1.96 for 0.95."""
    return float(stats.norm.ppf((1 + level) / 2))


def wilson(successes: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927, JASA 22:209).

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n). ``successes`` may be fractional (a tie is half a win) and so may
    ``n`` (an effective sample size).

    Raises:
        ValueError: ``n`` is not positive, or ``successes`` is not in [0, n].
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is no proportion")
    z, p = normal_quantile(level), successes / n
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    return (0.0 if p == 0 else max(0.0, centre - half)), (1.0 if p == 1 else min(1.0, centre + half))


def proportion(successes: float, n: int, level: float = LEVEL) -> Estimate | None:
    """A share of ``n`` independent items with Wilson's interval; None where there are no items."""
    if n == 0:
        return None
    low, high = wilson(successes, n, level)
    return Estimate(value=successes / n, low=low, high=high, n=n)


def difference(before: Estimate, after: Estimate) -> tuple[float, float, float]:
    """``after − before`` of two shares with its interval (low, high), by Newcombe's hybrid score method.

    Newcombe 1998, Stat. Med. 17:873, method 10: each end squares the distances of the two shares from the ends of their
    own intervals. The two samples count as independent; for answers to the same prompts that is on the cautious side.
    """
    change = after.value - before.value
    below = math.hypot(after.value - after.low, before.high - before.value)
    above = math.hypot(after.high - after.value, before.value - before.low)
    return change, change - below, change + above


def _residual_sums(values: NDArray[np.float64], clusters: Sequence[Hashable]) -> NDArray[np.float64]:
    """The sum of ``value − mean`` over each cluster, shape [clusters]."""
    if len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    numbers: dict[Hashable, int] = {}
    index = np.fromiter((numbers.setdefault(key, len(numbers)) for key in clusters), dtype=np.intp, count=len(clusters))
    return np.asarray(np.bincount(index, weights=values - values.mean(), minlength=len(numbers)), dtype=np.float64)


def clustered_variance(values: ArrayLike, clusters: Sequence[Hashable]) -> float:
    """Variance of the mean of ``values`` when whole clusters are drawn, by linearisation.

    G/(G−1) · Σ_g (Σ_{i∈g} (x_i − x̄))² / n²: the ratio estimator of survey statistics (Cochran 1977, Sampling
    Techniques, §11.12) and, for a mean, what "cluster-robust" means. NaN for a single cluster: it says nothing about
    how clusters differ.
    """
    x = np.asarray(values, dtype=np.float64)
    sums = _residual_sums(x, clusters)
    groups = len(sums)
    return float("nan") if groups < 2 else float(groups / (groups - 1) * np.sum(sums**2) / len(x) ** 2)


def clustered_proportion(
    values: ArrayLike, clusters: Sequence[Hashable] | None = None, level: float = LEVEL
) -> Estimate | None:
    """The mean of ``values`` in [0, 1] (a half is a tie) with an interval that knows which items share a prompt.

    Wilson's interval at the effective sample size p(1−p) / variance (Korn and Graubard 1998, Survey Methodology
    24:193; Dean and Pagano 2015, J. Surv. Stat. Methodol. 3:484), with their t-correction for few clusters. It is never
    narrower than for n independent items, and where all values agree (no variance to see) each prompt counts once.
    Every item is its own cluster where ``clusters`` is None.

    Returns:
        None where there are no values.

    Raises:
        ValueError: a value outside [0, 1], or as many clusters as there are not values.
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n == 0:
        return None
    if not bool(np.all((x >= 0) & (x <= 1))):
        raise ValueError("a share is made of values between 0 and 1")
    mean = min(1.0, max(0.0, float(x.mean())))
    if clusters is not None and len(clusters) != n:
        raise ValueError(f"{n} values but {len(clusters)} clusters")
    groups = len(set(clusters)) if clusters is not None else n
    if clusters is None or groups == n:
        effective = float(n)
    elif groups == 1:
        effective = 1.0
    else:
        variance = clustered_variance(x, clusters)
        few = (normal_quantile(level) / float(stats.t.ppf((1 + level) / 2, groups - 1))) ** 2
        unanimous = mean in (0.0, 1.0)
        effective = groups if unanimous else min(float(n), few * mean * (1 - mean) / variance if variance > 0 else n)
    low, high = wilson(mean * effective, effective, level)
    return Estimate(value=mean, low=low, high=high, n=n, clusters=groups)


def clustered_mean(values: ArrayLike, clusters: Sequence[Hashable] | None = None, level: float = LEVEL) -> Mean | None:
    """The mean of ``values`` with a t-interval over clusters; None where there are no values.

    There is no interval for a single cluster.
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) == 0:
        return None
    keys = range(len(x)) if clusters is None else clusters
    groups = len(set(keys))
    mean = float(x.mean())
    if groups < 2:
        return Mean(value=mean, n=len(x), clusters=groups)
    half = float(stats.t.ppf((1 + level) / 2, groups - 1)) * math.sqrt(clustered_variance(x, keys))
    return Mean(value=mean, low=mean - half, high=mean + half, n=len(x), clusters=groups)


def win_score(p: float, margin: float = 0.0) -> float:
    """1 for a win (p above ½ by more than ``margin``), 0 for a loss, ½ for a tie."""
    return 0.5 if abs(p - 0.5) <= margin else float(p > 0.5)


def first_shown_share(
    p_a_by_order: Sequence[tuple[float | None, float | None]],
    clusters: Sequence[Hashable] | None = None,
    level: float = LEVEL,
) -> Estimate | None:
    """How often the judge prefers the response that it saw first: ½ for a judge without position bias.

    Args:
        p_a_by_order: for each comparison, the probability that A is better as judged in order ab (A first) and in order
            ba (B first). Each answer counts once; one at exactly ½ counts half.

    This is meaningful even for an order that was drawn at random, because sides carry no meaning.
    """
    keys = range(len(p_a_by_order)) if clusters is None else clusters
    seen: list[float] = []
    shared: list[Hashable] = []
    for (a_first, b_first), key in zip(p_a_by_order, keys, strict=True):
        for p_first in (a_first, None if b_first is None else 1 - b_first):
            if p_first is not None:
                seen.append(win_score(p_first))
                shared.append(key)
    return clustered_proportion(seen, shared, level)


def _table(counts: ArrayLike) -> tuple[NDArray[np.float64], float]:
    table = np.asarray(counts, dtype=np.float64)
    total = float(table.sum())
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2 or total <= 0 or bool((table < 0).any()):
        raise ValueError("an agreement table is square, at least 2 by 2, and counts something")
    return table / total, total


def _chance_corrected(value: float, error: float, n: float, level: float) -> Estimate:
    half = normal_quantile(level) * error
    return Estimate(value=value, low=max(-1.0, value - half), high=min(1.0, value + half), n=round(n))


def cohen_kappa(counts: ArrayLike, level: float = LEVEL) -> Estimate | None:
    """Cohen's κ = (p_o − p_e)/(1 − p_e) of two raters, with the large-sample error of Fleiss, Cohen and Everitt (1969).

    Args:
        counts: agreement table, shape [q, q]; entry (i, j) counts items that one rater calls i and the other j.

    Returns:
        None where it is undefined (both raters always give the same one answer).
    """
    p, n = _table(counts)
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, expected = float(np.trace(p)), float(rows @ columns)
    if expected >= 1 - 1e-12:
        return None
    kappa = (observed - expected) / (1 - expected)
    diagonal = float(np.sum(np.diag(p) * (1 - (rows + columns) * (1 - kappa)) ** 2))
    beside = (columns[:, None] + rows[None, :]) ** 2 * p
    off = (1 - kappa) ** 2 * float(beside.sum() - np.trace(beside))
    variance = (diagonal + off - (kappa - expected * (1 - kappa)) ** 2) / (n * (1 - expected) ** 2)
    return _chance_corrected(kappa, math.sqrt(max(0.0, variance)), n, level)


def gwet_ac1(counts: ArrayLike) -> float:
    """Gwet's AC1 (2008, Br. J. Math. Stat. Psychol. 61:29): κ with p_e = Σ π(1−π)/(q−1), π the mean of both margins.

    It does not fall for the paradox in which raters who agree on 94 % of items, nearly all of one kind, get κ < 0.
    """
    p, _ = _table(counts)
    share = (p.sum(axis=0) + p.sum(axis=1)) / 2
    expected = float(np.sum(share * (1 - share))) / (len(p) - 1)
    return (float(np.trace(p)) - expected) / (1 - expected)


def randomised_order_kappa(agreement: Estimate) -> Estimate:
    """κ = 2(p_o − ½) for A/B labels whose sides were assigned at random, with the interval of ``agreement``.

    Chance agreement is ½ by design there. Ordinary κ estimates it from the labels and misleads wherever one side is
    always the chosen one.
    """
    ends = {"value": agreement.value, "low": agreement.low, "high": agreement.high}
    return agreement.model_copy(update={name: 2 * (end - 0.5) for name, end in ends.items()})
