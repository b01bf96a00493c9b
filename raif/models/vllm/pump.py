"""The one thread that talks to an engine of vLLM's: it hands over what is asked, and hands back what is finished.

vLLM's own ``LLM.generate`` is asked for a list and answers with a list. Here several callers ask at any time, the
engine always has all of it to choose its batches from, and each answer is there as soon as the engine has it.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from raif.errors import ModelError


class Engine(Protocol):
    """The part of ``vllm.LLMEngine`` that is used here."""

    def add_request(self, request_id: str, prompt: Any, params: Any) -> Any: ...

    def step(self) -> Iterable[Any]: ...

    def abort_request(self, request_ids: list[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt for the engine.

    ``reply`` is called once, on the pump's thread, with vLLM's ``RequestOutput`` or with an error. Once ``stop`` is
    set, nobody waits for it any more.
    """

    ids: Sequence[int]
    params: Any
    stop: threading.Event
    reply: Callable[[Any], None]


class Pump:
    """Keeps ``engine`` busy until it is closed. No other thread may use the engine meanwhile."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inbox: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._live: dict[str, Asked] = {}
        self._names = itertools.count()
        self._thread = threading.Thread(target=self._run, name="raif-vllm", daemon=True)
        self._thread.start()

    def ask(self, asked: Asked) -> None:
        """Hand ``asked`` over; returns at once. Not after ``close``."""
        self._inbox.put(asked)

    def close(self) -> None:
        """Return once the thread has ended; what is still under way is answered with an error."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._take():
            self._drop()
            if self._live:
                self._step()
        self._answer_all(ModelError("closed"))

    def _take(self) -> bool:
        """Hand the engine all that has been asked since; wait for something where it has nothing to do."""
        wait = not self._live
        while True:
            try:
                asked = self._inbox.get(block=wait)
            except queue.Empty:
                return True
            if asked is None:
                return False
            wait = False
            self._add(asked)

    def _add(self, asked: Asked) -> None:
        name = str(next(self._names))
        try:
            self._engine.add_request(name, token_prompt(asked.ids), asked.params)
        except Exception as error:  # vLLM raises whatever its parts raise; whoever asked has to know
            asked.reply(error)
        else:
            self._live[name] = asked

    def _drop(self) -> None:
        """Take back what nobody waits for any more."""
        gone = [name for name, asked in self._live.items() if asked.stop.is_set()]
        if gone:
            self._engine.abort_request(gone)
        for name in gone:
            self._live.pop(name).reply(ModelError("stopped"))

    def _step(self) -> None:
        try:
            outputs = list(self._engine.step())
        except Exception as error:  # the engine's process has died, or is about to
            self._answer_all(error)
            return
        for output in outputs:
            if output.finished and output.request_id in self._live:
                self._live.pop(output.request_id).reply(output)

    def _answer_all(self, error: Exception) -> None:
        live, self._live = self._live, {}
        for asked in live.values():
            asked.reply(error)


class Asking:
    """What one caller has asked of a pump, and the answers as they come."""

    def __init__(self, pump: Pump, stop: threading.Event) -> None:
        self._pump, self._stop = pump, stop
        self._replies: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._waiting = 0

    def ask(self, index: int, ids: Sequence[int], params: Any) -> None:
        """Ask for what follows ``ids``; returns at once."""
        self._waiting += 1
        self._pump.ask(Asked(ids, params, self._stop, lambda answer: self._replies.put((index, answer))))

    def answers(self) -> Iterator[tuple[int, Any]]:
        """The index of each request and vLLM's ``RequestOutput``, as they come, until there is one for each.

        Raises:
            Exception: the engine's, for one of them.
        """
        while self._waiting:
            index, answer = self._replies.get()
            self._waiting -= 1
            if isinstance(answer, Exception):
                raise answer
            if answer.outputs[0].finish_reason not in ("stop", "length"):
                raise ModelError(f"vLLM gave a request up ({answer.outputs[0].finish_reason})")
            yield index, answer


def token_prompt(ids: Sequence[int]) -> Mapping[str, Any]:
    """A prompt of token ids, in the form that vLLM's engine takes without a look at its own tokenizer."""
    return {"type": "token", "prompt_token_ids": list(ids)}
