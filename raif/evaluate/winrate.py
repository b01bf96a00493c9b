"""Policies side by side on the same held-out prompts: each against the baseline, overall and principle by principle.

"Safer" and "helpful" are different principles, so they show separately: a policy that refuses everything wins under one
and loses under the other. There is no refusal rate here: only a known truth could give one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from pydantic import Field

from raif.errors import InputError
from raif.evaluate.statistics import Estimate, clustered_proportion, win_score
from raif.evaluate.summary import (
    ResponseSummary,
    Summary,
    counted,
    judgements_by_principle,
    principle_p_a,
    prompt_key,
    response_summary,
)
from raif.records import Comparison, Preference, Response

TIE_MARGIN = 0.02
"""A principle within this of ½ prefers neither policy."""


class WinRate(Summary):
    """A policy against the baseline. A win is 1, a tie ½, a loss 0; abstentions are apart."""

    n: int
    """Comparisons, with those of equal answers."""
    wins: int
    ties: int
    """Comparisons that the judge finds equal, and prompts to which both policies gave the same answer."""
    identical: int
    """Of the ties, those with the same answer."""
    losses: int
    abstained: dict[str, int]
    coverage: float | None
    """Comparisons that did not abstain, as a share of all."""
    win_rate: Estimate | None


class PolicyResult(Summary):
    """One policy's answers and, but for the baseline, how they fared against the baseline's."""

    model: str
    responses: ResponseSummary
    overall: WinRate | None = None
    by_principle: dict[str, WinRate] = Field(default_factory=dict)


class EvalResult(Summary):
    """``70_eval.json``. Policies are in the order given, the baseline among them."""

    baseline: str
    prompts: int
    policies: dict[str, PolicyResult]


def evaluate(
    responses_by_policy: Mapping[str, Sequence[Response]],
    preferences_by_policy: Mapping[str, Sequence[Preference]],
    baseline: str,
) -> EvalResult:
    """Compare every policy with the baseline.

    Args:
        responses_by_policy: each policy's answers to the same held-out prompts, by the policy's name.
        preferences_by_policy: the judge's labels of that policy's answers against the baseline's. Its origins
            (``origin_a``, ``origin_b``) name the policies or the models' identities; where both are the same model the
            answers tell. Pairs of equal answers may be left out: they are found here and count as ties.
        baseline: the name of the policy that all others are compared with.

    Raises:
        InputError: the baseline is not among the policies, policies answered different prompts, or a comparison is not
            between the policy and the baseline.
    """
    if baseline not in responses_by_policy:
        raise InputError(f"there is no policy {baseline!r} to compare with; there are {', '.join(responses_by_policy)}")
    asked = {response.prompt_id for response in responses_by_policy[baseline]}
    policies = {}
    for name, responses in responses_by_policy.items():
        prompts = {response.prompt_id for response in responses}
        if prompts != asked:
            raise InputError(
                f"policies {name!r} and {baseline!r} answered different prompts ({len(prompts - asked)} and "
                f"{len(asked - prompts)} of their own); generate their answers again from the same file"
            )
        result = PolicyResult(model=_identity(responses), responses=response_summary(responses))
        if name != baseline and name in preferences_by_policy:
            pairing = _Pairing(name, responses, baseline, responses_by_policy[baseline])
            judged = [(preference, pairing.side(preference.comparison)) for preference in preferences_by_policy[name]]
            same = pairing.identical([preference.comparison for preference, _ in judged])
            result = result.model_copy(
                update={"overall": _overall(judged, same), "by_principle": _by_principle(judged, same)}
            )
        policies[name] = result
    return EvalResult(baseline=baseline, prompts=len(asked), policies=policies)


def _identity(responses: Sequence[Response]) -> str:
    return responses[0].model if responses else ""


class _Pairing:
    """Which side of a comparison is the policy's. Sides were drawn by a hash, so position says nothing."""

    def __init__(
        self, policy: str, responses: Sequence[Response], baseline: str, baseline_responses: Sequence[Response]
    ) -> None:
        self.policy, self.baseline = policy, baseline
        self.names = ({policy, _identity(responses)}, {baseline, _identity(baseline_responses)})
        self.responses, self.baseline_responses = responses, baseline_responses
        self.texts = tuple(
            {(prompt_key(r.prompt), r.text.strip()) for r in own} for own in (responses, baseline_responses)
        )

    def side(self, comparison: Comparison) -> str:
        """``a`` or ``b``: the side of the policy.

        Raises:
            InputError: the comparison is between others.
        """
        own, other = (names - (self.names[0] & self.names[1]) for names in self.names)
        a, b = comparison.origin_a, comparison.origin_b
        if a != b and (a in own or b in other):
            return "a"
        if a != b and (b in own or a in other):
            return "b"
        key = prompt_key(comparison.prompt)
        first, second = (key, comparison.response_a.strip()), (key, comparison.response_b.strip())
        if first in self.texts[0] and second in self.texts[1]:
            return "a"
        if second in self.texts[0] and first in self.texts[1]:
            return "b"
        raise InputError(
            f"comparison {comparison.id} is not between the policies {self.policy!r} and {self.baseline!r} (it names "
            f"{a or 'nobody'!r} and {b or 'nobody'!r}); label their answers again"
        )

    def identical(self, compared: Sequence[Comparison]) -> list[Hashable]:
        """The prompt of each sample to which both policies gave the same answer and that no comparison covers."""
        covered = {prompt_key(c.prompt) for c in compared if c.response_a.strip() == c.response_b.strip()}
        answers = {(r.prompt_id, r.sample): r for r in self.baseline_responses if r.failure is None}
        found: list[Hashable] = []
        for response in self.responses:
            other = answers.get((response.prompt_id, response.sample))
            if response.failure is None and other is not None and response.text.strip() == other.text.strip():
                key = prompt_key(response.prompt)
                if key not in covered:
                    found.append(key)
        return found


def _overall(judged: Sequence[tuple[Preference, str]], same: Sequence[Hashable]) -> WinRate:
    scored: list[tuple[float, Hashable]] = []
    for preference, side in judged:
        if preference.outcome != "abstain":
            score = 0.5 if preference.outcome == "tie" else float(preference.outcome == side)
            scored.append((score, prompt_key(preference.comparison.prompt)))
    return _win_rate(scored, same, counted(p.reason for p, _ in judged if p.outcome == "abstain"))


def _by_principle(judged: Sequence[tuple[Preference, str]], same: Sequence[Hashable]) -> dict[str, WinRate]:
    """What each principle alone prefers, by the mean over its orders; it abstains where it answered in none."""
    scored: dict[str, list[tuple[float, Hashable]]] = {}
    failures: dict[str, list[str | None]] = {}
    for preference, side in judged:
        for principle, judgements in judgements_by_principle(preference).items():
            own = scored.setdefault(principle, [])
            failed = failures.setdefault(principle, [])
            p_a = principle_p_a(judgements)
            if p_a is None:
                failed.append(judgements[0].failure or "unparsed")
            else:
                score = win_score(p_a if side == "a" else 1 - p_a, TIE_MARGIN)
                own.append((score, prompt_key(preference.comparison.prompt)))
    return {principle: _win_rate(own, same, counted(failures[principle])) for principle, own in scored.items()}


def _win_rate(
    scored: Sequence[tuple[float, Hashable]], same: Sequence[Hashable], abstained: Mapping[str, int]
) -> WinRate:
    everything = [*scored, *((0.5, key) for key in same)]
    scores = [score for score, _ in everything]
    n = len(scores) + sum(abstained.values())
    return WinRate(
        n=n,
        wins=scores.count(1.0),
        ties=scores.count(0.5),
        identical=len(same),
        losses=scores.count(0.0),
        abstained=dict(abstained),
        coverage=len(scores) / n if n else None,
        win_rate=clustered_proportion(scores, [key for _, key in everything]),
    )
