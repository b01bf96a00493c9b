"""The demo models' tokenizer: byte-level BPE trained on the demo world's own prompts, with a minimal chat template."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, END, USER, ASSISTANT, SYSTEM = SPECIAL = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
ANSWERS = ("A", "B", "TIE", "YES", "NO", *"123456789")

# A tag is one piece, so are the newlines between pieces: a prompt cut after a tag tokenises as its two halves do, which
# is what lets several questions share one prefix.
_PIECES = r"</?[a-z_]+>|\n+| ?\p{L}+(?:'\p{L}+)?|\p{N}| ?[^\s\p{L}\p{N}<]+|<|\s"

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == "assistant" -%}
{{- "<|assistant|>" -}}{% generation %}{{- message.content + "<|end|>" -}}{% endgeneration %}
{%- elif message.role == "system" -%}
{{- "<|system|>" + message.content + "<|end|>" -}}
{%- else -%}
{{- "<|user|>" + message.content + "<|end|>" -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- "<|assistant|>" -}}
{%- endif -%}
"""


def train_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of ``size`` tokens; every byte is one of them, so nothing maps to an unknown token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.model_max_length = 4096
    for answer in ANSWERS:
        if len(fast.encode(answer)) != 1:
            raise ValueError(
                f"the answer {answer!r} must be one token: {fast.convert_ids_to_tokens(fast(answer).input_ids)}"
            )
    return fast


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """The id of one token."""
    found = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(found, int):
        raise TypeError(f"{token!r} is not one token")
    return found


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The tokenizer's files, sorted and without machine paths."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(path.read_text())
    for key in ("name_or_path", "backend", "is_local", "local_files_only"):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
