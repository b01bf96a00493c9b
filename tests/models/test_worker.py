"""A thread that works for a coroutine: what it gives is delivered on the loop's thread, or it stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raif.errors import ModelError
from raif.models.base import Completion
from raif.models.worker import Caller, work


def said(text: str) -> Completion:
    return Completion(text, "stop", 1, 1)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


def test_what_is_given_comes_at_once_and_on_the_loop_s_thread(pool: ThreadPoolExecutor) -> None:
    came: list[tuple[int, Completion, int]] = []
    first_came = threading.Event()

    def deliver(index: int, result: Completion) -> None:
        came.append((index, result, threading.get_ident()))
        first_came.set()

    def action(caller: Caller) -> str:
        caller.give([(1, said("b"))])
        assert first_came.wait(10)  # while the work goes on
        caller.give([(0, said("a")), (2, said("c"))])
        return "done"

    assert asyncio.run(work(pool, action, deliver)) == "done"
    here = threading.get_ident()  # asyncio.run runs the loop on this thread
    assert came == [(1, said("b"), here), (0, said("a"), here), (2, said("c"), here)]


def test_all_is_delivered_before_the_call_returns(pool: ThreadPoolExecutor) -> None:
    for _ in range(200):  # the last is given as late as can be
        came: list[int] = []
        results = list(enumerate([said("a"), said("b")]))
        asyncio.run(work(pool, lambda caller, r=results: caller.give(r), lambda index, _, c=came: c.append(index)))
        assert came == [0, 1]


def test_none_to_deliver_to(pool: ThreadPoolExecutor) -> None:
    asyncio.run(work(pool, lambda caller: caller.give([(0, said("a"))]), None))


def test_whoever_refuses_stops_the_work_and_gets_his_own_error(pool: ThreadPoolExecutor) -> None:
    came: list[int] = []

    def deliver(index: int, _: object) -> None:
        came.append(index)
        raise ZeroDivisionError("mine")

    def action(caller: Caller) -> None:
        caller.give([(0, said("a")), (1, said("b"))])
        assert caller.stop.wait(10)
        caller.give([(2, said("c"))])
        caller.check()
        raise AssertionError("it went on")

    with pytest.raises(ZeroDivisionError, match="mine"):
        asyncio.run(work(pool, action, deliver))
    assert came == [0]


def test_a_refusal_of_the_very_last_result_counts(pool: ThreadPoolExecutor) -> None:
    def deliver(index: int, _: object) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        asyncio.run(work(pool, lambda caller: caller.give([(0, said("a"))]), deliver))


def test_what_was_finished_before_it_broke_is_delivered(pool: ThreadPoolExecutor) -> None:
    came: list[int] = []

    def action(caller: Caller) -> None:
        caller.give([(0, said("a"))])
        raise ModelError("out of memory")

    with pytest.raises(ModelError, match="out of memory"):
        asyncio.run(work(pool, action, lambda index, _: came.append(index)))
    assert came == [0]


def test_a_cancelled_caller_is_told_nothing_more(pool: ThreadPoolExecutor) -> None:
    came: list[int] = []
    stopped: list[str] = []
    begun, over = threading.Event(), threading.Event()

    def action(caller: Caller) -> None:
        begun.set()
        assert caller.stop.wait(10)
        caller.give([(0, said("a"))])
        try:
            caller.check()
        except ModelError as error:
            stopped.append(str(error))
            raise
        finally:
            over.set()

    async def cancelled() -> None:
        task = asyncio.create_task(work(pool, action, lambda index, _: came.append(index)))
        assert await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(over.wait, 10)
        await asyncio.sleep(0.01)

    asyncio.run(cancelled())
    assert (came, stopped) == ([], ["stopped"])
