"""Left-padded batches: what models of every kind understand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from raif.models.loading import Loaded


def batches(prompts: Mapping[int, Sequence[int]], size: int) -> Iterator[list[int]]:
    """The keys of ``prompts`` (token ids), ``size`` at a time, sorted by length so that little is spent on padding."""
    order = sorted(prompts, key=lambda index: (len(prompts[index]), index))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def pad(prompts: Sequence[Sequence[int]], loaded: Loaded) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts as ids and mask, both [B, T] on the model's device, padded on the left so that all end together."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), loaded.pad_id, dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt, dtype=torch.long)
        mask[row, width - len(prompt) :] = 1
    return ids.to(loaded.device), mask.to(loaded.device)
