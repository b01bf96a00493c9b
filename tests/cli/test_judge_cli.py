"""``raif judge check`` from the command line, and what ``raif label`` makes of its certificate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raif.cli import main

PRINCIPLES = """name: toy
principles:
  - id: kind
    text: The response is kind.
  - id: calm
    text: The response is calm.
"""
GOOD_A, GOOD_B = "(?s)<response_a>\\ngood.*<response_b>\\nbad", "(?s)<response_a>\\nbad.*<response_b>\\ngood"
FAIR = [
    {"match": GOOD_A, "probabilities": {"A": 0.97, "B": 0.03}},
    {"match": GOOD_B, "probabilities": {"A": 0.03, "B": 0.97}},
    {"match": "", "probabilities": {"A": 0.5, "B": 0.5}},
]
FIRST = [{"match": "", "probabilities": {"A": 0.9, "B": 0.1}}]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Place:
    """A folder with a constitution, gold, judges and a cache of its own."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.capsys = path, capsys
        self.constitution = path / "toy.yaml"
        self.constitution.write_text(PRINCIPLES, encoding="utf-8")
        self.gold = lines(
            path / "gold.jsonl",
            [
                {"prompt": f"{name} {i}?", "chosen": f"good {i}", "rejected": f"bad {i}", "principle": name}
                for name in ("kind", "calm")
                for i in range(15)
            ],
        )
        self.pairs = lines(path / "pairs.jsonl", [{"prompt": "Why?", "response_a": "good", "response_b": "bad"}])

    def judge(self, name: str, rules: list[dict[str, Any]]) -> str:
        log = {"settings": {"log": f"{name}.log"}}
        return f"scripted:{lines(self.path / f'{name}.jsonl', [log, *rules])}"

    def asked(self, name: str) -> int:
        log = self.path / f"{name}.log"
        return len(log.read_bytes().splitlines()) if log.exists() else 0

    def raif(self, *arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = self.capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    def check(self, judge: str, *more: object) -> tuple[int, str, str]:
        return self.raif(
            "judge", "check", "--judge", judge, "--constitution", self.constitution, "--gold", self.gold, *more
        )

    def label(self, judge: str, *more: object, out: str = "labels.jsonl") -> tuple[int, str, str]:
        target = self.path / out
        return self.raif(
            *("label", "--judge", judge, "--constitution", self.constitution, "--pairs", self.pairs),
            *("--out", target, "--redo", *more),
        )

    def manifest(self, out: str = "labels.jsonl") -> dict[str, Any]:
        return json.loads((self.path / f"{out}.manifest.json").read_bytes())


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("RAIF_CACHE", str(tmp_path / "cache"))
    return Place(tmp_path, capsys)


def test_a_fair_judge_passes_and_then_labels_without_a_warning(place: Place) -> None:
    judge = place.judge("fair", FAIR)
    code, out, err = place.check(judge)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("scripted:fair@")
    assert "MISSED" not in out
    assert out.endswith("\nQualified.\n")
    (certificate,) = (place.path / "cache" / "certificates").glob("*.json")
    code, _, err = place.label(judge)
    assert (code, "WARNING" in err) == (0, False)
    assert place.manifest()["models"]["judge"]["qualification"] == "qualified"
    certificate.unlink()
    _, _, err = place.label(judge)
    assert err.startswith(f"WARNING: the judge {judge} is not qualified: it has not been checked.")


def test_a_biased_judge_fails_and_is_warned_of_by_what_it_misses(place: Place) -> None:
    judge = place.judge("first", FIRST)
    code, out, _ = place.check(judge)
    assert code == 1
    assert [line.split("  ")[1] for line in out.splitlines() if line.startswith("MISSED")] == [
        "accuracy, both positions",
        "flip rate",
        "first shown wins",
        "accuracy: kind",
        "accuracy: calm",
        "injections: labels flipped",
    ]
    code, _, err = place.label(judge)
    assert code == 0
    assert "WARNING: the judge" in err
    assert "not qualified: it misses accuracy, both positions, flip rate, first shown wins" in err
    assert place.manifest()["models"]["judge"]["qualification"].startswith("not qualified: it misses accuracy")


def test_json_holds_the_card(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = place.check(place.judge("first", FIRST), "--json")
    card = json.loads(out)
    assert (code, card["qualified"], card["checked"], card["known"]) == (1, False, ["kind", "calm"], [])
    flips = next(line for line in card["lines"] if line["name"] == "flip rate")
    assert (flips["value"], flips["n"], flips["limit"], flips["passed"]) == (1.0, 30, "≤ 25.0 %", False)
    assert Path(card["certificate"]).is_file()
    keys = "judge, constitution, qualified, missed, certificate, checked, known, lines, families"
    assert set(card) == set(keys.split(", "))


def test_the_require_key_refuses_however_it_is_written(place: Place) -> None:
    judge = place.judge("first", FIRST)
    for written in ("judge.require_qualified=true", "judge_check.require_qualified=true"):
        code, _, err = place.label(judge, "--set", written, out="refused.jsonl")
        assert (code, len(err.splitlines())) == (1, 1)
        assert err.startswith(f"raif: the judge {judge} is not qualified: it has not been checked (judge_check.")
        assert not (place.path / "refused.jsonl").exists()
    config = place.path / "raif.yaml"
    config.write_text(f"judge:\n  spec: {judge}\n  require_qualified: true\nconstitution: toy.yaml\n", encoding="utf-8")
    code, _, err = place.raif("label", "--config", config, "--pairs", place.pairs, "--out", place.path / "x.jsonl")
    assert (code, "is not qualified" in err) == (1, True)
    assert place.asked("first") == 0
    fair = place.judge("fair", FAIR)
    assert place.check(fair)[0] == 0
    assert place.label(fair, "--set", "judge.require_qualified=true")[0] == 0


def test_a_judge_that_has_to_qualify_may_be_calibrated_to_that_end(place: Place) -> None:
    judge, out = place.judge("fair", FAIR), place.path / "calibration.json"
    asked = ("--judge", judge, "--constitution", place.constitution, "--gold", place.gold, "--out", out)
    code, _, err = place.raif("judge", "calibrate", *asked, "--set", "judge.require_qualified=true")
    assert (code, "WARNING" in err) == (0, False), err


def test_only_the_edited_principle_is_checked_again(place: Place) -> None:
    judge = place.judge("fair", FAIR)
    assert place.check(judge)[0] == 0
    place.constitution.write_text(PRINCIPLES.replace("is calm.", "is quite calm."), encoding="utf-8")
    _, _, err = place.label(judge)
    assert "not qualified: it has not been checked under calm." in err
    before = place.asked("fair")
    code, out, _ = place.check(judge)
    assert code == 0
    assert "From an earlier check, and not asked again: kind." in out
    # 15 gold pairs and 15 injected ones four times, and padded copies and repeats, each in both orders.
    assert 15 * 2 * 5 < place.asked("fair") - before < 15 * 2 * 5 + 200
    assert "WARNING" not in place.label(judge)[2]
    before = place.asked("fair")
    assert place.check(judge)[0] == 0
    assert place.asked("fair") == before


def test_without_a_cache_no_certificate_is_kept_unless_a_file_is_named(place: Place, monkeypatch) -> None:
    monkeypatch.setenv("RAIF_CACHE", "off")
    judge = place.judge("fair", FAIR)
    code, out, err = place.check(judge, "--json")
    assert (code, json.loads(out)["certificate"]) == (0, None)
    assert err.splitlines()[-1] == "RAIF_CACHE=off: no certificate is kept (--certificate FILE keeps one)"
    named = place.path / "certificate.json"
    assert place.check(judge, "--certificate", named)[0] == 0
    assert "WARNING" in place.label(judge)[2]
    assert "WARNING" not in place.label(judge, "--set", f"judge_check.certificate={named}")[2]


def test_thresholds_are_those_of_the_configuration(place: Place) -> None:
    judge = place.judge("fair", FAIR)
    code, out, _ = place.check(judge, "--set", "judge_check.min_pairs=31")
    assert (code, "Not qualified: it misses gold pairs." in out) == (1, True)
    assert place.check(judge)[0] == 0


def test_nothing_to_check_against_is_bad_input(place: Place) -> None:
    code, _, err = place.raif(
        "judge", "check", "--judge", place.judge("fair", FAIR), "--constitution", place.constitution
    )
    assert (code, err.startswith("raif: there is nothing to check the judge against: give --gold FILE")) == (2, True)


def test_a_cap_stops_a_check_and_what_was_finished_is_kept(place: Place) -> None:
    judge = place.judge("fair", FAIR)
    assert place.check(judge, "--max-requests", 300)[0] == 3
    first = place.asked("fair")
    assert first <= 300
    assert place.check(judge)[0] == 0


def test_the_judging_of_policies_is_warned_of_too(place: Place) -> None:
    one = place.judge("one", [{"match": "", "reply": "good"}])
    two = place.judge("two", [{"match": "", "reply": "bad"}])
    out, prompts = place.path / "eval.json", lines(place.path / "prompts.jsonl", [{"prompt": "Why?"}])
    command = ["eval", "--policy", one, "--against", f"two={two}", "--constitution", place.constitution]
    code, _, err = place.raif(
        *command, "--judge", place.judge("first", FIRST), "--prompts", prompts, "--out", out, "--redo"
    )
    assert (code, err.count("WARNING: the judge")) == (0, 1)
    assert place.manifest("eval.json")["models"]["judge"]["qualification"].startswith("not qualified")


def test_the_report_says_what_the_manifest_says_of_the_judge(place: Place) -> None:
    from raif.evaluate.summary import label_summary
    from raif.records import Preference
    from raif.report.artefacts import Artefacts
    from raif.report.blocks import Facts, Notice
    from raif.report.judging import labels_section
    from raif.store import RecordFile

    place.label(place.judge("fair", FAIR))
    labels = RecordFile(place.path / "labels.jsonl", Preference).read()

    def told(entry: object) -> tuple[list[str], str]:
        found = Artefacts(path=place.path, manifest={"models": {"judge": entry}}, labels=labels)
        blocks = labels_section(found, label_summary(labels)).blocks
        facts = next(block for block in blocks if isinstance(block, Facts))
        return [block.text for block in blocks if isinstance(block, Notice)], dict(facts.items)["raif judge check"]

    notices, fact = told(place.manifest()["models"]["judge"])
    assert fact == "not qualified: it has not been checked"
    assert notices[0] == "This judge is not qualified: it has not been checked. Its labels may mean nothing."
    assert told({"qualification": "qualified"}) == (notices[1:], "qualified")
    assert told({}) == told(None) == (notices[1:], "not recorded")
