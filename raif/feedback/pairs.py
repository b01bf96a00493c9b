"""Comparisons from responses and revisions. Which text becomes side A is drawn by a hash of both, never by merit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, groupby, islice

from raif.config import LabelConfig
from raif.errors import InputError
from raif.feedback.draws import stream
from raif.feedback.rank import ring
from raif.inputs import with_neutral_sides
from raif.records import Comparison, Conversation, Response, Revision


def compare(
    prompt: Conversation, first: tuple[str, str], second: tuple[str, str], *, source: str, seed: int
) -> Comparison:
    """A comparison of two ``(text, origin)``, its sides assigned by a seeded hash of the prompt and both texts."""
    return with_neutral_sides(prompt, first[0], second[0], seed=seed, source=source, origins=(first[1], second[1]))


def to_label(
    responses: Sequence[Response], revisions: Sequence[Revision], config: LabelConfig, *, seed: int
) -> list[Comparison]:
    """The pairs to ask a judge about: of responses, and of responses with their revisions; in mode rank, of them all.

    Raises:
        InputError: there are none.
    """
    if config.mode == "rank":
        limit = None if config.rank_pairs == "all" else config.rank_pairs
        comparisons = to_rank(responses, revisions, limit, seed=seed)
    else:
        pairs = from_responses(responses, config.pairs_per_prompt, seed=seed) + from_revisions(revisions, seed=seed)
        comparisons = unique(pairs)
    if not comparisons:
        raise InputError("no two different responses to compare; draw more samples or raise generate.temperature")
    return comparisons


def from_responses(responses: Iterable[Response], pairs_per_prompt: int, *, seed: int) -> list[Comparison]:
    """Up to ``pairs_per_prompt`` pairs of different answers to each prompt, drawn by the prompt's id.

    Failed responses are left out, and so are pairs that say the same: there is nothing to prefer.
    """
    comparisons = []
    for prompt_id, group in groupby(responses, key=lambda response: response.prompt_id):
        usable: Sequence[Response] = [response for response in group if response.failure is None]
        candidates = [(one, two) for one, two in combinations(usable, 2) if one.text.strip() != two.text.strip()]
        seen: set[frozenset[str]] = set()
        stream("pairs", seed, prompt_id).shuffle(candidates)
        for one, two in candidates:
            if len(seen) == pairs_per_prompt:
                break
            texts = frozenset((one.text, two.text))
            if texts in seen:
                continue
            seen.add(texts)
            comparisons.append(
                compare(
                    one.prompt,
                    (one.text, one.model),
                    (two.text, two.model),
                    source="responses",
                    seed=seed,
                )
            )
    return comparisons


def from_revisions(revisions: Iterable[Revision], *, seed: int) -> list[Comparison]:
    """Each response that was changed against its revision. Being the revision proves nothing: it is judged."""
    return unique(
        compare(
            revision.prompt,
            (revision.original, revision.policy),
            (revision.text, "revision"),
            source="revisions",
            seed=seed,
        )
        for revision in revisions
        if revision.changed and revision.original
    )


def to_rank(
    responses: Iterable[Response], revisions: Iterable[Revision], pairs_per_prompt: int | None, *, seed: int
) -> list[Comparison]:
    """Pairs among all different usable answers to each prompt and their revisions, for a ranking of them.

    All pairs, or ``pairs_per_prompt`` of them, drawn by the prompt's id so that every answer is met about equally often
    and one fewer pairs than answers connect them all (``raif.feedback.rank.ring``).
    """
    answers: dict[str, dict[str, tuple[Conversation, str, str]]] = {}
    for response in responses:
        if response.failure is None and response.text.strip():
            own = answers.setdefault(response.prompt_id, {})
            own.setdefault(response.text.strip(), (response.prompt, response.text, response.model))
    for revision in revisions:
        if revision.changed and revision.text.strip():
            own = answers.setdefault(revision.prompt_id, {})
            own.setdefault(revision.text.strip(), (revision.prompt, revision.text, "revision"))
    comparisons = []
    for prompt_id, own in answers.items():
        table = list(own.values())
        stream("rank", seed, prompt_id).shuffle(table)
        for i, j in islice(ring(len(table)), pairs_per_prompt):
            (prompt, *one), (_, *two) = table[i], table[j]
            comparisons.append(compare(prompt, (one[0], one[1]), (two[0], two[1]), source="rank", seed=seed))
    return comparisons


def unique(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The comparisons without those that say again what an earlier one says."""
    return list({comparison.id: comparison for comparison in comparisons}.values())
