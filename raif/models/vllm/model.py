"""A model in vLLM's engine: prompts share what they have in common by its prefix cache, batches never drain.

What is asked, and how an answer is read, is that of ``raif.models.huggingface``: the same token ids go in, encoded by
the same tokenizer and chat template, and the same tokens count as answers. The engine is started by the first request
that gets this far: where the cache knows all the answers, nobody waits for it.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from transformers import GenerationConfig

from raif.config import VllmConfig
from raif.errors import ModelError, RaifError
from raif.models.base import Completion, Deliver, Failure, GenerateRequest, ModelInfo, ScoreRequest, Scores
from raif.models.chat import ChatFormat, ChatRefusedError
from raif.models.choices import AnswerTokens
from raif.models.loading import choose_dtype, end_ids, load_chat, quiet
from raif.models.locate import locate
from raif.models.sampling import stream_seed
from raif.models.vllm.pump import Asking, Pump
from raif.models.vllm.start import Running, check_installed, choose_platform, start
from raif.models.worker import Caller, work
from raif.records import Conversation, digest

T = TypeVar("T")

IN_FLIGHT = 256
"""Comparisons that keep an engine busy; vLLM's own limit of sequences in a batch."""
MOST_LOGPROBS = 128
"""Tokens whose probability vLLM tells for one prompt; answers that begin with more of them are asked for in parts."""


@dataclass(frozen=True, slots=True)
class _Engine:
    """A running engine and the thread that feeds it."""

    running: Running
    pump: Pump
    context: int


class VllmModel:
    """See the module. Build it with ``open``."""

    def __init__(
        self,
        info: ModelInfo,
        chat: ChatFormat,
        *,
        vocabulary_size: int,
        ends: tuple[int, ...],
        starter: Callable[[], Running],
        on_note: Callable[[str], object] | None = None,
    ) -> None:
        self._info, self._chat, self._ends = info, chat, ends
        self._starter, self._on_note = starter, on_note
        self._answers = AnswerTokens(chat, vocabulary_size)
        self._callers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="raif-model")
        self._starting, self._encoding = threading.Lock(), threading.Lock()
        self._engine: _Engine | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        target: str,
        *,
        spec: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        trust_remote_code: bool = False,
        config: VllmConfig | None = None,
        on_note: Callable[[str], object] | None = None,
    ) -> VllmModel:
        """Open a folder or a Hub id. The weights are read by the first request.

        Args:
            spec: what the user wrote, for messages.
            device: ``auto``, or what this vLLM was built for.
            dtype: ``auto`` is bfloat16 on a GPU that computes in it, else float32, as for ``hf:``.
            config: how vLLM is started.
            on_note: told when that begins, on another thread: it takes a while.

        Raises:
            ModelSpecError: vLLM is not installed, or the model can't be opened.
        """
        spec, config = spec or f"vllm:{target}", config or VllmConfig()
        check_installed(spec)
        place = locate(target)
        where, version = choose_platform(spec, device)
        kind = str(choose_dtype(dtype, where)).removeprefix("torch.")
        with quiet():
            model_config, chat = load_chat(place, spec, trust_remote_code)
            try:
                generation = GenerationConfig.from_pretrained(place)
            except OSError:  # a model need not have one
                generation = None
        details = {
            "architecture": next(iter(getattr(model_config, "architectures", None) or ["unknown"])),
            "engine": f"vllm {version}",
            "dtype": kind,
            "device": where.type if where.type != "cuda" else f"cuda ({torch.cuda.get_device_name()})",
            "chat_template": digest(chat.source),
        }
        if config.max_model_len is not None:
            details["max_model_len"] = str(config.max_model_len)
        if config.tensor_parallel_size > 1:
            details["tensor_parallel_size"] = str(config.tensor_parallel_size)
        revision = None
        if Path(place).is_dir():
            from raif.manifest import weights_fingerprint

            fingerprint = weights_fingerprint(Path(place))
            details |= {"path": place, "fingerprint": fingerprint}
            identity = f"vllm:{Path(place).name}@{fingerprint[:8]}"
        else:
            revision = getattr(model_config, "_commit_hash", None)
            details["revision"] = revision or "unknown"
            identity = f"vllm:{place}@{details['revision']}"
        return cls(
            ModelInfo(spec, identity, details, in_flight=IN_FLIGHT),
            chat,
            vocabulary_size=model_config.get_text_config().vocab_size,
            ends=end_ids(model_config, generation, chat),
            starter=partial(
                start, place, spec, device=where, dtype=kind, revision=revision, trust=trust_remote_code, config=config
            ),
            on_note=on_note,
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def start(self) -> None:
        """Start the engine, where it is not yet running.

        Raises:
            ModelSpecError: it won't start.
            ModelError: the model is closed.
        """
        await self._on_thread(self._started, None)

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        """One completion or failure a request, in order, delivered one by one.

        Raises:
            ModelSpecError: the engine won't start.
            ModelError: it died, or is closed.
        """
        return await self._on_thread(lambda caller: self._generate(requests, caller), deliver)

    async def score(self, requests: Sequence[ScoreRequest], deliver: Deliver | None = None) -> list[Scores | Failure]:
        """One set of scores or a failure a request, in order, delivered one by one.

        Raises:
            ModelSpecError: offered answers that this model's tokenizer can't tell apart, or an engine that won't start.
            ModelError: as for ``generate``.
        """
        return await self._on_thread(lambda caller: self._score(requests, caller), deliver)

    async def close(self) -> None:
        """End the engine's process, once what is running has ended."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self._callers.shutdown()
        if self._engine is not None:
            self._engine.pump.close()
            self._engine.running.shutdown()
            self._engine = None

    async def _on_thread(self, action: Callable[[Caller], T], deliver: Deliver | None) -> T:
        self._check_open()
        return await work(self._callers, lambda caller: self._guarded(action, caller), deliver)

    def _guarded(self, action: Callable[[Caller], T], caller: Caller) -> T:
        try:
            return action(caller)
        except RaifError:
            raise
        except Exception as error:  # vLLM raises whatever its parts raise
            reason = self._engine.running.reason(error) if self._engine else str(error)
            raise ModelError(f"{self._info.spec}: vLLM failed: {reason}") from error

    def _check_open(self) -> None:
        if self._closed:
            raise ModelError(f"{self._info.spec} is closed")

    def _started(self, caller: Caller) -> _Engine:
        """The engine, started where it is not yet running."""
        with self._starting:
            caller.check()
            self._check_open()
            if self._engine is None:
                if self._on_note is not None:
                    self._on_note(f"starting vLLM for {self._info.spec}")
                running = self._starter()
                self._engine = _Engine(running, Pump(running.engine), int(running.engine.model_config.max_model_len))
            return self._engine

    def _encode(self, messages: Conversation, context: int) -> list[int] | Failure:
        """The prompt's ids, or why there is no prompt that leaves room for a token."""
        try:
            with self._encoding:
                ids = self._chat.encode(messages)
        except ChatRefusedError as error:
            return Failure("request_error", str(error))
        if len(ids) >= context:
            return Failure("too_long", f"a prompt of {len(ids)} tokens; the model's context has {context}")
        return ids

    def _generate(self, requests: Sequence[GenerateRequest], caller: Caller) -> list[Completion | Failure]:
        engine = self._started(caller)
        from vllm import SamplingParams  # noisy, until the engine is started

        asking = Asking(engine.pump, caller.stop)
        results: dict[int, Completion | Failure] = {}
        for index, request in enumerate(requests):
            ids = self._encode(request.messages, engine.context)
            if isinstance(ids, Failure):
                results[index] = ids
                caller.give([(index, ids)])
                continue
            sampling = request.sampling
            greedy = sampling.temperature == 0
            params = SamplingParams(
                temperature=sampling.temperature,
                top_p=1.0 if greedy else sampling.top_p,
                top_k=0 if greedy else sampling.top_k,
                max_tokens=min(sampling.max_tokens, engine.context - len(ids)),
                seed=stream_seed(request),
                stop_token_ids=list(self._ends),
                detokenize=False,
            )
            asking.ask(index, ids, params)
        for index, output in asking.answers():
            results[index] = self._completion(output)
            caller.give([(index, results[index])])
        return [results[index] for index in range(len(requests))]

    def _completion(self, output: Any) -> Completion:
        made = output.outputs[0]
        ids = list(made.token_ids)
        end = next((i for i, token in enumerate(ids) if token in self._ends), None)
        finish: Literal["stop", "length"] = "length" if made.finish_reason == "length" else "stop"
        with self._encoding:
            text = self._chat.decode(ids[:end])
        return Completion(text, finish, len(output.prompt_token_ids), len(ids) if end is None else end + 1)

    def _score(self, requests: Sequence[ScoreRequest], caller: Caller) -> list[Scores | Failure]:
        engine = self._started(caller)
        from vllm import SamplingParams  # noisy, until the engine is started

        asking = Asking(engine.pump, caller.stop)
        results: dict[int, Scores | Failure] = {}
        lengths: dict[int, int] = {}
        missing: dict[int, int] = {}
        found: dict[int, dict[int, float]] = {}
        for index, request in enumerate(requests):
            with self._encoding:
                tokens = sorted(token for ids in self._answers(request.choices) for token in ids)
            prompt = self._encode(request.messages, engine.context)
            if isinstance(prompt, Failure):
                results[index] = prompt
                caller.give([(index, prompt)])
                continue
            parts = [tokens[at : at + MOST_LOGPROBS] for at in range(0, len(tokens), MOST_LOGPROBS)]
            lengths[index], missing[index], found[index] = len(prompt), len(parts), {}
            for part in parts:
                params = SamplingParams(temperature=0.0, max_tokens=1, logprob_token_ids=part, detokenize=False)
                asking.ask(index, prompt, params)
        for index, output in asking.answers():
            found[index] |= {token: entry.logprob for token, entry in output.outputs[0].logprobs[0].items()}
            missing[index] -= 1
            if not missing[index]:
                results[index] = self._scores(requests[index].choices, found.pop(index), lengths[index])
                caller.give([(index, results[index])])
        return [results[index] for index in range(len(requests))]

    def _scores(self, choices: tuple[str, ...], logprobs: dict[int, float], prompt_tokens: int) -> Scores:
        if any(math.isnan(value) for value in logprobs.values()):
            raise ModelError(f"{self._info.spec}: the logits are not numbers; open it with dtype float32")
        mass = (sum(math.exp(logprobs[token]) for token in ids) for ids in self._answers(choices))
        return Scores(tuple(min(1.0, p) for p in mass), prompt_tokens)
