"""``raif label`` with vLLM as the judge, in this process and behind a server, as a person runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raif.records import Comparison, Preference
from raif.store import RecordFile


def label(judge: str, pairs: Path, out: Path, project: Path) -> tuple[dict, str]:
    """The figures that it prints, and what it says on stderr."""
    command = [sys.executable, "-c", "from raif.cli import main; main()", "label", "--judge", judge]
    command += ["--pairs", str(pairs), "--constitution", str(project / "constitution" / "demo.yaml"), "--out", str(out)]
    command += ["--set", "dtype=float32", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr  # stdout is data and nothing else


@pytest.mark.parametrize("backend", ["vllm", "openai"])
def test_label(
    backend: str, judge: Path, request: pytest.FixtureRequest, comparisons: list[Comparison], tmp_path: Path, project
) -> None:
    spec = f"vllm:{judge}" if backend == "vllm" else f"openai:judge@{request.getfixturevalue('server')}"
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "labels.jsonl"
    rows = [
        {"prompt": pair.prompt[0].content, "response_a": pair.response_a, "response_b": pair.response_b}
        for pair in comparisons[:12]
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    figures, said = label(spec, pairs, out, project)

    assert figures["n"] == 12
    made = RecordFile(out, Preference).read()
    assert len(made) == 12
    assert all(judgement.failure is None for preference in made for judgement in preference.judgements)
    assert made[0].judge.startswith(f"{backend}:judge@")
    assert "Traceback" not in said
    assert not re.search(r"(INFO|WARNING|ERROR) \d\d-\d\d", said)  # how vLLM begins what it has to say
    assert ("starting vLLM" in said) == (backend == "vllm")
    again, said = label(spec, pairs, tmp_path / "again.jsonl", project)
    assert "starting vLLM" not in said  # the cache knows it all
    assert again | {"out": ""} == figures | {"out": ""}
    assert (tmp_path / "again.jsonl").read_bytes() == out.read_bytes()
