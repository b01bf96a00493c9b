#!/usr/bin/env python3
"""Label a few thousand comparisons against a mock server: raif's whole stage beside other clients that only ask.

    python scripts/bench/client.py [--requests 2000] [--in-flight 64] [--rounds 5] [--with distilabel openai] [--quick]

A server in a process of its own answers every request after 20 ms with 1.2 KB (20 log-probabilities). Clients take
turns, round by round, each in a process of its own, and are given by the median. The limit is a load generator that
writes and counts bytes. raif's figure includes rendering, parsing, combining, its cache (new, so that all is asked)
and the storing of labels; bare aiohttp and AsyncOpenAI are given the rendered questions and read one probability;
distilabel runs its own pipeline, whose start is not counted, and drops the log-probabilities.

distilabel and openai live in an environment of their own, which `--with` makes (in build/bench-venv, or --venv).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.table import machine, table  # noqa: E402

HERE = Path(__file__).resolve().parent
NAMES = {
    "raw": "raw asyncio protocol (the limit)",
    "aiohttp": "aiohttp + orjson",
    "raif": "raif label, whole",
    "openai": "AsyncOpenAI + semaphore",
    "distilabel": "distilabel, pipeline",
}
EXTRAS = {"distilabel": ("distilabel[openai]==1.5.3", "requests"), "openai": ("openai",)}
"""What `--with` installs."""
DEFAULT = ("raw", "aiohttp", "raif", "openai", "distilabel")
WORDS = (
    "the water flour bread salt oven careful window garden slowly because never always people answer question better "
    "honest harm kind letter paint small large first second morning evening walk read write explain simple reason"
)
QUALITIES = "kind honest short clear careful friendly modest exact calm useful lively patient fair plain"


@dataclass
class Client:
    """One way to ask, the Python that has what it needs, and what each round took."""

    name: str
    python: str
    rates: list[float]
    cpu: list[float]
    versions: str = ""

    @property
    def rate(self) -> float:
        """Requests a second: the median of the rounds."""
        return statistics.median(self.rates)

    @property
    def cpu_per_thousand(self) -> float:
        """CPU seconds for 1,000 requests: the median of the rounds."""
        return statistics.median(self.cpu)


def write_task(folder: Path, requests: int, principles: int, words: int) -> tuple[Path, int]:
    """The questions, comparisons and constitution of the benchmark; returns their file and the number of questions."""
    from raif.constitution import load_constitution
    from raif.prompts import PromptLibrary
    from raif.records import conversation

    draw, vocabulary = random.Random(0), WORDS.split()
    constitution = folder / "constitution.yaml"
    lines = [f"  - id: {name}\n    text: The response is {name}.\n" for name in QUALITIES.split()[:principles]]
    head = "name: bench\nversion: 1.0.0\ndescription: What the benchmark asks about.\nprinciples:\n"
    constitution.write_text(head + "".join(lines), encoding="utf-8")

    def text(length: int) -> str:
        return " ".join(draw.choices(vocabulary, k=length))

    count = max(1, round(requests / (2 * principles)))
    rows = [{"prompt": text(words // 2), "a": text(words), "b": text(words)} for _ in range(count)]
    library = PromptLibrary()
    asked = [
        library.render(
            "compare",
            conversation=conversation(row["prompt"]),
            response_a=one,
            response_b=other,
            principle=principle,
            allow_tie=False,
        )
        for row in rows
        for one, other in ((row["a"], row["b"]), (row["b"], row["a"]))
        for principle in load_constitution(constitution).principles
    ]
    file = folder / "task.json"
    file.write_text(json.dumps({"comparisons": rows, "questions": asked}), encoding="utf-8")
    return file, len(asked)


def environment(folder: Path, extras: Sequence[str]) -> str:
    """The Python of the competitors' environment, made and filled where it lacks what is wanted."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"bench: making {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wanted = [package for name in extras for package in EXTRAS[name]]
    subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted, "aiohttp", "orjson", "uvloop"], check=True)
    return str(python)


def has(python: str, module: str) -> bool:
    """Whether an interpreter can import a module."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], check=False, cwd=tempfile.gettempdir()).returncode == 0


@contextmanager
def mock_server(python: str, latency: float) -> Iterator[str]:
    """The address of a mock server, in a process of its own."""
    command = [python, str(HERE / "mock_server.py"), "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def answered(url: str) -> int:
    """How many requests the server has answered so far."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/count") as reply:
        return int(json.load(reply)["answered"])


def measure(client: Client, url: str, task: Path, in_flight: int) -> str | None:
    """Let a client run once; what went wrong, in one line, or None."""
    before = answered(url)
    command = [client.python, str(HERE / "contestants.py"), client.name, "--url", url]
    command += ["--questions", str(task), "--in-flight", str(in_flight)]
    clean = {key: value for key, value in os.environ.items() if key not in ("OPENAI_API_KEY", "RAIF_CACHE")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
    if done.returncode:
        return f"{client.name} failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    made = answered(url) - before
    if made < found["requests"]:
        return f"{client.name} claims {found['requests']} requests, and the server saw {made}"
    client.rates.append(found["requests"] / found["seconds"])
    client.cpu.append(1000 * found["cpu"] / found["requests"])
    client.versions = found["versions"]
    return None


def report(clients: Sequence[Client]) -> str:
    """The table: rates, ratios, and CPU."""
    by_name = {client.name: client for client in clients if client.rates}

    def ratio(one: str, other: str) -> str:
        if one not in by_name or other not in by_name:
            return "–"
        return f"{by_name[one].rate / by_name[other].rate:.2f}"

    rows = [
        [
            NAMES[name],
            f"{client.rate:,.0f}",
            f"{min(client.rates):,.0f}–{max(client.rates):,.0f}",
            ratio(name, "raw"),
            ratio(name, "aiohttp"),
            ratio("raif", name),
            f"{client.cpu_per_thousand:.3f}",
            f"{client.cpu_per_thousand / by_name['raif'].cpu_per_thousand:.2f}" if "raif" in by_name else "–",
        ]
        for name, client in sorted(by_name.items(), key=lambda item: -item[1].rate)
    ]
    head = ["client", "requests/s", "rounds", "of the limit", "of aiohttp", "raif is ×", "CPU-s per 1,000", "of raif's"]
    return table(head, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description="Clients of an OpenAI-compatible server, side by side.")
    parser.add_argument("--requests", type=int, default=2000, help="requests of each client and round")
    parser.add_argument("--in-flight", type=int, default=64, help="requests at once")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds that the server thinks")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, whose median is given")
    parser.add_argument("--principles", type=int, default=4, help="principles a comparison is asked under, twice each")
    parser.add_argument("--words", type=int, default=60, help="words of each response")
    parser.add_argument("--clients", nargs="+", choices=NAMES, default=DEFAULT, help="who takes part")
    parser.add_argument("--with", nargs="+", choices=EXTRAS, default=[], dest="extras", help="install these first")
    parser.add_argument("--venv", type=Path, default=ROOT / "build" / "bench-venv", help="where --with installs")
    parser.add_argument("--json", type=Path, help="also write the figures of all rounds here")
    parser.add_argument("--quick", action="store_true", help="a few requests, one round: that it works, not how fast")
    options = parser.parse_args(arguments)
    if options.quick:
        options.requests, options.in_flight, options.rounds = 48, 8, 1
    other = str(options.venv / "bin" / "python")
    if options.extras:
        other = environment(options.venv, options.extras)
    there = Path(other).exists()
    clients, failed = [], False
    for name in options.clients:
        needs = {"openai": "openai", "distilabel": "distilabel", "raw": "uvloop"}.get(name)
        python = sys.executable
        if needs and there and not has(sys.executable, needs):
            python = other
        if needs and name != "raw" and not has(python, needs):
            hint = f"; --with {name} installs it" if name in EXTRAS else ""
            print(f"bench: {name} is skipped: there is no {needs}{hint}", file=sys.stderr)
            continue
        clients.append(Client(name, python, [], []))
    server_python = other if there and has(other, "uvloop") else sys.executable
    with tempfile.TemporaryDirectory() as folder, mock_server(server_python, options.latency) as url:
        task, requests = write_task(Path(folder), options.requests, options.principles, options.words)
        for number in range(1, options.rounds + 1):
            for client in list(clients):
                problem = measure(client, url, task, options.in_flight)
                if problem is not None:
                    print(f"bench: {problem}", file=sys.stderr)
                    clients.remove(client)
                    failed = True
                else:
                    told = f"{client.rates[-1]:,.0f}/s, {client.cpu[-1]:.3f} CPU-s per 1,000"
                    print(f"bench: round {number}: {client.name} {told}", file=sys.stderr)
    print(f"{machine()}")
    print(
        f"{requests:,} requests, {options.in_flight} in flight, {1000 * options.latency:.0f} ms (so at most "
        f"{options.in_flight / options.latency:,.0f} requests/s); raif: "
        f"{requests // (2 * options.principles):,} comparisons, 2 orders, {options.principles} principles; "
        f"medians of {options.rounds} interleaved rounds"
    )
    for client in clients:
        print(f"  {client.name}: {client.versions}")
    print()
    print(report(clients))
    if options.json:
        figures = {c.name: {"rates": c.rates, "cpu": c.cpu, "versions": c.versions} for c in clients}
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
