"""The pump, with an engine that a test steps by hand: what is asked is answered once, whatever happens meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from raif.errors import ModelError
from raif.models.vllm.pump import Asking, Pump


def output(name: str, reason: str | None = "stop") -> Any:
    """What vLLM says of a request; unfinished without a reason."""
    return SimpleNamespace(
        request_id=name, finished=reason is not None, outputs=[SimpleNamespace(finish_reason=reason)]
    )


@dataclass
class Engine:
    """Each step waits for, and returns or raises, what the test puts into ``steps``."""

    steps: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    asked: list[tuple[str, list[int], Any]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def add_request(self, request_id: str, prompt: Any, params: Any) -> str:
        assert prompt["type"] == "token"
        if params == "malformed":
            raise ValueError("malformed")
        self.asked.append((request_id, prompt["prompt_token_ids"], params))
        return request_id + "-internal"

    def step(self) -> list[Any]:
        self.begun.release()
        made = self.steps.get(timeout=20)
        if isinstance(made, Exception):
            raise made
        return made

    def abort_request(self, request_ids: list[str]) -> None:
        self.aborted += request_ids

    def in_step(self) -> None:
        """Return once the pump is inside a step."""
        assert self.begun.acquire(timeout=20)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def pump(engine: Engine) -> Iterator[Pump]:
    pump = Pump(engine)
    yield pump
    engine.steps.put([])
    pump.close()


def test_answers_come_as_they_are_finished(engine: Engine, pump: Pump) -> None:
    asking = Asking(pump, threading.Event())
    asking.ask(7, [1, 2], "first")
    engine.in_step()
    asking.ask(8, [3], "second")  # while the engine is at work
    engine.steps.put([output("0", None)])
    engine.in_step()
    assert engine.asked == [("0", [1, 2], "first"), ("1", [3], "second")]
    engine.steps.put([output("1"), output("0", None)])
    answers = asking.answers()
    assert next(answers)[0] == 8
    engine.in_step()
    engine.steps.put([output("0", "length")])
    assert next(answers)[0] == 7
    assert list(answers) == []


def test_callers_share_the_engine_and_get_their_own(engine: Engine, pump: Pump) -> None:
    one, two = Asking(pump, threading.Event()), Asking(pump, threading.Event())
    one.ask(0, [1], None)
    engine.in_step()
    two.ask(0, [2], None)
    engine.steps.put([])
    engine.in_step()
    engine.steps.put([output("1"), output("0")])
    assert [answer.request_id for _, answer in one.answers()] == ["0"]
    assert [answer.request_id for _, answer in two.answers()] == ["1"]


def test_what_nobody_waits_for_is_taken_back(engine: Engine, pump: Pump) -> None:
    gone, stays = threading.Event(), threading.Event()
    first, second = Asking(pump, gone), Asking(pump, stays)
    first.ask(0, [1], None)
    engine.in_step()
    second.ask(0, [2], None)
    gone.set()
    engine.steps.put([])
    with pytest.raises(ModelError, match="stopped"):
        next(first.answers())
    engine.in_step()
    assert engine.aborted == ["0"]
    engine.steps.put([output("0"), output("1")])  # one answer was on its way already
    assert [answer.request_id for _, answer in second.answers()] == ["1"]


def test_a_dead_engine_is_an_answer_to_everyone(engine: Engine, pump: Pump) -> None:
    asking = Asking(pump, threading.Event())
    asking.ask(0, [1], None)
    asking.ask(1, [2], None)
    engine.in_step()
    engine.steps.put([])
    engine.in_step()
    engine.steps.put(RuntimeError("the engine died"))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the engine died"):
            next(asking.answers())


def test_a_request_that_the_engine_refuses_fails_alone(engine: Engine, pump: Pump) -> None:
    bad, good = Asking(pump, threading.Event()), Asking(pump, threading.Event())
    bad.ask(0, [1], "malformed")
    with pytest.raises(ValueError, match="malformed"):
        next(bad.answers())
    good.ask(0, [1], None)
    engine.in_step()
    engine.steps.put([output("1")])
    assert [index for index, _ in good.answers()] == [0]


def test_an_answer_that_is_none_is_no_answer(engine: Engine, pump: Pump) -> None:
    asking = Asking(pump, threading.Event())
    asking.ask(0, [1], None)
    engine.in_step()
    engine.steps.put([output("0", "abort")])
    with pytest.raises(ModelError, match=r"gave a request up \(abort\)"):
        next(asking.answers())


def test_closing_answers_what_is_under_way(engine: Engine) -> None:
    pump = Pump(engine)
    asking = Asking(pump, threading.Event())
    asking.ask(0, [1], None)
    engine.in_step()
    threading.Timer(0.1, engine.steps.put, ([],)).start()
    pump.close()
    with pytest.raises(ModelError, match="closed"):
        next(asking.answers())
