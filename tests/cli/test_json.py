"""What ``--json`` prints has the keys that ``--help`` lists, no more and no fewer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from raif.cli import main
from support.tiny import make_tiny_model


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert stopped.value.code == 0, captured.err
    return captured.out


def listed(capsys: pytest.CaptureFixture[str], *command: str) -> set[str]:
    """The keys that a command's help lists after ``--json prints``."""
    text = run(capsys, *command, "--help")
    found = re.search(r"--json prints[^:]*:(.*?)Example:", text, re.DOTALL)
    assert found, f"{' '.join(command)} --help lists no keys"
    return {key.strip(" \b\n") for key in re.sub(r"\([^)]*\)", "", found[1]).split(",")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy, a scripted judge, prompts and pairs."""
    place = tmp_path_factory.mktemp("json")
    make_tiny_model(place / "policy", "qwen2")
    rules = [
        {"match": "Answer YES", "probabilities": {"YES": 0.9, "NO": 0.1}},
        {"match": "Name the worst", "reply": "It is unclear."},
        {"match": "Rewrite", "reply": "A clear answer."},
        {"match": "(?s)<response_a>\\s*good", "probabilities": {"A": 0.9}},
        {"match": "Answer A or B", "probabilities": {"B": 0.9}},
    ]
    (place / "judge.jsonl").write_text("\n".join(map(json.dumps, rules)))
    (place / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(4)))
    pairs = [{"prompt": f"Question {i}?", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(12)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return place


def test_stages(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = ("--policy", f"hf:{folder / 'policy'}")
    judge = ("--judge", f"scripted:{folder / 'judge.jsonl'}")
    trainer = (*policy, "--max-steps", 1, "--batch-size", 2, "--max-length", 200)
    short = ("--set", "eval.max_tokens=8", "--set", "revise.rounds=1")
    pairs = ("--pairs", folder / "pairs.jsonl")
    prompts = ("--prompts", folder / "prompts.jsonl")
    calls: list[tuple[tuple[str, ...], tuple[object, ...]]] = [
        (("generate",), (*policy, *prompts, "--max-new-tokens", 8, "--out", tmp_path / "responses.jsonl")),
        (
            ("revise",),
            (*judge, *short, "--responses", tmp_path / "responses.jsonl", "--out", tmp_path / "revised.jsonl"),
        ),
        (("label",), (*judge, *pairs, "--out", tmp_path / "labels.jsonl")),
        (("train", "sft"), (*trainer, "--revisions", tmp_path / "revised.jsonl", "--out", tmp_path / "sft")),
        (("train", "reward"), (*trainer, *pairs, "--out", tmp_path / "reward")),
        (("train", "dpo"), (*trainer, "--pairs", tmp_path / "labels.jsonl", "--out", tmp_path / "dpo")),
        (
            ("eval",),
            (
                *policy,
                *judge,
                *prompts,
                *short,
                "--against",
                f"dpo=hf:{tmp_path / 'dpo'}",
                "--out",
                tmp_path / "e.json",
            ),
        ),
    ]
    for command, arguments in calls:
        printed = json.loads(run(capsys, *command, *arguments, "--json", "--quiet"))
        assert set(printed) == listed(capsys, *command), command


def test_a_run_its_status_and_its_report(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("--run", tmp_path / "run")
    settings = ("--policy", f"hf:{folder / 'policy'}", "--prompts", folder / "prompts.jsonl")
    until = ("--until", "generate", "--set", "generate.max_tokens=8", "--set", "eval.holdout=0")
    printed = json.loads(run(capsys, "run", *place, *settings, *until, "--json", "--quiet"))
    assert set(printed) == listed(capsys, "run")
    assert set(printed["stages"]) == {"generate"}
    printed = json.loads(run(capsys, "status", tmp_path / "run", "--json"))
    assert set(printed) == listed(capsys, "status")
    assert printed["left"] == ["revise", "label", "reward", "sft", "dpo", "eval", "report"]
    assert "generate  done" in run(capsys, "status", tmp_path / "run")
    assert set(json.loads(run(capsys, "report", *place, "--json"))) == listed(capsys, "report")
