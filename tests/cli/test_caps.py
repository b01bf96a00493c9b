"""Caps from the command line: a stage stops in the middle, exit code 3, and the same command goes on to equal bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raif.cli import main

PAIRS = 12

RULES = [
    {"match": "(?s)<response_a>\\s*kind.*Answer A or B", "probabilities": {"A": 0.8, "B": 0.1}},
    {"match": "Answer A or B", "probabilities": {"A": 0.1, "B": 0.8}},
]


def judge(folder: Path) -> str:
    """A judge that prefers the response that begins with `kind`, and logs every request."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"settings": {"log": "calls.jsonl"}}, *RULES]
    (folder / "judge.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"scripted:{folder / 'judge.jsonl'}"


def pairs(folder: Path) -> Path:
    rows = [{"prompt": f"How {n}?", "chosen": f"kind {n}", "rejected": f"rude {n}"} for n in range(PAIRS)]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(folder: Path) -> list[str]:
    """The digests of all requests that reached the judge, in order."""
    log = folder / "calls.jsonl"
    return [json.loads(line)["request"] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion cache of the test's own."""
    monkeypatch.setenv("RAIF_CACHE", str(tmp_path / "cache"))


def raif(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


def label(folder: Path, out: Path, *more: object) -> tuple[object, ...]:
    constitution = folder / "two.yaml"
    constitution.write_text(
        "name: two\nversion: 1.0.0\nprinciples:\n  - {id: kind, text: Be kind.}\n  - {id: short, text: Be short.}\n"
    )
    inputs = ("--pairs", pairs(folder), "--judge", judge(folder), "--constitution", constitution, "--batch-size", 2)
    return ("label", *inputs, "--out", out, "--quiet", *more)


@pytest.mark.usefixtures("cache")
def test_a_capped_label_goes_on_until_it_equals_an_uncapped_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # 12 pairs, 2 orders, 2 principles: 48 requests in chunks of two pairs, 8 requests. A cap of 20 ends two chunks and
    # half of the third; the next command begins with the third, asks its other half, two more chunks and half of one.
    capped = label(tmp_path, tmp_path / "out.jsonl", "--max-requests", 20)
    code, out, err = raif(capsys, *capped)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert err.startswith("raif: label: a cap is reached (20 of 20 requests); 4 of 12 done and kept")
    assert "type the same command again" in err
    assert len(asked(tmp_path)) == 20
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4

    assert raif(capsys, *capped)[0] == 3
    assert len(asked(tmp_path)) == 40
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 10
    assert raif(capsys, *capped)[0] == 0
    assert len(asked(tmp_path)) == len(set(asked(tmp_path))) == 48

    monkeypatch.setenv("RAIF_CACHE", "off")
    assert raif(capsys, *label(tmp_path, tmp_path / "whole.jsonl"))[0] == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert len(asked(tmp_path)) == 96


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        # The script counts a token a word; no two prompts are longer than the first eight by much.
        (("--max-tokens", 2000), "of 2,000 tokens"),
        (("--max-cost", 0.02, "--set", 'prices={"scripted:*": {prompt: 10, completion: 10}}'), "of 0.0200 in money"),
    ],
)
def test_tokens_and_money_are_capped_alike(
    flags: tuple[object, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # At 10 for a million tokens, 0.02 buys the same 2,000.
    out = tmp_path / "out.jsonl"
    code, _, err = raif(capsys, *label(tmp_path, out, *flags))
    assert code == 3
    assert said in err
    spent = sum(
        entry["prompt_tokens"] + entry["completion_tokens"]
        for entry in json.loads((tmp_path / "out.jsonl.manifest.json").read_text())["stages"].values()
    )
    each = spent / len(asked(tmp_path))
    assert 2000 - 2 * each < spent <= 2000
    for _ in range(20):
        if raif(capsys, *label(tmp_path, out, *flags))[0] == 0:
            break
    assert len(asked(tmp_path)) == len(set(asked(tmp_path))) == 48


@pytest.mark.usefixtures("cache")
def test_a_capped_run_names_the_stages_that_are_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policy.jsonl"
    policy.write_text("".join(json.dumps({"match": "", "sample": n, "reply": f"kind {n}"}) + "\n" for n in range(3)))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"How {n}?"}) + "\n" for n in range(4)))
    config = tmp_path / "raif.yaml"
    settings = {
        "policy": f"scripted:{policy}",
        "judge": judge(tmp_path),
        "prompts": str(prompts),
        "batch_size": 2,
        "generate": {"samples": 3},
        "label": {"pairs": "responses", "principles": 1},
        "eval": {"holdout": 0.0},
    }
    config.write_text(json.dumps(settings))
    # Generating takes 12 requests. Critiques find no rule, so nothing is rewritten: 4 rounds for 4 responses are 16.
    # 4 comparisons in 2 orders are 8. A cap of 30 is reached after one comparison of label's first two.
    run = ("run", config, "--until", "label", "--quiet", "--max-requests", 30)
    code, out, err = raif(capsys, *run)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "label: a cap is reached (30 of 30 requests); 0 of 4 done and kept" in err
    assert err.endswith("; stages left: label; type the same command again to go on, with a cap of its own\n")
    code, _, err = raif(capsys, *run[:2], "--quiet", "--max-requests", 3)
    assert code == 3
    assert "; stages left: label, reward, sft, dpo, eval, report; type" in err
    assert raif(capsys, *run)[0] == 0
    assert len(asked(tmp_path)) == 16 + 8  # failures are asked again where they are transient; these stages were done


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("cap", ["--max-requests", "--max-tokens", "--max-cost"])
@pytest.mark.parametrize("command", ["generate", "revise", "label", "eval", "run"])
def test_every_command_that_asks_models_has_the_caps(
    command: str, cap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = raif(capsys, command, cap, "0")
    assert code == 2
    assert f"Invalid value for '{cap}'" in err


def test_the_longest_answer_has_a_flag_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policy.jsonl"
    policy.write_text('{"match": "", "reply": "yes"}\n')
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "How?"}\n')
    out = tmp_path / "out.jsonl"
    inputs = ("--policy", f"scripted:{policy}", "--prompts", prompts, "--samples", 1)
    assert raif(capsys, "generate", *inputs, "--max-new-tokens", 7, "--out", out, "--quiet")[0] == 0
    config = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())["config"]
    assert (config["generate"]["max_tokens"], config["budget"]["max_tokens"]) == (7, None)
