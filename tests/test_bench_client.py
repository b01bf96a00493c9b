"""scripts/bench/client.py, small: the clients agree on what was asked, and the mock server speaks the protocol."""

from __future__ import annotations

import http.client
import importlib.util
import json
import math
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

PROJECT = Path(__file__).resolve().parent.parent
BENCH = PROJECT / "scripts" / "bench"


def load(name: str) -> ModuleType:
    """A module of the benchmark."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def client() -> Iterator[ModuleType]:
    before = list(sys.path)
    yield load("client")
    sys.path[:] = before


@pytest.fixture(scope="module")
def server(client: ModuleType) -> Iterator[str]:
    with client.mock_server(sys.executable, 0.001) as url:
        yield url


def test_a_quick_run_measures_whole_stages(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "client.py"), "--quick", "--latency", "0.001"]
    command += ["--clients", "raw", "aiohttp", "raif", "distilabel", "--venv", str(tmp_path / "none")]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "figures.json")], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    # 48 requests are 6 comparisons in 2 orders under 4 principles.
    assert (
        "48 requests, 8 in flight, 1 ms (so at most 8,000 requests/s); raif: 6 comparisons, 2 orders, 4 principles"
        in done.stdout
    )
    rows = re.findall(r"^\| (\S.*?) +\| +([\d,]+) \|", done.stdout, re.MULTILINE)
    assert {name for name, _ in rows} == {"raw asyncio protocol (the limit)", "aiohttp + orjson", "raif label, whole"}
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"raw", "aiohttp", "raif"}
    assert all(len(found["rates"]) == 1 and found["rates"][0] > 0 for found in figures.values())
    assert "bench: distilabel is skipped: there is no distilabel; --with distilabel installs it" in done.stderr


def test_a_client_that_fails_is_named_and_the_others_go_on(client: ModuleType, server: str, tmp_path: Path) -> None:
    task, _ = client.write_task(tmp_path, 16, 4, 5)

    def python(name: str, says: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{says}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    broken = python("broken", "echo Traceback >&2; echo \"ModuleNotFoundError: No module named 'openai'\" >&2; exit 1")
    found = client.measure(client.Client("openai", broken, [], []), server, task, 4)
    assert found == "openai failed: ModuleNotFoundError: No module named 'openai'"
    idle = python("idle", """echo '{"requests": 16, "seconds": 0.1, "cpu": 0, "versions": ""}'""")
    found = client.measure(client.Client("openai", idle, [], []), server, task, 4)
    assert found == "openai claims 16 requests, and the server saw 0"
    honest = client.Client("aiohttp", sys.executable, [], [])
    assert client.measure(honest, server, task, 4) is None
    assert len(honest.rates) == len(honest.cpu) == 1


def test_the_task_is_what_raif_asks(client: ModuleType, tmp_path: Path) -> None:
    file, count = client.write_task(tmp_path, 50, 3, 5)
    task = json.loads(file.read_text())
    # round(50 / (2 · 3)) = 8 comparisons, 6 questions each.
    assert (count, len(task["questions"]), len(task["comparisons"])) == (48, 48, 8)
    assert len(set(task["questions"])) == 48
    assert task["comparisons"][0]["a"] in task["questions"][0]


def test_the_mock_server_answers_in_order_whatever_the_pieces(server: str) -> None:
    place = urlsplit(server)
    body = json.dumps({"model": "judge", "messages": []}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    sent = request * 3
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        for start in range(0, len(sent), 37):
            connection.sendall(sent[start : start + 37])
        received = b""
        while received.count(b"total_tokens") < 3:
            received += connection.recv(1 << 16)
    head, _, first = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
    reply = json.loads(first[:length])
    top = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert len(top) == 20
    # 0.62 + 0.31 + 18 · (0.07 / 18) = 1, to the six digits of the log-probabilities.
    assert sum(math.exp(entry["logprob"]) for entry in top) == pytest.approx(1.0, abs=1e-5)
    assert 1100 <= length <= 1500

    connection_2 = http.client.HTTPConnection(place.hostname or "", place.port or 0, timeout=10)
    connection_2.request("GET", "/v1/models")
    assert json.load(connection_2.getresponse())["data"][0]["id"] == "judge"
    connection_2.request("GET", "/count")
    assert json.load(connection_2.getresponse())["answered"] >= 3
    connection_2.close()


def test_ratios_are_of_medians(client: ModuleType) -> None:
    clients = [
        client.Client("raw", "", [400.0, 100.0, 200.0], [0.1, 0.3, 0.2]),
        client.Client("aiohttp", "", [100.0], [1.0]),
        client.Client("raif", "", [80.0], [1.5]),
    ]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in client.report(clients).splitlines()]
    assert rows[2:] == [
        ["raw asyncio protocol (the limit)", "200", "100–400", "1.00", "2.00", "0.40", "0.200", "0.13"],
        ["aiohttp + orjson", "100", "100–100", "0.50", "1.00", "0.80", "1.000", "0.67"],
        ["raif label, whole", "80", "80–80", "0.40", "0.80", "1.00", "1.500", "1.00"],
    ]
