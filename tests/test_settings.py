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


@pytest.mark.parametrize(("written", "read"), [("on", "on"), ("off", "off"), ("auto", "auto"), ("'off'", "off")])
def test_a_switch_means_what_it_says_whatever_yaml_makes_of_it(written: str, read: str) -> None:
    assert resolve(environment={}, sets=[f"server.logprobs={written}"]).server.logprobs == read


def test_what_is_added_to_requests_may_not_replace_what_raif_writes() -> None:
    config = resolve(environment={}, sets=["server.extra={provider: {order: [x]}, top_k: -1}"])
    assert config.server.extra == {"provider": {"order": ["x"]}, "top_k": -1}
    with pytest.raises(ConfigError, match="other fields than messages, which raif writes itself"):
        resolve(environment={}, sets=["server.extra.messages=x"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("judge='openai:m@https://user:s3cret@host/v1'", "judge: leave name, password and query out"),
        ("policy='openai:m@https://host/v1?api-key=s3cret'", "policy: leave name, password and query out"),
        ("train.reward.base='openai:m@http://s3cret@host/v1'", "train.reward.base: leave name"),
        ("server.key_env=sk-s3cret", "server.key_env: should name an environment variable"),
        ("server.key_env=7", "server.key_env: should name an environment variable"),
    ],
)
def test_a_secret_where_the_manifest_would_keep_it_is_refused_and_not_repeated(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(environment={}, sets=[text])
    assert said in str(caught.value)
    assert "[--set]" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_address_without_secrets_is_fine() -> None:
    for spec in ("openai:m@http://localhost:8000/v1", "openai:name@v2@https://host/v1", "openai:a/b:c@http://h/v1"):
        assert resolve(environment={}, sets=[f"judge={spec}"]).judge == spec


def test_a_section_with_nothing_under_it_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    path = tmp_path / "raif.yaml"
    path.write_text("server:\nbudget:\ntrain:\n  dpo:\nlimit:\n", encoding="utf-8")
    assert resolve(path, environment={}) == resolve(environment={})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: 5", "server: found 5; allowed: keys and values"),
        ("judge_check: {certificate: 5}", "judge_check.certificate: found 5; allowed: a path"),
        ("server: {timeout: x}", "server.timeout: found 'x'; allowed: a valid number ["),
        ('prices: {"openai:a.b@*": {prompt: no, completion: 1}}', "prompt: found False"),
        ("budget: {max_cost: .inf}", "budget.max_cost: found inf"),
    ],
)
def test_a_wrong_type_is_told_without_python_s_words(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "raif.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        resolve(path, environment={})
    assert said in str(caught.value)


def test_the_key_s_file_is_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("x")
    path = tmp_path / "raif.yaml"
    path.write_text("server:\n  key_file: key\n")
    assert resolve(path, environment={}).server.key_file == tmp_path / "key"


@pytest.mark.parametrize("written", ["judge.require_qualified=true", "judge_check.require_qualified=true"])
def test_what_is_asked_of_a_judge_may_be_written_beside_it(written: str) -> None:
    config = resolve(environment={}, flags={"judge": "scripted:x.jsonl"}, sets=[written])
    assert (config.judge, config.judge_check.require_qualified) == ("scripted:x.jsonl", True)


def test_a_judge_of_several_keys_is_read_and_a_flag_still_names_another(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").touch()
    path = tmp_path / "raif.yaml"
    path.write_text("judge: {spec: 'scripted:j.jsonl', require_qualified: true}", encoding="utf-8")
    config = resolve(path, environment={})
    assert config.judge == f"scripted:{tmp_path.resolve() / 'j.jsonl'}"
    other = resolve(path, environment={}, flags={"judge": "demo:judge"})
    assert (other.judge, other.judge_check.require_qualified) == ("demo:judge", True)
