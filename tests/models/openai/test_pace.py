"""The window, the waits and ``Retry-After``, against values worked out by hand."""

from __future__ import annotations

from random import Random

import pytest

from raif.models.openai.pace import BACKOFF, LONGEST_BACKOFF, Pace, backoff, retry_after


def replies(pace: Pace, count: int) -> None:
    for _ in range(count):
        pace.went_well()


def test_it_doubles_each_round_until_the_server_pushes_back() -> None:
    pace = Pace(start=2, most=100)
    assert pace.limit == 2
    replies(pace, 2)  # a round of 2 good replies: 2 + 2
    assert pace.limit == 4
    replies(pace, 4)
    assert pace.limit == 8


def test_it_never_grows_beyond_the_most() -> None:
    pace = Pace(start=50, most=10)
    assert pace.limit == 10
    replies(pace, 100)
    assert pace.limit == 10


def test_pushed_back_it_shrinks_and_then_grows_by_one_a_round() -> None:
    pace = Pace(start=20, most=100)
    pace.pushed_back(sent=0.0, now=1.0)
    assert pace.limit == 14  # 20 · 0.7
    # Each good reply adds 1/window: after 14 of them the window is a little under 15 (14 + Σ 1/(14 + i/14) ≈ 14.97).
    replies(pace, 14)
    assert pace.limit == 14
    replies(pace, 1)
    assert pace.limit == 15


def test_requests_that_were_under_way_together_shrink_it_once() -> None:
    pace = Pace(start=20, most=100)
    pace.pushed_back(sent=0.0, now=1.0)
    pace.pushed_back(sent=0.5, now=1.1)  # sent before the window shrank at 1.0
    assert pace.limit == 14
    pace.pushed_back(sent=1.2, now=1.3)  # sent into the smaller window, and still too many: 14 · 0.7 = 9.8
    assert pace.limit == 9


def test_at_least_one_request_is_let_through() -> None:
    pace = Pace(start=1, most=4)
    for second in range(10):
        pace.pushed_back(sent=second, now=second + 0.5)
    assert pace.limit == 1


def test_a_wait_holds_for_all_and_is_never_shortened() -> None:
    pace = Pace(start=4, most=4)
    pace.pushed_back(sent=0.0, now=10.0, wait=5.0)
    assert pace.not_before == 15.0
    pace.pushed_back(sent=0.0, now=11.0, wait=1.0)
    pace.pushed_back(sent=0.0, now=11.0)
    assert pace.not_before == 15.0
    pace.pushed_back(sent=0.0, now=12.0, wait=4.0)
    assert pace.not_before == 16.0


def test_backoff_has_full_jitter_under_a_doubling_ceiling() -> None:
    random = Random(0)
    for attempt, ceiling in ((1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (2000, 30.0)):
        waits = [backoff(attempt, random) for _ in range(2000)]
        assert 0 <= min(waits) < 0.02 * ceiling
        assert 0.98 * ceiling < max(waits) <= ceiling
        assert sum(waits) / 2000 == pytest.approx(ceiling / 2, rel=0.05)
    assert (BACKOFF, LONGEST_BACKOFF) == (0.5, 30.0)


@pytest.mark.parametrize(
    ("value", "milliseconds", "expected"),
    [
        (None, None, None),
        ("7", None, 7.0),
        ("0", None, 0.0),
        ("0.25", None, 0.25),
        ("7", "1500", 1.5),  # the finer one counts
        ("7", "soon", 7.0),
        ("-3", None, None),
        ("nan", None, None),
        ("inf", None, None),
        ("soon", None, None),
        ("", None, None),
        # 784,111,777 is 1994-11-06 08:49:37 UTC, the example of RFC 9110; now is seven seconds before it.
        ("Sun, 06 Nov 1994 08:49:44 GMT", None, 7.0),
        ("Sun, 06 Nov 1994 08:49:44 -0000", None, 7.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", None, 0.0),  # over already
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, milliseconds: str | None, expected: float | None) -> None:
    assert retry_after(value, milliseconds, now=784_111_777.0) == expected
