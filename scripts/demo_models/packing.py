"""Several questions on one prefix: the conversation and the responses are read once, every question branches off them.

A pack is a prefix and its branches. Each branch sees the prefix and itself, and its positions go on from the prefix's
end, so that each is exactly the prompt that a judge is sent. That gives several times the signal for the same work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch


@dataclass
class Branch:
    """A question and its answer, as tokens, with what is to be learnt: (position, token, weight), answer alone.

    ``meaning`` is the class of what the principle asks for (-1: there is no principle), a probe's target at ``asked``,
    where the prompt ends; ``signs`` are its frame's and its phrasing's: 1, 0, or -1 where it has several.
    """

    ids: list[int]
    targets: list[tuple[int, int, float]]
    asked: int = 0
    meaning: int = -1
    signs: tuple[int, int] = (-1, -1)


@dataclass
class Pack:
    """A prefix of at least one token, and the branches that share it.

    ``traits`` says of each response in the prefix where it ends and what it does, a number an attribute: 1, 0, or -1
    where the question does not arise. They are a probe's targets too.
    """

    prefix: list[int]
    branches: list[Branch] = field(default_factory=list)
    traits: list[tuple[int, list[float]]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.prefix) + sum(len(b.ids) for b in self.branches)


@dataclass(frozen=True)
class Batch:
    """Tensors for one step. ``mask`` is additive, [B, 1, T, T]; targets are flat: row, position, token, weight.

    ``meanings`` is (row, position, class, signs), ``trait_at`` (row, position), ``traits`` the values.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    rows: torch.Tensor
    at: torch.Tensor
    tokens: torch.Tensor
    weights: torch.Tensor
    meanings: torch.Tensor
    trait_at: torch.Tensor
    traits: torch.Tensor


def collate(packs: Sequence[Pack], pad: int) -> Batch:
    """Pad packs to one length and write down who may attend to whom."""
    length = max(len(pack) for pack in packs)
    ids = torch.full((len(packs), length), pad)
    positions = torch.zeros((len(packs), length), dtype=torch.long)
    segments = torch.full((len(packs), length), -1)
    flat: list[tuple[int, int, int, float]] = []
    meanings: list[tuple[int, int, int, int, int]] = []
    traits = [(row, at, values) for row, pack in enumerate(packs) for at, values in pack.traits]
    for row, pack in enumerate(packs):
        end = len(pack.prefix)
        ids[row, :end] = torch.tensor(pack.prefix)
        positions[row, :end] = torch.arange(end)
        segments[row, :end] = 0
        for number, branch in enumerate(pack.branches, start=1):
            start, end = end, end + len(branch.ids)
            ids[row, start:end] = torch.tensor(branch.ids)
            positions[row, start:end] = torch.arange(len(branch.ids)) + len(pack.prefix)
            segments[row, start:end] = number
            if branch.meaning >= 0:
                meanings.append((row, start + branch.asked, branch.meaning, *branch.signs))
            flat += [(row, start + at, token, weight) for at, token, weight in branch.targets]
    own = segments[:, :, None] == segments[:, None, :]
    seen = (own | (segments == 0)[:, None, :]) & torch.ones(length, length).tril().bool()
    seen |= torch.eye(length, dtype=torch.bool)  # padding sees itself, as a row that sees nothing is undefined
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]
    rows, at, tokens = (torch.tensor([t[i] for t in flat], dtype=torch.long) for i in range(3))
    return Batch(
        ids,
        positions,
        mask,
        rows,
        at,
        tokens,
        torch.tensor([t[3] for t in flat]),
        torch.tensor(meanings, dtype=torch.long).reshape(-1, 5),
        torch.tensor([t[:2] for t in traits], dtype=torch.long).reshape(-1, 2),
        torch.tensor([t[2] for t in traits]),
    )
