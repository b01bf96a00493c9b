"""N responses to a prompt in their order, from judgements of pairs: Bradley–Terry with ties.

Davidson (1970, J. Am. Stat. Assoc. 65:317): with strengths θ and a weight of ties ν,

    P(i beats j) ∝ e^θᵢ      P(j beats i) ∝ e^θⱼ      P(tie) ∝ ν e^((θᵢ + θⱼ)/2)

so that the log-likelihood is concave in θ and log ν. A pair counts as one observation, shared out as the judge's
probabilities have it. A weak normal prior (σ = 10 log-odds for θ, 1 for log ν) keeps the fit finite where one response
wins everything; ν is fitted where there was any tie, and is 0 elsewhere. Each prompt is fitted by itself, so that
neither its neighbours nor a shard decide anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from raif.records import Conversation, Message, Preference, Record, Score, TrainingPair

STRENGTH_PRIOR, TIE_PRIOR = 10.0, 1.0
"""Standard deviations of the priors on a strength and on log ν."""


class RankedResponse(BaseModel):
    """One response in its place; without strength and rank where no judgement connects it with the others."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    text: str
    origin: str
    strength: Score | None
    """In log-odds: a response beats one that is weaker by 1 with odds of e. The mean over a prompt is 0."""
    rank: int | None
    """1 is the best; equal strengths share a rank."""
    compared: int
    """Pairs with it that were decided or tied."""


class Ranking(Record):
    """The responses to a prompt, strongest first."""

    identity = ("prompt", "judge", "constitution", "responses")

    prompt: Conversation
    judge: str
    constitution: str
    responses: tuple[RankedResponse, ...]
    tie_weight: Score
    """Davidson's ν."""
    asked: int
    """Pairs that the judge was asked about; those that abstained say nothing here."""
    abstained: int

    def best_and_worst(self, margin: float = 0.0) -> TrainingPair | None:
        """The strongest response as chosen, the weakest as rejected; None where that wins by no more than ``margin``.

        ``p_chosen`` is the model's probability that the one beats the other, a tie counting half.
        """
        ranked = [response for response in self.responses if response.strength is not None]
        if len(ranked) < 2:
            return None
        best, worst = ranked[0], ranked[-1]
        p = win_probability((best.strength or 0.0) - (worst.strength or 0.0), self.tie_weight)
        if p - 0.5 <= margin:
            return None
        return TrainingPair(
            prompt=self.prompt,
            chosen=(Message(role="assistant", content=best.text),),
            rejected=(Message(role="assistant", content=worst.text),),
            p_chosen=p,
            source="rank",
        )


@dataclass(frozen=True, slots=True)
class Game:
    """One pair: the places of its two, and how one observation is shared among a win of each and a tie."""

    i: int
    j: int
    i_wins: float
    tie: float
    j_wins: float


def win_probability(difference: float, tie_weight: float = 0.0) -> float:
    """P(the first wins) + ½·P(tie), by the difference of strengths."""
    loss, tie = math.exp(-abs(difference)), tie_weight * math.exp(-abs(difference) / 2)  # of a win's 1
    p = (1 + tie / 2) / (1 + loss + tie)
    return p if difference >= 0 else 1 - p


def fit(n: int, games: Sequence[Game]) -> tuple[NDArray[np.float64], float]:
    """The strengths [n] with the highest posterior, and ν; by Newton's method, which a concave function is made for."""
    ties = any(game.tie > 0 for game in games)
    features, weights = _design(n, games)
    precision = np.full(n + 1, STRENGTH_PRIOR**-2)
    precision[n] = TIE_PRIOR**-2
    free = n + 1 if ties else n
    x = np.zeros(n + 1)
    if not ties:
        features, weights = features[:, [0, 2]], weights[:, [0, 2]]

    def loss(at: NDArray[np.float64]) -> float:
        return float(0.5 * precision[:free] @ at[:free] ** 2 - np.sum(weights * _log_softmax(features @ at)))

    for _ in range(100):
        p = np.exp(_log_softmax(features @ x))
        total = weights.sum(axis=1, keepdims=True)
        gradient = precision * x + np.einsum("gk,gkm->m", p * total - weights, features)
        if np.abs(gradient[:free]).max() < 1e-10:
            break
        mean = np.einsum("gk,gkm->gm", p, features)
        curved = np.einsum("gk,gkm,gkl->ml", p * total, features, features)
        curved -= np.einsum("gm,gl->ml", mean * total, mean)
        step = np.zeros(n + 1)
        step[:free] = np.linalg.solve((curved + np.diag(precision))[:free, :free], gradient[:free])
        while loss(x - step) > loss(x) and np.abs(step).max() > 1e-12:
            step /= 2
        x = x - step
    return x[:n], float(np.exp(x[n])) if ties else 0.0


def _design(n: int, games: Sequence[Game]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features [games, 3, n + 1] of the three results, whose log-probabilities are linear in (θ, log ν); weights."""
    features = np.zeros((len(games), 3, n + 1))
    for row, game in zip(features, games, strict=True):
        row[0, game.i] = row[2, game.j] = 1
        row[1, [game.i, game.j]] = 0.5
        row[1, n] = 1
    return features, np.array([[game.i_wins, game.tie, game.j_wins] for game in games]).reshape(-1, 3)


def _log_softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = z - z.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def largest_group(n: int, games: Iterable[Game]) -> list[int]:
    """The places of the largest set that games connect; of equal ones that with the first place."""
    group = list(range(n))
    for game in games:
        one, other = sorted((group[game.i], group[game.j]))
        group = [one if own == other else own for own in group]
    largest = max(dict.fromkeys(group), key=group.count, default=0)
    return [place for place in range(n) if group[place] == largest]


def game(preference: Preference, i: int, j: int) -> Game:
    """A preference between the responses in places ``i`` (A) and ``j`` (B) as one observation.

    A tie is what the judge gave to TIE, where it was offered, and else the outcome ``tie`` as a whole.
    """
    given = [judgement.p_tie for judgement in preference.judgements if judgement.p_tie is not None]
    if not given and preference.outcome == "tie":
        return Game(i, j, 0.0, 1.0, 0.0)
    p_a = preference.p_a or 0.0
    tie = min(sum(given) / len(given), 2 * p_a, 2 * (1 - p_a)) if given else 0.0
    return Game(i, j, p_a - tie / 2, tie, 1 - p_a - tie / 2)


def rank(preferences: Iterable[Preference]) -> list[Ranking]:
    """A ranking for each prompt, in the order in which the prompts come."""
    by_prompt: dict[Conversation, list[Preference]] = {}
    for preference in preferences:
        by_prompt.setdefault(preference.comparison.prompt, []).append(preference)
    return [_ranking(prompt, own) for prompt, own in by_prompt.items()]


def _ranking(prompt: Conversation, preferences: Sequence[Preference]) -> Ranking:
    places: dict[str, int] = {}
    origins: list[str] = []
    games: list[Game] = []
    for preference in preferences:
        pair = preference.comparison
        for text, origin in ((pair.response_a, pair.origin_a), (pair.response_b, pair.origin_b)):
            if places.setdefault(text, len(places)) == len(origins):
                origins.append(origin)
        if preference.outcome != "abstain":
            games.append(game(preference, places[pair.response_a], places[pair.response_b]))
    strengths, tie_weight = fit(len(places), games)
    connected = largest_group(len(places), games) if games else []
    rounded = {place: round(float(strengths[place] - strengths[connected].mean()), 6) for place in connected}
    responses = [
        RankedResponse(
            text=text,
            origin=origins[place],
            strength=rounded.get(place),
            rank=1 + sum(other > rounded[place] for other in rounded.values()) if place in rounded else None,
            compared=sum(place in (one.i, one.j) for one in games),
        )
        for text, place in places.items()
    ]
    responses.sort(key=lambda response: (response.rank or math.inf, response.text))
    return Ranking(
        prompt=prompt,
        judge=preferences[0].judge,
        constitution=preferences[0].constitution,
        responses=tuple(responses),
        tie_weight=tie_weight,
        asked=len(preferences),
        abstained=len(preferences) - len(games),
    )


def ring(n: int) -> Iterator[tuple[int, int]]:
    """All pairs of ``n`` places round a table: neighbours first, then those two apart, and so on.

    Cut off anywhere it has met every place about equally often, and n − 1 of its pairs connect all places.
    """
    for distance in range(1, n // 2 + 1):
        for place in range(n if 2 * distance < n else n // 2):
            yield place, (place + distance) % n


def summarise(rankings: Sequence[Ranking], best_and_worst: int) -> dict[str, int]:
    """What rankings came to, for the manifest and ``--json``."""
    return {
        "prompts_ranked": len(rankings),
        "responses_ranked": sum(response.rank is not None for one in rankings for response in one.responses),
        "responses_unconnected": sum(response.rank is None for one in rankings for response in one.responses),
        "best_and_worst": best_and_worst,
    }


def ranking_line(ranking: dict[str, int]) -> str:
    """The same as the end of a sentence."""
    left = ranking["responses_unconnected"]
    return (
        f"{ranking['responses_ranked']:,} responses to {ranking['prompts_ranked']:,} prompts ranked, "
        f"{ranking['best_and_worst']:,} best against worst" + (f", {left:,} unconnected" if left else "")
    )
