"""A session that finds out what a stage would cost: it looks into the cache, and really asks about a sample.

The stages themselves run in it, unchanged. Where they hand their items to ``Session.process``, a rehearsal first runs
the step on every item with models that answer from the cache alone, and then on a sample of the items of which
something was missing, with the models themselves. What the sample pays for is kept in the cache as ever. Records of
items that are neither in the cache nor in the sample are not written, so that the next stage has what is known to begin
with, and its sample is of the same prompts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from raif.config import RunConfig
from raif.models.base import (
    Completion,
    Deliver,
    Failure,
    GenerateRequest,
    ModelInfo,
    RateRequest,
    Rating,
    ScoreRequest,
    Scores,
    Starter,
    delivered,
)
from raif.models.middleware import CachedModel, Usage
from raif.records import Conversation, Prompt, Record, digest
from raif.reporting import Reporter
from raif.session import Session, StageLog
from raif.stages.forecast import Forecast, Part, Sample, forecast, total
from raif.store import RecordFile

Item = TypeVar("Item", bound=Record)
Made = TypeVar("Made", bound=Record)

STAND_IN = "yet to be trained"
"""The role of a policy that is not there yet. The policy it begins from stands in for it, drawn otherwise."""
WARMTH = 0.7
"""The least temperature of a stand-in's answers: a greedy one would say what the policy says."""


class _Absent:
    """The model that is not asked: all it has to say is in the cache."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        return delivered([_MISSING for _ in requests], deliver)

    async def score(self, requests: Sequence[ScoreRequest], deliver: Deliver | None = None) -> list[Scores | Failure]:
        return delivered([_MISSING for _ in requests], deliver)

    async def rate(self, requests: Sequence[RateRequest], deliver: Deliver | None = None) -> list[Rating | Failure]:
        return delivered([_MISSING for _ in requests], deliver)

    async def close(self) -> None:
        """Nothing is held."""


_MISSING: Any = Failure("request_error", "not in the cache")


class RehearsedModel(CachedModel):
    """``live`` while ``asking()``, and what the cache holds of it otherwise; this meter counts the latter alone.

    ``drawn`` is given to a stand-in, whose answers must be no one's: the seed that they are drawn with.
    """

    def __init__(self, live: CachedModel, asking: Callable[[], bool], drawn: int | None = None) -> None:
        super().__init__(_Absent(live.info), live.cache)
        self.live, self._asking, self._drawn = live, asking, drawn

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        if self._drawn is not None:
            requests = [_drawn_otherwise(request, self._drawn) for request in requests]
        return await (self.live.generate if self._asking() else super().generate)(requests, deliver)

    async def score(self, requests: Sequence[ScoreRequest], deliver: Deliver | None = None) -> list[Scores | Failure]:
        return await (self.live.score if self._asking() else super().score)(requests, deliver)

    async def rate(self, requests: Sequence[RateRequest], deliver: Deliver | None = None) -> list[Rating | Failure]:
        return await (self.live.rate if self._asking() else super().rate)(requests, deliver)


def _drawn_otherwise(request: GenerateRequest, seed: int) -> GenerateRequest:
    sampling = request.sampling
    return replace(request, sampling=replace(sampling, seed=seed, temperature=max(sampling.temperature, WARMTH)))


@dataclass
class _Population:
    """The prompts that a chain of stages is about: those sampled, and those of which not all is known."""

    prompts: set[Conversation] = field(default_factory=set)
    sampled: set[Conversation] = field(default_factory=set)
    unknown: set[Conversation] = field(default_factory=set)


class Rehearsal(Session):
    """See the module.

    Args:
        scratch: a folder for the sample's records; ``manifest_path`` is no user's either.
        size: prompts in the sample.

    Attributes:
        absent: how many policies a stand-in stands for when it answers, and when its answers are judged.
        known: stage to the share of its prompts whose records it could make.
        spent: specification of each model to what the sample came to.
        unpriced: those of these models whose price is not known.
        remarks: what a person should know of the figures.
    """

    def __init__(self, config: RunConfig, reporter: Reporter, manifest_path: Path, scratch: Path, size: int) -> None:
        super().__init__(config, reporter, manifest_path)
        self.scratch, self.size = scratch, size
        self.absent: tuple[float, float] = (1.0, 1.0)
        self.known: dict[str, float] = {}
        self.spent: dict[str, Usage] = {}
        self.unpriced: set[str] = set()
        self.remarks: list[str] = []
        self._parts: dict[str, list[Part]] = {}
        self._population = _Population()
        self._stage = ""
        self._models: list[RehearsedModel] = []
        self._opening = 0.0
        self._live = False

    def forecast(self, stage: str) -> Forecast:
        """What the stage will come to."""
        return total(forecast(part) for part in self._parts.get(stage, ()))

    @contextmanager
    def stage(self, name: str) -> Iterator[StageLog]:
        self._stage = name
        with super().stage(name) as log:
            yield log
        population = self._population
        self.known[name] = 1 - len(population.unknown) / max(1, len(population.prompts))

    @asynccontextmanager
    async def model(self, spec: str, role: str) -> AsyncIterator[CachedModel]:
        begun = time.perf_counter()
        async with super().model(spec, role) as live:
            self._opening += time.perf_counter() - begun
            model = RehearsedModel(live, lambda: self._live, time.time_ns() % 2**31 if role == STAND_IN else None)
            self._models.append(model)
            try:
                yield model
            finally:
                self._models.remove(model)

    async def process(
        self,
        name: str,
        items: Sequence[Item],
        out: RecordFile[Made],
        step: Callable[[Sequence[Item]], Awaitable[list[Made]]],
        *,
        item_of: Callable[[Made], str],
        per_item: int = 1,
    ) -> list[Made]:
        """As ``Session.process``; records of items that were neither known nor sampled are of no use, and not in
        ``out``."""
        extra = self._enter(items)
        asked: list[Usage] = []
        turn = asyncio.Lock()

        async def look(part: Sequence[Item]) -> list[Made]:
            """One item after the other, so that each has its own count."""
            records = []
            async with turn:
                for item in part:
                    before = [model.usage.copy() for model in self._models]
                    records += await step([item])
                    asked.append(_sum(model.usage.since(b) for model, b in zip(self._models, before, strict=True)))
            return records

        begun = time.perf_counter()
        made = await super().process(f"{name} (cache)", items, out, look, item_of=item_of, per_item=per_item)
        looked = time.perf_counter() - begun
        first = len(items) - len(asked)  # what was done in an earlier attempt is not looked at
        open_ = {at: usage for at, usage in enumerate(asked, start=first) if usage.cache_hits < usage.requests}
        chosen = self._draw(items, open_)
        sample = Sample()
        if chosen:
            part = [items[at] for at in chosen]
            place = RecordFile(self.scratch / f"{name}.jsonl", out.record_type)
            await self._start()
            before, begun = [model.live.usage.copy() for model in self._models], time.perf_counter()
            self._live = True
            try:
                records = await super().process(
                    f"{name} (sample)", part, place, step, item_of=item_of, per_item=per_item
                )
            finally:
                self._live = False
                place.path.unlink(missing_ok=True)
                usage = self._spend(before)
            elsewhere = max(0.0, time.perf_counter() - begun - usage.seconds)
            sample = Sample(len(chosen), usage, sum(open_[at].cache_hits for at in chosen), elsewhere)
            for index, record in enumerate(records):
                made[chosen[index // per_item] * per_item + index % per_item] = record
        if open_:
            left = open_.keys() - set(chosen)
            self._population.unknown |= {_about(items[at]) for at in left}
            out.truncate(0)
            out.append([record for index, record in enumerate(made) if index // per_item not in left])
        self._enter_part(
            isinstance(items[0], Prompt) if items else False,
            name.endswith(STAND_IN),
            Part(
                settled=sum(usage.requests for at, usage in enumerate(asked, start=first) if at not in open_),
                open=len(open_),
                open_hits=sum(usage.cache_hits for usage in open_.values()),
                extra=extra,
                sample=sample,
                look=looked,
            ),
        )
        return made

    def _enter(self, items: Sequence[Record]) -> float:
        """Note whom the items are about; returns how many more there will be, of prompts not known yet.

        A prompt is an item that waits for no other: there are no more of them than there are.
        """
        about = {_about(item) for item in items}
        if about and about.isdisjoint(self._population.prompts):
            self._population = _Population(about)
        population = self._population
        if not items or isinstance(items[0], Prompt):
            return 0.0
        return len(items) * len(population.unknown) / (len(population.prompts) - len(population.unknown))

    def _draw(self, items: Sequence[Record], open_: Collection[int]) -> list[int]:
        """The places of the sample's items: about the prompts sampled before, and about more to make up the number."""
        places: dict[Conversation, list[int]] = {}
        for at in open_:
            places.setdefault(_about(items[at]), []).append(at)
        sampled = self._population.sampled
        others = sorted(places.keys() - sampled, key=lambda about: digest("estimate", self.config.seed, about))
        sampled |= set(others[: max(0, self.size - len(sampled & places.keys()))])
        return sorted(at for about in sampled & places.keys() for at in places[about])

    def _spend(self, before: Sequence[Usage]) -> Usage:
        """What the models were asked since, entered by model; all of it together."""
        all_ = Usage()
        for model, earlier in zip(self._models, before, strict=True):
            usage = model.live.usage.since(earlier)
            self.spent.setdefault(model.info.spec, Usage()).add(usage)
            if model.live.price is None:
                self.unpriced.add(model.info.spec)
            all_.add(usage)
        return all_

    async def _start(self) -> None:
        """Get the models ready that wait for their first request with that: it belongs to their opening."""
        begun = time.perf_counter()
        for model in self._models:
            if isinstance(model.live.model, Starter):
                await model.live.model.start()
        self._opening += time.perf_counter() - begun

    def _enter_part(self, answers: bool, stands_in: bool, part: Part) -> None:
        """Keep what was found; the opening of a model counts with the first that is asked of it."""
        times = self.absent[0 if answers else 1] if stands_in else 1.0
        kept = not stands_in and self._cache is not None and self._cache.enabled
        priced = not any(model.live.price is None for model in self._models)
        self._parts.setdefault(self._stage, []).append(
            replace(part, times=times, kept=kept, priced=priced, opening=self._opening)
        )
        self._opening = 0.0


def _sum(usages: Iterable[Usage]) -> Usage:
    together = Usage()
    for usage in usages:
        together.add(usage)
    return together


def _about(item: Record) -> Conversation:
    """The prompt that an item is about."""
    conversation: Conversation = item.messages if isinstance(item, Prompt) else cast("Any", item).prompt
    return conversation
