"""Caps: what is reserved before it is sent, what it comes to, and what is said when a cap is reached."""

from __future__ import annotations

import asyncio

import pytest

from raif.config import PriceConfig
from raif.errors import CapReached, ConfigError
from raif.models.base import Completion, Failure, ModelInfo
from raif.models.budget import FIRST_FEW, Budget, Price, price_of

SERVER = ModelInfo("openai:judge@http://localhost:8000/v1", "judge")


def answer(prompt: int, completion: int) -> Completion:
    return Completion("yes", "stop", prompt, completion)


def reserve(budget: Budget, wanted: int, price: Price | None = None) -> int:
    return asyncio.run(budget.reserve(wanted, price))


def test_a_price_is_for_a_million_tokens() -> None:
    # 2,000 prompt tokens at 0.50 and 100 completion tokens at 3.00 a million: 0.001 + 0.0003
    assert Price(0.5, 3.0).of(2000, 100) == pytest.approx(0.0013)


def test_the_first_pattern_that_fits_gives_the_price() -> None:
    prices = {"openai:judge@*": PriceConfig(prompt=1, completion=2), "openai:*": PriceConfig(prompt=9, completion=9)}
    assert price_of(SERVER.spec, prices) == Price(1, 2)
    assert price_of("openai:other@http://x", prices) == Price(9, 9)
    assert price_of("demo:judge", prices) == Price()
    assert price_of(SERVER.spec, {}) is None


def test_without_caps_nothing_is_held_back() -> None:
    assert reserve(Budget(), 10**6) == 10**6


def test_requests_in_flight_count_as_spent() -> None:
    budget = Budget(max_requests=10)
    assert [reserve(budget, 6), reserve(budget, 6)] == [6, 4]
    budget.release(1)  # never answered
    assert reserve(budget, 6) == 1


def test_tokens_are_reserved_as_the_dearest_so_far() -> None:
    budget = Budget(max_tokens=1000)
    assert reserve(budget, 50) == FIRST_FEW  # nobody knows yet what one costs
    for _ in range(FIRST_FEW - 1):
        budget.spend(answer(40, 10), None)
    budget.spend(answer(80, 20), None)
    # 7 x 50 + 100 = 450 are spent; the 550 that are left hold five more of 100.
    assert reserve(budget, 50) == 5


def test_money_is_capped_with_failures_counted() -> None:
    price = Price(prompt=1e6, completion=0)  # 1 a token
    budget = Budget(max_cost=100.0)
    assert reserve(budget, 2, price) == 2
    assert budget.spend(Failure("refusal", prompt_tokens=30), price) == 30
    assert budget.spend(answer(40, 0), price) == 40
    # 30 are left, and the dearest took 40.
    with pytest.raises(CapReached, match=r"70\.0000 of 100\.0000 in money"):
        reserve(budget, 2, price)
    assert reserve(budget, 2, Price()) == 2  # what is free goes on


def test_what_a_free_model_was_asked_says_nothing_of_a_dear_one() -> None:
    dear = Price(prompt=1e6, completion=0)
    budget = Budget(max_cost=10.0)
    assert reserve(budget, 100, Price()) == 100
    for _ in range(100):
        budget.spend(answer(5, 5), Price())
    assert reserve(budget, 100, dear) == FIRST_FEW


def test_room_that_comes_free_is_used() -> None:
    async def scenario() -> int:
        budget = Budget(max_tokens=100)
        assert await budget.reserve(1) == 1
        budget.spend(answer(50, 0), None)
        assert await budget.reserve(5) == 1  # all that is left, if it is as dear
        waiting = asyncio.ensure_future(budget.reserve(5))
        await asyncio.sleep(0)
        assert not waiting.done()
        budget.spend(answer(0, 0), None)  # it was not: a refusal that cost nothing
        return await waiting

    assert asyncio.run(scenario()) == 1


def test_money_is_not_capped_blindly() -> None:
    with pytest.raises(
        ConfigError, match=r"needs a price for openai:judge@http://localhost:8000/v1: add it to `prices`"
    ):
        Budget(max_cost=1.0).admit(SERVER.spec, None)
    Budget(max_tokens=1).admit(SERVER.spec, None)
    Budget(max_cost=1.0).admit(SERVER.spec, Price())
