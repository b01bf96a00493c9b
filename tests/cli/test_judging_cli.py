"""``raif label`` in its modes, with examples and a calibration; ``raif judge calibrate``; ``revise --until-clean``."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson
import pytest

from raif.cli import cli, run_guarded
from raif.cli.calibrate import calibrate
from raif.pipeline import labelled
from raif.records import Preference, Prompt, Response, TrainingPair, conversation
from raif.reporting import SilentReporter
from raif.session import Session
from raif.settings import resolve
from raif.store import RunFolder

CONSTITUTION = """
name: test
principles:
  - id: good
    text: The response is good.
    examples:
      - prompt: Tea?
        response_a: Gladly, thank you.
        response_b: Whatever.
        better: a
"""

WORTH = {"good": 3, "fair": 2, "bad": 1}


def rules() -> list[dict[str, Any]]:
    """A judge that sees what is worth more, at .9 to .1; grades 8, 5 and 2; and refuses to speak of "secret"."""
    made: list[dict[str, Any]] = [{"match": "secret.*", "fail": "refusal"}]
    for first, one in WORTH.items():
        for second, other in WORTH.items():
            p = 0.5 if one == other else 0.9 if one > other else 0.1
            pair = f"(?s)<response_a>\\s*{first}.*<response_b>\\s*{second}"
            made.append({"match": pair, "probabilities": {"A": p, "B": round(1 - p, 1)}})
        made.append({"match": f"(?s)<response>\\s*{first}", "probabilities": {str(3 * one - 1): 1.0}})
    return made


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAIF_CACHE", "off")
    (tmp_path / "judge.jsonl").write_text("\n".join(map(json.dumps, rules())))
    (tmp_path / "constitution.yaml").write_text(CONSTITUTION)
    responses = [
        Response(prompt_id=Prompt(messages=turns).id, prompt=turns, model="m", sample=sample, text=f"{word} {number}")
        for number in range(3)
        for turns in [conversation(f"question {number}")]
        for sample, word in enumerate(WORTH)
    ]
    (tmp_path / "responses.jsonl").write_bytes(b"".join(response.to_json() + b"\n" for response in responses))
    return tmp_path


@pytest.fixture
def raif(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command, with the judge and the constitution given; returns the exit code and both outputs."""

    def run(command: str | click.Command, *arguments: object) -> tuple[int, str, str]:
        given = ("--judge", f"scripted:{place / 'judge.jsonl'}", "--constitution", place / "constitution.yaml")
        words = [str(argument) for argument in (*arguments, *given)]
        if isinstance(command, str):
            code = run_guarded(lambda: cli.main([command, *words], "raif", standalone_mode=False))
        else:
            code = run_guarded(lambda: command.main(words, "raif judge calibrate", standalone_mode=False))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def labels(path: Path) -> list[Preference]:
    return [Preference.model_validate_json(line) for line in path.read_bytes().splitlines()]


# Modes


def test_a_ranking_from_responses(place: Path, raif: Any) -> None:
    out, preferences = place / "labels.jsonl", place / "pairs.jsonl"
    arguments = ("--mode", "rank", "--responses", place / "responses.jsonl", "--preferences", preferences)
    code, printed, said = raif("label", *arguments, "--json", "--out", out)
    assert (code, len(labels(out))) == (0, 9)
    rankings = [orjson.loads(line) for line in (place / "labels.rankings.jsonl").read_bytes().splitlines()]
    for number, ranking in enumerate(rankings):
        assert [(r["text"], r["rank"]) for r in ranking["responses"]] == [
            (f"{word} {number}", rank) for rank, word in enumerate(WORTH, 1)
        ]
    pairs = [TrainingPair.model_validate_json(line) for line in preferences.read_bytes().splitlines()]
    assert [(p.chosen[0].content, p.rejected[0].content) for p in pairs] == [
        (f"good {n}", f"bad {n}") for n in range(3)
    ]
    figures = {"prompts_ranked": 3, "responses_ranked": 9, "responses_unconnected": 0, "best_and_worst": 3}
    assert json.loads(printed)["ranking"] == figures
    assert "9 responses to 3 prompts ranked, 3 best against worst" in said
    manifest = json.loads((place / "labels.jsonl.manifest.json").read_bytes())
    counts = manifest["stages"]["label"]["counts"]
    assert {key: counts[key] for key in figures} == figures
    assert counts["coverage"] == 1.0
    again, _, _ = raif("label", *arguments, "--out", out)
    assert again == 0


def test_a_budget_of_pairs(place: Path, raif: Any) -> None:
    out = place / "labels.jsonl"
    responses = ("--responses", place / "responses.jsonl")
    code, _, _ = raif("label", "--mode", "rank", *responses, "--set", "label.rank_pairs=2", "--out", out)
    assert (code, len(labels(out))) == (0, 6)
    rankings = (place / "labels.rankings.jsonl").read_bytes().splitlines()
    assert all(r["rank"] for line in rankings for r in orjson.loads(line)["responses"])


def test_a_run_is_trained_on_the_best_against_the_worst(place: Path, raif: Any) -> None:
    run = RunFolder(place / "run")
    run.responses.write_bytes((place / "responses.jsonl").read_bytes())
    asked = ("label", "--run", run.path, "--pair-source", "responses")
    assert raif(*asked, "--mode", "rank")[0] == 0
    assert (len(labels(run.labels)), len(run.rankings.read_bytes().splitlines())) == (9, 3)

    def trained_on(mode: str) -> list[tuple[str, str]]:
        config = resolve(environment={}, flags={"label.mode": mode})
        pairs = labelled(Session(config, SilentReporter(), run.manifest), run).examples
        return [(pair.chosen[0].content, pair.rejected[0].content) for pair in pairs]

    assert trained_on("rank") == [(f"good {number}", f"bad {number}") for number in range(3)]
    assert len(trained_on("logprob")) == 9
    # What another mode leaves is not taken for its own.
    assert raif(*asked, "--redo")[0] == 0
    assert not run.rankings.exists()


def test_grades_on_either_scale(place: Path, raif: Any) -> None:
    for scale in (9, 10):
        out = place / f"labels{scale}.jsonl"
        responses = ("--responses", place / "responses.jsonl")
        code, printed, _ = raif("label", "--mode", "score", "--scale", scale, *responses, "--json", "--out", out)
        assert (code, json.loads(printed)["flip_rate"]) == (0, None)
        assert {judgement.order for label in labels(out) for judgement in label.judgements} == {None}
    code, _, said = raif("label", "--scale", 8, *responses, "--out", place / "labels8.jsonl")
    assert (code, "--scale" in said) == (2, True)


def test_reasons_are_printed_and_kept(place: Path, raif: Any) -> None:
    rows = [{"prompt": f"secret {i}" if i % 2 else f"q {i}", "chosen": "good", "rejected": "bad"} for i in range(60)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = place / "labels.jsonl"
    code, printed, said = raif("label", "--pairs", place / "pairs.jsonl", "--json", "--out", out)
    assert code == 0
    assert "30 abstained (refusal 30); coverage 50.0 %" in said
    assert "agreement with 60 human labels 100.0 %" in said
    assert "it decided 30 of them" in said
    assert json.loads(printed)["missing"]["missing"] == 30
    counts = json.loads((place / "labels.jsonl.manifest.json").read_bytes())["stages"]["label"]["counts"]
    assert (counts["abstained"], counts["coverage"]) == ({"refusal": 30}, 0.5)


def test_labels_that_are_missing_for_long_responses_are_reported(place: Path, raif: Any) -> None:
    rows = [{"prompt": f"q {i}", "chosen": "good" + " secret x" * (30 * (i % 2)), "rejected": "bad"} for i in range(40)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, said = raif("label", "--pairs", place / "pairs.jsonl", "--out", place / "labels.jsonl")
    assert code == 0
    assert "missing labels differ from the rest in length (d " in said
    assert "longer 100 %, shorter 0 % missing)" in said


def test_examples_are_shown_or_refused(place: Path, raif: Any) -> None:
    responses = ("--responses", place / "responses.jsonl")
    code, _, _ = raif("label", "--examples", 1, *responses, "--out", place / "one.jsonl")
    assert code == 0
    plain = (place / "constitution.yaml").read_text().partition("    examples:")[0]
    (place / "constitution.yaml").write_text(plain)
    code, _, said = raif("label", "--examples", 1, *responses, "--out", place / "two.jsonl")
    assert (code, len(said.splitlines())) == (2, 1)
    assert "label.examples: the constitution has no worked example to show" in said


# Calibration


@pytest.fixture
def gold(place: Path) -> Path:
    """200 pairs of which humans prefer the worthier in three of four: the judge's .9 is worth .75."""
    draw = random.Random(1)
    rows = []
    for number in range(200):
        better, worse = draw.choice([("good", "bad"), ("good", "fair"), ("fair", "bad")])
        if number % 4 == 0:
            better, worse = worse, better
        rows.append({"prompt": f"q {number}", "chosen": better, "rejected": worse})
    path = place / "gold.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_calibration_is_fitted_told_and_applied(place: Path, gold: Path, raif: Any) -> None:
    out = place / "calibration.json"
    code, printed, _ = raif(calibrate, "--gold", gold, "--out", out, "--json", "--quiet")
    found = json.loads(printed)
    assert (code, found["pairs"], found["judged"], found["helps"]) == (0, 200, 200, True)
    # ln 9 / ln 3 = 2, less the prior's pull of ln 2 in 200 labels.
    assert found["temperature"] == pytest.approx(2.0, abs=0.03)
    assert found["after"]["ece"]["value"] < found["before"]["ece"]["value"] == pytest.approx(0.15)
    code, printed, _ = raif(calibrate, "--gold", gold, "--out", out, "--quiet")
    assert printed.startswith("temperature 1.9")
    assert "from 200 of 200 human labels on 200 prompts" in printed
    assert "log-loss" in printed
    assert "falls beyond what chance explains." in printed

    made = place / "labels.jsonl"
    asked = ("label", "--responses", place / "responses.jsonl", "--out", made)
    code, _, _ = raif(*asked, "--calibration", out)
    assert code == 0
    first, *_ = labels(made)
    assert first.p_a_by_order[0] in (0.1, 0.9)
    assert first.p_a is not None
    assert max(first.p_a, 1 - first.p_a) == pytest.approx(0.75, abs=0.01)
    manifest = json.loads((place / "labels.jsonl.manifest.json").read_bytes())
    assert manifest["inputs"][str(out)]["rows"] == 200
    assert manifest["inputs"][str(out)]["sha256"]

    def settings() -> str:
        config = resolve(environment={}, flags={"label.calibration": str(out)})
        return Session(config, SilentReporter(), place / "m.json").settings_key()

    # Labels with and without it, or with another, are not mixed, and a run sees that its file has changed.
    before = settings()
    code, _, said = raif(*asked)
    assert (code, "was made with another configuration" in said) == (1, True)
    changed = json.loads(out.read_bytes())
    changed["curve"]["temperature"] = 3.0
    out.write_text(json.dumps(changed))
    assert settings() != before
    code, _, said = raif(*asked, "--calibration", out)
    assert (code, "was made with another configuration" in said) == (1, True)


def test_a_rising_curve_by_option(place: Path, gold: Path, raif: Any) -> None:
    out = place / "calibration.json"
    code, printed, _ = raif(calibrate, "--gold", gold, "--isotonic", "--out", out, "--quiet")
    assert (code, printed.startswith("isotonic, ")) == (0, True)
    assert dict(json.loads(out.read_bytes())["curve"]["knots"])[0.9] == pytest.approx(0.75)


def test_a_calibration_for_another_way_of_asking_is_refused_unless_asked_for(
    place: Path, gold: Path, raif: Any
) -> None:
    out = place / "calibration.json"
    assert raif(calibrate, "--gold", gold, "--out", out, "--quiet")[0] == 0
    asked = ("label", "--responses", place / "responses.jsonl", "--out", place / "l.jsonl", "--calibration", out)
    code, _, said = raif(*asked, "--orders", "one")
    assert (code, len(said.splitlines())) == (2, 1)
    assert "was made for orders 'both', not 'one'" in said
    assert raif(*asked, "--orders", "one", "--foreign-calibration")[0] == 0
    (place / "constitution.yaml").write_text(CONSTITUTION.replace("is good", "is very good"))
    code, _, said = raif(*asked)
    assert (code, "was made for another constitution" in said) == (2, True)


def test_gold_without_human_labels_or_with_too_few_is_refused(place: Path, gold: Path, raif: Any) -> None:
    few = place / "few.jsonl"
    few.write_bytes(b"\n".join(gold.read_bytes().splitlines()[:5]))
    code, _, said = raif(calibrate, "--gold", few, "--out", place / "c.json", "--quiet")
    assert (code, "a calibration needs 20 of at least 2 prompts" in said) == (2, True)
    assert not (place / "c.json").exists()
    code, _, said = raif(calibrate, "--gold", gold, "--quiet")
    assert (code, "give --out FILE" in said) == (2, True)


def test_redo_asks_again(place: Path, gold: Path, raif: Any) -> None:
    out = place / "calibration.json"
    asked = (calibrate, "--gold", gold, "--out", out, "--quiet")
    assert raif(*asked, "--limit", 50)[0] == 0
    assert raif(*asked)[0] == 0  # goes on where it was
    assert len(labels(place / "calibration.labels.jsonl")) == 200
    (place / "constitution.yaml").write_text(CONSTITUTION.replace("is good", "is very good"))
    assert raif(*asked)[0] == 1
    assert raif(*asked, "--redo")[0] == 0
    assert len({label.constitution for label in labels(place / "calibration.labels.jsonl")}) == 1


# Revisions


def test_until_clean_says_where_it_can_end_nothing(place: Path, raif: Any) -> None:
    with (place / "judge.jsonl").open("a") as file:
        file.write('\n{"match": "Name the worst", "reply": "No fault."}\n')
    (place / "constitution.yaml").write_text(CONSTITUTION + "  - id: short\n    text: It is short.\n")
    asked = ("revise", "--responses", place / "responses.jsonl", "--until-clean")
    lines = [json.dumps({"match": "Name the worst", "reply": "No fault."})]
    (place / "judge.jsonl").write_text("\n".join(lines))
    code, _, said = raif(*asked, "--rounds", 1, "--out", place / "one.jsonl")
    assert (code, "1 rounds are fewer than the 2 principles" in said) == (0, True)
    code, _, said = raif(*asked, "--rounds", 9, "--out", place / "nine.jsonl")
    assert (code, "are fewer than" in said) == (0, False)
    steps = [len(orjson.loads(line)["steps"]) for line in (place / "nine.jsonl").read_bytes().splitlines()]
    assert set(steps) == {2}
