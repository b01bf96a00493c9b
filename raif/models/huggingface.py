"""Any transformers causal language model with a chat template, in this process.

Requests for completions are grouped by how they are drawn, sorted by length, and run in left-padded batches; requests
for scores share their beginnings where the model allows it (``scoring``). All of it runs on one worker thread, so that
the event loop stays free and Ctrl-C is heard. A result depends on its own request alone (``sampling``) up to the
rounding of floating-point sums, which differs with the shape of a batch: about 1e-6 in float32.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from raif.errors import ModelError
from raif.models.base import Completion, Deliver, Failure, GenerateRequest, ModelInfo, ScoreRequest, Scores
from raif.models.batching import batches, pad
from raif.models.chat import ChatRefusedError
from raif.models.choices import AnswerTokens
from raif.models.loading import Loaded, load
from raif.models.sampling import RowStreams, stream_seed
from raif.models.scoring import Scorer, with_way
from raif.models.worker import Caller, work
from raif.records import Conversation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What requests must have in common to be drawn in one batch."""

    temperature: float
    top_k: int
    top_p: float
    max_tokens: int


class _Stopped(StoppingCriteria):
    """Ends all rows once the caller has gone."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.stop.is_set(), dtype=torch.bool, device=input_ids.device)


class HuggingFaceModel:
    """See the module. Build it with ``open``."""

    def __init__(self, loaded: Loaded, batch_size: int) -> None:
        self._loaded: Loaded | None = loaded
        self._scorer: Scorer | None = Scorer(loaded, batch_size)
        self._info, self._batch_size = with_way(loaded.info, self._scorer.way), batch_size
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raif-model")
        self._answers = AnswerTokens(loaded.chat, loaded.vocabulary_size)

    @classmethod
    def open(
        cls,
        target: str,
        *,
        spec: str | None = None,
        name: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 32,
        trust_remote_code: bool = False,
    ) -> HuggingFaceModel:
        """Open a folder or a Hub id; see ``raif.models.loading.load`` for the arguments.

        Raises:
            ModelSpecError: it can't be opened.
        """
        spec = spec or f"hf:{target}"
        loaded = load(target, spec=spec, name=name, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        return cls(loaded, batch_size)

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        """One completion or failure a request, in order, delivered batch by batch.

        Raises:
            ModelError: the model broke as a whole (out of memory, logits that are not numbers), or is closed.
        """
        return await self._on_worker(lambda caller: self._generate(requests, caller), deliver)

    async def score(self, requests: Sequence[ScoreRequest], deliver: Deliver | None = None) -> list[Scores | Failure]:
        """One set of scores or a failure a request, in order, delivered pass by pass.

        Raises:
            ModelSpecError: offered answers that this model's tokenizer can't tell apart.
            ModelError: as for ``generate``.
        """
        return await self._on_worker(lambda caller: self._score(requests, caller), deliver)

    async def close(self) -> None:
        """Free the weights, once what is running has ended."""
        if self._loaded is None:
            return
        self._loaded = self._scorer = None
        await asyncio.to_thread(self._worker.shutdown)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    async def _on_worker(self, action: Callable[[Caller], T], deliver: Deliver | None) -> T:
        self._open()
        return await work(self._worker, lambda caller: self._guarded(action, caller), deliver)

    def _guarded(self, action: Callable[[Caller], T], caller: Caller) -> T:
        try:
            with torch.inference_mode():
                return action(caller)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{self._info.spec} ran out of memory with batch_size {self._batch_size}; set a smaller batch_size"
            ) from error
        except (RuntimeError, IndexError) as error:
            raise ModelError(f"{self._info.spec} failed: {str(error).splitlines()[0]}") from error

    def _open(self) -> Loaded:
        if self._loaded is None:
            raise ModelError(f"{self._info.spec} is closed")
        return self._loaded

    def _reader(self) -> Scorer:
        if self._scorer is None:
            raise ModelError(f"{self._info.spec} is closed")
        return self._scorer

    def _encode(self, messages: Conversation, room: int) -> list[int] | Failure:
        """The prompt's ids, or why there is no prompt that leaves ``room`` tokens of the context."""
        loaded = self._open()
        try:
            ids = loaded.chat.encode(messages)
        except ChatRefusedError as error:
            return Failure("request_error", str(error))
        if loaded.context is not None and len(ids) + room > loaded.context:
            return Failure("too_long", f"a prompt of {len(ids)} tokens; the model's context has {loaded.context}")
        return ids

    def _generate(self, requests: Sequence[GenerateRequest], caller: Caller) -> list[Completion | Failure]:
        loaded = self._open()
        results: dict[int, Completion | Failure] = {}
        groups: dict[_Drawn, dict[int, list[int]]] = defaultdict(dict)
        for index, request in enumerate(requests):
            ids = self._encode(request.messages, room=1)
            if isinstance(ids, Failure):
                results[index] = ids
                continue
            s = request.sampling
            room = s.max_tokens if loaded.context is None else min(s.max_tokens, loaded.context - len(ids))
            greedy = s.temperature == 0
            drawn = _Drawn(s.temperature, 0 if greedy else s.top_k, 1.0 if greedy else s.top_p, room)
            groups[drawn][index] = ids
        caller.give(results.items())
        for drawn, prompts in groups.items():
            for batch in batches(prompts, self._batch_size):
                caller.check()
                seeds = [stream_seed(requests[index]) for index in batch]
                made = dict(zip(batch, self._draw([prompts[i] for i in batch], seeds, drawn, caller.stop), strict=True))
                caller.check()
                results.update(made)
                caller.give(made.items())
        return [results[index] for index in range(len(requests))]

    def _draw(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], drawn: _Drawn, stop: threading.Event
    ) -> list[Completion]:
        """One batch of completions."""
        loaded = self._open()
        ids, mask = pad(prompts, loaded)
        streams = RowStreams(
            seeds, temperature=drawn.temperature, top_k=drawn.top_k, top_p=drawn.top_p, device=loaded.device
        )
        output = loaded.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=GenerationConfig(
                do_sample=False,  # the streams' noise makes the argmax a sample
                num_beams=1,
                max_new_tokens=drawn.max_tokens,
                eos_token_id=list(loaded.end_ids) or None,
                pad_token_id=loaded.pad_id,
                use_cache=True,
            ),
            logits_processor=LogitsProcessorList([streams]),
            stopping_criteria=StoppingCriteriaList([_Stopped(stop)]),
        )
        made = output[:, ids.shape[1] :].tolist()
        return [self._completion(row, len(prompt)) for row, prompt in zip(made, prompts, strict=True)]

    def _completion(self, ids: list[int], prompt_tokens: int) -> Completion:
        loaded = self._open()
        end = next((i for i, token in enumerate(ids) if token in loaded.end_ids), None)
        finish: Literal["stop", "length"] = "length" if end is None else "stop"
        text = loaded.chat.decode(ids[:end])
        return Completion(text, finish, prompt_tokens, len(ids) if end is None else end + 1)

    def _score(self, requests: Sequence[ScoreRequest], caller: Caller) -> list[Scores | Failure]:
        results: dict[int, Scores | Failure] = {}
        prompts: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            self._answers(request.choices)
            ids = self._encode(request.messages, room=0)
            if isinstance(ids, Failure):
                results[index] = ids
            else:
                prompts[index] = ids
        caller.give(results.items())
        caller.check()
        for part, last in self._reader().distributions(prompts):
            made: dict[int, Scores | Failure] = {}
            for row, index in zip(last, part, strict=True):
                mass = (row[list(ids)].sum().item() for ids in self._answers(requests[index].choices))
                made[index] = Scores(tuple(min(1.0, p) for p in mass), len(prompts[index]))
            results.update(made)
            caller.give(made.items())
            caller.check()
        return [results[index] for index in range(len(requests))]
