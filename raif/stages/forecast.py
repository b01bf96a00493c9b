"""What a stage will ask and cost, from a look into the cache and a sample that was really asked: arithmetic alone.

The look goes over all items that are known and counts what is asked and what the cache answers; an item is *open* where
something is missing. Items that only open items will give rise to (the revisions of answers that nobody has yet) are
*extra*. The sample is some of the open items, and stands for all that is open or extra.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from raif.config import TrainerConfig
from raif.models.middleware import Usage


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of a stage, or of several. ``cache_hits`` reach no model and cost nothing.

    ``cost`` is None where something is to be paid at a price that is not known. ``seconds`` is None where nothing could
    be timed.
    """

    requests: int = 0
    cache_hits: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    seconds: float | None = 0.0

    @property
    def paid(self) -> int:
        """Requests that reach a model."""
        return self.requests - self.cache_hits

    def __add__(self, other: Forecast) -> Forecast:
        return Forecast(
            self.requests + other.requests,
            self.cache_hits + other.cache_hits,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            _both(self.cost, other.cost),
            _both(self.seconds, other.seconds),
        )


def _both(one: float | None, two: float | None) -> float | None:
    return None if one is None or two is None else one + two


def total(forecasts: Iterable[Forecast]) -> Forecast:
    """All of them together; what one of them does not know is not known of the whole."""
    return sum(forecasts, Forecast())


@dataclass(frozen=True, slots=True)
class Sample:
    """Some open items that were really asked about.

    Args:
        items: how many.
        usage: what they came to, answers out of the cache included.
        known: requests of theirs that the cache had answered in the look already.
        elsewhere: seconds spent outside models: rendering, parsing, writing.
    """

    items: int = 0
    usage: Usage = field(default_factory=Usage)
    known: int = 0
    elsewhere: float = 0.0

    @property
    def fresh(self) -> int:
        """Requests that reached the model."""
        return self.usage.requests - self.usage.cache_hits


@dataclass(frozen=True, slots=True)
class Part:
    """One pass over items by one model: all of a stage, or a policy's answers in an evaluation.

    Args:
        settled: requests of the items that the cache answers whole.
        open: known items of which something is missing.
        open_hits: requests of theirs that the cache answered in the look.
        extra: items that are not known yet.
        times: passes like this one that the command will make: more than one where it stands for several policies.
        kept: whether the command itself will find the sample's answers in the cache.
        priced: whether the price of the model's tokens is known.
        opening: seconds to open the model.
        look: seconds that the look took.
    """

    settled: int = 0
    open: int = 0
    open_hits: int = 0
    extra: float = 0.0
    sample: Sample = field(default_factory=Sample)
    times: float = 1.0
    kept: bool = True
    priced: bool = True
    opening: float = 0.0
    look: float = 0.0


def forecast(part: Part) -> Forecast:
    """What the command will come to once the sample is paid for.

    With r requests an item in the sample, of which k were known before it and d were asked for the second time:

        requests = settled + r (open + extra)        hits = settled + open hits + d open + (k + d) extra

    Tokens, money and seconds are the sample's for each request that reached the model.
    """
    sample, usage = part.sample, part.sample.usage
    if not sample.items or not usage.requests:
        return Forecast(
            _times(part, part.settled), _times(part, part.settled), seconds=part.times * (part.opening + part.look)
        )
    each = usage.requests / sample.items
    again = max(0, usage.cache_hits - sample.known) / sample.items
    requests = part.settled + each * (part.open + part.extra)
    hits = part.settled + part.open_hits + again * part.open + usage.cache_hits / sample.items * part.extra
    if part.kept:
        hits += sample.fresh
    hits = min(hits, requests)
    paid = part.times * (requests - hits)
    share = paid / sample.fresh if sample.fresh else 0.0
    elsewhere = sample.elsewhere / usage.requests * requests
    requests, hits = _times(part, requests), _times(part, hits)
    return Forecast(
        requests,
        min(hits, requests),
        round(share * usage.prompt_tokens),
        round(share * usage.completion_tokens),
        share * usage.cost if part.priced or not share else None,
        share * usage.seconds + part.times * (part.opening + elsewhere),
    )


def _times(part: Part, count: float) -> int:
    return round(part.times * count)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a trainer is: seconds before its first step, and for each example in a step."""

    before: float
    example: float


FORWARD = 1 / 3
"""What a forward pass costs, as a share of one with its backward pass: that one does twice the arithmetic again."""


def training(pace: Pace, config: TrainerConfig, learnt: float, read: float) -> float:
    """Seconds that a trainer takes: ``learnt`` examples in each epoch, and ``read`` ones once, forward alone."""
    seen = learnt * config.epochs
    if config.max_steps > 0:
        seen = config.max_steps * min(config.batch_size * config.accumulate, learnt)
    return pace.before + pace.example * (seen + FORWARD * read)
