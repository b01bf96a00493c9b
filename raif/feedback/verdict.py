"""What a judge's words say, and what its answers about one comparison add up to. All pure.

``p_a`` averages over principles and orders in *probability*, not in log-odds: the mean of probabilities is the share of
(weighted) votes for A, bounded per principle, so that one overconfident principle can't outvote the weights; and it is
symmetric, ``combine(swap(x)) == swap(combine(x))``, to the last digit, because it is reckoned in whole millionths to
either side of ½. (RLAIF, arXiv 2309.00267, section 2.1.1, averages the two orders in the same way.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from raif.config import LabelConfig
from raif.models.base import Failure, Scores
from raif.records import AbstainReason, Judgement, Order, complement

Choice = Literal["A", "B", "TIE"]

_VERDICT = re.compile(r"verdict\W{0,6}(A|B|TIE)\b", re.IGNORECASE)
_ANSWER = re.compile(
    r"^\W*(?:(?:my|the|final|better|best)\b\W+)*(?:(?:answer|verdict|choice|option|response)\b\W*(?:is\b\W*)?)*(A|B|TIE)\W*$",
    re.IGNORECASE | re.MULTILINE,
)
_REFUSAL = re.compile(
    r"^\W*(?:unfortunately\W+)?(?:"
    r"sorry\b|my apologies\b|i apologi[sz]e\b|as an ai\b|"
    r"(?:i|we)(?: a|['’]?)(?:m|re) (?:\w+ )?(?:sorry|unable|not able|not comfortable)\b|"
    r"(?:i|we) (?:cannot|can['’]?t|won['’]?t|will not|(?:must |have to )?decline|do(?:n['’]?| no)t feel comfortable)\b|"
    r"(?:i|we)(?: woul|['’])d (?:prefer not|rather not)\b)",
    re.IGNORECASE,
)
_NO_FAULT = re.compile(r"^\W*no\W+faults?\b\W*$", re.IGNORECASE)
_HALF = 500_000
"""½ in millionths, the unit in which probabilities are kept."""


def choices(allow_tie: bool) -> tuple[Choice, ...]:
    """The answers that a judge is offered."""
    return ("A", "B", "TIE") if allow_tie else ("A", "B")


def parse_verdict(text: str, offered: Sequence[Choice]) -> Choice | None:
    """The *last* verdict in a reasoned answer, from the offered set alone; None where there is none.

    The last one, because reasoning quotes: a response that says "Verdict: A" must not decide its own case.
    """
    return _last((_VERDICT,), text, offered)


def parse_answer(text: str, offered: Sequence[Choice]) -> Choice | None:
    """The last line of a short answer that is an answer and nothing else ("B", "Answer: B."), or its last verdict."""
    return _last((_ANSWER, _VERDICT), text, offered)


def _last(patterns: Sequence[re.Pattern[str]], text: str, offered: Sequence[Choice]) -> Choice | None:
    found = [(match.end(1), match[1].upper()) for pattern in patterns for match in pattern.finditer(text)]
    _, last = max(found, default=(0, None))
    return next((choice for choice in offered if choice == last), None)


def is_refusal(text: str) -> bool:
    """Whether an answer begins as a refusal to give one."""
    return bool(_REFUSAL.match(text))


def found_no_fault(critique: str) -> bool:
    """Whether a critique says "No fault." and nothing else."""
    return bool(_NO_FAULT.match(critique))


def most_frequent(reasons: Iterable[AbstainReason]) -> AbstainReason:
    """The reason that comes most often; of equals the first by name, so that no order of asking decides."""
    counts = Counter(reasons)
    return min(counts, key=lambda reason: (-counts[reason], reason))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judgements of one comparison add up to."""

    outcome: Literal["a", "b", "tie", "abstain"]
    reason: AbstainReason | None = None
    p_a: float | None = None
    p_a_by_order: tuple[float | None, float | None] = (None, None)


def combine(
    judgements: Sequence[Judgement], config: LabelConfig, calibrate: Callable[[float], float] | None = None
) -> Verdict:
    """Add judgements up: the weighted mean over principles in each order, then the mean over the orders.

    A principle counts where it was answered in every order asked, so that both orders weigh the same principles.
    Where the orders disagree, both by more than ``config.conflict_margin`` from ½, the judge followed the position and
    not the responses: the comparison abstains with ``order_conflict``. Where nothing was answered it abstains with the
    most frequent reason. ``calibrate`` corrects the ``p_a`` of both orders together, once they are found not to be in
    conflict; ``p_a_by_order`` stays as judged.
    """
    failed = {judgement.principle_id for judgement in judgements if judgement.p_a is None}
    usable = [judgement for judgement in judgements if judgement.principle_id not in failed]
    if not usable:
        return Verdict("abstain", most_frequent(_reason(judgement.failure) for judgement in judgements))
    orders = dict.fromkeys(judgement.order for judgement in judgements)
    leaning = {order: _leaning([j for j in usable if j.order == order]) for order in orders}
    p_a = _probability(sum(leaning.values()) / len(leaning))
    both = (_of(leaning, "ab"), _of(leaning, "ba"))
    if len(orders) == 2:
        one, two = leaning.values()
        if one * two < 0 and min(abs(one), abs(two)) > config.conflict_margin * 2 * _HALF:
            return Verdict("abstain", "order_conflict", p_a, both)
    if calibrate is not None:
        p_a = calibrate(p_a)
    if abs(_millionths(p_a)) <= config.tie_margin * 2 * _HALF:
        return Verdict("tie", None, p_a, both)
    return Verdict("a" if p_a > 0.5 else "b", None, p_a, both)


def _reason(failure: str | None) -> AbstainReason:
    """Why there is no label, given why there is no judgement: an empty answer has nothing to parse."""
    return failure if failure in get_args(AbstainReason) else "unparsed"  # type: ignore[return-value]


def _millionths(p: float) -> int:
    """p − ½ in millionths. What is whole here changes its sign, and nothing else, when sides are swapped."""
    return round(p * 2 * _HALF) - _HALF


def _probability(millionths: float) -> float:
    return (_HALF + round(millionths)) / (2 * _HALF)


def _leaning(judgements: Sequence[Judgement]) -> float:
    """The weighted mean of p_a − ½, in millionths."""
    total = sum(judgement.weight for judgement in judgements)
    return sum(j.weight * _millionths(j.p_a) for j in judgements if j.p_a is not None) / total


def _of(leaning: dict[Order | None, float], order: Order) -> float | None:
    return _probability(leaning[order]) if order in leaning else None


def improvement(answer: Scores | Failure, min_mass: float) -> float | None:
    """P(YES) among YES and NO, from the question whether a revision is better; None where it was not answered."""
    if isinstance(answer, Failure) or answer.mass < max(min_mass, 1e-12):
        return None
    return complement(answer.probabilities[1] / answer.mass)
