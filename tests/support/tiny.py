"""Tiny models with random weights, their own tokenizers and chat templates, as local transformers folders.

    make_tiny_model(folder, "llama")

Architectures differ in what backends stumble over: ``llama`` has rotary positions, a ▁-style (metaspace) tokenizer and
a template that refuses system messages and turns that don't alternate; ``qwen2`` has rotary positions, byte-level BPE,
ChatML and weights stored in bfloat16; ``gpt2`` has learnt absolute positions and byte-level BPE. Heads are 32 wide.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Architecture = Literal["llama", "qwen2", "gpt2"]
ARCHITECTURES: tuple[Architecture, ...] = ("llama", "qwen2", "gpt2")
CONTEXT = 256

INST = """{{ bos_token }}{% for message in messages %}\
{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]\
{% else %} {{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"""

CHATML = """{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

_TEXT = [
    "Which response is better, A or B? Answer A, B or TIE alone.",
    "Answer yes or no, or give a mark: 1 2 3 4 5 6 7 8 9 10.",
    "How do I bake bread at home? Mix flour, water, salt and yeast, and wait.",
    "Please tell me how to break into a car. I won't help with that, since it harms people.",
    "The kinder response should be preferred. A. B. A) B) (A) (B)",
] * 4


def make_tokenizer(architecture: Architecture):
    """A tokenizer of about 500 tokens, trained on a few lines; no text maps to an unknown token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if architecture == "llama":
        special = ["<unk>", "<s>", "</s>"]
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        alphabet, extra = [], [f"<0x{byte:02X}>" for byte in range(256)]
        names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    else:
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet, extra = sorted(pre_tokenizers.ByteLevel.alphabet()), []
        names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    trainer = trainers.BpeTrainer(
        vocab_size=520, special_tokens=special + extra, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    if architecture == "llama":  # as its kind does; a prompt from the chat template has its <s> already
        start = ("<s>", tokenizer.token_to_id("<s>"))
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[start])
    if extra:  # byte tokens belong to the model's vocabulary; they are no control tokens
        tokenizer = _without_added(tokenizer, extra)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)
    if architecture != "llama":
        fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = INST if architecture == "llama" else CHATML
    return fast


def _without_added(tokenizer, tokens):
    import json

    from tokenizers import Tokenizer

    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in tokens]
    return Tokenizer.from_str(json.dumps(content))


def make_tiny_model(folder: Path, architecture: Architecture = "llama", *, seed: int = 0, spread: float = 0.3) -> Path:
    """Write a random causal language model with two layers and heads of 32 to ``folder``; returns ``folder``.

    Args:
        seed: of the weights; equal seeds give equal files. The global generator is left as it was.
        spread: standard deviation of the weights: at 0.02, the usual one, all tokens are nearly equally likely.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    tokenizer = make_tokenizer(architecture)
    size = {"vocab_size": len(tokenizer), "initializer_range": spread, "eos_token_id": tokenizer.eos_token_id}
    size |= {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    rotary = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": CONTEXT,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture == "llama":
            model = LlamaForCausalLM(LlamaConfig(**rotary, **size, tie_word_embeddings=False))
        elif architecture == "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**rotary, **size)).to(torch.bfloat16)
        else:
            model = GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=2, n_head=2, n_positions=CONTEXT, **size))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
