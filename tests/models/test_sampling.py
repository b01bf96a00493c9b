"""Draws: what is kept, how often each token comes, and that a row's draw is its own."""

from __future__ import annotations

import math

import pytest
import torch

from raif.errors import ModelError
from raif.models.base import GenerateRequest, Sampling
from raif.models.sampling import RowStreams, keep_top, stream_seed
from raif.records import conversation

CPU = torch.device("cpu")
# Probabilities 0.5, 0.3, 0.15, 0.05, out of order.
LOGITS = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()


def kept(logits: torch.Tensor) -> list[list[int]]:
    return [torch.isfinite(row).nonzero().flatten().tolist() for row in logits]


@pytest.mark.parametrize(
    ("top_k", "top_p", "expected"),
    [
        (0, 1.0, [0, 1, 2, 3]),
        (2, 1.0, [1, 3]),
        (9, 1.0, [0, 1, 2, 3]),
        (0, 0.4, [1]),  # 0.5 reaches 0.4 alone
        (0, 0.6, [1, 3]),  # 0.5 falls short, 0.8 reaches it
        (0, 0.9, [0, 1, 3]),  # 0.8 falls short, 0.95 reaches it
        (0, 1e-9, [1]),  # one token always stays
        (2, 0.7, [1, 3]),  # after top_k: 0.625, 0.375
        (2, 0.6, [1]),  # after top_k: 0.625 reaches it alone
    ],
)
def test_only_the_likeliest_tokens_are_kept(top_k: int, top_p: float, expected: list[int]) -> None:
    assert kept(keep_top(LOGITS, top_k, top_p)) == [expected]


def test_rows_are_cut_each_for_itself() -> None:
    logits = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    assert kept(keep_top(logits, 0, 0.5)) == [[0], [1]]


def draws(seeds: list[int], *, temperature: float = 1.0, top_k: int = 0, steps: int = 1) -> list[list[int]]:
    streams = RowStreams(seeds, temperature=temperature, top_k=top_k, top_p=1.0, device=CPU)
    ids = torch.zeros((len(seeds), 1), dtype=torch.long)
    made = [streams(ids, LOGITS.expand(len(seeds), -1)).argmax(dim=-1) for _ in range(steps)]
    return torch.stack(made, dim=1).tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_come_as_often_as_the_model_says(temperature: float) -> None:
    n = 20_000
    found = torch.bincount(torch.tensor(draws(list(range(n)), temperature=temperature)).flatten(), minlength=4) / n
    expected = (LOGITS[0] / temperature).softmax(dim=-1)
    # Four standard deviations of a frequency: at most 4 × sqrt(0.25 / 20000) = 0.0141. Fixed seeds: no flakiness.
    for p, q in zip(found.tolist(), expected.tolist(), strict=True):
        assert abs(p - q) <= 4 * math.sqrt(q * (1 - q) / n)


def test_a_row_draws_the_same_in_any_company() -> None:
    alone = draws([7], steps=20)
    assert draws([3, 7, 9], steps=20)[1] == alone[0]
    assert draws([7, 7], steps=20) == alone * 2
    assert draws([8], steps=20) != alone


def test_the_global_generator_is_neither_used_nor_moved() -> None:
    state = torch.get_rng_state()
    first = draws([7], steps=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert draws([7], steps=5) == first


def test_what_is_cut_is_never_drawn() -> None:
    assert {token for row in draws(list(range(500)), top_k=2) for token in row} == {1, 3}


def test_greedy_takes_the_likeliest_and_draws_nothing() -> None:
    assert draws([1, 2, 3], temperature=0.0) == [[1], [1], [1]]


def test_logits_that_are_not_numbers_are_refused() -> None:
    streams = RowStreams([1], temperature=0.0, top_k=0, top_p=1.0, device=CPU)
    with pytest.raises(ModelError, match="not numbers"):
        streams(torch.zeros((1, 1), dtype=torch.long), torch.tensor([[math.nan, 0.0]]))


def test_the_stream_depends_on_the_request_alone() -> None:
    def seed(text: str = "hi", seed: int = 0, sample: int = 0, temperature: float = 1.0) -> int:
        return stream_seed(GenerateRequest(conversation(text), Sampling(temperature=temperature, seed=seed), sample))

    assert seed() == seed()
    assert len({seed(), seed(text="ho"), seed(seed=1), seed(sample=1)}) == 4
    assert 0 <= seed() < 2**63
