"""A whole run on a small scale: artefacts, resumption after ``kill -9``, refusals, and a locked folder."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from raif.cli.run import STAGE_NAMES
from raif.errors import InputError, StoreError
from raif.pipeline import NAMES, STAGES, between, discard, is_done, run_stages
from raif.reporting import SilentReporter
from raif.session import Session
from raif.settings import resolve
from raif.store import RunFolder
from support.tiny import make_tiny_model

PROMPTS = 14

RULES = [
    {"match": "Answer YES or NO", "probabilities": {"YES": 0.9, "NO": 0.1}},
    {"match": "Name the worst fault[^P]*Principle: [^\n]*(law|harm|hurt)", "reply": "It helps with harm."},
    {"match": "Name the worst fault", "reply": "No fault."},
    {"match": "Rewrite the response", "reply": "I won't help with that, since it could hurt someone."},
    {"match": "(?s)<response_a>\\s*I won't.*Answer A or B", "probabilities": {"A": 0.8, "B": 0.1}},
    {"match": "(?s)<response_b>\\s*I won't.*Answer A or B", "probabilities": {"A": 0.1, "B": 0.8}},
    {"match": "Answer A or B", "probabilities": {"A": 0.55, "B": 0.4}},
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "policy", "qwen2")


def project(folder: Path, policy: Path, delay: float = 0.0, **more: object) -> Path:
    """A ``raif.yaml`` in ``folder`` with a tiny policy and a scripted judge that logs every request."""
    folder.mkdir(parents=True)
    lines = [{"settings": {"log": "calls.jsonl", "delay": delay}}, *RULES]
    (folder / "judge.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    prompts = [{"prompt": f"How do I fix a broken lamp number {number}?"} for number in range(PROMPTS)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in prompts))
    settings = {
        "policy": f"hf:{policy}",
        "judge": "scripted:judge.jsonl",
        "prompts": "prompts.jsonl",
        "batch_size": 4,
        "run": "run",
        "generate": {"samples": 2, "max_tokens": 8},
        "revise": {"rounds": 2, "max_tokens": 16},
        "eval": {"holdout": 0.3, "max_tokens": 8},
        "train": {
            name: {"max_steps": 2, "batch_size": 2, "learning_rate": 1e-3, "max_length": 256, **extra}
            for name, extra in {"sft": {}, "reward": {"eval_share": 0.2}, "dpo": {}}.items()
        },
        **more,
    }
    (folder / "raif.yaml").write_text(json.dumps(settings))
    return folder / "raif.yaml"


def opened(config: Path, **flags: object) -> tuple[Session, RunFolder]:
    run = RunFolder(config.parent / "run")
    return Session(resolve(config, environment={}, flags=flags), SilentReporter(), run.manifest), run


def go(session: Session, run: RunFolder, last: str = "report", first: str | None = None) -> list[tuple[str, bool]]:
    """Run stages; the name of each and whether it had something to do."""
    seen: list[tuple[str, bool]] = []
    asyncio.run(
        run_stages(session, run, between(first, last), lambda stage, outcome: seen.append((stage.name, bool(outcome))))
    )
    return seen


def artefacts(run: Path) -> dict[str, bytes]:
    """All that must be equal between two runs of the same thing: no manifest, no report, no logs of time."""
    kept = [*run.glob("*.jsonl"), *run.glob("70_eval/*.jsonl"), *run.glob("**/train.json"), *run.glob("70_eval.json")]
    kept += [path for path in run.glob("**/model.safetensors") if "checkpoints" not in path.parts]
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(kept)}


def test_the_table_and_the_command_line_name_the_same_stages() -> None:
    assert STAGE_NAMES == NAMES


def test_between_refuses_a_backward_range() -> None:
    assert [stage.name for stage in between("label", "sft")] == ["label", "reward", "sft"]
    with pytest.raises(InputError, match="--from sft comes after --until label"):
        between("sft", "label")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, policy: Path) -> Path:
    """The configuration of a run that went through without interruption."""
    config = project(tmp_path_factory.mktemp("whole") / "project", policy)
    go(*opened(config))
    return config


def test_a_run_leaves_every_artefact_and_a_full_manifest(finished: Path) -> None:
    session, run = opened(finished)
    assert all((run.path / name).exists() for stage in STAGES for name in stage.writes)
    manifest = session.manifest
    assert {name: entry.status for name, entry in manifest.stages.items()} == dict.fromkeys(NAMES, "done")
    assert manifest.stages["label"].requests > 0
    assert manifest.constitution is not None
    assert manifest.constitution.hash == session.constitution.hash
    assert set(manifest.models) >= {"policy", "judge", "sft", "dpo"}
    assert str(finished.parent / "prompts.jsonl") in manifest.inputs
    # Nothing of this machine is in a record: equal inputs must give equal bytes anywhere.
    for name, content in artefacts(run.path).items():
        if name.endswith(".jsonl"):
            assert str(finished.parent.parent).encode() not in content, name


def test_a_finished_run_is_passed_over(finished: Path) -> None:
    before = (finished.parent / "calls.jsonl").read_bytes()
    assert go(*opened(finished)) == [(name, False) for name in NAMES]
    assert (finished.parent / "calls.jsonl").read_bytes() == before


def test_preferences_are_the_decided_labels_in_trls_format(finished: Path) -> None:
    from datasets import load_dataset

    run = finished.parent / "run"
    labels = [json.loads(line) for line in (run / "30_labels.jsonl").read_text().splitlines()]
    rows = load_dataset("json", data_files=str(run / "35_preferences.jsonl"), split="train")
    decided = [label for label in labels if label["outcome"] in ("a", "b")]
    assert len(rows) == len(decided) > 0
    assert len(load_dataset("json", data_files=str(run / "30_labels.jsonl"), split="train")) == len(labels)
    for row, label in zip(rows, decided, strict=True):
        side = f"response_{label['outcome']}"
        assert row["chosen"] == [{"role": "assistant", "content": label["comparison"][side]}]
        assert row["p_chosen"] == pytest.approx(max(label["p_a"], 1 - label["p_a"]))


def test_changed_settings_are_refused_and_redone_on_request(finished: Path, tmp_path: Path, policy: Path) -> None:
    config = project(tmp_path / "project", policy)
    go(*opened(config), last="label")
    session, run = opened(config, **{"label.orders": "one"})
    assert not is_done(session, run, between("label", "label")[0])
    with pytest.raises(StoreError, match=r"30_labels\.jsonl: was made with another .* --redo"):
        go(session, run, first="label", last="label")
    discard(session, run, ["label"])
    go(session, run, first="label", last="label")
    first = json.loads(run.labels.read_text().splitlines()[0])
    assert len({judgement["order"] for judgement in first["judgements"]}) == 1


def test_changed_prompts_are_refused(tmp_path: Path, policy: Path) -> None:
    config = project(tmp_path / "project", policy)
    go(*opened(config), last="generate")
    (tmp_path / "project" / "prompts.jsonl").write_text('{"prompt": "Something else"}\n{"prompt": "And more"}\n')
    session, run = opened(config, seed=1)
    with pytest.raises(StoreError, match="10_responses"):
        go(session, run, last="generate")


def test_a_larger_limit_goes_on_where_the_smaller_ended(tmp_path: Path, policy: Path) -> None:
    config = project(tmp_path / "project", policy, eval={"holdout": 0.0})
    go(*opened(config, limit=6), last="generate")
    few = (tmp_path / "project/run/10_responses.jsonl").read_bytes()
    go(*opened(config, limit=12), last="generate")
    assert (tmp_path / "project/run/10_responses.jsonl").read_bytes().startswith(few)
    assert len((tmp_path / "project/run/10_responses.jsonl").read_bytes().splitlines()) == 12 * 2


def test_a_missing_predecessor_names_the_command_that_makes_it(tmp_path: Path, policy: Path) -> None:
    session, run = opened(project(tmp_path / "project", policy))
    with pytest.raises(InputError, match=r"10_responses\.jsonl: is missing; `raif generate` makes it"):
        go(session, run, first="revise", last="revise")


# Killed


def command(config: Path, cache: Path) -> tuple[list[str], dict[str, str]]:
    environment = os.environ | {"RAIF_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}
    return [sys.executable, "-c", "from raif.cli import main; main()", "run", str(config)], environment


@pytest.mark.slow
def test_ten_kills_change_nothing_and_cost_nothing(finished: Path, tmp_path: Path, policy: Path) -> None:
    config = project(tmp_path / "project", policy, delay=0.15)
    arguments, environment = command(config, tmp_path / "cache")
    rng = random.Random(20)
    log = tmp_path / "output.txt"
    killed = 0
    manifest = tmp_path / "project/run/manifest.json"
    hit: list[str] = []

    def running() -> int:
        """The number of the stage at work, from the manifest; -1 before there is one."""
        entries = json.loads(manifest.read_text())["stages"] if manifest.exists() else {}
        return max((NAMES.index(name) for name, entry in entries.items() if entry["status"] == "running"), default=-1)

    # Each kill waits for a stage to begin, as the manifest says it, and then falls at a random moment of it.
    for target in ("generate", "generate", "revise", "revise", "label", "label", "reward", "sft", "dpo", "dpo"):
        stale = manifest.stat().st_mtime_ns if manifest.exists() else 0
        with log.open("ab") as output:
            process = subprocess.Popen(arguments, env=environment, stdout=output, stderr=output)
            while process.poll() is None and not (
                manifest.exists() and manifest.stat().st_mtime_ns != stale and running() >= NAMES.index(target)
            ):
                time.sleep(0.01)
            deadline = time.monotonic() + rng.uniform(0.0, 3.0 if target == "generate" else 0.6)
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert process.poll() is None, log.read_text()[-3000:]
            process.send_signal(signal.SIGKILL)
            process.wait()
        killed += 1
        hit.append(NAMES[running()])
    with log.open("ab") as output:
        last = subprocess.run(arguments, env=environment, stdout=output, stderr=output, check=False)
    assert last.returncode == 0, log.read_text()[-3000:]
    assert (killed, len(set(hit)) >= 2) == (10, True), hit  # and not all in one stage
    expected = artefacts(finished.parent / "run")
    found = artefacts(tmp_path / "project/run")
    assert set(found) == set(expected)
    assert [name for name in expected if found[name] != expected[name]] == []

    calls = [json.loads(line) for line in (tmp_path / "project/calls.jsonl").read_text().splitlines()]
    last_call = {call["process"]: call["call"] for call in calls}
    # A request may be asked again only if the process that asked it was killed in that very call.
    answered = [c["request"] for c in calls if c["call"] != last_call[c["process"]]]
    repeated = [request for request, count in Counter(answered).items() if count > 1]
    assert repeated == []


def test_two_processes_never_write_the_same_run(tmp_path: Path, policy: Path) -> None:
    config = project(tmp_path / "project", policy)
    arguments, environment = command(config, tmp_path / "cache")
    with RunFolder(tmp_path / "project/run").lock():
        second = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert f"process {os.getpid()} is writing" in second.stderr
