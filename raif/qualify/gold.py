"""Gold: pairs of responses of which somebody has said which is better, under one principle or on the whole.

It comes from a file of preferences (``--gold``), in which a column ``principle`` may name a principle by its id or by
its statement; else from the comparisons that a constitution's author has worked out; else, for principles worded as in
``constitution/demo.yaml``, from a file that ships with raif.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

from raif.config import InputConfig
from raif.constitution import ComparisonExample, Constitution, Principle
from raif.errors import ConfigError
from raif.inputs.collect import Value, collect
from raif.inputs.pairs import comparison_reader
from raif.inputs.sources import read_rows
from raif.inputs.turns import BadRow
from raif.records import Comparison, Record, conversation, digest
from raif.resources import PACKAGE
from raif.store import Note

SHIPPED = PACKAGE / "demo" / "gold.jsonl.gz"
"""Pairs of the demo world under each statement of ``constitution/demo.yaml``; ``scripts/build_demo_gold.py`` makes it.
Statements name the principles there: gold for a statement says nothing of another that has its id."""

_BETTER = {"a": 1.0, "b": 0.0, "tie": 0.5}


class Gold(Record):
    """A pair with a human's (or an author's) word on it; ``principle`` is an id, or None where it is on the whole."""

    identity = ("comparison", "principle")

    comparison: Comparison
    principle: str | None = None

    @property
    def better(self) -> str:
        """``a``, ``b`` or ``tie``."""
        p_a = self.comparison.human_p_a
        return "tie" if p_a is None or p_a == 0.5 else "a" if p_a > 0.5 else "b"

    @property
    def sides(self) -> tuple[str, str]:
        """The better response and the worse one; of a tie, the longer one first."""
        pair = (self.comparison.response_a, self.comparison.response_b)
        first = self.better == "a" if self.better != "tie" else len(pair[0]) >= len(pair[1])
        return pair if first else (pair[1], pair[0])


def read_gold(
    source: str,
    constitution: Constitution,
    config: InputConfig,
    *,
    limit: int | None = None,
    seed: int = 0,
    on_note: Note | None = None,
) -> list[Gold]:
    """The labelled pairs in a source; those under principles that the constitution lacks are left out, with a note.

    Raises:
        InputError: as ``raif.inputs.read_pairs``, or no pair has a label.
    """
    names = {name: p.id for p in constitution.principles for name in (p.text, p.comparison, p.id)}

    def converter(values: Sequence[Value]) -> Callable[[Value], Gold | None]:
        read = comparison_reader(source, config, values, seed=seed, on_note=on_note)

        def convert(row: Value) -> Gold | None:
            named = row.get("principle")
            if named is not None and not isinstance(named, str):
                raise BadRow(f"column 'principle' holds {named!r}; it takes a principle's id, or its statement")
            comparison = read(row)
            principle = names.get(named.strip()) if named else None
            if comparison.human_p_a is None or (named and principle is None):
                return None
            return Gold(comparison=comparison, principle=principle)

        return convert

    return collect(
        source,
        config,
        converter,
        limit=limit,
        on_note=on_note,
        what="gold pairs",
        passed_over="pairs without a label, or under other principles",
    )


def gather(
    source: str | None,
    constitution: Constitution,
    config: InputConfig,
    *,
    shown: int = 0,
    limit: int | None = None,
    seed: int = 0,
    on_note: Note | None = None,
) -> list[Gold]:
    """What a judge is checked against; see the module.

    Args:
        shown: worked comparisons of each principle that the judge is shown, and therefore not asked about.

    Raises:
        ConfigError: there is nothing to check against.
        InputError: the file can't be used.
    """
    if source is not None:
        return read_gold(source, constitution, config, limit=limit, seed=seed, on_note=on_note)
    shipped = _shipped(constitution, seed)
    by_principle = [_worked_out(p, shown) or shipped.get(p.id, []) for p in constitution.principles]
    found = [gold for turn in zip_longest(*by_principle) for gold in turn if gold is not None]
    if not found:
        raise ConfigError(
            "there is nothing to check the judge against: give --gold FILE, pairs of responses with the one that a "
            "human preferred, or write worked comparisons (examples) into the constitution"
        )
    return found[:limit]


def _worked_out(principle: Principle, shown: int) -> list[Gold]:
    examples = [example for example in principle.examples if isinstance(example, ComparisonExample)]
    return [
        Gold(
            comparison=Comparison(
                prompt=conversation(example.prompt),
                response_a=example.response_a,
                response_b=example.response_b,
                source="constitution",
                human_p_a=_BETTER[example.better],
            ),
            principle=principle.id,
        )
        for example in examples[shown:]
    ]


def _shipped(constitution: Constitution, seed: int) -> dict[str, list[Gold]]:
    """The shipped pairs by the id of the principle that is worded as theirs."""
    ids = {
        name: principle.id for principle in constitution.principles for name in (principle.text, principle.comparison)
    }
    rows = [row.value for row in read_rows(str(SHIPPED)) if row.value is not None]
    read = comparison_reader(str(SHIPPED), InputConfig(), rows, seed=seed)
    found: dict[str, list[Gold]] = {}
    for row in rows:
        if row["principle"] in ids:
            gold = Gold(comparison=read(row), principle=ids[row["principle"]])
            found.setdefault(ids[row["principle"]], []).append(gold)
    return found


def gold_digest(gold: Sequence[Gold]) -> str:
    """A digest of pairs and labels, in any order."""
    return digest("gold", sorted((pair.id, pair.comparison.human_p_a) for pair in gold))
