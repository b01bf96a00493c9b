"""Five thousand comparisons through ``raif label``, against a server that fails one request in five; and a kill.

The server's own log is what raif's account of the run is held against.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from raif.models.commits import GROUP
from raif.records import Preference
from support.fault_server import FINAL, TRANSIENT, Served, p_first, serving

pytestmark = pytest.mark.slow

COMPARISONS = 5000
CONCURRENCY = 64
KEY = "s3cret-k3y-0f-the-tests"
KINDS = ",".join([*TRANSIENT, *FINAL] * 2 + [kind for kind in TRANSIENT if kind != "slow"])
"""Of the faults that are injected, few are slow ones: each holds its chunk up for the whole time allowed."""
FAULTS = ("--faults", "0.2", "--kinds", KINDS, "--times", "2", "--retry-after", "0.02", "--slow", "4", "--key", KEY)


@dataclass(frozen=True)
class Run:
    """What one run, of however many processes, left behind."""

    folder: Path
    served: Served
    entries: list[dict[str, Any]]
    output: str

    @property
    def labels(self) -> bytes:
        return (self.folder / "labels.jsonl").read_bytes()

    @property
    def stage(self) -> dict[str, Any]:
        manifest = orjson.loads((self.folder / "labels.jsonl.manifest.json").read_bytes())
        (spent,) = manifest["stages"]["label"]["models"].values()
        return dict(spent)


def write_pairs(path: Path) -> None:
    """Pairs whose responses say how good they are; no two are equally good, so that no outcome hangs on rounding."""
    draw = random.Random(7)
    rows = []
    for index in range(COMPARISONS):
        a, b = draw.sample(range(10), 2)
        answers = {"response_a": f"An answer of quality {a}.", "response_b": f"An answer of quality {b}."}
        rows.append(orjson.dumps({"prompt": f"What is question {index}?", **answers}))
    path.write_bytes(b"\n".join(rows) + b"\n")


def start(folder: Path, served: Served) -> subprocess.Popen[str]:
    """``raif label``, as a user starts it."""
    settings = ["label.principles=1", "server.timeout=2", f"server.concurrency={CONCURRENCY}"]
    command = [sys.executable, "-c", "from raif.cli import main; main()", "label"]
    command += ["--judge", f"openai:judge@{served.url}", "--pairs", str(folder.parent / "pairs.jsonl")]
    command += ["--out", str(folder / "labels.jsonl"), "--batch-size", "256"]
    command += [part for setting in settings for part in ("--set", setting)]
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "RAIF_CACHE": str(folder / "cache")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


@pytest.fixture(scope="module")
def port() -> int:
    """One port for all servers: it is part of the judge's name, which is in every label."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Run]:
    """A run from beginning to end."""
    root = tmp_path_factory.mktemp("faults")
    write_pairs(root / "pairs.jsonl")
    (folder := root / "whole").mkdir()
    with serving(folder, "--port", str(port), *FAULTS) as served:
        process = start(folder, served)
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output
        yield Run(folder, served, served.entries(), output)


def attempts(entries: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What each request was answered, attempt by attempt."""
    answered: dict[str, list[str]] = {}
    for entry in entries:
        answered.setdefault(entry["digest"], []).append(entry["answered"])
    return answered


def succeeded(answered: str) -> bool:
    """Whether nothing is left to ask after this answer."""
    return answered == "ok" or answered in FINAL


def test_every_comparison_is_labelled_or_abstains_with_its_reason(whole: Run) -> None:
    preferences = [Preference.model_validate_json(line) for line in whole.labels.splitlines()]
    assert len(preferences) == COMPARISONS
    outcomes = Counter(preference.outcome for preference in preferences)
    assert outcomes.keys() == {"a", "b", "abstain"}
    for preference in preferences:
        if preference.outcome == "abstain":
            # Final faults alone: what passes has passed. A comparison abstains where either order was not answered.
            assert preference.reason in ("refusal", "unparsed", "too_long")
            assert any(judgement.failure for judgement in preference.judgements)
        else:
            comparison = preference.comparison
            p_a = p_first(f"{comparison.response_a} {comparison.response_b}")
            assert preference.p_a == pytest.approx(p_a, abs=1e-6)
            assert preference.outcome == ("a" if p_a > 0.5 else "b")
    # 4 kinds are final, each at 2 of the 34 places in the list: 20 % · 8/34 = 4.7 % of requests, so that
    # 1 − (1 − .047)² = 9.2 % of comparisons abstain: 459 ± 20.
    assert 380 < outcomes["abstain"] < 540


def test_nothing_is_asked_again_once_it_is_answered(whole: Run) -> None:
    answered = attempts(whole.entries)
    assert len(answered) == 2 * COMPARISONS
    for answers in answered.values():
        assert [succeeded(answer) for answer in answers] == [False] * (len(answers) - 1) + [True]


def test_the_totals_are_the_server_s(whole: Run) -> None:
    stage, entries = whole.stage, whole.entries
    assert stage["requests"] == 2 * COMPARISONS
    assert stage["cache_hits"] == 0
    assert stage["requests"] + stage["retries"] == len(entries)
    assert stage["failures"] == sum(entry["answered"] in FINAL for entry in entries)
    usages = [entry["usage"] for entry in entries if entry["usage"]]
    assert stage["prompt_tokens"] == sum(usage["prompt_tokens"] for usage in usages)
    assert stage["completion_tokens"] == sum(usage["completion_tokens"] for usage in usages)
    faults = Counter(entry["answered"] for entry in entries)
    # A fifth of the requests meets a fault, evenly over the kinds but for slow ones: at least 100 of each.
    assert all(faults[kind] > 100 for kind in (*TRANSIENT, *FINAL))


def test_the_key_is_nowhere(whole: Run) -> None:
    assert all(entry["key"] for entry in whole.entries)  # the server was shown it every time
    written = [path for path in whole.folder.rglob("*") if path.is_file()]
    assert {"labels.jsonl", "labels.jsonl.manifest.json", "server.jsonl"} <= {path.name for path in written}
    for path in written:
        assert KEY.encode() not in path.read_bytes(), path
    assert KEY not in whole.output


def test_a_kill_in_the_middle_changes_none_of_it(whole: Run, port: int) -> None:
    (folder := whole.folder.parent / "killed").mkdir()
    whole.served.process.kill()
    whole.served.process.wait()
    with serving(folder, "--port", str(port), *FAULTS) as served:
        process = start(folder, served)
        while len(served.all_entries()) < 1.2 * COMPARISONS:  # half way: 2 requests a comparison, 1.2 attempts each
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed_at = time.time()
        time.sleep(1)  # what was in flight is answered, and logged, before the second process begins
        second_at = time.time()
        done = len((folder / "labels.jsonl").read_bytes().splitlines()) if (folder / "labels.jsonl").exists() else 0
        process = start(folder, served)
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output
        run = Run(folder, served, served.entries(), output)
    assert done < COMPARISONS
    assert run.labels == whole.labels

    # A success that was sent but not yet committed when the kill came is asked for again, and nothing else is: at most
    # what was in flight, and a group of results waiting for their commit in each of the two chunks under way.
    first = [entry for entry in run.entries if entry["at"] < second_at]
    second = [entry for entry in run.entries if entry["at"] >= second_at]
    successes = {entry["digest"]: entry["then"] for entry in first if succeeded(entry["answered"])}
    repeated = {entry["digest"] for entry in second} & successes.keys()
    assert len(repeated) <= CONCURRENCY + 2 * GROUP
    assert all(successes[digest] > killed_at - 5 for digest in repeated)
    for part in (first, second):
        for answers in attempts(part).values():
            assert not any(succeeded(answer) for answer in answers[:-1])

    # The killed process could not enter what it spent; the second one's account is the server's.
    assert run.stage["requests"] - run.stage["cache_hits"] + run.stage["retries"] == len(second)
    assert run.stage["requests"] - run.stage["cache_hits"] == len(attempts(second))
