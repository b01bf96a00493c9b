"""Comparisons from responses and revisions. Which text becomes side A is drawn by a hash of both, never by merit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, groupby

from raif.feedback.draws import stream
from raif.inputs import with_neutral_sides
from raif.records import Comparison, Conversation, Response, Revision


def compare(
    prompt: Conversation, first: tuple[str, str], second: tuple[str, str], *, source: str, seed: int
) -> Comparison:
    """A comparison of two ``(text, origin)``, its sides assigned by a seeded hash of the prompt and both texts."""
    return with_neutral_sides(prompt, first[0], second[0], seed=seed, source=source, origins=(first[1], second[1]))


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


def unique(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The comparisons without those that say again what an earlier one says."""
    return list({comparison.id: comparison for comparison in comparisons}.values())
