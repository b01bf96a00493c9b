"""How the answer to one question is read, by mode: a probability that the response shown first is better, or why not.

All pure. What no answer can be read from is a failure with its reason, never a score.

    logprob   the raw probabilities of A and B (and half of TIE's), renormalised; too little of them is ``low_mass``
    cot       the last verdict of a reasoning, clamped; or the probabilities of A and B after it, clamped
    votes     the share of the answers that say A; answers that don't vote count as mass that went elsewhere
    score     two grades, each an expectation over the offered ones; their difference is taken as log-odds
    reward    two rewards; their difference is what Bradley and Terry (1952) have as log-odds
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from raif.config import LabelConfig
from raif.feedback.verdict import choices, is_refusal, most_frequent, parse_answer, parse_verdict
from raif.models.base import Completion, Failure, Rating, Scores
from raif.records import AbstainReason, FailureKind, Judgement, Order, complement


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer as read: the probability that the response shown *first* is better, or why there is none.

    ``mass`` is the share of what the judge gave that fell on offered answers. ``scores`` are those of the response
    shown first and of the other, where each was judged by itself.
    """

    p_first: float | None = None
    p_tie: float | None = None
    mass: float | None = None
    failure: AbstainReason | None = None
    scores: tuple[float, float] | None = None


def grades(scale: int) -> tuple[str, ...]:
    """The grades that a judge is offered: 1 to 9, or ten of them from 0 to 9.

    Ten are not asked as 1 to 10, because "1" begins "10": no first token tells them apart. Once rescaled to [-1, 1],
    0 … 9 and 1 … 10 are the same ten points.
    """
    return tuple(str(grade) for grade in range(10 - scale, 10))


def failed(kind: FailureKind) -> Reading:
    """The reading of a request that gave nothing."""
    return Reading(failure="unparsed" if kind == "empty" else kind)


def read_scores(answer: Scores | Failure, config: LabelConfig) -> Reading:
    """A judgement from the raw probabilities of the offered answers: half of a tie's probability goes to each side."""
    if isinstance(answer, Failure):
        return failed(answer.kind)
    mass = min(answer.mass, 1.0)
    if mass < config.min_mass or mass == 0:
        return Reading(mass=mass, failure="low_mass")
    p_first, _, *tie = (probability / answer.mass for probability in answer.probabilities)
    return Reading(p_first=p_first + sum(tie) / 2, p_tie=sum(tie) if tie else None, mass=mass)


def read_reasoning(answer: Completion | Failure, config: LabelConfig) -> Reading:
    """A judgement from reasoning that ends in a verdict; certainty is clamped to ``config.clamp``.

    Constitutional AI (arXiv 2212.08073, section 4.1) clamps to 40–60 %: after reasoning a model is nearly always sure.
    A reasoning that was cut off has not come to its verdict, whatever it quoted on the way.
    """
    if (why := unanswered(answer)) is not None:
        return Reading(failure=why)
    assert isinstance(answer, Completion)
    verdict = parse_verdict(answer.text, choices(config.allow_tie))
    if verdict is None:
        return Reading(failure=_wordless(answer))
    low, high = config.clamp
    return Reading(
        p_first={"A": high, "B": low, "TIE": 0.5}[verdict], p_tie=float(verdict == "TIE") if config.allow_tie else None
    )


def read_after_reasoning(answer: Scores | Failure, config: LabelConfig) -> Reading:
    """A judgement from the probabilities of the answers once the reasoning is there, clamped to ``config.clamp``.

    That is how both papers have it (arXiv 2212.08073, section 4.1; arXiv 2309.00267, section 2.1.2).
    """
    reading = read_scores(answer, config)
    if reading.p_first is None:
        return reading
    low, high = config.clamp
    return replace(reading, p_first=min(high, max(low, reading.p_first)))


def read_votes(answers: Sequence[Completion | Failure], config: LabelConfig) -> Reading:
    """A judgement from several short answers to the same question: the share that says A; a TIE is half a vote.

    ``mass`` is the share of answers that vote at all. A vote that could not be had says nothing: the whole may be asked
    again, and has no answer until then.
    """
    if any(isinstance(answer, Failure) and answer.kind == "request_error" for answer in answers):
        return Reading(failure="request_error")
    read = [_vote(answer, config) for answer in answers]
    votes = [vote for vote, _ in read if vote is not None]
    reasons = [reason for _, reason in read if reason is not None]
    if not votes:
        return Reading(failure=most_frequent(reasons), mass=0.0)
    mass = len(votes) / len(answers)
    if mass < config.min_mass:
        return Reading(mass=mass, failure="low_mass")
    tie = votes.count("TIE") / len(votes)
    return Reading(p_first=votes.count("A") / len(votes) + tie / 2, p_tie=tie if config.allow_tie else None, mass=mass)


def _vote(answer: Completion | Failure, config: LabelConfig) -> tuple[str | None, AbstainReason | None]:
    if (why := unanswered(answer)) is not None:
        return None, why
    assert isinstance(answer, Completion)
    vote = parse_answer(answer.text, choices(config.allow_tie))
    return (vote, None) if vote is not None else (None, _wordless(answer))


def unanswered(answer: Completion | Failure) -> AbstainReason | None:
    """Why a text need not even be read; None where it may be."""
    if isinstance(answer, Failure):
        return failed(answer.kind).failure
    if answer.finish == "length":
        return "truncated"
    return None if answer.text else "unparsed"


def _wordless(answer: Completion) -> AbstainReason:
    return "refusal" if is_refusal(answer.text) else "unparsed"


def read_grades(answers: Sequence[Scores | Failure], config: LabelConfig) -> Reading:
    """A judgement from the grades of two responses, the first shown first.

    A response's grade is Σ g·P(g) over the offered grades (d-RLAIF, arXiv 2309.00267, section 2.2.2), and one grade of
    difference counts as one unit of log-odds: p = σ(Σ g·P₁(g) − Σ g·P₂(g)). How sharp that ought to be for a given
    judge is what a calibration finds out.
    """
    offered = [int(grade) for grade in grades(config.scale)]
    masses, means, reasons = [], [], []
    for answer in answers:
        if isinstance(answer, Failure):
            reasons.append(failed(answer.kind).failure or "unparsed")
            continue
        masses.append(min(answer.mass, 1.0))
        if answer.mass == 0 or answer.mass < config.min_mass:
            reasons.append("low_mass")
            continue
        means.append(sum(g * p for g, p in zip(offered, answer.probabilities, strict=True)) / answer.mass)
    mass = min(masses) if masses else None
    if reasons:
        return Reading(mass=mass, failure=most_frequent(reasons))
    first, second = means
    middle, half = (offered[0] + offered[-1]) / 2, (offered[-1] - offered[0]) / 2
    scores = ((first - middle) / half, (second - middle) / half)
    return Reading(p_first=logistic(first - second), mass=mass, scores=scores)


def read_rewards(answers: Sequence[Rating | Failure]) -> Reading:
    """A judgement from the rewards of two responses: σ(r₁ − r₂) (Bradley and Terry 1952, Biometrika 39:324)."""
    reasons = [failed(answer.kind).failure or "unparsed" for answer in answers if isinstance(answer, Failure)]
    if reasons:
        return Reading(failure=most_frequent(reasons))
    first, second = (answer.value for answer in answers if isinstance(answer, Rating))
    return Reading(p_first=logistic(first - second), scores=(first, second))


def logistic(x: float) -> float:
    """1 / (1 + e^−x), without overflow, and with logistic(−x) = 1 − logistic(x)."""
    p = 1 / (1 + math.exp(-abs(x)))
    return p if x >= 0 else 1 - p


def to_judgement(reading: Reading, order: Order | None, principle_id: str, weight: float) -> Judgement:
    """A reading as a record: ``p_a`` speaks of the comparison's response A, whichever side it was shown on."""
    p_first = None if reading.p_first is None else round(reading.p_first, 6)
    return Judgement(
        order=order,
        principle_id=principle_id,
        weight=weight,
        p_a=complement(p_first) if order == "ba" else p_first,
        p_tie=reading.p_tie,
        mass=reading.mass,
        scores=reading.scores,
        failure=reading.failure,
    )
