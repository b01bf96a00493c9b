"""Folders that can't be opened: one line each, before anything is run."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from raif.errors import ConfigError, ModelSpecError
from raif.models.loading import choose_device, choose_dtype, limit_threads
from raif.models.registry import open_model


def refused(spec: str, said: str, **options: object) -> None:
    with pytest.raises(ModelSpecError, match=said) as caught:
        open_model(spec, **options)
    assert "\n" not in str(caught.value)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    refused(f"hf:{tmp_path}/nothing", "nothing: there is no such folder")


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"")
    refused(f"hf:{tmp_path}/weights.safetensors", "is a file; a model is a folder")


def test_a_hub_id_without_the_hub() -> None:
    refused("hf:nobody/nothing", r"no such folder, and the Hub is switched off \(HF_HUB_OFFLINE\)")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    refused(f"hf:{tmp_path}", "has no config.json")


def test_an_adapter_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(f"hf:{tmp_path}", "holds a LoRA adapter alone; merge it")


@pytest.mark.parametrize(("content", "said"), [("{", "is not readable JSON"), ("{}", "has no model_type")])
def test_a_malformed_configuration(tiny_copy, content: str, said: str) -> None:
    folder = tiny_copy("llama")
    (folder / "config.json").write_text(content)
    refused(f"hf:{folder}", f"config.json: {said}")


def test_an_unknown_architecture(tiny_copy) -> None:
    folder = tiny_copy("llama")
    edit(folder / "config.json", model_type="teapot", architectures=["TeapotForCausalLM"])
    refused(f"hf:{folder}", "teapot")


def test_a_model_that_does_not_speak(tiny_copy) -> None:
    folder = tiny_copy("llama")
    edit(folder / "config.json", model_type="t5", architectures=["T5Model"])
    refused(f"hf:{folder}", "the model can't be opened: Unrecognized configuration class")


def test_pickled_weights_are_never_loaded(tiny_copy) -> None:
    folder = tiny_copy("llama")
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    refused(f"hf:{folder}", "holds pickled weights alone")


def test_no_weights_at_all(tiny_copy) -> None:
    folder = tiny_copy("llama")
    (folder / "model.safetensors").unlink()
    refused(f"hf:{folder}", "holds no safetensors weights")


def test_weights_that_are_no_weights(tiny_copy) -> None:
    folder = tiny_copy("llama")
    (folder / "model.safetensors").write_bytes(b"nonsense")
    refused(f"hf:{folder}", "the model can't be opened")


def test_missing_weights_are_not_made_up(tiny_copy) -> None:
    folder = tiny_copy("llama")
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    refused(f"hf:{folder}", r"1 of the model's weights are missing, for example model\.layers\.1\.mlp\.up_proj")


def test_weights_of_another_shape(tiny_copy) -> None:
    folder = tiny_copy("llama")
    edit(folder / "config.json", intermediate_size=80)
    refused(f"hf:{folder}", r"6 of the model's weights have another shape than config\.json says, for example .*mlp")


def test_no_tokenizer(tiny_copy) -> None:
    folder = tiny_copy("llama")
    (folder / "tokenizer.json").unlink()
    refused(f"hf:{folder}", "holds no tokenizer")


def test_no_chat_template(tiny_copy) -> None:
    folder = tiny_copy("llama")
    (folder / "chat_template.jinja").unlink()
    refused(f"hf:{folder}", "has no chat template")


def test_code_that_a_model_brings_is_not_run(tiny_copy) -> None:
    folder = tiny_copy("llama")
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    auto_map = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    edit(folder / "config.json", model_type="teapot", auto_map=auto_map)
    refused(f"hf:{folder}", "brings its own code, which raif does not run")
    assert not (folder / "ran").exists()


def test_devices_and_number_types_that_are_not_here(tiny) -> None:
    refused(f"hf:{tiny('llama')}", "there is no device 'abacus'", device="abacus")
    refused(f"hf:{tiny('llama')}", "there is no dtype 'int3'; use auto, float32", dtype="int3")


def test_a_cpu_computes_in_float32_whatever_is_stored(tiny) -> None:
    stored = load_file(tiny("qwen2") / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}
    model = open_model(f"hf:{tiny('qwen2')}", device="cpu")
    assert model.info.details["dtype"] == "float32"
    assert {weight.dtype for weight in model.model._loaded.model.parameters()} == {torch.float32}


def test_the_number_type_of_a_gpu_is_what_it_computes_in(monkeypatch) -> None:
    for supported, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation, s=supported: s)
        assert choose_dtype("auto", torch.device("cuda")) is expected
    assert choose_dtype("auto", torch.device("cpu")) is torch.float32
    assert choose_dtype("float16", torch.device("cpu")) is torch.float16


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_best_device_is_chosen(monkeypatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto").type == expected
    if not cuda:
        with pytest.raises(ModelSpecError, match="there is no device 'cuda'"):
            choose_device("cuda")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 1),
        ({"OMP_NUM_THREADS": "3"}, None),
        ({"RAIF_THREADS": "2"}, 2),
        ({"RAIF_THREADS": "2", "OMP_NUM_THREADS": "3"}, 2),
    ],
)
def test_one_thread_unless_told_otherwise(monkeypatch, environment: dict[str, str], expected: int | None) -> None:
    for name in ("RAIF_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    limit_threads()
    assert asked == ([] if expected is None else [expected])


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_number_of_threads_that_is_none(monkeypatch, value: str) -> None:
    monkeypatch.setenv("RAIF_THREADS", value)
    with pytest.raises(ConfigError, match="RAIF_THREADS"):
        limit_threads()


def test_opening_is_silent_and_leaves_logging_as_it_was(tiny, capfd) -> None:
    from transformers.utils import logging

    folder = tiny("gpt2")
    capfd.readouterr()
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_model(f"hf:{folder}")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_the_identity_names_the_model_and_its_weights_but_no_path(tiny, tmp_path: Path) -> None:
    from support.tiny import make_tiny_model

    first = open_model(f"hf:{tiny('llama')}").info
    assert first.spec == f"hf:{tiny('llama')}"
    assert first.identity == f"hf:llama@{first.details['fingerprint'][:8]}"
    assert first.details["path"] == str(tiny("llama").resolve())
    same = open_model(f"hf:{make_tiny_model(tmp_path / 'llama', 'llama')}").info
    assert same.identity == first.identity
    other = open_model(f"hf:{make_tiny_model(tmp_path / 'b' / 'llama', 'llama', seed=1)}").info
    assert other.identity != first.identity
