"""Any transformers causal language model with a chat template, in this process.

Requests are grouped by how they are drawn, sorted by length, and run in left-padded batches on one worker thread, so
that the event loop stays free and Ctrl-C is heard. A completion depends on its own request alone (``sampling``) up to
the rounding of floating-point sums, which differs with the shape of a batch: about 1e-6 in float32.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from raif.errors import ModelError
from raif.models.base import Completion, Failure, GenerateRequest, ModelInfo, ScoreRequest, Scores
from raif.models.chat import ChatRefusedError
from raif.models.choices import answer_tokens, check_choices, check_tokens
from raif.models.loading import Loaded, load
from raif.models.sampling import RowStreams, stream_seed
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
        self._info, self._batch_size = loaded.info, batch_size
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raif-model")
        self._vocabulary: dict[int, str] | None = None
        self._answers: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}
        self._accepts = frozenset(inspect.signature(loaded.model.forward).parameters)

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

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """One completion or failure a request, in order.

        Raises:
            ModelError: the model broke as a whole (out of memory, logits that are not numbers), or is closed.
        """
        return await self._on_worker(lambda stop: self._generate(requests, stop))

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores | Failure]:
        """One set of scores or a failure a request, in order.

        Raises:
            ModelSpecError: offered answers that this model's tokenizer can't tell apart.
            ModelError: as for ``generate``.
        """
        return await self._on_worker(lambda stop: self._score(requests, stop))

    async def close(self) -> None:
        """Free the weights, once what is running has ended."""
        if self._loaded is None:
            return
        self._loaded = None
        await asyncio.to_thread(self._worker.shutdown)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    async def _on_worker(self, action: Callable[[threading.Event], T]) -> T:
        if self._loaded is None:
            raise ModelError(f"{self._info.spec} is closed")
        stop = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, self._guarded, action, stop)
        finally:
            stop.set()  # the caller was cancelled: the worker has no one left to work for

    def _guarded(self, action: Callable[[threading.Event], T], stop: threading.Event) -> T:
        try:
            with torch.inference_mode():
                return action(stop)
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

    def _batches(self, prompts: dict[int, list[int]]) -> Iterator[list[int]]:
        """The keys of ``prompts`` in batches, sorted by length so that little is spent on padding."""
        order = sorted(prompts, key=lambda index: (len(prompts[index]), index))
        for start in range(0, len(order), self._batch_size):
            yield order[start : start + self._batch_size]

    def _pad(self, prompts: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompts as ids and mask, both [B, T], padded on the left so that all end together."""
        loaded = self._open()
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), loaded.pad_id, dtype=torch.long)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt, dtype=torch.long)
            mask[row, width - len(prompt) :] = 1
        return ids.to(loaded.device), mask.to(loaded.device)

    def _generate(self, requests: Sequence[GenerateRequest], stop: threading.Event) -> list[Completion | Failure]:
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
        for drawn, prompts in groups.items():
            for batch in self._batches(prompts):
                seeds = [stream_seed(requests[index]) for index in batch]
                made = self._draw([prompts[index] for index in batch], seeds, drawn, stop)
                results.update(zip(batch, made, strict=True))
                if stop.is_set():
                    raise ModelError("stopped")
        return [results[index] for index in range(len(requests))]

    def _draw(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], drawn: _Drawn, stop: threading.Event
    ) -> list[Completion]:
        """One batch of completions."""
        loaded = self._open()
        ids, mask = self._pad(prompts)
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

    def _score(self, requests: Sequence[ScoreRequest], stop: threading.Event) -> list[Scores | Failure]:
        results: dict[int, Scores | Failure] = {}
        prompts: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            self._answer_ids(request.choices)
            ids = self._encode(request.messages, room=0)
            if isinstance(ids, Failure):
                results[index] = ids
            else:
                prompts[index] = ids
        for batch in self._batches(prompts):
            if stop.is_set():
                raise ModelError("stopped")
            last = self._last_probabilities([prompts[index] for index in batch])
            for row, index in enumerate(batch):
                mass = (last[row, list(ids)].sum().item() for ids in self._answer_ids(requests[index].choices))
                results[index] = Scores(tuple(min(1.0, p) for p in mass), len(prompts[index]))
        return [results[index] for index in range(len(requests))]

    def _last_probabilities(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """The distribution over the token that follows each prompt: float32 on the CPU, [B, V]."""
        loaded = self._open()
        ids, mask = self._pad(prompts)
        arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        if "position_ids" in self._accepts:
            arguments["position_ids"] = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        if "logits_to_keep" in self._accepts:
            arguments["logits_to_keep"] = 1
        logits = loaded.model(**arguments).logits[:, -1].float()
        if torch.isnan(logits).any():
            raise ModelError(f"{self._info.spec}: the logits are not numbers; open it with dtype float32")
        probabilities: torch.Tensor = logits.softmax(dim=-1).cpu()
        return probabilities

    def _answer_ids(self, choices: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        """For each choice, the tokens that begin it alone; worked out once for each set of choices."""
        if choices not in self._answers:
            check_choices(choices)
            loaded = self._open()
            if self._vocabulary is None:
                self._vocabulary = loaded.chat.vocabulary(loaded.vocabulary_size)
            vocabulary = self._vocabulary
            tokens = answer_tokens(vocabulary, choices)
            own = [loaded.chat.first_token(choice, vocabulary) for choice in choices]
            check_tokens(choices, tokens, own, vocabulary)
            self._answers[choices] = tokens
        return self._answers[choices]
