"""A model behind a server that speaks the OpenAI protocol: chat completions, scored by log-probabilities or votes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from raif.config import ServerConfig
from raif.errors import ModelError
from raif.models.base import Completion, Deliver, Failure, GenerateRequest, ModelInfo, ScoreRequest, Scores
from raif.models.choices import check_choices
from raif.models.openai.address import Address, open_address
from raif.models.openai.dialect import Dialect, adapted
from raif.models.openai.exchanges import Generate, Score, Vote, greeting
from raif.models.openai.pool import AbsentError, Pool
from raif.models.openai.probe import Found, probe, run_apart
from raif.models.openai.transport import Transport
from raif.models.openai.wire import Target, count_votes
from raif.records import digest

PROBE_SECONDS = 120.0
"""A server that answers no short request for this long is not opened."""


class OpenAIModel:
    """A chat model behind a server.

    Args:
        model: its name at the server.
        address: the server, and the key that opens it.
        config: how it is asked.
        on_note: told once what a person should know of the server.
    """

    def __init__(
        self, model: str, address: Address, config: ServerConfig, on_note: Callable[[str], object] | None = None
    ) -> None:
        self._address, self._config = address, config
        self._note = on_note or (lambda text: None)
        self._target = Target(model, config.extra)
        self._dialect = Dialect(top_logprobs=0) if config.logprobs == "off" else Dialect()
        self._settled = self._announced = False
        self._settling = asyncio.Lock()
        self._pool: Pool | None = None
        self._patience = config.patience
        # Options can make another judge of a model: they are part of what it is called.
        options = f"#{digest(config.extra, length=8)}" if config.extra else ""
        self._info = ModelInfo(
            spec=f"openai:{model}@{address.base}",
            identity=f"openai:{model}@{address.place}{options}",
            details={"server": address.place, "scoring": self._scoring(self._dialect)},
            in_flight=config.concurrency,
        )

    @classmethod
    def open(
        cls, model: str, base_url: str, config: ServerConfig, on_note: Callable[[str], object] | None = None
    ) -> OpenAIModel:
        """The model, once the server has said what it can do.

        A server that is not there does no harm yet: the cache may hold all that is wanted.

        Raises:
            ModelSpecError: a malformed address; the server does not serve the model, or not in the way asked for.
            ConfigError: the key's file can't be read.
            ModelError: the server refuses the key, or answers nothing of use.
        """
        opened = cls(model, open_address(base_url, config), config, on_note)
        try:
            opened._settle(run_apart(opened._probe_apart))
        except AbsentError as error:
            opened._patience = 0.0  # it has been waited for
            opened._note(f"{error}; until then there is what the cache holds")
        return opened

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        """One completion or failure a request, in order.

        Raises:
            ModelError: the server is not there, refuses the key, or serves no one any more.
        """
        pool = await self._ready()
        return await pool.run([Generate(self._target, request) for request in requests], deliver)

    async def score(self, requests: Sequence[ScoreRequest], deliver: Deliver | None = None) -> list[Scores | Failure]:
        """One set of scores or a failure a request, in order.

        Raises:
            ModelSpecError: offered answers that can't be told apart by how they begin.
            ModelError: the server is not there, refuses the key, or serves no one any more.
        """
        for choices in {request.choices for request in requests}:
            check_choices(choices)
        pool = await self._ready()
        if self._dialect.top_logprobs:
            return await pool.run([Score(self._target, request) for request in requests], deliver)
        return await self._vote(pool, requests, deliver)

    async def close(self) -> None:
        """Close all connections. Calling it twice is fine."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _vote(
        self, pool: Pool, requests: Sequence[ScoreRequest], deliver: Deliver | None
    ) -> list[Scores | Failure]:
        """Scores out of sampled votes: ``config.votes`` of them for each request, all in flight together."""
        number = self._config.votes
        if not self._announced:
            self._announced = True
            self._note(
                f"{self._target.model} at {self._address.place} is scored by {number} sampled votes a question, at "
                f"{number} times the requests: it tells no log-probabilities, or none were asked for"
            )
        votes: list[list[Completion | Failure]] = [[] for _ in requests]
        results: list[Any] = [None] * len(requests)

        def counted(index: int, vote: Completion | Failure) -> None:
            at = index // number
            votes[at].append(vote)
            if len(votes[at]) == number:
                results[at] = count_votes(votes[at], requests[at].choices)
                if deliver is not None:
                    deliver(at, results[at])

        tokens = self._config.vote_tokens
        asked = [Vote(self._target, request, sample, tokens) for request in requests for sample in range(number)]
        await pool.run(asked, counted)
        return results

    async def _ready(self) -> Pool:
        """The pool of the running event loop, with a server behind it whose ways are known."""
        if self._pool is None or self._pool.transport.loop is not asyncio.get_running_loop():
            self._pool = self._open_pool(self._config)
            self._settling = asyncio.Lock()
        if not self._settled:
            async with self._settling:
                await self._settle_late(self._pool)
        return self._pool

    async def _settle_late(self, pool: Pool) -> None:
        """Probe a server that was not there when the model was opened.

        Raises:
            ModelError: it scores otherwise, or by other weights, than the cache's keys already say.
        """
        if self._settled:
            return
        before = self._info.details.copy()
        self._settle(await probe(pool, self._target, self._config.logprobs))
        after = self._info.details
        if any(after.get(name) != before.get(name) for name in ("scoring", "revision")):
            raise ModelError(
                f"{self._address.place} was not there at first, and is not quite what was expected (it scores by "
                f"{after['scoring']}, with the weights {after.get('revision', self._target.model)}); run the same "
                "command again now that it is there"
            )

    def _settle(self, found: Found) -> None:
        self._dialect, self._settled = found.dialect, True
        details = {
            "server": self._address.place,
            "scoring": self._scoring(found.dialect),
            "usage": "reported" if found.counts_tokens else "unknown",
        }
        if found.root is not None:
            # A name that stands for other weights after the server's next start must not find their answers.
            details["revision"] = found.root
        self._info = replace(self._info, details=details)
        if not found.counts_tokens:
            self._note(f"{self._address.place} does not say how many tokens a request takes: they count as 0")

    def _scoring(self, dialect: Dialect) -> str:
        return dialect.scoring(self._config.votes, self._config.vote_tokens)

    async def _probe_apart(self) -> Found:
        config = self._config.model_copy(update={"deadline": min(self._config.deadline, PROBE_SECONDS)})
        pool = self._open_pool(config)
        try:
            return await probe(pool, self._target, self._config.logprobs)
        finally:
            await pool.close()

    def _open_pool(self, config: ServerConfig) -> Pool:
        transport = Transport(self._address, config.concurrency)
        return Pool(transport, config, self._dialect, self._adapt, greeting(self._target), self._patience)

    def _adapt(self, dialect: Dialect, message: str) -> Dialect | None:
        """What a refusal teaches, as long as it doesn't change how answers are scored: that is settled."""
        better = adapted(dialect, message)
        if better is not None and self._settled and self._scoring(better) != self._scoring(dialect):
            raise ModelError(
                f"{self._address.place} no longer tells the log-probabilities that it told at first ({message}); run "
                "the same command again"
            )
        return better
