"""Sequences with common beginnings, laid out as trees: what they share goes through a model once.

The two orders of a comparison share its conversation, the principles of an order share conversation and responses too.
Sorted, every sequence shares most with a neighbour: the tokens that it does not share with the one before it are a
branch, and the branches of neighbouring sequences make a row. In a row a token's position is its depth in the tree, and
it sees its ancestors and itself alone (the tree attention of SpecInfer, Miao et al. 2024, section 4.2, with a judge's
principles in place of a draft's guesses). This module plans; it knows no tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True)
class Branch:
    """Places ``start`` to ``stop`` of a row. Its tokens see ``seen``, ranges of places before it, and one another up to
    their own."""

    start: int
    stop: int
    seen: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Some of the sequences in one line of tokens, none of them twice.

    ``members`` are the sequences' indices, and ``last`` is where in the row each of them ends. ``positions`` are the
    depths of the tokens; ``ids`` and ``positions`` are as long as the row.
    """

    members: tuple[int, ...]
    last: tuple[int, ...]
    ids: tuple[int, ...]
    positions: tuple[int, ...]
    branches: tuple[Branch, ...]

    @property
    def is_path(self) -> bool:
        """Whether the row is a single sequence and, at most, beginnings of it: a causal mask does."""
        return self.positions[-1] == len(self.ids) - 1


def shared(a: Tokens, b: Tokens) -> int:
    """How many tokens ``a`` and ``b`` begin with in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def fewest_tokens(sequences: Iterable[Tokens]) -> int:
    """The size of the sequences' prefix tree: no exact way puts fewer tokens through a model."""
    total = 0
    before: Tokens = ()
    for sequence in sorted(map(tuple, sequences)):
        total += len(sequence) - shared(before, sequence)
        before = sequence
    return total


def lay_out(sequences: Sequence[Tokens], members: Sequence[int]) -> Row:
    """The row of some of the sequences, none of them empty; ``members`` are in the order of their sequences."""
    ids: list[int] = []
    positions: list[int] = []
    branches: list[Branch] = []
    last: list[int] = []
    path: list[tuple[int, int]] = []  # the ranges of places that hold the sequence before
    before: Tokens = ()
    for member in members:
        sequence = sequences[member]
        depth = shared(before, sequence)
        path = _first(path, depth)
        if depth < len(sequence):
            branch = Branch(len(ids), len(ids) + len(sequence) - depth, tuple(path))
            branches.append(branch)
            ids += sequence[depth:]
            positions += range(depth, len(sequence))
            path = [*path, (branch.start, branch.stop)]
        last.append(path[-1][1] - 1)
        before = sequence
    return Row(tuple(members), tuple(last), tuple(ids), tuple(positions), tuple(branches))


def _first(ranges: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """The first ``count`` places of ``ranges``."""
    kept = []
    for start, stop in ranges:
        if count <= 0:
            break
        kept.append((start, min(stop, start + count)))
        count -= stop - start
    return kept


def plan(sequences: Sequence[Tokens], *, budget: int, pair_cost: float, row_cost: float = 0.0) -> list[Row]:
    """Rows that hold every sequence once, cut where the whole costs least.

    A row of T tokens costs ``row_cost + T + pair_cost * T**2``: its mask lets every token be compared with every
    other, seen or not, so that sequences which share little are cheaper apart. The best cuts of the sorted sequences
    are found by dynamic programming; equal sequences give equal rows.

    Args:
        sequences: token ids, none of them empty.
        budget: the most tokens in a row; a longer sequence has a row of its own.
        pair_cost: what comparing two tokens costs, where putting one through the model costs 1.
        row_cost: what every row costs, whatever its length.
    """
    order = sorted(range(len(sequences)), key=lambda i: (tuple(sequences[i]), i))
    lengths = [len(sequences[i]) for i in order]
    new = [
        length - (shared(sequences[order[at - 1]], sequences[order[at]]) if at else 0)
        for at, length in enumerate(lengths)
    ]
    cheapest, begins = [0.0], [0]  # of the first 0, 1, 2 … sequences: the least cost, and where their last row begins
    for end in range(1, len(order) + 1):
        best, cut, branches = float("inf"), end - 1, 0
        for start in range(end - 1, -1, -1):
            tokens = lengths[start] + branches
            if tokens > budget and start < end - 1:
                break
            cost = cheapest[start] + row_cost + tokens + pair_cost * tokens**2
            if cost <= best:
                best, cut = cost, start
            branches += new[start]
        cheapest.append(best)
        begins.append(cut)
    rows: list[Row] = []
    end = len(order)
    while end:
        rows.append(lay_out(sequences, order[begins[end] : end]))
        end = begins[end]
    return rows[::-1]
