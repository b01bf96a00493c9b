"""Whether comparisons without a label differ from the rest: if they do, figures over the rest don't speak for all.

A label is missing where the judge abstained; a tie is a label. Three things are looked at: how long the responses are,
where the pair comes from, and which principle was asked (answer by answer). Pairs of one prompt count as independent
here: with several pairs a prompt, p-values are on the bold side, and effects stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from raif.records import Preference

ALPHA = 0.05
"""Family-wise level: of judges that abstain at random, 5 % are called selective."""

Trait = Literal["length", "source", "principle"]


class Difference(BaseModel):
    """How the missing differ from the rest in one trait."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trait: Trait
    effect: float
    """Of ``length`` the standardised mean difference (Cohen's d; above 0: the missing are longer), else Cramér's V."""
    p: float
    """Of length by the Mann–Whitney test, else by Fisher's exact test (two kinds) or χ² (more)."""
    p_holm: float
    """Corrected for all traits that were looked at (Holm 1979, Scand. J. Stat. 6:65)."""
    rates: dict[str, float]
    """Share that is missing, by source or principle; of length that of the shorter and the longer half."""


class Missingness(BaseModel):
    """What was found. A trait that does not vary, or of which nothing or everything is missing, is left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    missing: int
    n: int
    differences: tuple[Difference, ...]

    @property
    def significant(self) -> tuple[Difference, ...]:
        """The differences that chance does not explain."""
        return tuple(difference for difference in self.differences if difference.p_holm < ALPHA)


def missingness(preferences: Sequence[Preference]) -> Missingness:
    """Compare the comparisons that the judge abstained from with the others."""
    missing = [preference.outcome == "abstain" for preference in preferences]
    lengths = [len(p.comparison.response_a) + len(p.comparison.response_b) for p in preferences]
    answers = [judgement for preference in preferences for judgement in preference.judgements]
    found = (
        _by_length(lengths, missing),
        _by_kind("source", [p.comparison.source for p in preferences], missing),
        _by_kind("principle", [j.principle_id for j in answers], [j.p_a is None for j in answers]),
    )
    differences = [difference for difference in found if difference is not None]
    corrected = holm([difference.p for difference in differences])
    return Missingness(
        missing=sum(missing),
        n=len(missing),
        differences=tuple(d.model_copy(update={"p_holm": p}) for d, p in zip(differences, corrected, strict=True)),
    )


def missing_line(found: Missingness) -> str:
    """What a person should know, as the end of a sentence; empty where chance explains it all."""
    told = [
        f"{d.trait} ({'d' if d.trait == 'length' else 'V'} {d.effect:.2f}, p {d.p_holm:.2g}: "
        + ", ".join(f"{kind} {100 * rate:.0f} %" for kind, rate in _extremes(d.rates))
        + " missing)"
        for d in found.significant
    ]
    return f"missing labels differ from the rest in {' and '.join(told)}" if told else ""


def _extremes(rates: dict[str, float]) -> list[tuple[str, float]]:
    ranked = sorted(rates.items(), key=lambda item: (-item[1], item[0]))
    return ranked if len(ranked) < 3 else [ranked[0], ranked[-1]]


def holm(p_values: Iterable[float]) -> list[float]:
    """Holm's step-down correction, in the order given: max over smaller ones of (m − rank) · p, at most 1."""
    given = list(p_values)
    corrected, highest = [0.0] * len(given), 0.0
    for rank, index in enumerate(sorted(range(len(given)), key=given.__getitem__)):
        highest = max(highest, min(1.0, (len(given) - rank) * given[index]))
        corrected[index] = highest
    return corrected


def _by_length(lengths: Sequence[int], missing: Sequence[bool]) -> Difference | None:
    values, gone = np.asarray(lengths, dtype=np.float64), np.asarray(missing, dtype=bool)
    inside, outside = values[gone], values[~gone]
    if min(len(inside), len(outside)) < 2 or np.ptp(values) == 0:
        return None
    spread = np.sqrt(
        ((len(inside) - 1) * inside.var(ddof=1) + (len(outside) - 1) * outside.var(ddof=1)) / (len(values) - 2)
    )
    p = float(stats.mannwhitneyu(inside, outside).pvalue)
    longer = values > np.median(values) if values.max() > np.median(values) else values >= np.median(values)
    rates = {"longer": float(gone[longer].mean()), "shorter": float(gone[~longer].mean())}
    effect = float((inside.mean() - outside.mean()) / (spread or values.std(ddof=1)))
    return Difference(trait="length", effect=effect, p=p, p_holm=p, rates=rates)


def _by_kind(trait: Trait, kinds: Sequence[str], missing: Sequence[bool]) -> Difference | None:
    names = sorted(set(kinds))
    gone = [sum(m for kind, m in zip(kinds, missing, strict=True) if kind == name) for name in names]
    total = [kinds.count(name) for name in names]
    if len(names) < 2 or sum(gone) in (0, len(kinds)):
        return None
    table = np.array([gone, [n - g for n, g in zip(total, gone, strict=True)]])
    chi2 = stats.chi2_contingency(table, correction=False)
    p = float(stats.fisher_exact(table).pvalue if len(names) == 2 else chi2.pvalue)
    rates = {name: g / n for name, g, n in zip(names, gone, total, strict=True)}
    effect = float(np.sqrt(chi2.statistic / len(kinds)))  # of two rows: √(χ²/n)
    return Difference(trait=trait, effect=effect, p=p, p_holm=p, rates=rates)
