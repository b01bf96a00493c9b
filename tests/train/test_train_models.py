"""Bases of all kinds: architectures, missing pads, wrong folders, wrong layers; and that what comes out opens again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from raif.config import LoraConfig, RewardConfig, SftConfig
from raif.errors import ConfigError, InputError, ModelSpecError
from raif.records import TrainingPair, conversation
from raif.train.data import SftExample
from raif.train.precision import Precision
from raif.train.quiet import quiet
from raif.train.reward import train_reward
from raif.train.scoring import score_responses, scores
from raif.train.sft import train_sft
from support.tiny import ARCHITECTURES, Architecture, make_tiny_model

FAST = {"max_steps": 2, "batch_size": 4, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: make_tiny_model(root / name, name) for name in ARCHITECTURES}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_merged_model_is_the_base_with_its_adapters(
    architecture: Architecture, models: dict[str, Path], examples: list[SftExample], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lora = LoraConfig(enabled=True, r=4, target_modules=("c_attn",) if architecture == "gpt2" else "all-linear")
    config = SftConfig(**FAST | {"learning_rate": 0.1}, lora=lora)
    result = train_sft(examples, base=models[architecture], out=tmp_path / "out", config=config, device="cpu")
    merged = AutoModelForCausalLM.from_pretrained(result.path, dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(models[architecture], dtype=torch.float32)
    ids = torch.tensor([AutoTokenizer.from_pretrained(result.path)("How do I bake bread?")["input_ids"]])
    with quiet(), torch.inference_mode():
        plain = base(ids).logits
        adapted = PeftModel.from_pretrained(base, result.path / "adapter")(ids).logits
        assert torch.allclose(merged(ids).logits, adapted, atol=1e-4)
    assert not torch.allclose(adapted, plain, atol=1e-2)
    assert merged.config.use_cache


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reward_models_of_all_kinds_load_again(
    architecture: Architecture, models: dict[str, Path], pairs: list[TrainingPair], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = models[architecture]
    result = train_reward(pairs, base=base, out=tmp_path / "out", config=RewardConfig(**FAST), device="cpu")
    model = AutoModelForSequenceClassification.from_pretrained(result.path)
    tokenizer = AutoTokenizer.from_pretrained(result.path)
    assert model.config.num_labels == 1
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    assert model.get_input_embeddings().num_embeddings >= len(tokenizer)
    assert len(score_responses(result.path, [pairs[0].prompt + pairs[0].chosen], device="cpu")) == 1


def test_without_a_pad_token_ended_and_cut_off_texts_still_score_differently(
    character_model: Callable[..., Path], pairs: list[TrainingPair], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = character_model(tmp_path / "base", pad=None)
    result = train_reward(pairs, base=base, out=tmp_path / "out", config=RewardConfig(**FAST), device="cpu")
    assert result.notes == ("the tokenizer has no pad token; a new token '<|pad|>' pads instead",)
    model = AutoModelForSequenceClassification.from_pretrained(result.path)
    pad = AutoTokenizer.from_pretrained(result.path).pad_token_id
    with torch.inference_mode():
        ended, cut = scores(model.eval(), [[3, 13, 14, 1, 4, 20, 1], [3, 13, 14, 1, 4, 20]], pad)
        alone = [scores(model, [row], pad)[0] for row in ([3, 13, 14, 1, 4, 20, 1], [3, 13, 14, 1, 4, 20])]
    assert abs(ended - cut) > 1e-4
    assert [ended, cut] == pytest.approx(alone, abs=1e-5)


def test_a_smaller_number_format_by_option(tiny: Path, examples: list[SftExample], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    config = SftConfig(**FAST, save_dtype="bfloat16")
    result = train_sft(examples, base=tiny, out=tmp_path / "out", config=config, device="cpu")
    assert {tensor.dtype for tensor in load_file(result.path / "model.safetensors").values()} == {torch.bfloat16}


def test_missing_layers_are_refused_before_weights_are_read(
    tiny: Path, examples: list[SftExample], tmp_path: Path
) -> None:
    hollow = shutil.copytree(tiny, tmp_path / "hollow")
    (hollow / "model.safetensors").unlink()

    def run(*targets: str) -> None:
        config = SftConfig(lora=LoraConfig(enabled=True, target_modules=targets))
        train_sft(examples, base=hollow, out=tmp_path / "out", config=config, device="cpu")

    with pytest.raises(ConfigError, match="no layer c_attn that") as caught:
        run("q_proj", "c_attn")
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in str(caught.value)
    with pytest.raises(ConfigError, match="no layer lm_head that"):
        run("lm_head")
    with pytest.raises(ModelSpecError, match="can't be opened as a language model"):
        run("q_proj")
    assert not (tmp_path / "out" / "train.json").exists()


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("nowhere", "there is no such model folder"),
        ("empty", "it has no config.json"),
        ("broken", "can't be opened as a model"),
        ("mute", "has no chat template"),
    ],
)
def test_bases_that_are_none(
    base: str, message: str, character_model: Callable[..., Path], examples: list[SftExample], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    character_model(tmp_path / "mute", template=None)
    with pytest.raises(ModelSpecError, match=message) as caught:
        train_sft(examples, base=tmp_path / base, out=tmp_path / "out", config=SftConfig(), device="cpu")
    assert "\n" not in str(caught.value)


def test_settings_that_cannot_work(tiny: Path, examples: list[SftExample], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would overwrite its base"):
        train_sft(examples, base=tiny, out=tiny, config=SftConfig(), device="cpu")
    with pytest.raises(ConfigError, match="max_steps"):
        train_sft(examples, base=tiny, out=tmp_path / "out", config=SftConfig(max_steps=0), device="cpu")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file"):
        train_sft(examples, base=tiny, out=tmp_path / "file", config=SftConfig(), device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_precision_without_a_gpu() -> None:
    assert Precision.of("auto", "auto", adapters_only=True) == Precision(cpu=True, weights="float32")
    assert Precision.of("cpu", "bfloat16", adapters_only=False) == Precision(cpu=True, weights="float32", bf16=True)
    with pytest.raises(ConfigError, match="there is no cuda device here"):
        Precision.of("cuda", "auto", adapters_only=False)
    with pytest.raises(ConfigError, match="float16 needs a CUDA device"):
        Precision.of("cpu", "float16", adapters_only=False)


def test_scoring_says_what_it_cannot_score(tiny: Path, pairs: list[TrainingPair], tmp_path: Path) -> None:
    with pytest.raises(ModelSpecError, match="is not a reward model"):
        score_responses(tiny, [conversation("hi")])
    config = RewardConfig(**FAST)
    result = train_reward(pairs, base=tiny, out=tmp_path / "out", config=config, device="cpu")
    with pytest.raises(InputError, match="conversation 1 has 202 tokens; the reward model reads at most 128"):
        score_responses(result.path, [conversation("hi"), conversation("a" * 200)])
    assert score_responses(result.path, []) == []


def test_the_private_methods_that_are_overridden_are_still_there() -> None:
    from trl import DPOTrainer, RewardTrainer, SFTTrainer

    for trainer in (SFTTrainer, RewardTrainer, DPOTrainer):
        assert callable(trainer._send_telemetry)
        assert callable(trainer.create_model_card)
    assert callable(DPOTrainer._prepare_dataset)
