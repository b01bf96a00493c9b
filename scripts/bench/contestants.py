#!/usr/bin/env python3
"""One client at work on one server, measured in a process of its own: what `scripts/bench/client.py` starts.

    python scripts/bench/contestants.py NAME --url http://127.0.0.1:PORT/v1 --questions FILE [--in-flight 64]

It prints one JSON object: requests, seconds, CPU seconds of this process and its children, versions. Each client does a
small part first, which is not counted: imports and first connections are no matter of speed. The others get their
questions written out and need not keep the answers; raif renders, parses, combines and stores, in a cache that is new.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.mock_server import MODEL  # noqa: E402
from bench.table import installed  # noqa: E402

FIELDS = {"model": MODEL, "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}


@dataclass(frozen=True, slots=True)
class Task:
    """What a client is given: the server, the questions (and, for raif, the comparisons they come from)."""

    url: str
    questions: tuple[str, ...]
    comparisons: tuple[dict[str, str], ...]
    constitution: Path
    in_flight: int

    def part(self, count: int) -> Task:
        """The first comparisons, as many as make ``count`` questions, with their questions."""
        each = len(self.questions) // len(self.comparisons)
        first = -(-count // each)
        return replace(self, questions=self.questions[: first * each], comparisons=self.comparisons[:first])


Spent = tuple[float, float]
"""Seconds, and CPU seconds."""


def measured(work: Callable[[], object]) -> Spent:
    """What ``work`` took, its child processes included."""
    begun, before = time.perf_counter(), _cpu()
    work()
    return time.perf_counter() - begun, _cpu() - before


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def run(work: Coroutine[Any, Any, None], fast_loop: bool = False) -> None:
    """Run to the end, on uvloop where that is asked for."""
    runner = importlib.import_module("uvloop") if fast_loop else asyncio
    runner.run(work)


def probability(reply: Any) -> float:
    """P(A) out of a reply: what every client is to make of one."""
    top = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    found = {entry["token"]: math.exp(entry["logprob"]) for entry in top}
    return found["A"] / (found["A"] + found["B"])


# The clients


class _Generator(asyncio.Protocol):
    """One connection of the load generator: the next request goes out when a reply is in."""

    def __init__(self, requests: Any, done: Callable[[], None]) -> None:
        self.requests, self.done = requests, done
        self.left = 0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
            self.done()
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self.left:
            end = data.index(b"\r\n\r\n")  # the mock server sends a reply in one piece, or its head at least
            at = data.index(b"Content-Length: ") + 16
            self.left = int(data[at : data.index(b"\r", at)]) + end + 4
        self.left -= len(data)
        if not self.left:
            self.next()


async def raw(task: Task) -> None:
    """Bytes out, bytes counted in: the limit of what a client could do in this language."""
    place = urlsplit(task.url)
    loop = asyncio.get_running_loop()
    written = []
    for text in task.questions:
        body = json.dumps({"messages": [{"role": "user", "content": text}], **FIELDS}).encode()
        head = f"POST {place.path}/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(body)}\r\n"
        written.append(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
    requests = iter(written)
    finished, left = loop.create_future(), task.in_flight

    def done() -> None:
        nonlocal left
        left -= 1
        if not left:
            finished.set_result(None)

    for _ in range(task.in_flight):
        await loop.create_connection(lambda: _Generator(requests, done), str(place.hostname), place.port or 80)
    await finished


async def bare_aiohttp(task: Task) -> None:
    """Workers that pull questions from an iterator, aiohttp, and orjson."""
    import aiohttp
    import orjson

    questions = iter(task.questions)
    answers = []
    url = f"{task.url}/chat/completions"

    async def work(session: aiohttp.ClientSession) -> None:
        for text in questions:
            body = orjson.dumps({"messages": [{"role": "user", "content": text}], **FIELDS})
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
                answers.append(probability(orjson.loads(await response.read())))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=task.in_flight)) as session:
        await asyncio.gather(*(work(session) for _ in range(task.in_flight)))
    assert len(answers) == len(task.questions)


async def async_openai(task: Task) -> None:
    """OpenAI's own client, and a semaphore."""
    client = importlib.import_module("openai").AsyncOpenAI(base_url=task.url, api_key="none")
    gate = asyncio.Semaphore(task.in_flight)

    async def ask(text: str) -> float:
        async with gate:
            reply = await client.chat.completions.create(messages=[{"role": "user", "content": text}], **FIELDS)
        top = reply.choices[0].logprobs.content[0].top_logprobs
        found = {entry.token: math.exp(entry.logprob) for entry in top}
        return found["A"] / (found["A"] + found["B"])

    answers = await asyncio.gather(*(ask(text) for text in task.questions))
    await client.close()
    assert len(answers) == len(task.questions)


def distilabel(task: Task) -> None:
    """A pipeline of distilabel's: its task drops the log-probabilities, so that nothing is done with them."""
    for name in ("distilabel", "httpx", "httpcore"):
        importlib.import_module("logging").getLogger(name).setLevel("ERROR")
    os.environ["DISTILABEL_LOG_LEVEL"] = "ERROR"
    pipelines, steps, tasks, llms = (
        importlib.import_module(f"distilabel.{name}") for name in ("pipeline", "steps", "steps.tasks", "models")
    )
    batch = DISTILABEL_BATCHES * task.in_flight
    with pipelines.Pipeline(name="bench") as pipeline:
        load = steps.LoadDataFromDicts(data=[{"instruction": text} for text in task.questions], batch_size=batch)
        llm = llms.OpenAILLM(
            model=MODEL,
            base_url=task.url,
            api_key="none",
            generation_kwargs={"max_new_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20},
        )
        judge = tasks.TextGeneration(llm=llm, input_batch_size=batch, add_raw_input=False, add_raw_output=False)
        load >> judge
    answers = pipeline.run(use_cache=False, use_fs_to_pass_data=False)["default"]["train"]
    assert len(answers) == len(task.questions)


DISTILABEL_BATCHES = 4
"""Rows in one of its batches, for each request in flight, since it waits for a batch to be through before the next. Of
1, 4, 8, 16 and 40 this was the fastest, by a little: it is its own processor time that limits it."""


def raif(task: Task) -> None:
    """The whole stage: questions rendered, answers parsed, combined, cached and stored."""
    from raif.records import Comparison, conversation
    from raif.reporting import SilentReporter
    from raif.session import Session
    from raif.settings import resolve
    from raif.stages import feedback

    comparisons = [
        Comparison(prompt=conversation(row["prompt"]), response_a=row["a"], response_b=row["b"], source="bench")
        for row in task.comparisons
    ]
    flags = {
        "judge": f"openai:{MODEL}@{task.url}",
        "constitution": str(task.constitution),
        "server.concurrency": task.in_flight,
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RAIF_CACHE"] = str(Path(folder) / "cache.sqlite3")
        session = Session(resolve(environment={}, flags=flags), SilentReporter(), Path(folder) / "manifest.json")
        outcome = asyncio.run(feedback.label(session, comparisons, Path(folder) / "labels.jsonl"))
        assert outcome.summary["n"] == len(comparisons)
        entry = session.manifest.stages["label"]
        assert entry.requests - entry.cache_hits == len(task.questions), entry


CONTESTANTS: dict[str, tuple[Callable[[Task], object], tuple[str, ...]]] = {
    "raw": (lambda task: run(raw(task), fast_loop=_has("uvloop")), ("uvloop",)),
    "aiohttp": (lambda task: run(bare_aiohttp(task)), ("aiohttp", "orjson")),
    "raif": (raif, ("raif", "aiohttp", "orjson")),
    "openai": (lambda task: run(async_openai(task)), ("openai", "httpx", "httpx2")),
    "distilabel": (distilabel, ("distilabel", "openai")),
}
"""Name to what it does and the packages whose versions matter."""


def _has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def read_task(url: str, file: Path, in_flight: int) -> Task:
    """The task that ``client.py`` wrote down."""
    given = json.loads(file.read_text(encoding="utf-8"))
    return Task(
        url, tuple(given["questions"]), tuple(given["comparisons"]), file.with_name("constitution.yaml"), in_flight
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one client and print what it took."""
    parser = argparse.ArgumentParser(description="One client of the benchmark.")
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("--url", required=True, help="the server's address, with /v1")
    parser.add_argument("--questions", type=Path, required=True, help="as client.py writes them")
    parser.add_argument("--in-flight", type=int, default=64, help="requests at once")
    parser.add_argument("--profile", type=Path, help="write a cProfile of the measured part here")
    options = parser.parse_args(arguments)
    work, packages = CONTESTANTS[options.name]
    task = read_task(options.url, options.questions, options.in_flight)
    warm = task.part(options.in_flight)
    work(warm)
    if options.profile:
        import cProfile

        with cProfile.Profile() as profile:
            work(task)
        profile.dump_stats(options.profile)
    start = measured(lambda: work(warm)) if options.name == "distilabel" else (0.0, 0.0)
    seconds, cpu = measured(lambda: work(task))
    requests = len(task.questions)
    if options.name == "distilabel":
        # It starts processes for each run: what counts is what the further requests take.
        seconds, cpu, requests = seconds - start[0], cpu - start[1], requests - len(warm.questions)
    print(json.dumps({"requests": requests, "seconds": seconds, "cpu": cpu, "versions": installed(*packages)}))


if __name__ == "__main__":
    main()
