"""A tiny model whose tokens are characters, and a task that it learns in seconds: say again what the user says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from raif.records import Message, TrainingPair, conversation
from raif.train.data import SftExample

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
"""Tokens 0 to 4; space is 5, a is 6, b is 7 …"""


def make_character_model(folder: Path, *, pad: str | None = "<|pad|>", template: str | None = TEMPLATE) -> Path:
    """A random Llama of about 20,000 parameters and 128 positions. With ``pad`` None there is no such token."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = SPECIAL if pad else ["<|begin|>", *SPECIAL[1:]]
    letters = [*special, *" abcdefghijklmnopqrstuvwxyz0123456789.?!"]
    tokens = Tokenizer(models.WordLevel({token: index for index, token in enumerate(letters)}, unk_token=" "))
    tokens.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<|end|>", pad_token=pad)
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.chat_template = template
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=128,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def character_model() -> Callable[..., Path]:
    return make_character_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_character_model(tmp_path_factory.mktemp("tiny") / "model")


def answer(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


@pytest.fixture(scope="session")
def examples() -> list[SftExample]:
    """32 requests, and the answer that repeats them."""
    return [
        SftExample(prompt=conversation(f"say {x}{y}"), completion=f"{x}{y}.", source="revision")
        for x, y in product("abcd", "efghijkl")
    ]


@pytest.fixture(scope="session")
def pairs() -> list[TrainingPair]:
    """32 requests, the polite answer chosen over the rude one, which is the longer of the two half of the time."""
    return [
        TrainingPair(
            prompt=conversation(f"say {x}{y}"),
            chosen=answer(f"{x}{y} please." if y < "i" else f"{x}{y}."),
            rejected=answer(f"{x}{y}!" if y < "i" else f"{x}{y} at once!"),
            p_chosen=0.9,
        )
        for x, y in product("abcd", "efghijkl")
    ]
