"""Specifications: what is understood, and what each misunderstanding says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raif.errors import ModelSpecError
from raif.models.base import ChatModel
from raif.models.registry import ModelSpec, demo_model_path, model_path, open_model, parse_spec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:Qwen/Qwen2.5-0.5B-Instruct", ModelSpec("hf", "Qwen/Qwen2.5-0.5B-Instruct")),
        ("hf:./models/mine", ModelSpec("hf", "./models/mine")),
        ("  hf:mine  ", ModelSpec("hf", "mine")),
        ("vllm:org/name", ModelSpec("vllm", "org/name")),
        ("demo:judge", ModelSpec("demo", "judge")),
        ("scripted:rules.jsonl", ModelSpec("scripted", "rules.jsonl")),
        ("openai:judge@http://localhost:8000/v1", ModelSpec("openai", "judge", "http://localhost:8000/v1")),
        ("openai:org/a:b@https://host/v1/", ModelSpec("openai", "org/a:b", "https://host/v1")),
        ("openai:name@v2@https://user@host/v1", ModelSpec("openai", "name@v2", "https://user@host/v1")),
    ],
)
def test_every_form_is_understood(text: str, expected: ModelSpec) -> None:
    assert parse_spec(text) == expected
    assert parse_spec(str(expected)) == expected


def test_a_bare_folder_counts_as_hf(tmp_path: Path) -> None:
    assert parse_spec(str(tmp_path)) == ModelSpec("hf", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the forms are hf:PATH_OR_ID"),
        ("hff:some/model", "did you mean hf:some/model?"),
        ("opnai:m@http://h", "did you mean openai:m@http://h?"),
        ("judge", "did you mean demo:judge?"),
        ("rules.jsonl", "did you mean scripted:rules.jsonl?"),
        ("org/name", "there is no such folder; did you mean hf:org/name?"),
        ("hf:", "says nothing after hf:"),
        ("demo:judg", "did you mean demo:judge?"),
        ("demo:other", "there are demo:judge and demo:policy"),
        ("openai:judge", "lacks the server's address"),
        ("openai:@http://host", "lacks the server's address"),
        ("openai:judge@localhost:8000", "lacks the server's address"),
    ],
)
def test_a_malformed_specification_names_the_forms_or_the_nearest(text: str, said: str) -> None:
    with pytest.raises(ModelSpecError, match=said.replace("?", r"\?")) as caught:
        parse_spec(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("scripted:rules.jsonl", "rules have no weights"),
        ("openai:m@http://h", "out of reach"),
        ("vllm:org/name", "does not train them"),
    ],
)
def test_only_weights_can_be_trained(spec: str, reason: str) -> None:
    with pytest.raises(ModelSpecError, match=reason):
        model_path(spec)


def test_a_trainer_gets_a_folder_or_a_hub_id(tiny) -> None:
    folder = tiny("llama")
    assert model_path(f"hf:{folder}") == model_path(str(folder)) == str(folder.resolve())
    assert model_path("hf:org/name") == "org/name"
    with pytest.raises(ModelSpecError, match=r"\./nowhere: there is no such folder"):
        model_path("hf:./nowhere")


@pytest.mark.parametrize("name", ["judge", "policy"])
def test_the_demo_models_open(name: str) -> None:
    model = open_model(f"demo:{name}", device="cpu")
    assert isinstance(model, ChatModel)
    fingerprint = model.info.details["fingerprint"]
    assert model.info.identity == f"demo:{name}@{fingerprint[:8]}"
    assert model.info.details["dtype"] == "float32"
    assert model_path(f"demo:{name}") == str(demo_model_path(name))


def test_missing_demo_weights_are_explained(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("raif.models.registry.PACKAGE", tmp_path)
    with pytest.raises(ModelSpecError, match="the weights of demo:judge are missing"):
        open_model("demo:judge")


def test_a_scripted_model_opens_without_torch(tmp_path: Path) -> None:
    (tmp_path / "rules.jsonl").write_text('{"match": "", "reply": "yes"}\n')
    code = (
        "import sys; from raif.models.registry import open_model; "
        f"open_model({f'scripted:{tmp_path}/rules.jsonl'!r}); "
        "print([name for name in ('torch', 'transformers', 'datasets', 'trl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
