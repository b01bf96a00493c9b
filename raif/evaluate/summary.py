"""What a stage's records add up to: responses, revisions, and labels with their coverage beside every figure.

An abstention is never counted as anything but an abstention: shares are over decided items, and ``coverage`` says how
many of all items that is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from raif.evaluate.calibration import Calibration, calibration
from raif.evaluate.missingness import Missingness, missingness
from raif.evaluate.statistics import (
    Estimate,
    Mean,
    clustered_mean,
    clustered_proportion,
    first_shown_share,
    randomised_order_kappa,
    win_score,
)
from raif.records import Comparison, Conversation, Judgement, Preference, Response, Revision


class Summary(BaseModel):
    """A frozen set of figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ResponseSummary(Summary):
    """What a policy answered. Lengths are in characters, over the responses that did not fail."""

    n: int
    prompts: int
    failures: dict[str, int]
    truncated: Estimate | None
    length: Mean | None


class PrincipleSteps(Summary):
    """The revision steps under one principle: each is clean, accepted, rejected or failed."""

    steps: int
    clean: int
    accepted: int
    rejected: int
    failed: int
    p_improved: float | None
    """Mean of the judge's probability that a revision under this principle was better; None where it was not asked."""


class RevisionSummary(Summary):
    """What critique and revision did. ``failures`` counts steps by kind."""

    n: int
    changed: Estimate | None
    clean: int
    """Responses in which no step found a fault."""
    failures: dict[str, int]
    by_principle: dict[str, PrincipleSteps]


class PrincipleLabels(Summary):
    """How the judge answered under one principle."""

    judgements: int
    failed: int
    flip_rate: Estimate | None
    """Share of comparisons in which its two orders prefer different responses."""
    decisiveness: float | None
    """Mean |p_a − ½|: 0.5 is certain, 0 is a coin toss."""
    p_winner: float | None
    """Mean probability that it gives to the response that all principles together prefer."""
    disagreement: Estimate | None
    """Share of decided comparisons in which it prefers the other response."""


class Agreement(Summary):
    """The judge against human labels, over decided comparisons that have one."""

    labelled: int
    """Comparisons with a human label that prefers one side."""
    coverage: float
    """Share of those that the judge decided."""
    agreement: Estimate
    kappa: Estimate
    """2(p_o − ½): what is left once chance agreement is taken off."""
    calibration: Calibration


class LabelSummary(Summary):
    """What the judge's labels are worth. Rates are over the comparisons for which they mean something."""

    n: int
    prompts: int
    decided: int
    ties: int
    abstained: dict[str, int]
    coverage: float | None
    """Decided comparisons as a share of all."""
    missing: Missingness
    """Whether those that the judge abstained from differ from the rest."""
    flip_rate: Estimate | None
    position_preference: Estimate | None
    """How often the judge prefers the response shown first; ½ is unbiased."""
    decisiveness: float | None
    longer_preferred: Estimate | None
    """How often the longer response wins, of decided comparisons whose lengths differ."""
    revision_preferred: Estimate | None
    """How often a revision wins against its original, ties as half; None without such comparisons."""
    by_principle: dict[str, PrincipleLabels]
    human: Agreement | None
    human_missing: str | None
    """Why there is no agreement with humans to report."""


def prompt_key(prompt: Conversation) -> Hashable:
    """What comparisons of the same prompt share."""
    return tuple((message.role, message.content) for message in prompt)


def response_summary(responses: Sequence[Response]) -> ResponseSummary:
    """Counts, truncation and length of a policy's answers; items of one prompt count as one cluster."""
    usable = [response for response in responses if response.failure is None]
    prompts = [response.prompt_id for response in usable]
    return ResponseSummary(
        n=len(responses),
        prompts=len({response.prompt_id for response in responses}),
        failures=counted(response.failure for response in responses),
        truncated=clustered_proportion([float(response.finish == "length") for response in usable], prompts),
        length=clustered_mean([len(response.text) for response in usable], prompts),
    )


def revision_summary(revisions: Sequence[Revision]) -> RevisionSummary:
    """How many responses changed, and what became of each step under each principle."""
    steps = [step for revision in revisions for step in revision.steps]
    grouped = defaultdict(list)
    for step in steps:
        grouped[step.principle_id].append(step)
    return RevisionSummary(
        n=len(revisions),
        changed=clustered_proportion([float(r.changed) for r in revisions], [r.prompt_id for r in revisions]),
        clean=sum(bool(r.steps) and all(step.clean for step in r.steps) for r in revisions),
        failures=counted(step.failure for step in steps),
        by_principle={
            principle: PrincipleSteps(
                steps=len(own),
                clean=sum(step.clean for step in own),
                accepted=sum(step.accepted for step in own),
                rejected=sum(not step.clean and not step.accepted and step.failure is None for step in own),
                failed=sum(step.failure is not None for step in own),
                p_improved=mean([step.p_improved for step in own if step.p_improved is not None]),
            )
            for principle, own in grouped.items()
        },
    )


def label_summary(preferences: Sequence[Preference]) -> LabelSummary:
    """Coverage, position bias, length, principles and human agreement of a set of labels."""
    decided = [preference for preference in preferences if preference.decided]
    flipped = [preference for preference in preferences if preference.flipped is not None]
    human, missing = human_agreement(preferences)
    return LabelSummary(
        n=len(preferences),
        prompts=len(set(_keys(preferences))),
        decided=len(decided),
        ties=sum(preference.outcome == "tie" for preference in preferences),
        abstained=counted(preference.reason for preference in preferences if preference.outcome == "abstain"),
        coverage=len(decided) / len(preferences) if preferences else None,
        missing=missingness(preferences),
        flip_rate=clustered_proportion([float(bool(p.flipped)) for p in flipped], _keys(flipped)),
        position_preference=first_shown_share([p.p_a_by_order for p in preferences], _keys(preferences)),
        decisiveness=mean([abs(p.p_a - 0.5) for p in preferences if p.p_a is not None]),
        longer_preferred=_longer_preferred(decided),
        revision_preferred=_revision_preferred(preferences),
        by_principle=_by_principle(preferences),
        human=human,
        human_missing=missing,
    )


def coverage_line(summary: LabelSummary) -> str:
    """One line for the end of a stage: counts, abstentions by reason, coverage."""
    if not summary.n:
        return "no comparisons"
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in summary.abstained.items())
    abstained = f"{sum(summary.abstained.values()):,} abstained" + (f" ({reasons})" if reasons else "")
    noun = "comparison" if summary.n == 1 else "comparisons"
    ties = f"{summary.ties:,} tie" + ("" if summary.ties == 1 else "s")
    return (
        f"{summary.n:,} {noun}: {summary.decided:,} decided, {ties}, {abstained}; "
        f"coverage {100 * (summary.coverage or 0):.1f} %"
    )


def human_agreement(preferences: Sequence[Preference]) -> tuple[Agreement | None, str | None]:
    """Agreement with the human labels that the input had, or the reason why there is none to report."""
    labelled = [(p, h) for p in preferences if (h := p.comparison.human_p_a) is not None and h != 0.5]
    decided = [(p, p.p_a, h) for p, h in labelled if p.decided and p.p_a is not None]
    if not labelled:
        return None, "the comparisons have no human label"
    if not decided:
        return None, f"the judge decided none of the {len(labelled):,} comparisons that have a human label"
    right = [float((p.outcome == "a") == (h > 0.5)) for p, _, h in decided]
    agreement = clustered_proportion(right, _keys([p for p, _, _ in decided]))
    assert agreement is not None  # there is at least one item
    return Agreement(
        labelled=len(labelled),
        coverage=len(decided) / len(labelled),
        agreement=agreement,
        kappa=randomised_order_kappa(agreement),
        calibration=calibration([p_a for _, p_a, _ in decided], [float(h > 0.5) for _, _, h in decided]),
    ), None


def principle_p_a(judgements: Sequence[Judgement]) -> float | None:
    """The mean of one principle's p_a over the orders in which it answered."""
    return mean([judgement.p_a for judgement in judgements if judgement.p_a is not None])


def judgements_by_principle(preference: Preference) -> Mapping[str, list[Judgement]]:
    """The judgements of one comparison, by principle, in the order asked."""
    grouped: dict[str, list[Judgement]] = {}
    for judgement in preference.judgements:
        grouped.setdefault(judgement.principle_id, []).append(judgement)
    return grouped


def counted(reasons: Iterable[str | None]) -> dict[str, int]:
    """How often each reason occurs, most frequent first, then by name; None is no reason."""
    found = Counter(reason for reason in reasons if reason is not None)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def mean(values: Sequence[float]) -> float | None:
    """The mean, or None where there is nothing to average."""
    return sum(values) / len(values) if values else None


def _keys(preferences: Sequence[Preference]) -> list[Hashable]:
    return [prompt_key(preference.comparison.prompt) for preference in preferences]


def _longer_preferred(decided: Sequence[Preference]) -> Estimate | None:
    def difference(comparison: Comparison) -> int:
        return len(comparison.response_a) - len(comparison.response_b)

    unequal = [preference for preference in decided if difference(preference.comparison)]
    longer = [float((difference(p.comparison) > 0) == (p.outcome == "a")) for p in unequal]
    return clustered_proportion(longer, _keys(unequal))


def _revision_preferred(preferences: Sequence[Preference]) -> Estimate | None:
    judged = [p for p in preferences if p.comparison.source == "revisions" and p.outcome != "abstain"]
    wins = []
    for preference in judged:
        side = "a" if preference.comparison.origin_a == "revision" else "b"
        wins.append(0.5 if preference.outcome == "tie" else float(preference.outcome == side))
    return clustered_proportion(wins, _keys(judged))


def _by_principle(preferences: Sequence[Preference]) -> dict[str, PrincipleLabels]:
    asked: dict[str, list[tuple[Preference, list[Judgement]]]] = defaultdict(list)
    for preference in preferences:
        for principle, judgements in judgements_by_principle(preference).items():
            asked[principle].append((preference, judgements))
    return {principle: _principle_labels(items) for principle, items in asked.items()}


def _principle_labels(items: Sequence[tuple[Preference, list[Judgement]]]) -> PrincipleLabels:
    flips: list[tuple[float, Hashable]] = []
    against: list[tuple[float, Hashable]] = []
    winner: list[float] = []
    for preference, judgements in items:
        key = prompt_key(preference.comparison.prompt)
        by_order = {judgement.order: judgement.p_a for judgement in judgements}
        first, second = by_order.get("ab"), by_order.get("ba")
        if first is not None and second is not None:
            flips.append((float((first - 0.5) * (second - 0.5) < 0), key))
        p_a = principle_p_a(judgements)
        if p_a is not None and preference.decided:
            winner.append(p_a if preference.outcome == "a" else 1 - p_a)
            against.append((float(win_score(winner[-1]) == 0), key))
    answers = [judgement for _, judgements in items for judgement in judgements]
    return PrincipleLabels(
        judgements=len(answers),
        failed=sum(judgement.p_a is None for judgement in answers),
        flip_rate=clustered_proportion([x for x, _ in flips], [key for _, key in flips]),
        decisiveness=mean([abs(judgement.p_a - 0.5) for judgement in answers if judgement.p_a is not None]),
        p_winner=mean(winner),
        disagreement=clustered_proportion([x for x, _ in against], [key for _, key in against]),
    )
