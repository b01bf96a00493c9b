"""Real preference data through labelling and reward training, with the demo judge and with models the test makes.

The data is 1,600 pairs of human preferences between whole transcripts. One shares no prompt and four have an empty
response. The small judge knows nothing of that world, and what raif says must say so.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raif.cli import main
from support.tiny import make_tiny_model


def raif(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[dict, str]:
    """The JSON result and standard error of a ``raif`` command that must succeed."""
    with pytest.raises(SystemExit) as stopped:
        main([*(str(argument) for argument in arguments), "--json"])
    captured = capsys.readouterr()
    assert stopped.value.code == 0, captured.err
    return json.loads(captured.out), captured.err


@pytest.fixture(scope="module")
def pairs(shared_data: Path) -> Path:
    return shared_data / "hh_harmless_dev.jsonl.gz"


@pytest.mark.slow
def test_real_pairs_are_labelled_by_the_demo_judge(
    pairs: Path, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.jsonl"
    result, said = raif(
        capsys,
        *("label", "--pairs", pairs, "--judge", "demo:judge", "--limit", 60, "--out", out),
        *("--constitution", project / "constitution" / "demo.yaml", "--orders", "both", "--principles", 1),
    )
    assert result["n"] == 60 == len(out.read_text().splitlines())
    assert result["decided"] + result["ties"] + sum(result["abstained"].values()) == 60
    human = result["human"]
    assert human["labelled"] == 60
    # At n = 60 a judge that knows nothing agrees with people about half the time; its interval says as much.
    assert human["agreement"]["low"] < 0.5 < human["agreement"]["high"] + 0.25
    assert "agreement with 60 human labels" in said
    assert "coverage" in said
    if human["agreement"]["low"] <= 0.5:
        assert "no better than chance" in said


@pytest.mark.slow
def test_a_reward_model_trains_on_real_human_labels(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_tiny_model(tmp_path / "model", "qwen2")
    out = tmp_path / "reward"
    result, said = raif(
        capsys,
        *("train", "reward", "--pairs", pairs, "--policy", f"hf:{model}", "--limit", 80, "--out", out),
        *("--lr", "1e-3", "--batch-size", 8, "--max-length", 256, "--max-steps", 4),
        *("--set", "train.reward.eval_share=0.25"),
    )
    assert (out / "model.safetensors").is_file()
    left_out = result["left_out"]
    # Transcripts longer than the tiny model's 256 positions are counted, not cut.
    assert left_out["too_long"] + left_out.get("held_out_too_long", 0) > 0
    assert result["examples"] + sum(left_out.values()) == 80
    assert result["metrics"]["n"] > 0
    assert "accuracy on" in said
    assert "95 % CI" in said


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_any_local_folder_can_judge_real_pairs(
    architecture: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_tiny_model(tmp_path / "model", architecture)
    result, _ = raif(
        capsys,
        *("label", "--pairs", pairs, "--judge", f"hf:{model}", "--limit", 12, "--out", tmp_path / "labels.jsonl"),
        *("--principles", 1, "--set", "label.min_mass=0"),
    )
    # Its weights are random and its context is 256 tokens: what does not fit abstains, with its reason.
    assert result["n"] == 12
    assert result["abstained"].get("too_long", 0) > 0
    assert result["coverage"] == pytest.approx(result["decided"] / 12)


def test_bad_rows_of_real_data_are_reported_and_skipped_or_fatal(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "judge.jsonl"
    rules.write_text('{"match": "", "probabilities": {"A": 0.5, "B": 0.5}}\n')
    judge = ("--judge", f"scripted:{rules}", "--principles", "1", "--orders", "one")
    result, said = raif(capsys, "label", "--pairs", pairs, "--out", tmp_path / "labels.jsonl", *judge)
    # 1,600 rows less one that shares no prompt and four with an empty response.
    assert result["n"] == 1595
    assert said.count("row ") + said.count("line ") >= 5 or "5" in said
    with pytest.raises(SystemExit) as stopped:
        main(["label", "--pairs", str(pairs), "--out", str(tmp_path / "strict.jsonl"), *judge, "--on-bad-row", "fail"])
    assert stopped.value.code == 2
    assert "87" in capsys.readouterr().err
