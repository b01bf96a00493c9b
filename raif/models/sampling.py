"""Drawing tokens so that a completion depends on its own request alone.

``generate`` usually draws a whole batch from one global generator, so that a row's completion changes with its
neighbours. Here every row has a random stream of its own, seeded by its request, and draws by the Gumbel-max trick
(Gumbel 1954; Maddison et al. 2014): argmax(log p + g), with g independent standard Gumbel noise, is a sample of p.
Unlike inverting the cumulative distribution, a tiny numerical difference in p then changes a draw with a probability
no larger than that difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from raif.errors import ModelError
from raif.models.base import GenerateRequest
from raif.records import digest


def stream_seed(request: GenerateRequest) -> int:
    """The seed (63 bits) of a request's random stream: from its seed, its messages and its sample index."""
    return int(digest("stream", request.sampling.seed, request.messages, request.sample), 16) >> 1


def keep_top(logits: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Logits [B, V] with all but the likeliest tokens of each row at -inf.

    ``top_k`` keeps that many (0: all). ``top_p`` keeps the smallest set of likeliest tokens whose probability, after
    ``top_k``, reaches it (1: all); at least one token stays.
    """
    if 0 < top_k < logits.shape[-1]:
        smallest = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    if top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        before = ordered.softmax(dim=-1).cumsum(dim=-1).roll(1, dims=-1)
        before[:, 0] = 0.0
        dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= top_p)
        logits = logits.masked_fill(dropped, -torch.inf)
    return logits


class RowStreams(LogitsProcessor):
    """Adds to each row's log-probabilities the noise of its own stream, so that the argmax is a sample.

    At temperature 0 it adds nothing, and the argmax is the greedy choice.

    Raises:
        ModelError: the model's logits are not numbers.
    """

    def __init__(
        self, seeds: Sequence[int], *, temperature: float, top_k: int, top_p: float, device: torch.device
    ) -> None:
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        # float32 uniforms have 24 bits: too coarse for the rare tokens of a large vocabulary. MPS has no float64.
        self.precision = torch.float32 if device.type == "mps" else torch.float64
        self.streams = [torch.Generator(device=device).manual_seed(seed) for seed in seeds] if temperature > 0 else []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [B, V] of the next token, with each row's noise added."""
        if torch.isnan(scores).any():
            raise ModelError("the model's logits are not numbers; open it with dtype float32")
        if self.temperature == 0:
            return scores
        logits = keep_top(scores.float() / self.temperature, self.top_k, self.top_p).to(self.precision)
        waiting = torch.empty_like(logits)
        for row, stream in zip(waiting, self.streams, strict=True):
            row.exponential_(generator=stream)
        return logits - waiting.log()  # -log of a standard exponential is a standard Gumbel
