"""Many requests at one server: workers that pull from a queue, attempts that are made again, and when to give up.

Workers are as many as ``Pace`` allows, and are shared by all calls; a request costs no task of its own. What failed for
now waits on a timer, outside the workers, and comes back to the head of the queue. A request is given up once its
*time* is over, however many attempts fitted in. The server is given up where one request after another ended so, and
it does not even answer a word of greeting.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from raif.config import ServerConfig
from raif.errors import ModelError
from raif.models.base import Completion, Failure, Scores
from raif.models.openai.calls import Call, Exchange, Job
from raif.models.openai.dialect import Dialect
from raif.models.openai.errors import complaint, course, failure_kind
from raif.models.openai.pace import Pace, backoff, retry_after
from raif.models.openai.transport import LostError, Reply, Transport
from raif.models.openai.wire import UnusableReply

HOPELESS = 8
"""Requests given up one after another, without a good reply between them, that put a server itself in question."""
GREETINGS = 5
"""Attempts, a second apart, at a greeting that then decides."""
_SOON = 1.0
"""Seconds between looks at a server that is not there yet, at most."""

_LEAST = 1.0
"""Seconds that have to be left of a deadline, or a tenth of it, for an attempt to be worth making."""

R = TypeVar("R", bound=Completion | Scores | Failure)


class AbsentError(ModelError):
    """No server answers at the address."""


class Pool:
    """The workers of one server, in one event loop.

    Args:
        transport: where attempts are made.
        config: how many, and for how long.
        dialect: how requests are written to begin with.
        adapt: the dialect to try after a refusal's message, None for none; may raise.
        greeting: a short request that any server answers.
        patience: seconds to wait for a server that is not there at the start.
    """

    def __init__(
        self,
        transport: Transport,
        config: ServerConfig,
        dialect: Dialect,
        adapt: Callable[[Dialect, str], Dialect | None],
        greeting: Exchange[Completion | Failure],
        patience: float,
    ) -> None:
        self.transport, self.config, self.dialect = transport, config, dialect
        self.adapt, self.greeting = adapt, greeting
        self.pace = Pace(config.start, config.concurrency)
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._random = Random()
        self._queue: deque[Job] = deque()
        self._calls: set[Call] = set()
        self._workers: dict[asyncio.Task[None], Job | None] = {}
        self._wake: asyncio.TimerHandle | None = None
        self._met = False
        self._missing: float | None = None
        self._given_up = 0
        self._doubt = asyncio.Lock()

    async def run(self, exchanges: Sequence[Exchange[R]], deliver: Callable[[int, R], None] | None = None) -> list[R]:
        """One result for each exchange, in order; ``deliver`` gets each as it comes.

        Raises:
            AbsentError: there is no server.
            ModelError: it refuses the key, has no quota left, or serves no one any more.
        """
        if not exchanges:
            return []
        call = Call(len(exchanges), deliver, self._loop.create_future())
        self._calls.add(call)
        self._queue.extend(Job(call, index, exchange) for index, exchange in enumerate(exchanges))
        self._fill()
        try:
            await call.done
        finally:
            self._calls.discard(call)
            await self._abandon(call)
        return call.results

    async def listing(self, seconds: float) -> Reply | None:
        """The server's list of models, None where it gives none in time.

        Raises:
            AbsentError: there is no server.
        """
        while True:
            try:
                reply = await self.transport.models(min(seconds, self.config.timeout))
            except LostError as error:
                if not error.absent:
                    return None
                await asyncio.sleep(self._look_again(error))
            else:
                self._met = True
                return reply

    async def close(self) -> None:
        """Stop all work and close the connections."""
        for call in list(self._calls):
            call.fail(ModelError("the model was closed while it was asked"))
        self._queue.clear()
        if self._wake is not None:
            self._wake.cancel()
        for worker in list(self._workers):
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self.transport.close()

    async def _abandon(self, call: Call) -> None:
        """Take back what is left of a call that failed or was cancelled."""
        if call.left == 0:
            return
        call.done.cancel()
        self._queue = deque(job for job in self._queue if job.call is not call)
        stopped = [worker for worker, job in self._workers.items() if job is not None and job.call is call]
        for worker in stopped:
            worker.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)

    def _fill(self) -> None:
        """Start as many workers as there is work for and the pace allows; later, where the server asked to wait."""
        if not self._queue:
            return
        wait = self.pace.not_before - self._loop.time()
        if wait > 0:
            if self._wake is None:
                self._wake = self._loop.call_later(wait, self._waited)
            return
        for _ in range(min(self.pace.limit - len(self._workers), len(self._queue))):
            self._workers[self._loop.create_task(self._work())] = None

    def _waited(self) -> None:
        self._wake = None
        self._fill()

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            while self._queue and len(self._workers) <= self.pace.limit and self._loop.time() >= self.pace.not_before:
                job = self._queue.popleft()
                if not job.call.over:
                    self._workers[me] = job
                    await self._attempt(job)
        except Exception as error:  # nobody awaits a worker: whoever waits for a result must hear of it
            for call in list(self._calls):
                call.fail(error)
        finally:
            del self._workers[me]
            self._fill()

    async def _attempt(self, job: Job) -> None:
        sent, dialect = self._loop.time(), self.dialect
        if not job.attempts:
            job.begun = sent
        job.attempts += 1
        left = max(0.001, job.begun + self.config.deadline - sent)
        try:
            reply = await self.transport.post(job.exchange.body(dialect), min(self.config.timeout, left))
        except LostError as error:
            await self._lost(job, error)
            return
        self._met = True
        if reply.status != 200:
            await self._refused(job, reply, sent, dialect)
            return
        try:
            result = job.exchange.read(reply.data)
        except UnusableReply as error:
            job.prompt_tokens += error.prompt_tokens
            job.completion_tokens += error.completion_tokens
            await self._retry(job, str(error))
            return
        self._given_up = 0
        self.pace.went_well()
        job.finish(result)
        if self._queue and len(self._workers) < self.pace.limit:
            self._fill()

    async def _lost(self, job: Job, error: LostError) -> None:
        """No reply. A server that was never met is waited for, but not for long."""
        if not error.absent or self._met:
            await self._retry(job, str(error))
            return
        await asyncio.sleep(self._look_again(error))
        self._again(job)

    def _look_again(self, error: LostError) -> float:
        """Seconds until the next look at a server that is not there.

        Raises:
            AbsentError: it has been waited for long enough.
        """
        now = self._loop.time()
        if self._missing is None:
            self._missing = now
        if now - self._missing >= self._patience:
            address = self.transport.address.base
            raise AbsentError(f"no server answers at {address} ({error}); start it, or correct the address")
        return min(_SOON, self._patience)

    async def _refused(self, job: Job, reply: Reply, sent: float, dialect: Dialect) -> None:
        """A status other than 200: wait and try again, write it otherwise, give this request up, or all of them."""
        status, address, deadline = reply.status, self.transport.address, self.config.deadline
        said = complaint(reply.data, address.key) or "no reason given"
        told = f"{status}: {said}"
        wait = retry_after(reply.headers.get("Retry-After"), reply.headers.get("retry-after-ms"), time.time())
        way = course(status, said)
        if way == "unpaid":
            raise ModelError(f"{address.place} serves no more until it is paid ({told})")
        if way == "locked":
            wants = "refuses the key" if address.key else "wants a key"
            raise ModelError(f"{address.place} {wants} ({told}); put a valid one into {address.key_from}")
        if way == "busy":
            if wait is not None and wait > deadline:
                raise ModelError(
                    f"{address.place} asks to wait for {wait:,.0f} s ({told}); run the same command again then: what "
                    "was answered is kept"
                )
            self.pace.pushed_back(sent, self._loop.time(), wait)
        if way in ("busy", "later"):
            await self._retry(job, told, wait)
        elif self.dialect != dialect:  # another request was refused so, and learned from it
            self._again(job)
        elif (better := self.adapt(dialect, said)) is not None:
            self.dialect = better
            self._again(job)
        else:
            job.finish(Failure(failure_kind(said), told))

    async def _retry(self, job: Job, why: str, wait: float | None = None) -> None:
        """Make another attempt later; give the request up where later is too late."""
        now = self._loop.time()
        delay = backoff(job.attempts, self._random) + max(wait or 0.0, self.pace.not_before - now)
        least = min(_LEAST, self.config.deadline / 10)
        if now + delay + least < job.begun + self.config.deadline:
            self._loop.call_later(delay, self._again, job)
            return
        self._given_up += 1
        if self._given_up >= HOPELESS:
            async with self._doubt:  # one greeting decides for all
                if self._given_up >= HOPELESS:
                    await self._greet(why)
                    self._given_up = 0
        told = f"{why}; given up after {job.attempts} attempts in {now - job.begun:,.0f} s"
        job.finish(Failure("request_error", told))

    async def _greet(self, why: str) -> None:
        """See whether the server answers anything at all.

        Raises:
            ModelError: it does not.
        """
        for _ in range(GREETINGS):
            try:
                reply = await self.transport.post(self.greeting.body(self.dialect), self.config.timeout)
                if reply.status == 200:
                    return
            except LostError:
                pass
            await asyncio.sleep(_SOON)
        raise ModelError(
            f"{self.transport.address.place} has answered nothing for {self.config.deadline:,.0f} s ({why}); run the "
            "same command again when it does: what was answered is kept"
        )

    def _again(self, job: Job) -> None:
        """Put a request back at the head of the queue."""
        if not job.call.over:
            self._queue.appendleft(job)
            self._fill()
