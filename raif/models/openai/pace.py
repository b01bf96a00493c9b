"""How many requests are in flight at once, and when the next may go: additive increase, multiplicative decrease.

A server that has had enough says so with 429 or 503. The window then shrinks to ``SHRINK`` of itself, once for all the
requests that were under way together, and grows by one a round while replies are good (Chiu and Jain 1989: this
converges to a fair share). Until the first such answer it grows by one a *reply*, that is, it doubles each round (slow
start; Jacobson 1988, section 1). All pure: the time is an argument, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random

SHRINK = 0.7
"""Gentler than TCP's half: servers say 429 by quota as well as by load."""
BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
"""Seconds: the longest wait before the second attempt, doubled for each that follows, and where the doubling ends."""


class Pace:
    """The window of one server, shared by all that ask it.

    Args:
        start: requests in flight to begin with.
        most: never more than this.
    """

    def __init__(self, start: int, most: int) -> None:
        self._window = float(min(start, most))
        self._most = float(most)
        self._threshold = self._most
        self._shrunk = float("-inf")
        self.not_before = float("-inf")
        """No request goes out before this moment."""

    @property
    def limit(self) -> int:
        """How many requests may be in flight now: at least one."""
        return int(self._window)

    def went_well(self) -> None:
        """A reply was good."""
        if self._window < self._most:
            step = 1.0 if self._window < self._threshold else 1.0 / self._window
            self._window = min(self._most, self._window + step)

    def pushed_back(self, sent: float, now: float, wait: float | None = None) -> None:
        """The server answered 429 or 503 to a request that was sent at ``sent``; ``wait`` is its ``Retry-After``.

        Requests that were under way when the window last shrank tell nothing new: they don't shrink it again.
        """
        if wait is not None:
            self.not_before = max(self.not_before, now + wait)
        if sent >= self._shrunk:
            self._window = self._threshold = max(1.0, self._window * SHRINK)
            self._shrunk = now


def backoff(attempt: int, random: Random) -> float:
    """Seconds to wait after the failed attempt number ``attempt`` (1, 2, …): full jitter, so that no two clients that
    failed together come back together."""
    return random.uniform(0.0, min(LONGEST_BACKOFF, BACKOFF * 2.0 ** min(attempt - 1, 30)))


def retry_after(value: str | None, milliseconds: str | None, now: float) -> float | None:
    """Seconds that a server asks to wait, never negative; None where it doesn't say, or not in a form that is known.

    Args:
        value: ``Retry-After``: seconds, or a date (RFC 9110, section 10.2.3).
        milliseconds: ``retry-after-ms``, which some servers add because it is finer; it counts first.
        now: seconds since 1970, for dates.
    """
    if milliseconds is not None and (fine := _number(milliseconds)) is not None:
        return fine / 1000
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:  # "-0000": RFC 5322 means UTC
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
