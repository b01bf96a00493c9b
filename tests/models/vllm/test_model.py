"""The model in front of an engine that answers by rule: what it is asked, and how its answers are read.

The real engine's turn is in ``tests/real_vllm``.
"""

from __future__ import annotations

import asyncio
import io
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raif.errors import ModelError, ModelSpecError
from raif.models.base import (
    ChatModel,
    Completion,
    Failure,
    GenerateRequest,
    ModelInfo,
    Sampling,
    ScoreRequest,
    Scores,
    Starter,
)
from raif.models.loading import end_ids, load_chat
from raif.models.sampling import stream_seed
from raif.models.vllm import VllmModel
from raif.models.vllm.start import Running
from raif.records import conversation

HELLO = conversation("Hello")


class Engine:
    """Answers each step with everything that was asked: ``made`` for completions, one probability for each answer."""

    def __init__(self) -> None:
        self.model_config = SimpleNamespace(max_model_len=100)
        self.engine_core = SimpleNamespace(shutdown=lambda: self.asked.append("shutdown"))
        self.asked: list[Any] = []
        self.waiting: list[tuple[str, list[int], Any]] = []
        self.made: list[int] = []
        self.probability: Callable[[int], float] = lambda token: 0.01
        self.error: Exception | None = None

    def add_request(self, request_id: str, prompt: Any, params: Any) -> None:
        self.asked.append(params)
        self.waiting.append((request_id, prompt["prompt_token_ids"], params))

    def abort_request(self, request_ids: list[str]) -> None:
        self.waiting = [one for one in self.waiting if one[0] not in request_ids]

    def step(self) -> list[Any]:
        if self.error:
            raise self.error
        waiting, self.waiting = self.waiting, []
        return [self.output(*one) for one in waiting]

    def output(self, name: str, ids: list[int], params: Any) -> Any:
        wanted = getattr(params, "logprob_token_ids", None)
        if wanted:
            known = {token: SimpleNamespace(logprob=math.log(self.probability(token))) for token in [*wanted, 0]}
            made = SimpleNamespace(finish_reason="length", token_ids=[0], logprobs=[known])
        else:
            reason = "length" if len(self.made) >= params.max_tokens else "stop"
            made = SimpleNamespace(finish_reason=reason, token_ids=self.made[: params.max_tokens])
        return SimpleNamespace(request_id=name, finished=True, prompt_token_ids=ids, outputs=[made])


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def model(engine: Engine, tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[VllmModel]:
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(SamplingParams=SimpleNamespace))
    config, chat = load_chat(str(tiny("qwen2")), "vllm:tiny", False)
    guard = SimpleNamespace(kill=lambda: engine.asked.append("unguarded"), communicate=lambda: None)
    log = io.BytesIO(b"(Worker pid=7) ERROR: ValueError: no more memory\n")
    model = VllmModel(
        ModelInfo("vllm:tiny", "vllm:tiny@1"),
        chat,
        vocabulary_size=config.vocab_size,
        ends=end_ids(config, None, chat),
        starter=lambda: Running(engine, log, [], guard),
    )
    yield model
    asyncio.run(model.close())


def test_it_is_a_chat_model_that_starts_once_when_asked_and_says_so(model: VllmModel) -> None:
    assert isinstance(model, ChatModel)
    assert isinstance(model, Starter)
    notes: list[str] = []
    model._on_note = notes.append
    assert model._engine is None
    asyncio.run(model.start())
    started = model._engine
    assert started is not None
    asyncio.run(model.start())
    asyncio.run(model.score([ScoreRequest(HELLO, ("A", "B"))]))
    assert model._engine is started
    assert notes == ["starting vLLM for vllm:tiny"]


def test_a_completion_ends_where_the_model_ends_it(model: VllmModel, engine: Engine) -> None:
    ids = model._chat.tokenizer("Mix flour", add_special_tokens=False)["input_ids"]
    engine.made = [*ids, model._chat.tokenizer.eos_token_id]
    request = GenerateRequest(HELLO, Sampling(temperature=0.5, top_p=0.9, top_k=7, max_tokens=50, seed=3), sample=2)
    (made,) = asyncio.run(model.generate([request]))
    assert isinstance(made, Completion)
    assert (made.text, made.finish, made.completion_tokens) == ("Mix flour", "stop", len(ids) + 1)
    assert made.prompt_tokens == len(model._chat.encode(HELLO))
    asked = engine.asked[0]
    assert (asked.temperature, asked.top_p, asked.top_k, asked.max_tokens) == (0.5, 0.9, 7, 50)
    assert asked.seed == stream_seed(request)
    assert model._chat.tokenizer.eos_token_id in asked.stop_token_ids


def test_a_completion_is_cut_at_max_tokens_and_at_the_context(model: VllmModel, engine: Engine) -> None:
    word = model._chat.tokenizer("bread", add_special_tokens=False)["input_ids"][0]
    engine.made = [word] * 300
    sampling = [Sampling(temperature=0, top_p=0.5, top_k=3, max_tokens=number) for number in (4, 500)]
    short, long = asyncio.run(model.generate([GenerateRequest(HELLO, one) for one in sampling]))
    assert (short.finish, short.completion_tokens) == ("length", 4)
    assert long.completion_tokens == 100 - long.prompt_tokens  # the context holds 100
    assert (engine.asked[0].top_p, engine.asked[0].top_k) == (1.0, 0)  # greedy: nothing to cut


def test_a_prompt_that_leaves_no_room_fails_alone(model: VllmModel) -> None:
    asked = [ScoreRequest(conversation(text), ("A", "B")) for text in ("Hello", "bread " * 200, "Hello")]
    delivered: list[tuple[int, Any]] = []

    async def ask() -> list[Scores | Failure]:
        return await model.score(asked, lambda index, result: delivered.append((index, result)))

    results = asyncio.run(ask())
    assert [type(result) for result in results] == [Scores, Failure, Scores]
    assert results[1].kind == "too_long"
    assert sorted(delivered, key=lambda one: one[0]) == list(enumerate(results))


@pytest.mark.parametrize("most", [128, 2])
def test_an_answer_s_probability_adds_up_what_begins_it(
    model: VllmModel, engine: Engine, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("raif.models.vllm.model.MOST_LOGPROBS", most)
    first, second = model._answers(("A", "B"))
    assert len(first) > 1
    engine.probability = lambda token: 0.02 if token in first else 0.001
    (scores,) = asyncio.run(model.score([ScoreRequest(HELLO, ("A", "B"))]))
    assert scores.probabilities == pytest.approx((0.02 * len(first), 0.001 * len(second)))
    assert len(engine.asked) == math.ceil((len(first) + len(second)) / most)
    assert all(len(params.logprob_token_ids) <= most for params in engine.asked)


def test_answers_that_begin_alike_are_named(model: VllmModel) -> None:
    with pytest.raises(ModelSpecError, match="'1' and '10' can't be told apart"):
        asyncio.run(model.score([ScoreRequest(HELLO, ("1", "10"))]))


def test_logits_that_are_no_numbers_are_an_error(model: VllmModel, engine: Engine) -> None:
    engine.probability = lambda token: math.nan
    with pytest.raises(ModelError, match="are not numbers; open it with dtype float32"):
        asyncio.run(model.score([ScoreRequest(HELLO, ("A", "B"))]))


def test_a_dead_engine_s_own_words_are_the_reason(model: VllmModel, engine: Engine) -> None:
    engine.error = RuntimeError("EngineCore died. See stack trace above.")
    with pytest.raises(ModelError, match=r"^vllm:tiny: vLLM failed: no more memory$"):
        asyncio.run(model.generate([GenerateRequest(HELLO, Sampling())]))


def test_closing_ends_the_engine_once_and_for_all(model: VllmModel, engine: Engine) -> None:
    asyncio.run(model.generate([GenerateRequest(HELLO, Sampling())]))
    engine.asked.clear()
    asyncio.run(model.close())
    asyncio.run(model.close())
    assert engine.asked == ["shutdown", "unguarded"]
    with pytest.raises(ModelError, match="vllm:tiny is closed"):
        asyncio.run(model.score([ScoreRequest(HELLO, ("A", "B"))]))
