"""Using a reward model: conversations in, one number each out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raif.errors import InputError, ModelSpecError
from raif.records import Conversation
from raif.train.quiet import quiet
from raif.train.tokens import render


def score_responses(
    path: Path | str,
    conversations: Sequence[Conversation],
    *,
    batch_size: int = 32,
    device: str = "auto",
    dtype: str = "float32",
    trust_remote_code: bool = False,
) -> list[float]:
    """The rewards of conversations that end with an assistant's turn, in order. Higher is better; zero means nothing.

    Raises:
        ModelSpecError: ``path`` is no reward model.
        InputError: a conversation is longer than the model's positions, or its chat template refuses it.
    """
    import torch
    from jinja2 import TemplateError
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    with quiet():
        try:
            config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
            if config.num_labels != 1 or not any("SequenceClass" in name for name in config.architectures or ()):
                raise ModelSpecError("is not a reward model; raif train reward makes one", path=path)
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
            model = AutoModelForSequenceClassification.from_pretrained(
                path, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError) as error:
            raise ModelSpecError(f"can't be opened: {str(error).splitlines()[0]}", path=path) from error
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        limit = getattr(config.get_text_config(), "max_position_embeddings", None)
        rows = []
        for index, conversation in enumerate(conversations):
            try:
                ids = render(tokenizer, conversation)
            except TemplateError as error:
                raise InputError(f"conversation {index}: the chat template refuses it: {error}") from error
            if limit and len(ids) > limit:
                raise InputError(f"conversation {index} has {len(ids)} tokens; the reward model reads at most {limit}")
            rows.append(ids)
        with torch.inference_mode():
            return scores(model.to(device).eval(), rows, tokenizer.pad_token_id, batch_size=batch_size)


def scores(model: Any, rows: Sequence[list[int]], pad: int, *, batch_size: int = 32) -> list[float]:
    """The rewards of token rows, in order. Batches are of like lengths and padded on the right."""
    import torch

    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    found = [0.0] * len(rows)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        width = max(len(rows[index]) for index in batch)
        ids = torch.full((len(batch), width), pad, device=model.device)
        mask = torch.zeros((len(batch), width), dtype=torch.long, device=model.device)
        for place, index in enumerate(batch):
            length = len(rows[index])
            ids[place, :length] = torch.tensor(rows[index], device=model.device)
            mask[place, :length] = 1
        rewards = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, 0].float()
        for index, reward in zip(batch, rewards.tolist(), strict=True):
            found[index] = reward
    return found
