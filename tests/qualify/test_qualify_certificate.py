"""Certificates: whose they are, where they lie, what an edited constitution lacks, and whom they let label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raif.config import JudgeCheckConfig, LabelConfig
from raif.constitution import load_constitution
from raif.errors import InputError, StoreError
from raif.models.base import ModelInfo
from raif.models.registry import open_model
from raif.prompts import PromptLibrary
from raif.qualify.certificate import (
    Certificate,
    Key,
    certificate_path,
    keep,
    known_sections,
    lacking,
    qualification,
    read_certificate,
    refuse_other_files,
)
from raif.qualify.section import principle_key, section_key
from raif.resources import folder
from support.toy import CALM, CONFIG, CONSTITUTION, KIND, LIBRARY, answers, examine, oracle, toy_gold

JUDGE = ModelInfo("scripted:x", "scripted:x@1")
LABEL = LabelConfig()
KEY = Key.of(JUDGE, LIBRARY, LABEL)


def certificate(*names: str | None) -> Certificate:
    config = CONFIG.model_copy(update={"min_pairs": 20})
    return Certificate(key=KEY, sections=dict(examine(answers(oracle), toy_gold(*names), config=config).sections))


def test_another_judge_wording_or_way_of_asking_is_another_key(tmp_path: Path) -> None:
    own = tmp_path / "compare.jinja"
    own.write_text("{{ response_a }}{{ response_b }}{{ principle.comparison }}{{ conversation }}", encoding="utf-8")
    others = [
        Key.of(ModelInfo("scripted:x", "scripted:x@2"), LIBRARY, LABEL),
        Key.of(JUDGE, PromptLibrary({"compare": own}), LABEL),
        Key.of(JUDGE, LIBRARY, LabelConfig(mode="cot")),
        Key.of(JUDGE, LIBRARY, LabelConfig(allow_tie=True)),
        Key.of(JUDGE, LIBRARY, LabelConfig(examples=2)),
        Key.of(replace(JUDGE, details={"revision": "other weights by this name"}), LIBRARY, LABEL),
        *(Key.of(JUDGE, LIBRARY, LabelConfig(**{name: 0.2})) for name in ("tie_margin", "conflict_margin", "min_mass")),
    ]
    assert len({KEY.hash, *(key.hash for key in others)}) == 10
    # What a check asks in any case is no part of it.
    alike = [LabelConfig(orders="one"), LabelConfig(principles=2)]
    assert {Key.of(JUDGE, LIBRARY, label).hash for label in alike} == {KEY.hash}


def test_a_principle_is_known_by_what_a_judge_is_shown_of_it() -> None:
    same = [KIND.model_copy(update=change) for change in ({"id": "nice"}, {"weight": 9.0}, {"tags": ("x",)})]
    assert {principle_key(principle) for principle in same} == {principle_key(KIND)}
    assert principle_key(KIND.model_copy(update={"comparison": "Choose the kinder."})) != principle_key(KIND)
    assert section_key([KIND]) == principle_key(KIND)
    heavier = CALM.model_copy(update={"weight": 3.0})
    assert section_key([KIND, CALM]) != section_key([KIND, heavier])


def test_it_lies_with_the_cache_and_nowhere_where_that_is_off(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RAIF_CACHE", str(tmp_path / "cache"))
    name = f"{KEY.hash}.json"
    assert certificate_path(KEY, JudgeCheckConfig()) == tmp_path / "cache" / "certificates" / name
    monkeypatch.setenv("RAIF_CACHE", str(tmp_path / "my.sqlite3"))
    assert certificate_path(KEY, JudgeCheckConfig()) == tmp_path / "certificates" / name
    monkeypatch.setenv("RAIF_CACHE", "off")
    assert certificate_path(KEY, JudgeCheckConfig()) is None
    assert certificate_path(KEY, JudgeCheckConfig(certificate=tmp_path / "own")) == tmp_path / "own"


def test_what_is_kept_is_read_again_and_joins_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "certificate.json"
    sections = certificate("kind", "calm").sections
    for key, section in sections.items():
        keep(path, KEY, {key: section})
    assert read_certificate(path, KEY).sections == sections
    other = Key.of(ModelInfo("scripted:y", "scripted:y@1"), LIBRARY, LABEL)
    assert read_certificate(path, other).sections == {}
    assert read_certificate(tmp_path / "none.json", KEY).sections == {}


@pytest.mark.parametrize("content", [b"{", b'{"key": KEY, "sections": {"x": {}}}'])
def test_a_damaged_certificate_says_so_and_is_replaced_by_the_next_check(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "certificate.json"
    path.write_bytes(content.replace(b"KEY", KEY.model_dump_json().encode()))
    with pytest.raises(StoreError, match=r"certificate\.json: this certificate is damaged \(.*\); delete it"):
        read_certificate(path, KEY)
    keep(path, KEY, certificate("kind").sections)
    assert len(read_certificate(path, KEY).sections) == 1


def test_what_is_no_certificate_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "judge.jsonl"
    refuse_other_files(path)  # nothing is there
    path.write_text('{"match": "", "reply": "A"}\n{"match": "", "reply": "B"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"judge\.jsonl: is there, and is no certificate"):
        refuse_other_files(path)
    keep(tmp_path / "certificate.json", KEY, certificate("kind").sections)
    refuse_other_files(tmp_path / "certificate.json")


def test_an_edited_constitution_lacks_what_was_edited() -> None:
    known = certificate("kind", "calm")
    assert lacking(known, CONSTITUTION) == []
    calmer = CALM.model_copy(update={"comparison": "Choose the calmer response."})
    edited = CONSTITUTION.model_copy(update={"principles": (KIND, calmer)})
    assert lacking(known, edited) == ["calm"]
    weighed = CONSTITUTION.model_copy(update={"principles": (KIND, CALM.model_copy(update={"weight": 2.0}))})
    assert lacking(known, weighed) == []


def test_gold_on_the_whole_speaks_of_those_principles_together() -> None:
    known = certificate(None)
    assert lacking(known, CONSTITUTION) == []
    calmer = CALM.model_copy(update={"comparison": "Choose the calmer response."})
    assert lacking(known, CONSTITUTION.model_copy(update={"principles": (KIND, calmer)})) == ["calm"]
    weighed = CONSTITUTION.model_copy(update={"principles": (KIND, CALM.model_copy(update={"weight": 2.0}))})
    assert lacking(known, weighed) == ["kind", "calm"]


def test_qualification_is_what_the_sections_say_by_the_thresholds_of_today() -> None:
    def told(known: Certificate, constitution=CONSTITUTION, **thresholds) -> str:
        config = JudgeCheckConfig(**{"min_pairs": 20, **thresholds})
        return str(qualification(known, constitution, config, LABEL))

    known = certificate("kind", "calm")
    assert told(known) == "qualified"
    assert told(known, min_pairs=41) == "not qualified: it misses gold pairs"
    assert told(Certificate(key=KEY)) == "not qualified: it has not been checked"
    half = certificate("kind")
    assert told(half) == "not qualified: it has not been checked under calm"
    assert told(half, min_pairs=21) == "not qualified: it has not been checked under calm"
    both = told(half, max_brier=0)
    assert both == "not qualified: it has not been checked under calm, and it misses Brier score"


def test_the_demo_judge_s_certificate_ships_and_is_of_today() -> None:
    """Where this fails: python scripts/build_demo_certificate.py"""
    demo = load_constitution(folder("constitution") / "demo.yaml")
    key = Key.of(open_model("demo:judge").info, PromptLibrary(), LABEL)
    known = known_sections(key, JudgeCheckConfig())
    assert str(qualification(known, demo, JudgeCheckConfig(), LABEL)) == "qualified"
