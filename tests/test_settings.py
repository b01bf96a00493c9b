"""Layers of configuration, and errors that name key path, finding, remedy and layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from raif.config import RunConfig
from raif.errors import ConfigError
from raif.settings import resolve, to_yaml


def test_each_layer_overrides_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "raif.yaml"
    path.write_text("seed: 1\npolicy: hf:one\njudge: hf:two\nlabel:\n  orders: one\n")
    config = resolve(path, environment={"RAIF_SEED": "2", "RAIF_JUDGE": "hf:three"}, flags={"seed": 3}, sets=["seed=4"])
    assert (config.policy, config.judge, config.seed, config.label.orders) == ("hf:one", "hf:three", 4, "one")


def test_flags_that_were_not_given_count_for_nothing() -> None:
    assert resolve(environment={}, flags={"seed": None, "label.orders": None}) == RunConfig()


def test_relative_paths_are_relative_to_the_file_and_hub_ids_stay(tmp_path: Path) -> None:
    (tmp_path / "principles.yaml").write_text("")
    (tmp_path / "model").mkdir()
    path = tmp_path / "raif.yaml"
    path.write_text("constitution: principles.yaml\nprompts: org/dataset\npolicy: hf:model\njudge: hf:org/judge\n")
    config = resolve(path, environment={})
    assert config.constitution == tmp_path / "principles.yaml"
    assert config.prompts == "org/dataset"
    assert (config.policy, config.judge) == (f"hf:{tmp_path / 'model'}", "hf:org/judge")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.dpo.betta=1", "train.dpo.betta: unknown key; did you mean beta?"),
        ("train.dpo.beta=-1", "train.dpo.beta: found -1; allowed: greater than 0 [--set]"),
        ("label.principles=0", "label.principles: found 0; allowed: 'all' or greater than 0 [--set]"),
        ("device=gpu", "device: found 'gpu'; allowed: 'auto', 'cpu', 'cuda' or 'mps' [--set]"),
        ("seed", "--set seed: expected KEY=VALUE"),
        ("seed.x=3", "seed: found {'x': 3}"),
        ("train.sft.lora.nope=3", "train.sft.lora.nope: unknown key; allowed here: enabled"),
    ],
)
def test_an_error_names_key_finding_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(environment={}, sets=[text])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_names_the_layer_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "raif.yaml"
    path.write_text("train:\n  dpo:\n    beta: high\n")
    with pytest.raises(ConfigError, match=r"train\.dpo\.beta: found 'high'; allowed: a valid number.*raif\.yaml"):
        resolve(path, environment={})
    with pytest.raises(ConfigError, match=r"seed: found 'many'.*\[RAIF_SEED\]"):
        resolve(environment={"RAIF_SEED": "many"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "raif.yaml:1:6: is not YAML"),
        (b"- 1", "should hold keys and values, but holds a list"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"sead: 1", "sead: unknown key; did you mean seed?"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "raif.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        resolve(path, environment={})
    assert message in str(caught.value)


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="raif init"):
        resolve(tmp_path / "raif.yaml", environment={})


def test_what_is_written_reads_back_as_the_same_configuration(tmp_path: Path) -> None:
    config = resolve(environment={}, sets=["label.principles=2", "train.sft.lora.target_modules=[q_proj]", "seed=7"])
    path = tmp_path / "raif.yaml"
    path.write_text(to_yaml(config, "A title\nof two lines"))
    assert resolve(path, environment={}) == config
    assert "beta: 0.1  # strength of the pull" in path.read_text()
