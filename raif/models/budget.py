"""What may still be spent: caps on requests, tokens and money, shared by all the models of one command.

A cap is a promise, so what is about to be sent is reserved before it is: a request as one, its tokens and its price as
the dearest seen so far. Only while nothing has come back yet is that unknown, and then a handful is let through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from raif.config import BudgetConfig, PriceConfig
from raif.errors import CapReached, ConfigError
from raif.models.base import Result

FIRST_FEW = 8
"""Requests in flight while none has come back to say what one costs."""


@dataclass(frozen=True, slots=True)
class Price:
    """Money for a million tokens of a prompt, and of a completion."""

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of this many tokens."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


def price_of(spec: str, prices: Mapping[str, PriceConfig]) -> Price | None:
    """The price of a model's tokens: that of the first pattern in ``prices`` that its specification ``spec`` matches.

    A local model costs nothing unless a pattern says otherwise; None where a server's price is not known.
    """
    for pattern, price in prices.items():
        if fnmatchcase(spec, pattern):
            return Price(price.prompt, price.completion)
    return None if spec.startswith("openai:") else Price()


@dataclass
class Budget:
    """Caps, and what has been spent under them. None caps nothing."""

    max_requests: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    requests: int = 0
    tokens: int = 0
    cost: float = 0.0
    _reserved: int = 0
    _dearest_tokens: int = 0
    _dearest_cost: float = 0.0
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def from_config(cls, config: BudgetConfig) -> Budget:
        return cls(config.max_requests, config.max_tokens, config.max_cost)

    @property
    def capped(self) -> bool:
        """Whether there is any cap."""
        return not (self.max_requests is None and self.max_tokens is None and self.max_cost is None)

    def admit(self, spec: str, price: Price | None) -> None:
        """Refuse a model whose price is unknown, where money is capped.

        Raises:
            ConfigError: names the key that gives the price.
        """
        if self.max_cost is not None and price is None:
            raise ConfigError(
                f"budget.max_cost needs a price for {spec}: add it to `prices` in raif.yaml, such as "
                f'prices: {{"{spec}": {{prompt: 0.5, completion: 1.5}}}} (for a million tokens)'
            )

    def _room(self, wanted: int, price: Price | None) -> int:
        room = wanted
        if self.max_requests is not None:
            room = min(room, self.max_requests - self.requests - self._reserved)
        free = price is None or price == Price()
        for cap, spent, dearest in (
            (self.max_tokens, self.tokens, self._dearest_tokens),
            (None if free else self.max_cost, self.cost, self._dearest_cost),
        ):
            if cap is None:
                continue
            if spent >= cap:
                return 0
            affordable = int((cap - spent) / dearest) if dearest else FIRST_FEW
            room = min(room, affordable - self._reserved)
        return max(0, room)

    async def reserve(self, wanted: int, price: Price | None = None) -> int:
        """Reserve up to ``wanted`` requests, at least one; waits while what is in flight may still leave some over.

        Args:
            price: of the model that is to be asked; what costs nothing meets no cap on money.

        Raises:
            CapReached: a cap leaves no room, and nothing is in flight.
        """
        if not self.capped:
            return wanted
        while (room := self._room(wanted, price)) == 0:
            if not self._reserved:
                raise CapReached(self._spent())
            self._released.clear()
            await self._released.wait()
        self._reserved += room
        return room

    def release(self, count: int) -> None:
        """Give back reservations whose requests were never answered."""
        if self.capped:
            self._reserved -= count
            self._released.set()

    def spend(self, result: Result, price: Price | None) -> float:
        """Enter one answered request, reserved before; returns what it cost (0 where the price is unknown)."""
        tokens = result.prompt_tokens + result.completion_tokens
        cost = price.of(result.prompt_tokens, result.completion_tokens) if price else 0.0
        self.requests += 1
        self.tokens += tokens
        self.cost += cost
        self._dearest_tokens = max(self._dearest_tokens, tokens)
        self._dearest_cost = max(self._dearest_cost, cost)
        self.release(1)
        return cost

    def _spent(self) -> str:
        told = []
        if self.max_requests is not None:
            told.append(f"{self.requests:,} of {self.max_requests:,} requests")
        if self.max_tokens is not None:
            told.append(f"{self.tokens:,} of {self.max_tokens:,} tokens")
        if self.max_cost is not None:
            told.append(f"{self.cost:,.4f} of {self.max_cost:,.4f} in money")
        return f"a cap is reached ({', '.join(told)})"
