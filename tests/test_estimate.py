"""``--estimate``: it writes nothing, its figures are those of the run, and nothing is paid for twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raif.cli import main
from raif.demo.project import write_project
from support.tiny import make_tiny_model

PROMPTS = 40


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAIF_CACHE", str(tmp_path / "cache.sqlite3"))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def project(folder: Path, **more: Any) -> Path:
    """Scripted models that log what they are asked. Of the prompts, one in four gets answers with a fault to mend."""
    log = {"settings": {"log": "calls.jsonl"}}
    write(
        folder / "policy.jsonl",
        [log, *({"match": rf"[{d}]\?$", "sample": s, "reply": f"{'x ' * d}{s}"} for d in range(10) for s in range(2))],
    )
    write(
        folder / "judge.jsonl",
        [
            log,
            {"match": "(?s)better answer|Answer YES or NO", "probabilities": {"YES": 0.9, "NO": 0.1}},
            {"match": r"(?s)number \d*[048]\?.*Name the worst fault", "reply": "It is too long by far."},
            {"match": "Name the worst fault", "reply": "No fault."},
            {"match": "Rewrite the response", "reply": "Short."},
            {"match": r"(?s)<response_a>\s*Short.*Answer A or B", "probabilities": {"A": 0.8, "B": 0.1}},
            {"match": r"(?s)<response_b>\s*Short.*Answer A or B", "probabilities": {"A": 0.1, "B": 0.8}},
            {"match": "Answer A or B", "probabilities": {"A": 0.5, "B": 0.5}},
        ],
    )
    write(folder / "prompts.jsonl", [{"prompt": f"What is number {n}?"} for n in range(PROMPTS)])
    settings = {
        "policy": f"scripted:{folder / 'policy.jsonl'}",
        "judge": f"scripted:{folder / 'judge.jsonl'}",
        "prompts": "prompts.jsonl",
        "run": "run",
        "batch_size": 8,
        "generate": {"samples": 2},
        "revise": {"rounds": 2},
        "label": {"principles": 2, "pairs_per_prompt": 1},
        "eval": {"holdout": 0.0},
        **more,
    }
    (folder / "raif.yaml").write_text(json.dumps(settings))
    return folder / "raif.yaml"


def raif(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert (stopped.value.code or 0) == code, captured.err
    return captured.out, captured.err


def estimate(capsys: pytest.CaptureFixture[str], *arguments: object, size: int = 10) -> dict[str, Any]:
    out, _ = raif(capsys, *arguments, "--estimate", "--estimate-sample", size, "--json", "--quiet")
    return json.loads(out)


def requests(folder: Path) -> list[str]:
    """The digests of what reached the models."""
    log = folder / "calls.jsonl"
    return [json.loads(line)["request"] for line in log.read_text().splitlines()] if log.exists() else []


def files(folder: Path) -> dict[str, bytes]:
    """All that is there, but the cache and the scripts' log."""
    found = (path for path in folder.rglob("*") if path.is_file())
    ours = (path for path in found if path.name != "calls.jsonl" and not path.name.startswith("cache.sqlite3"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in ours}


def paid(forecast: dict[str, Any]) -> int:
    return forecast["requests"] - forecast["cache_hits"]


UNTIL_LABEL = ("--until", "label")


def test_a_run_comes_to_what_was_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = project(tmp_path)
    before = files(tmp_path)
    found = estimate(capsys, "run", config, *UNTIL_LABEL)
    assert files(tmp_path) == before
    asked = len(requests(tmp_path))
    assert asked == len(set(requests(tmp_path))) == paid(found["spent"])

    raif(capsys, "run", config, *UNTIL_LABEL, "--quiet")
    stages = json.loads((tmp_path / "run/manifest.json").read_text())["stages"]
    assert len(requests(tmp_path)) == len(set(requests(tmp_path)))
    for name in ("generate", "label", "revise"):
        forecast, ran = found["stages"][name], stages[name]
        # Every prompt makes 2 requests to the policy: exact. What a critique finds differs by prompt.
        tolerance = 0 if name == "generate" else 0.2
        assert forecast["requests"] == pytest.approx(ran["requests"], rel=tolerance), name
        assert paid(forecast) == pytest.approx(ran["requests"] - ran["cache_hits"], rel=tolerance), name
        assert forecast["prompt_tokens"] == pytest.approx(ran["prompt_tokens"], rel=0.25), name
    assert len(requests(tmp_path)) - asked == pytest.approx(paid(found["total"]), rel=0.2)


def test_where_all_is_sampled_the_rest_is_free(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = project(tmp_path)
    found = estimate(capsys, "run", config, *UNTIL_LABEL, size=PROMPTS)
    assert paid(found["total"]) == 0
    assert (found["total"]["prompt_tokens"], found["total"]["cost"]) == (0, 0)
    before = requests(tmp_path)
    raif(capsys, "run", config, *UNTIL_LABEL, "--quiet")
    assert requests(tmp_path) == before
    ran = json.loads((tmp_path / "run/manifest.json").read_text())["stages"]
    assert {n: f["requests"] for n, f in found["stages"].items()} == {n: ran[n]["requests"] for n in found["stages"]}
    # The run is done; were it not, its answers would be known.
    out, _ = raif(capsys, "run", config, *UNTIL_LABEL, "--estimate", "--quiet")
    assert out.count("done") == 3
    assert "there is nothing to pay" in out
    assert "the estimate itself asked nothing" in out
    again = estimate(capsys, "run", config, *UNTIL_LABEL, "--from", "generate")
    assert paid(again["total"]) == 0
    assert again["total"]["requests"] == found["total"]["requests"]
    assert requests(tmp_path) == before


def test_a_second_estimate_asks_about_others_and_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = project(tmp_path)
    first = estimate(capsys, "run", config, "--until", "generate", size=10)
    second = estimate(capsys, "run", config, "--until", "generate", size=10)
    # 40 prompts, 2 requests each: 10 prompts are known after the first, 20 after the second.
    assert (paid(first["total"]), paid(second["total"])) == (60, 40)
    assert (paid(first["spent"]), paid(second["spent"])) == (20, 20)
    assert len(set(requests(tmp_path))) == 40


def test_a_stage_that_was_stopped_is_estimated_for_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = project(tmp_path)
    raif(capsys, "run", config, "--until", "revise", "--quiet")
    # Labelling makes 2 orders x 2 principles = 4 requests a comparison. 8 comparisons are a chunk of 32: a cap of 50
    # keeps the first chunk's records and 18 answers of the second.
    raif(capsys, "run", config, *UNTIL_LABEL, "--quiet", "--max-requests", 50, code=3)
    before = files(tmp_path / "run")
    found = estimate(capsys, "run", config, *UNTIL_LABEL)
    assert files(tmp_path / "run") == before
    comparisons = found["stages"]["label"]["requests"] // 4
    assert found["stages"]["generate"] is found["stages"]["revise"] is None
    asked = len(requests(tmp_path))
    raif(capsys, "run", config, *UNTIL_LABEL, "--quiet")
    assert len(requests(tmp_path)) - asked == paid(found["stages"]["label"])
    # All comparisons but the first chunk's are asked about; of those, 18 answers were known and 10 prompts sampled.
    made = len((tmp_path / "run/30_labels.jsonl").read_text().splitlines())
    assert comparisons == made - 8
    assert found["stages"]["label"]["cache_hits"] == 18 + paid(found["spent"])


def test_a_stage_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = project(tmp_path)
    pairs = write(
        tmp_path / "pairs.jsonl",
        [{"prompt": f"Which {n}?", "chosen": f"one {n}", "rejected": f"two {n}"} for n in range(30)],
    )
    out, preferences = tmp_path / "labels.jsonl", tmp_path / "preferences.jsonl"
    command = ("label", "--config", config, "--pairs", pairs, "--out", out, "--preferences", preferences)
    before = files(tmp_path)
    found = estimate(capsys, *command, "--set", 'prices={"scripted:*": {prompt: 1000, completion: 0}}')
    assert files(tmp_path) == before
    # 30 pairs of 4 requests; 10 pairs were sampled. A thousandth for each token.
    assert (found["total"]["requests"], found["total"]["cache_hits"]) == (120, 40)
    assert found["total"]["cost"] == pytest.approx(found["total"]["prompt_tokens"] / 1000)
    assert found["spent"]["cost"] == pytest.approx(found["spent"]["prompt_tokens"] / 1000)
    raif(capsys, *command, "--quiet")
    ran = json.loads((tmp_path / "labels.jsonl.manifest.json").read_text())["stages"]["label"]
    # All pairs are as long; the principles drawn for them are not.
    assert ran["prompt_tokens"] == pytest.approx(found["total"]["prompt_tokens"], rel=0.05)
    assert len(requests(tmp_path)) == len(set(requests(tmp_path))) == 120


@pytest.mark.parametrize("stage", ["generate", "revise", "label"])
def test_a_stage_of_a_run_folder(stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = project(tmp_path)
    for earlier in ("generate", "revise")[: ("generate", "revise", "label").index(stage)]:
        raif(capsys, earlier, "--config", config, "--quiet")
    before = files(tmp_path / "run") if (tmp_path / "run").exists() else {}
    found = estimate(capsys, stage, "--config", config, size=PROMPTS)
    assert (files(tmp_path / "run") if (tmp_path / "run").exists() else {}) == before
    asked = requests(tmp_path)
    raif(capsys, stage, "--config", config, "--quiet")
    assert requests(tmp_path) == asked
    ran = json.loads((tmp_path / "run/manifest.json").read_text())["stages"][stage]
    assert found["total"]["requests"] == ran["requests"] > 0
    # Once more from the start: the cache has it all. Without --redo there is nothing left to ask.
    assert paid(estimate(capsys, stage, "--config", config, "--redo")["total"]) == 0
    assert estimate(capsys, stage, "--config", config)["total"]["requests"] == 0


def test_without_a_cache_the_sample_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAIF_CACHE", "off")
    config = project(tmp_path)
    found = estimate(capsys, "run", config, "--until", "generate")
    assert (found["total"]["requests"], paid(found["total"]), paid(found["spent"])) == (80, 80, 20)


def test_a_cap_holds_for_the_estimate_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = project(tmp_path)
    _, err = raif(capsys, "run", config, "--estimate", "--max-requests", 5, "--quiet", code=3)
    assert "generate (sample): a cap is reached (5 of 5 requests)" in err
    assert len(requests(tmp_path)) == 5
    # One that lets the sample through, and will not do for the whole, is told of.
    found = estimate(capsys, "run", config, "--until", "generate", "--max-requests", 30)
    assert found["notes"] == [
        "budget.max_requests is 30: the command will stop there, and go on when typed again",
    ]


def test_shards_have_estimates_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = project(tmp_path)
    parts = [estimate(capsys, "generate", "--config", config, "--shard", f"{i}/2", size=4) for i in (1, 2)]
    assert sum(part["total"]["requests"] for part in parts) == 80
    assert [paid(part["spent"]) for part in parts] == [8, 8]
    _, err = raif(capsys, "run", config, "--estimate", "--set", "shard=1/2", code=2)
    assert "a run can't be split" in err


def test_what_is_wrong_is_named_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = project(tmp_path)
    _, err = raif(capsys, "label", "--config", config, "--estimate", "--quiet", code=2)
    assert err == f"raif: {tmp_path}/run/10_responses.jsonl: is missing; `raif generate` makes it\n"
    raif(capsys, "run", config, "--until", "generate", "--quiet")
    _, err = raif(capsys, "generate", "--config", config, "--seed", 5, "--estimate", "--quiet", code=1)
    assert err.startswith(f"raif: {tmp_path}/run/10_responses.jsonl: was made with another configuration")


def test_an_evaluation_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = project(tmp_path)
    other = write(tmp_path / "other.jsonl", [{"match": "", "reply": "Short."}])
    command = ("eval", "--config", config, "--against", f"other=scripted:{other}", "--out", tmp_path / "eval.json")
    before = files(tmp_path)
    found = estimate(capsys, *command)
    assert files(tmp_path) == before
    # 40 answers of each policy, of which 10 are known now; 2 orders and 2 principles for each pair of them.
    assert (found["total"]["requests"], found["total"]["cache_hits"]) == (80 + 160, 20 + 40)
    raif(capsys, *command, "--quiet")
    ran = json.loads((tmp_path / "eval.json.manifest.json").read_text())["stages"]["eval"]
    assert (ran["requests"], ran["cache_hits"]) == (240, 60)


TRAINING = {
    name: {"batch_size": 2, "learning_rate": 1e-3, "max_length": 256, **extra}
    for name, extra in {"sft": {"epochs": 2}, "reward": {"eval_share": 0.2}, "dpo": {}}.items()
}


@pytest.mark.slow
def test_a_whole_run_with_its_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = make_tiny_model(tmp_path / "tiny", "qwen2")
    config = project(
        tmp_path,
        policy=f"hf:{policy}",
        generate={"samples": 2, "max_tokens": 8},
        eval={"holdout": 0.3, "max_tokens": 8},
        train=TRAINING,
    )
    found = estimate(capsys, "run", config, size=12)
    assert not (tmp_path / "run").exists()
    asked = len(requests(tmp_path))
    raif(capsys, "run", config, "--quiet")
    ran = json.loads((tmp_path / "run/manifest.json").read_text())["stages"]
    stages = found["stages"]
    assert list(stages) == list(ran)
    assert all(stages[name]["seconds"] > 0 and stages[name]["requests"] == 0 for name in ("reward", "sft", "dpo"))
    assert stages["generate"]["requests"] == ran["generate"]["requests"]
    # The judge's log has what reached it: of the sample, only what was asked of the policy yet to be trained is lost.
    judged = len(requests(tmp_path)) - asked
    held_out = ran["eval"]["counts"]["prompts"]
    # Three policies answer; the judge compares two of them with the first, which counts as 1.41 where none of their
    # answers are known to be the same.
    assert stages["eval"]["requests"] == pytest.approx(3 * held_out + 2**0.5 * held_out * 4, rel=0.05)
    assert judged <= sum(stages[name]["requests"] - stages[name]["cache_hits"] for name in stages) * 1.5
    assert "0.7 to 1.4 times" in found["notes"][0]

    # Once all is trained nothing of the evaluation is guessed.
    (tmp_path / "run/70_eval.json").unlink()
    again = estimate(capsys, "run", config)
    assert [name for name, stage in again["stages"].items() if stage] == ["eval"]
    assert paid(again["total"]) == 0
    # Other settings of one trainer: what does not depend on it stays as it is.
    other = estimate(capsys, "run", config, "--set", "train.dpo.beta=0.3", size=4)
    assert [name for name, stage in other["stages"].items() if stage is None] == ["reward", "sft"]
    assert other["stages"]["dpo"]["seconds"] > 0
    assert (tmp_path / "run/60_policy/dpo/train.json").is_file()


@pytest.mark.slow
def test_tokens_of_a_demo_run_are_within_a_tenth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = ("generate.samples=3", "label.principles=2", "label.pairs_per_prompt=3")
    config = write_project(tmp_path, seed=2, quick=True, sets=sets, run=Path("run"))
    found = estimate(capsys, "run", config, "--until", "label", size=48)
    raif(capsys, "run", config, "--until", "label", "--quiet")
    ran = json.loads((tmp_path / "run/manifest.json").read_text())["stages"]
    # What the sample cost counts on both sides: a run without an estimate would have paid for it.
    sampled, expected, paid_for = (
        sum(part[key] for part in parts for key in ("prompt_tokens", "completion_tokens"))
        for parts in ([found["spent"]], [found["total"]], ran.values())
    )
    assert sampled + expected == pytest.approx(sampled + paid_for, rel=0.1)
    assert found["total"]["requests"] == pytest.approx(sum(stage["requests"] for stage in ran.values()), rel=0.1)
