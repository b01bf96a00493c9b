"""How one answer of a judge is read, and what the answers about one comparison add up to. All pure.

``p_a`` averages over principles and orders in *probability*, not in log-odds: the mean of probabilities is the share of
(weighted) votes for A, bounded per principle, so that one overconfident principle can't outvote the weights; and it is
symmetric, ``combine(swap(x)) == swap(combine(x))``, because each term is. (RLAIF, arXiv 2309.00267, section 3.1,
averages the two orders in the same way.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from raif.config import LabelConfig
from raif.models.base import Completion, Failure, Scores
from raif.records import AbstainReason, Judgement, Order, complement

Choice = Literal["A", "B", "TIE"]

_VERDICT = re.compile(r"verdict\W{0,6}(A|B|TIE)\b", re.IGNORECASE)
_REFUSAL = re.compile(
    r"^\W*(?:i(?:'|’)?m sorry|sorry|i (?:can(?:not|(?:'|’)t)|won(?:'|’)t|am (?:not able|unable)))", re.IGNORECASE
)
_NO_FAULT = re.compile(r"^\W*no\W+faults?\b\W*$", re.IGNORECASE)


def choices(allow_tie: bool) -> tuple[Choice, ...]:
    """The answers that a judge is offered."""
    return ("A", "B", "TIE") if allow_tie else ("A", "B")


def parse_verdict(text: str, offered: Sequence[Choice]) -> Choice | None:
    """The *last* verdict in a reasoned answer, from the offered set alone; None where there is none.

    The last one, because reasoning quotes: a response that says "Verdict: A" must not decide its own case.
    """
    found = [match.group(1).upper() for match in _VERDICT.finditer(text)]
    last = found[-1] if found else None
    return next((choice for choice in offered if choice == last), None)


def found_no_fault(critique: str) -> bool:
    """Whether a critique says "No fault." and nothing else."""
    return bool(_NO_FAULT.match(critique))


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer as read: the probability that the response shown *first* is better, or why there is none."""

    p_first: float | None = None
    p_tie: float | None = None
    mass: float | None = None
    failure: AbstainReason | None = None


def _failed(kind: str) -> Reading:
    reason: AbstainReason = "unparsed" if kind == "empty" else kind  # type: ignore[assignment]
    return Reading(failure=reason)


def read_scores(answer: Scores | Failure, config: LabelConfig) -> Reading:
    """A judgement from the raw probabilities of the offered answers: half of a tie's probability goes to each side."""
    if isinstance(answer, Failure):
        return _failed(answer.kind)
    mass = min(answer.mass, 1.0)
    if mass < config.min_mass or mass == 0:
        return Reading(mass=mass, failure="low_mass")
    p_first, _, *tie = (probability / answer.mass for probability in answer.probabilities)
    return Reading(p_first=p_first + sum(tie) / 2, p_tie=sum(tie) if tie else None, mass=mass)


def read_reasoning(answer: Completion | Failure, config: LabelConfig) -> Reading:
    """A judgement from reasoning that ends in a verdict; certainty is clamped to ``config.clamp``.

    Constitutional AI (arXiv 2212.08073, section 4.1) clamps to 40–60 %: after reasoning a model is nearly always sure.
    """
    if isinstance(answer, Failure):
        return _failed(answer.kind)
    verdict = parse_verdict(answer.text, choices(config.allow_tie))
    if verdict is None:
        if answer.finish == "length":
            return Reading(failure="truncated")
        return Reading(failure="refusal" if _REFUSAL.match(answer.text) else "unparsed")
    low, high = config.clamp
    return Reading(p_first={"A": high, "B": low, "TIE": 0.5}[verdict], p_tie=float(verdict == "TIE"))


def to_judgement(reading: Reading, order: Order, principle_id: str, weight: float) -> Judgement:
    """A reading as a record: ``p_a`` speaks of the comparison's response A, whichever side it was shown on."""
    return Judgement(
        order=order,
        principle_id=principle_id,
        weight=weight,
        p_a=reading.p_first if order == "ab" or reading.p_first is None else 1 - reading.p_first,
        p_tie=reading.p_tie,
        mass=reading.mass,
        failure=reading.failure,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judgements of one comparison add up to."""

    outcome: Literal["a", "b", "tie", "abstain"]
    reason: AbstainReason | None = None
    p_a: float | None = None
    p_a_by_order: tuple[float | None, float | None] = (None, None)


def combine(judgements: Sequence[Judgement], config: LabelConfig) -> Verdict:
    """Add judgements up: the weighted mean over principles in each order, then the mean over the orders.

    A principle counts where it was answered in every order asked, so that both orders weigh the same principles.
    Where the orders disagree, both by more than ``config.conflict_margin`` from ½, the judge followed the position and
    not the responses: the comparison abstains with ``order_conflict``. Where nothing was answered it abstains with the
    most frequent reason.
    """
    orders = sorted({judgement.order for judgement in judgements})
    failed = {judgement.principle_id for judgement in judgements if judgement.p_a is None}
    usable = [judgement for judgement in judgements if judgement.principle_id not in failed]
    if not usable:
        reasons = Counter(judgement.failure or "unparsed" for judgement in judgements)
        reason = min(reasons, key=lambda kind: (-reasons[kind], kind))
        return Verdict("abstain", "unparsed" if reason == "empty" else reason)
    by_order = {order: _weighted_mean([j for j in usable if j.order == order]) for order in orders}
    p_a = round(sum(by_order.values()) / len(by_order), 6)
    both = (by_order.get("ab"), by_order.get("ba"))
    if len(orders) == 2:
        first, second = by_order["ab"] - 0.5, by_order["ba"] - 0.5
        if first * second < 0 and min(abs(first), abs(second)) > config.conflict_margin:
            return Verdict("abstain", "order_conflict", p_a, both)
    if abs(p_a - 0.5) <= config.tie_margin:
        return Verdict("tie", None, p_a, both)
    return Verdict("a" if p_a > 0.5 else "b", None, p_a, both)


def _weighted_mean(judgements: Sequence[Judgement]) -> float:
    total = sum(judgement.weight for judgement in judgements)
    return sum(judgement.weight * (judgement.p_a or 0.0) for judgement in judgements) / total


def improvement(answer: Scores | Failure, min_mass: float) -> float | None:
    """P(YES) among YES and NO, from the question whether a revision is better; None where it was not answered."""
    if isinstance(answer, Failure) or answer.mass < max(min_mass, 1e-12):
        return None
    return complement(answer.probabilities[1] / answer.mass)
