"""Where gold comes from: files, worked comparisons, and the pairs of the demo world for its own wordings alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from raif.config import InputConfig
from raif.constitution import ComparisonExample, Constitution, Principle, load_constitution
from raif.errors import ConfigError, InputError
from raif.qualify.gold import SHIPPED, gather, gold_digest, read_gold
from raif.resources import folder
from support.toy import CONSTITUTION, decided

ROW = {"prompt": "Why?", "response_a": "Because.", "response_b": "Go away.", "label": "a"}


def write(tmp_path: Path, *rows: dict) -> str:
    path = tmp_path / "gold.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_row_may_name_its_principle_by_id_or_by_statement(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        ROW | {"principle": "kind"},
        ROW | {"principle": " The response is calm. "},
        ROW,
        ROW | {"principle": None, "prompt": "When?"},
    )
    gold = read_gold(source, CONSTITUTION, InputConfig())
    assert [pair.principle for pair in gold] == ["kind", "calm", None, None]
    assert all(pair.sides == ("Because.", "Go away.") for pair in gold)


def test_rows_under_other_principles_or_without_a_label_are_left_out_with_a_note(tmp_path: Path) -> None:
    notes: list[str] = []
    source = write(tmp_path, ROW | {"principle": "brave"}, ROW | {"label": ""}, ROW)
    assert len(read_gold(source, CONSTITUTION, InputConfig(), on_note=notes.append)) == 1
    assert notes == [f"{source}: left out 2 pairs without a label, or under other principles"]


def test_a_principle_that_is_no_text_is_a_bad_row(tmp_path: Path) -> None:
    source = write(tmp_path, ROW | {"principle": 3})
    with pytest.raises(InputError, match=r"gold\.jsonl:1: column 'principle' holds 3"):
        read_gold(source, CONSTITUTION, InputConfig(on_bad_row="fail"))


def test_the_longer_of_two_equals_comes_first(tmp_path: Path) -> None:
    row = ROW | {"label": "tie", "response_b": "Because of it."}
    (gold,) = read_gold(write(tmp_path, row), CONSTITUTION, InputConfig())
    assert (gold.better, gold.sides) == ("tie", ("Because of it.", "Because."))


def worked(better: str, number: int = 0) -> ComparisonExample:
    return ComparisonExample(prompt=f"Why {number}?", response_a="x", response_b="yy", better=better)


def test_worked_comparisons_are_gold_but_for_those_that_the_judge_is_shown() -> None:
    kind = Principle(id="kind", text="Kind.", examples=(worked("a", 0), worked("b", 1), worked("tie", 2)))
    constitution = Constitution(principles=(kind,))
    gold = gather(None, constitution, InputConfig())
    assert [(pair.principle, pair.better) for pair in gold] == [("kind", "a"), ("kind", "b"), ("kind", "tie")]
    assert [pair.better for pair in gather(None, constitution, InputConfig(), shown=2)] == ["tie"]


def test_without_gold_there_is_nothing_to_check() -> None:
    with pytest.raises(ConfigError, match=r"give --gold FILE.*examples"):
        gather(None, CONSTITUTION, InputConfig())


def test_the_shipped_pairs_are_for_the_demo_s_wordings_alone() -> None:
    demo = load_constitution(folder("constitution") / "demo.yaml")
    gold = gather(None, demo, InputConfig())
    ids = [principle.id for principle in demo.principles]
    assert Counter(pair.principle for pair in gold if pair.better != "tie") == dict.fromkeys(ids, 66)
    assert Counter(pair.principle for pair in gold if pair.better == "tie") == dict.fromkeys(ids, 14)
    assert {pair.principle for pair in gather(None, demo, InputConfig(), limit=5)} == set(ids)
    turned = demo.principle("polite").model_copy(update={"comparison": "Choose the ruder response.", "text": "Rude."})
    edited = demo.model_copy(update={"principles": (turned, demo.principle("honest"))})
    assert {pair.principle for pair in gather(None, edited, InputConfig())} == {"honest"}


def test_the_principle_that_the_demo_suggests_to_add_has_gold_too() -> None:
    lines = (folder("constitution") / "demo.yaml").read_text(encoding="utf-8").splitlines()
    text = next(line.partition("text: ")[2] for line in lines if line.startswith("#     text: "))
    added = Constitution(principles=(Principle(id="concise", text=text),))
    assert len(gather(None, added, InputConfig())) == 80


def test_the_shipped_pairs_are_small_and_true() -> None:
    from raif.demo.truth import Meaning, prefers
    from raif.demo.verify import request_of

    assert SHIPPED.stat().st_size < 100_000
    demo = load_constitution(folder("constitution") / "demo.yaml")
    for pair in gather(None, demo, InputConfig()):
        comparison = pair.comparison
        request = request_of(comparison)
        truth = prefers(Meaning(pair.principle), request, comparison.response_a, comparison.response_b)
        assert (pair.better, request.held_out) == (truth, True)


def test_the_digest_follows_pairs_and_labels_and_not_their_order() -> None:
    one, two = decided(0, "kind"), decided(1, "kind")
    turned = one.model_copy(update={"comparison": one.comparison.model_copy(update={"human_p_a": 0.0})})
    assert gold_digest([one, two]) == gold_digest([two, one])
    assert len({gold_digest(each) for each in ([one, two], [one], [turned, two], [decided(0, "calm"), two])}) == 4
