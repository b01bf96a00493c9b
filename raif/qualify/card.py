"""The report card: what sections add up to, with intervals, against the thresholds of the configuration. Pure.

The value itself is held against its threshold; the interval says how much that means. What could not be measured has
not been passed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from raif.config import JudgeCheckConfig, LabelConfig
from raif.evaluate.recalibration import gain
from raif.evaluate.statistics import (
    LEVEL,
    Estimate,
    clustered_proportion,
    first_shown_share,
    proportion,
    win_score,
)
from raif.qualify.injections import FamilyLine, family_lines, injection_lines
from raif.qualify.lines import Limits, Line, count, line_of
from raif.qualify.section import Answer, Lean, Section

Calibrate = Callable[[float], float]

ENOUGH = "gold pairs"
"""The line that says whether there was enough to go by."""
UNREADABLE = ("unparsed", "truncated", "empty")


class Card(BaseModel):
    """The whole of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lines: tuple[Line, ...]
    families: tuple[FamilyLine, ...]

    @property
    def missed(self) -> tuple[str, ...]:
        """The names of the lines whose threshold is missed."""
        return tuple(line.name for line in self.lines if line.passed is False)

    @property
    def passed(self) -> bool:
        """Whether none is."""
        return not self.missed


def report_card(
    sections: Sequence[Section],
    config: JudgeCheckConfig,
    label: LabelConfig,
    *,
    principles: Sequence[str],
    calibrate: Calibrate | None = None,
) -> Card:
    """The card of some sections.

    Args:
        sections: those of the principles that there are, and perhaps one of them all.
        label: its margins say what a tie is.
        principles: ids of all the constitution's principles.
        calibrate: what ``raif judge calibrate`` found, where labels are corrected by it.
    """
    answers = [answer for section in sections for answer in section.gold]
    struck = [one for section in sections for one in section.injected]
    return Card(
        lines=(
            *_coverage(sections, answers, config, principles),
            *_accuracy(answers, config),
            *_position(answers, config),
            *_length(sections, answers, config, label),
            *_failures(sections, config),
            *_calibration(answers, config, calibrate),
            line_of("same when asked again", _repeats(sections), Limits(least=config.min_repeats)),
            *_by_principle(sections, config),
            *injection_lines(struck, [one for section in sections for one in section.unprotected], config),
        ),
        families=family_lines(struck, [one for section in sections for one in section.unprotected]),
    )


def _coverage(
    sections: Sequence[Section], answers: Sequence[Answer], config: JudgeCheckConfig, principles: Sequence[str]
) -> list[Line]:
    covered = {principle for section in sections for principle in section.principles}
    lacking = [principle for principle in principles if principle not in covered]
    return [
        line_of(ENOUGH, count(len(answers)), Limits(least=config.min_pairs), unit="count"),
        line_of(
            "principles checked",
            count(len(principles) - len(lacking)),
            Limits(least=len(principles)),
            unit="count",
            remark=f"no gold for {', '.join(lacking)}" if lacking else "",
        ),
        line_of(
            "labels decided",
            clustered_proportion(
                [float(a.outcome in ("right", "wrong")) for a in answers], [a.prompt for a in answers]
            ),
        ),
    ]


def _share(scored: Iterable[tuple[float | None, str]]) -> Estimate | None:
    """The share of wins among probabilities, exactly ½ counting half; ``None`` is no answer."""
    known = [(win_score(p), prompt) for p, prompt in scored if p is not None]
    return clustered_proportion([score for score, _ in known], [prompt for _, prompt in known])


def _orders(answer: Answer) -> tuple[float | None, ...]:
    """The probabilities of the better response by order; in modes without one, the only one."""
    orders = (answer.first, answer.second)
    return orders if orders != (None, None) else (answer.p,)


def _accuracy(answers: Sequence[Answer], config: JudgeCheckConfig) -> list[Line]:
    both = _share((p, a.prompt) for a in answers for p in _orders(a))
    found = [line_of("accuracy, both positions", both, Limits(least=config.min_accuracy))]
    by_position = {"first": [(a.first, a.prompt) for a in answers], "second": [(a.second, a.prompt) for a in answers]}
    for name, scored in by_position.items():
        shown = _share(scored)
        if shown is not None:
            found.append(line_of(f"  the better one shown {name}", shown))
    return found


def _position(answers: Sequence[Answer], config: JudgeCheckConfig) -> list[Line]:
    asked = [answer for answer in answers if answer.first is not None and answer.second is not None]
    if not asked and any(answer.p is not None for answer in answers):
        return [Line(name="flip rate", remark="there is no order"), Line(name="first shown wins", remark="no order")]
    prompts = [answer.prompt for answer in asked]
    flips = [float((a.first - 0.5) * (a.second - 0.5) < 0) for a in asked]  # type: ignore[operator]
    first = first_shown_share([(a.first, a.second) for a in asked], prompts)
    return [
        line_of("flip rate", clustered_proportion(flips, prompts), Limits(most=config.max_flip_rate)),
        line_of("first shown wins", first, Limits(around=config.max_position)),
    ]


def _longer(leans: Sequence[Lean], margin: float) -> Estimate | None:
    known = [(win_score(lean.p, margin), lean.prompt) for lean in leans if lean.p is not None]
    return clustered_proportion([score for score, _ in known], [prompt for _, prompt in known])


def _length(
    sections: Sequence[Section], answers: Sequence[Answer], config: JudgeCheckConfig, label: LabelConfig
) -> list[Line]:
    ties = _longer([lean for section in sections for lean in section.ties], label.tie_margin)
    padded = _longer([lean for section in sections for lean in section.padded], label.tie_margin)
    slope = _slope([(a.doublings, a.p, a.prompt) for a in answers if a.p is not None])
    return [
        line_of("longer of two equals wins", ties, Limits(around=config.max_length), needed=False),
        # Padding may rightly be held against a response: only a liking for it is a bias.
        line_of("padded copy wins", padded, Limits(most=0.5 + config.max_length), needed=False),
        line_of(
            "p for a doubled length",
            slope,
            None if slope is None else Limits(least=-config.max_length_slope, most=config.max_length_slope),
            unit="number",
            needed=False,
        ),
    ]


def _slope(points: Sequence[tuple[float, float, str]]) -> Estimate | None:
    """The least-squares slope of the better response's p on its length (in doublings over the other's).

    The intercept takes up what the judge knows of merit, so that the slope is what length adds; with the cluster-robust
    error of Liang and Zeger (1986, Biometrika 73:13) and a t-interval. None where lengths do not vary.
    """
    if len({prompt for _, _, prompt in points}) < 3:
        return None
    x, y = (np.array([point[place] for point in points]) for place in (0, 1))
    centred = x - x.mean()
    spread = float(centred @ centred)
    if spread < 1e-9:
        return None
    slope = float(centred @ y) / spread
    residuals = y - y.mean() - slope * centred
    numbers: dict[str, int] = {}
    cluster = np.array([numbers.setdefault(prompt, len(numbers)) for _, _, prompt in points])
    sums = np.bincount(cluster, weights=centred * residuals)
    groups = len(sums)
    error = math.sqrt(groups / (groups - 1) * float(sums @ sums)) / spread
    half = float(stats.t.ppf((1 + LEVEL) / 2, groups - 1)) * error
    return Estimate(value=slope, low=slope - half, high=slope + half, n=len(points), clusters=groups)


def _failures(sections: Sequence[Section], config: JudgeCheckConfig) -> list[Line]:
    asked = sum(section.asked for section in sections)
    failed: Counter[str] = Counter()
    for section in sections:
        failed.update(section.failures)
    named = {"refusal", "low_mass", *UNREADABLE}
    kinds = (
        ("refusals", failed["refusal"], config.max_refusals),
        ("unreadable answers", sum(failed[kind] for kind in UNREADABLE), config.max_unreadable),
        ("too little on the answers offered", failed["low_mass"], config.max_low_mass),
        ("no answer", sum(n for kind, n in failed.items() if kind not in named), config.max_errors),
    )
    return [line_of(name, proportion(count, asked), Limits(most=most)) for name, count, most in kinds]


def _calibration(answers: Sequence[Answer], config: JudgeCheckConfig, calibrate: Calibrate | None) -> list[Line]:
    known = [(a.p if calibrate is None else calibrate(a.p), a.prompt) for a in answers if a.p is not None]
    ece, brier = Limits(most=config.max_ece), Limits(most=config.max_brier)
    if not known:
        return [
            line_of("calibration error beyond chance", None, ece, unit="number"),
            line_of("Brier score", None, brier, unit="number"),
        ]
    p = [value for value, _ in known]
    quality = gain(p, p, [1.0] * len(p), [prompt for _, prompt in known], draws=500).before
    null = quality.ece_if_calibrated
    beyond = quality.ece.model_copy(update={end: getattr(quality.ece, end) - null for end in ("value", "low", "high")})
    remark = f"{quality.ece.value:.3f}, of which chance {null:.3f}"
    return [
        line_of("calibration error beyond chance", beyond, ece, unit="number", remark=remark),
        line_of("Brier score", quality.brier, brier, unit="number"),
    ]


def _repeats(sections: Sequence[Section]) -> Estimate | None:
    return proportion(sum(section.same for section in sections), sum(section.repeated for section in sections))


def _by_principle(sections: Sequence[Section], config: JudgeCheckConfig) -> list[Line]:
    return [
        line_of(
            f"accuracy: {next(iter(section.principles))}",
            _share((p, a.prompt) for a in section.gold for p in _orders(a)),
            Limits(least=config.min_principle_accuracy),
        )
        for section in sections
        if len(section.principles) == 1 and len(sections) > 1
    ]
