"""Everything that feedback draws at random, seeded by the record it is drawn for.

A draw depends on the seed and on the record alone, never on the record's neighbours or on its place in the file: a
resumed run, a shard and a run over more data all draw alike.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from raif.constitution import Principle
from raif.records import Comparison, Order, digest

T = TypeVar("T")


def stream(*key: object) -> random.Random:
    """A random stream that belongs to ``key`` (strings and integers)."""
    return random.Random(int(digest(*key, length=16), 16))


def draw_principles(principles: Sequence[Principle], count: int, *key: object) -> list[Principle]:
    """``count`` different principles, in the order drawn, each with a probability proportional to its weight.

    Efraimidis and Spirakis (2006): the ``count`` largest of u^(1/w), u uniform. All of them where ``count`` is larger.
    """
    random_stream = stream("principles", *key)
    keyed = [(random_stream.random() ** (1 / principle.weight), index) for index, principle in enumerate(principles)]
    return [principles[index] for _, index in sorted(keyed, reverse=True)[:count]]


def pair_key(comparison: Comparison) -> str:
    """A digest of the comparison that is the same for it and for its swap."""
    return digest(
        [message.model_dump() for message in comparison.prompt],
        sorted((comparison.response_a, comparison.response_b)),
    )


def draw_order(comparison: Comparison, seed: int) -> Order:
    """The one order to ask in. The response shown first is the same for a comparison and for its swap."""
    first_in_text_order = stream("order", seed, pair_key(comparison)).random() < 0.5
    a_comes_first = comparison.response_a <= comparison.response_b
    return "ab" if first_in_text_order == a_comes_first else "ba"
