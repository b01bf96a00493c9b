"""Presets: every value is the paper's, every line says where it is from, and layers are as documented."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from raif.config import RunConfig
from raif.errors import ConfigError
from raif.presets import PRESETS
from raif.settings import resolve, to_yaml

PAPERS: dict[str, dict[str, Any]] = {
    # arXiv 2212.08073: T = 1, four revisions, independent principles, none checked, all steps trained on (3.1 to 3.4);
    # one principle a comparison, one label a pair, chain of thought clamped to 40-60 % (4.1 to 4.3).
    "cai-2022": {
        "generate.temperature": 1.0,
        "revise.rounds": 4,
        "revise.draw": "independent",
        "revise.temperature": 1.0,
        "revise.verify": False,
        "train.sft.steps": "all",
        "train.sft.epochs": 1.0,
        "train.sft.scheduler": "constant",
        "label.pairs": "responses",
        "label.pairs_per_prompt": 1,
        "label.principles": 1,
        "label.orders": "one",
        "label.mode": "cot",
        "label.cot_answer": "probability",
        "label.clamp": (0.4, 0.6),
        "label.tie_margin": 0.0,
    },
    # arXiv 2309.00267: both orders, averaged whatever they say (2.1.1); reason, then probabilities (2.1.2); soft labels
    # (2.2.1); no examples, no sampling of reasonings (4.4).
    "rlaif-2023": {
        "label.pairs": "responses",
        "label.orders": "both",
        "label.conflict_margin": 0.5,
        "label.tie_margin": 0.0,
        "label.mode": "cot",
        "label.cot_answer": "probability",
        "label.clamp": (0.0, 1.0),
        "label.temperature": 0.0,
        "label.examples": 0,
    },
}


def value_of(config: RunConfig, dotted: str) -> Any:
    value: Any = config
    for key in dotted.split("."):
        value = getattr(value, key)
    return value


@pytest.mark.parametrize("name", PAPERS)
def test_every_value_is_the_paper_s_and_no_other_is_set(name: str) -> None:
    config = resolve(environment={}, flags={"preset": name})
    assert {key: value_of(config, key) for key in PAPERS[name]} == PAPERS[name]
    assert {key: value for key, value, _ in PRESETS[name]} == PAPERS[name]
    default = RunConfig()
    changed = {key for key in PAPERS[name] if value_of(default, key) != PAPERS[name][key]}
    back = resolve(
        environment={}, flags={"preset": name, **{key: value_of(default, key) for key in changed}}
    ).model_copy(update={"preset": None})
    assert back == default


def test_the_presets_are_those() -> None:
    assert set(PRESETS) == set(PAPERS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_line_names_its_section(name: str) -> None:
    for key, _, source in PRESETS[name]:
        assert re.match(r"(§\d(\.\d)*(, )?)+: \w", source), key


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_written_shows_the_sections_and_reads_back(name: str, tmp_path: Path) -> None:
    config = resolve(environment={}, flags={"preset": name}, sets=["label.clamp=[0.3, 0.7]"])
    path = tmp_path / "raif.yaml"
    path.write_text(to_yaml(config, "x"))
    assert resolve(path, environment={}) == config
    cited = [line.split(":")[0].strip() for line in path.read_text().splitlines() if "[§" in line]
    # What was changed is the user's, and no paper's.
    assert sorted(cited) == sorted(key.rpartition(".")[2] for key, _, _ in PRESETS[name] if key != "label.clamp")


def test_a_preset_lies_beneath_the_file_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "raif.yaml"
    path.write_text("label:\n  orders: both\npreset: cai-2022\n")
    config = resolve(path, environment={})
    assert (config.label.orders, config.label.mode, config.revise.verify) == ("both", "cot", False)


def test_a_preset_named_by_a_flag_changes_a_file_that_sets_every_key(tmp_path: Path) -> None:
    path = tmp_path / "raif.yaml"
    path.write_text(to_yaml(RunConfig(), "x"))
    config = resolve(path, environment={}, flags={"preset": "cai-2022", "label.orders": "both"})
    assert (config.label.orders, config.label.mode) == ("both", "cot")
    assert resolve(path, environment={}, flags={"preset": "cai-2022"}).label.orders == "one"


def test_of_several_presets_the_last_counts_alone(tmp_path: Path) -> None:
    path = tmp_path / "raif.yaml"
    path.write_text("preset: cai-2022\n")
    config = resolve(path, environment={}, flags={"preset": "rlaif-2023"})
    assert config == resolve(environment={}, flags={"preset": "rlaif-2023"})
    assert resolve(path, environment={}, sets=["preset=rlaif-2023"]) == config


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"preset: found 'cai'; allowed: 'cai-2022' or 'rlaif-2023' \[--set\]"):
        resolve(environment={}, sets=["preset=cai"])
