"""A reward model as a judge: a folder that ``raif train reward`` made, or any sequence classifier with one label.

It gives a conversation a number, read at its last token, and answers no questions: there is nothing to generate, and
nothing to offer. Conversations are right-padded, as they were when it was trained.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from raif.errors import ModelError, ModelSpecError
from raif.models.base import (
    Completion,
    Deliver,
    Failure,
    GenerateRequest,
    ModelInfo,
    RateRequest,
    Rating,
    ScoreRequest,
    Scores,
)
from raif.models.chat import ChatRefusedError
from raif.models.loading import Loaded, load, quiet, trust
from raif.models.locate import locate
from raif.models.worker import Caller, work
from raif.records import Conversation


class RewardModel:
    """See the module. Build it with ``open``."""

    def __init__(self, loaded: Loaded, batch_size: int) -> None:
        self._loaded: Loaded | None = loaded
        info = loaded.info
        self._info = ModelInfo(info.spec, info.identity, info.details, rates=True)
        self._batch_size = batch_size
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raif-reward")

    @classmethod
    def open(
        cls,
        target: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 32,
        trust_remote_code: bool = False,
    ) -> RewardModel:
        """Open a folder or a Hub id; see ``raif.models.loading.load`` for the arguments.

        Raises:
            ModelSpecError: it can't be opened, or is no reward model.
        """
        spec, place = f"reward:{target}", locate(target)
        with quiet():
            _check(spec, place, trust_remote_code)
        loaded = load(
            target,
            spec=spec,
            name=f"reward:{Path(place).name if Path(place).is_dir() else place}",
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            kind_of_model=AutoModelForSequenceClassification,
        )
        return cls(loaded, batch_size)

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        """Raises ModelSpecError: it has no words."""
        self._refuse()

    async def score(self, requests: Sequence[ScoreRequest], deliver: Deliver | None = None) -> list[Scores | Failure]:
        """Raises ModelSpecError: it answers no questions."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ModelSpecError(
            f"{self._info.spec} is a reward model: it rates responses and answers no questions, so it can judge in "
            "raif label and raif eval, and do nothing else"
        )

    async def rate(self, requests: Sequence[RateRequest], deliver: Deliver | None = None) -> list[Rating | Failure]:
        """One reward or failure a request, in order.

        Raises:
            ModelError: the model broke as a whole (out of memory, rewards that are not numbers), or is closed.
        """
        if self._loaded is None:
            raise ModelError(f"{self._info.spec} is closed")
        loaded = self._loaded
        return await work(self._worker, lambda caller: self._rate(loaded, requests, caller), deliver)

    async def close(self) -> None:
        """Free the weights, once what is running has ended."""
        self._loaded = None
        await asyncio.to_thread(self._worker.shutdown)

    def _rate(self, loaded: Loaded, requests: Sequence[RateRequest], caller: Caller) -> list[Rating | Failure]:
        rows = [self._encode(loaded, request.messages) for request in requests]
        found: dict[int, Rating | Failure] = {i: row for i, row in enumerate(rows) if isinstance(row, Failure)}
        caller.give(found.items())
        encoded = {i: row for i, row in enumerate(rows) if not isinstance(row, Failure)}
        order = sorted(encoded, key=lambda i: (len(encoded[i]), i))
        for start in range(0, len(order), self._batch_size):
            caller.check()
            batch = order[start : start + self._batch_size]
            rewards = self._rewards(loaded, [encoded[i] for i in batch])
            made = {i: Rating(value, len(encoded[i])) for i, value in zip(batch, rewards, strict=True)}
            found.update(made)
            caller.give(made.items())
        return [found[i] for i in range(len(requests))]

    def _encode(self, loaded: Loaded, messages: Conversation) -> list[int] | Failure:
        try:
            ids = loaded.chat.encode(messages, prompt=False)
        except ChatRefusedError as error:
            return Failure("request_error", str(error))
        if loaded.context is not None and len(ids) > loaded.context:
            detail = f"a conversation of {len(ids)} tokens; the model's context has {loaded.context}"
            return Failure("too_long", detail)
        return ids

    def _rewards(self, loaded: Loaded, rows: Sequence[list[int]]) -> list[float]:
        """The rewards of one batch of token rows."""
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), loaded.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[place, : len(row)] = 1
        try:
            with torch.inference_mode():
                logits = loaded.model(
                    input_ids=ids.to(loaded.device), attention_mask=mask.to(loaded.device), use_cache=False
                ).logits
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{self._info.spec} ran out of memory with batch_size {self._batch_size}; set a smaller batch_size"
            ) from error
        except (RuntimeError, IndexError) as error:
            raise ModelError(f"{self._info.spec} failed: {str(error).splitlines()[0]}") from error
        rewards: list[float] = logits[:, 0].float().cpu().tolist()
        if any(reward != reward for reward in rewards):
            raise ModelError(f"{self._info.spec}: the rewards are not numbers; open it with dtype float32")
        return rewards


def _check(spec: str, place: str, trust_remote_code: bool) -> None:
    """Refuse what was not trained to rate: opened as a reward model it would get a random head."""
    try:
        config: Any = AutoConfig.from_pretrained(place, **trust(trust_remote_code))
    except Exception:  # transformers raises whatever its parts raise; ``load`` meets it again, and words it
        return
    if config.num_labels != 1 or not any("SequenceClass" in name for name in config.architectures or ()):
        raise ModelSpecError(f"{spec} is not a reward model; raif train reward makes one")
