"""Rows of trees: every sequence can be read off its ancestors, and no token is there twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raif.models.tree import Branch, Row, fewest_tokens, lay_out, plan, shared

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=12)
"""Few tokens, so that much is shared; with duplicates, and with sequences that begin others."""

FAR = {"budget": 10**9, "pair_cost": 0.0}
"""Nothing speaks against one row."""


def ancestors(row: Row, place: int) -> list[int]:
    """The places that a place sees, itself included."""
    branch = next(b for b in row.branches if b.start <= place < b.stop)
    return [p for start, stop in branch.seen for p in range(start, stop)] + list(range(branch.start, place + 1))


def beginnings(sequences: list[list[int]]) -> set[tuple[int, ...]]:
    """The nodes of the prefix tree, said plainly."""
    return {tuple(sequence[: n + 1]) for sequence in sequences for n in range(len(sequence))}


def test_a_tree_by_hand() -> None:
    #        ┌ 3         places  0 1 | 2
    #  1 2 ──┤ 4 5                     3 4
    #        └     6                       5      below 4
    #  7                                     6
    row = lay_out([[1, 2, 4, 5], [7], [1, 2, 3], [1, 2, 4, 6], [1, 2]], [4, 2, 0, 3, 1])
    assert row.ids == (1, 2, 3, 4, 5, 6, 7)
    assert row.positions == (0, 1, 2, 2, 3, 3, 0)
    assert row.members == (4, 2, 0, 3, 1)
    assert row.last == (1, 2, 4, 5, 6)
    assert row.branches == (
        Branch(0, 2, ()),
        Branch(2, 3, ((0, 2),)),
        Branch(3, 5, ((0, 2),)),
        Branch(5, 6, ((0, 2), (3, 4))),
        Branch(6, 7, ()),
    )
    assert not row.is_path


def test_beginnings_of_one_sequence_are_a_path() -> None:
    row = lay_out([[5], [5, 6, 7], [5, 6, 7]], [0, 1, 2])
    assert (row.ids, row.last, row.is_path) == ((5, 6, 7), (0, 2, 2), True)
    assert row.branches == (Branch(0, 1, ()), Branch(1, 3, ((0, 1),)))


def test_what_two_sequences_share() -> None:
    assert shared([1, 2, 3], [1, 2, 4, 5]) == 2
    assert shared([1, 2], [1, 2, 3]) == 2
    assert shared([], [1]) == shared([2], [1]) == 0


@given(SEQUENCES)
def test_every_sequence_is_what_its_last_token_sees(sequences: list[list[int]]) -> None:
    (row,) = plan(sequences, **FAR)
    assert sorted(row.members) == list(range(len(sequences)))
    for member, last in zip(row.members, row.last, strict=True):
        seen = ancestors(row, last)
        assert [row.ids[p] for p in seen] == sequences[member]
        assert [row.positions[p] for p in seen] == list(range(len(sequences[member])))


@given(SEQUENCES)
def test_a_row_has_a_token_for_each_node_of_the_prefix_tree(sequences: list[list[int]]) -> None:
    (row,) = plan(sequences, **FAR)
    nodes = [tuple(row.ids[p] for p in ancestors(row, place)) for place in range(len(row.ids))]
    assert sorted(nodes) == sorted(beginnings(sequences))
    assert fewest_tokens(sequences) == len(nodes)
    # A path is a row in which every token sees all before it.
    assert row.is_path == all(ancestors(row, place) == list(range(place + 1)) for place in range(len(row.ids)))


@given(SEQUENCES, st.integers(1, 20), st.sampled_from([0.0, 0.02, 0.5]), st.sampled_from([0.0, 3.0]))
@settings(max_examples=200)
def test_no_other_cuts_are_cheaper(sequences: list[list[int]], budget: int, pair_cost: float, row_cost: float) -> None:
    rows = plan(sequences, budget=budget, pair_cost=pair_cost, row_cost=row_cost)
    assert sorted(member for row in rows for member in row.members) == list(range(len(sequences)))
    for row in rows:
        assert len(row.ids) <= budget or len(row.members) == 1 or row.is_path
        for member, last in zip(row.members, row.last, strict=True):
            assert [row.ids[p] for p in ancestors(row, last)] == sequences[member]

    def cost(groups: list[list[list[int]]]) -> float:
        sizes = [len(beginnings(group)) for group in groups]
        return sum(row_cost + size + pair_cost * size**2 for size in sizes)

    planned = [[sequences[member] for member in row.members] for row in rows]
    ordered = sorted(sequences)
    for at in range(1, len(ordered)):
        halves = [ordered[:at], ordered[at:]]
        if all(len(beginnings(half)) <= budget or len(half) == 1 for half in halves):
            assert cost(planned) <= cost(halves) + 1e-9
    if len(beginnings(ordered)) <= budget:
        assert cost(planned) <= cost([ordered]) + 1e-9
    assert cost(planned) <= cost([[sequence] for sequence in ordered]) + 1e-9


def test_a_comparison_stays_together_and_strangers_stay_apart() -> None:
    head = [9] * 10  # the template, which all prompts begin with

    def comparison(number: int) -> list[list[int]]:
        talk = [*head, *[100 + number] * 60]
        orders = [[*talk, *[200 + order] * 200] for order in (0, 1)]
        return [[*order, 300 + principle, *[1] * 20] for order in orders for principle in range(4)]

    first, second = comparison(0), comparison(1)
    rows = plan([*second, *first], budget=4096, pair_cost=1e-4)
    assert [sorted(row.members) for row in rows] == [list(range(8, 16)), list(range(8))]
    # 70 tokens of talk, twice 200 of responses, eight times 21 of principle
    assert [len(row.ids) for row in rows] == [638, 638] == [fewest_tokens(first), fewest_tokens(second)]
    # Where rows are dear, as on a GPU that is fed too little, strangers share one, and the head with it.
    (row,) = plan([*first, *second], budget=4096, pair_cost=1e-4, row_cost=500)
    assert len(row.ids) == 2 * 638 - 10


def test_a_row_keeps_to_its_budget() -> None:
    sequences = [[7] * 50 + [order] * 30 + [principle] for order in (0, 1) for principle in (2, 3)]
    rows = plan(sequences, budget=90, pair_cost=0.0)
    assert [sorted(row.members) for row in rows] == [[0, 1], [2, 3]]  # 82 tokens an order, 114 both
    assert [row.members for row in plan(sequences, budget=10, pair_cost=0.0)] == [(0,), (1,), (2,), (3,)]


def test_nothing_to_plan() -> None:
    assert plan([], **FAR) == []
    assert fewest_tokens([]) == 0
