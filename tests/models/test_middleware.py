"""The cache in front of a model: what is asked, what is kept, and what it is counted as."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from raif.cache import CompletionCache
from raif.errors import CapReached, ModelError, StoreError
from raif.models.base import (
    ChatModel,
    Completion,
    Deliver,
    Failure,
    GenerateRequest,
    ModelInfo,
    Sampling,
    ScoreRequest,
    Scores,
)
from raif.models.budget import Budget
from raif.models.commits import GROUP_SECONDS
from raif.models.middleware import CachedModel, Usage, decode_result, encode_result
from raif.models.scripted import ScriptedModel
from raif.records import conversation


class Counting(ScriptedModel):
    """Answers with the prompt and the number of the call, and remembers what it was asked."""

    def __init__(self, name: str = "counting", **details: str) -> None:
        super().__init__(self.answer, info=ModelInfo("scripted:counting", name, details))
        self.batches: list[int] = []
        self.asked = 0

    def answer(self, request: GenerateRequest | ScoreRequest) -> object:
        self.asked += 1
        text = request.messages[-1].content
        if text.startswith("fail "):
            return Failure(text.removeprefix("fail "), "as told", 2, 1)
        return {"A": 0.1 + 0.2} if isinstance(request, ScoreRequest) else f"{text} {self.asked}"

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        self.batches.append(len(requests))
        return await super().generate(requests, deliver)


@pytest.fixture
def cache(tmp_path: Path):
    with CompletionCache(tmp_path / "cache.sqlite3") as opened:
        yield opened


def asked(text: str, sample: int = 0, **sampling: object) -> GenerateRequest:
    return GenerateRequest(conversation(text), Sampling(**sampling), sample)


def texts(model: CachedModel, *requests: GenerateRequest) -> list[str]:
    return [result.text for result in asyncio.run(model.generate(requests))]


def test_it_is_a_chat_model() -> None:
    model = Counting()
    cached = CachedModel(model)
    assert isinstance(cached, ChatModel)
    assert cached.info is model.info


def test_what_is_known_is_not_asked_again(cache) -> None:
    inner = Counting()
    assert texts(CachedModel(inner, cache), asked("a"), asked("b")) == ["a 1", "b 2"]
    assert texts(CachedModel(inner, cache), asked("c"), asked("b"), asked("a")) == ["c 3", "b 2", "a 1"]
    assert inner.batches == [2, 1]


def test_nothing_new_asks_nothing(cache) -> None:
    inner = Counting()
    model = CachedModel(inner, cache)
    texts(model, asked("a"))
    texts(model, asked("a"))
    assert texts(model) == []
    assert inner.batches == [1]


@pytest.mark.parametrize("remember", [True, False])
def test_a_request_made_twice_in_a_call_is_asked_once(cache, remember: bool) -> None:
    inner = Counting()
    model = CachedModel(inner, cache if remember else None)
    assert texts(model, asked("a"), asked("b"), asked("a")) == ["a 1", "b 2", "a 1"]
    assert inner.batches == [2]


def test_without_a_cache_nothing_is_remembered() -> None:
    inner = Counting()
    model = CachedModel(inner)
    assert texts(model, asked("a")) + texts(model, asked("a")) == ["a 1", "a 2"]


def test_everything_that_an_answer_depends_on_is_in_the_key() -> None:
    base = asked("a")
    variants = [
        asked("b"),
        asked("a", sample=1),
        asked("a", temperature=0.5),
        asked("a", top_p=0.5),
        asked("a", top_k=5),
        asked("a", max_tokens=5),
        asked("a", seed=5),
        replace(base, messages=(*base.messages, *base.messages)),
    ]
    model = CachedModel(Counting())
    keys = [model.key("generate", request) for request in (base, *variants)]
    keys += [model.key("score", ScoreRequest(base.messages, choices)) for choices in (("A", "B"), ("B", "A"))]
    keys += [CachedModel(Counting(name)).key("generate", base) for name in ("other", "hf:counting")]
    keys += [CachedModel(Counting(dtype=dtype)).key("generate", base) for dtype in ("float32", "bfloat16")]
    assert len(set(keys)) == len(keys) == 15
    assert {len(key) for key in keys} == {32}


def test_where_a_model_lies_and_runs_is_not_in_the_key() -> None:
    one, two = Counting(path="/a", device="cpu", threads="1"), Counting(path="/b", device="cuda", threads="2")
    assert CachedModel(one).key("generate", asked("a")) == CachedModel(two).key("generate", asked("a"))


def test_scores_come_back_bit_for_bit(cache) -> None:
    model = CachedModel(Counting(), cache)
    request = ScoreRequest(conversation("?"), ("B", "A"))
    first = asyncio.run(model.score([request]))
    assert first == asyncio.run(model.score([request])) == [Scores((0.0, 0.30000000000000004), 1)]
    assert model.usage.cache_hits == 1


@pytest.mark.parametrize(
    ("kind", "kept"), [("request_error", False), ("truncated", True), ("too_long", True), ("refusal", True)]
)
def test_a_failure_is_kept_unless_it_may_pass(cache, kind: str, kept: bool) -> None:
    inner = Counting()
    model = CachedModel(inner, cache)
    first = asyncio.run(model.generate([asked(f"fail {kind}"), asked("a")]))
    assert first == asyncio.run(model.generate([asked(f"fail {kind}"), asked("a")]))
    assert first[0] == Failure(kind, "as told", 2, 1)
    assert inner.asked == (2 if kept else 3)


def test_what_was_made_is_committed_before_it_is_returned(cache, tmp_path: Path) -> None:
    texts(CachedModel(Counting(), cache), asked("a"), asked("b"))
    # Another connection, as after a kill: nothing was closed, and both are there.
    with CompletionCache(tmp_path / "cache.sqlite3") as other:
        inner = Counting()
        assert texts(CachedModel(inner, other), asked("b"), asked("a")) == ["b 2", "a 1"]
        assert inner.asked == 0


def test_all_of_a_call_is_kept_in_one_transaction() -> None:
    calls: list[int] = []

    class Memory:
        def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
            calls.append(-len(keys))
            return {}

        def put_many(self, items: Sequence[tuple[bytes, bytes]], *, model: str, kind: str) -> None:
            assert (model, kind) == (Counting().info.identity, "generate")
            calls.append(len(list(items)))

    texts(CachedModel(Counting(), Memory()), *(asked(str(i)) for i in range(5)))
    assert calls == [-5, 5]


class Streaming(Counting):
    """Answers one request each time it is let go, and gives up where a gate is shut."""

    def __init__(self, in_flight: int = 1) -> None:
        super().__init__()
        self._info = replace(self._info, in_flight=in_flight)
        self.gates: asyncio.Queue[bool] = asyncio.Queue()

    async def generate(
        self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
    ) -> list[Completion | Failure]:
        self.batches.append(len(requests))
        made: list[Completion | Failure] = []
        for index, request in enumerate(requests):
            if not await self.gates.get():
                raise ModelError("the server went away")
            made += await ScriptedModel.generate(self, [request])
            if deliver is not None:
                deliver(index, made[-1])
        return made


def test_results_are_committed_while_a_call_still_runs(cache, tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        inner = Streaming()
        model = CachedModel(inner, cache)
        call = asyncio.ensure_future(model.generate([asked(str(i)) for i in range(3)]))
        sizes = []
        for _ in range(2):
            inner.gates.put_nowait(True)
            await asyncio.sleep(3 * GROUP_SECONDS)  # no more than this for a result that nothing follows
            with CompletionCache(tmp_path / "cache.sqlite3") as other:
                sizes.append(len(other))
        assert model.usage.requests == 2
        inner.gates.put_nowait(False)
        with pytest.raises(ModelError, match="went away"):
            await call
        return [*sizes, len(cache), model.usage.requests]

    assert asyncio.run(scenario()) == [1, 2, 2, 2]


def test_rows_of_a_batch_are_kept_all_or_none(cache) -> None:
    async def scenario() -> None:
        inner = Streaming(in_flight=0)
        for open_gate in (True, True, False):
            inner.gates.put_nowait(open_gate)
        with pytest.raises(ModelError, match="went away"):
            await CachedModel(inner, cache).generate([asked(str(i)) for i in range(3)])
        assert len(cache) == 0

    asyncio.run(scenario())


def test_two_calls_at_once_ask_what_they_share_once(cache) -> None:
    async def scenario() -> None:
        inner = Streaming()
        model = CachedModel(inner, cache)
        first = asyncio.ensure_future(model.generate([asked("a"), asked("b")]))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(model.generate([asked("b"), asked("c")]))
        for _ in range(3):
            inner.gates.put_nowait(True)
        texts = [[result.text for result in await call] for call in (first, second)]
        assert texts[0][1] == texts[1][0]
        assert inner.batches == [2, 1]
        assert (inner.asked, model.usage.requests, model.usage.cache_hits) == (3, 4, 1)

    asyncio.run(scenario())


def test_a_call_that_fails_fails_those_that_wait_for_it(cache) -> None:
    async def scenario() -> None:
        inner = Streaming()
        model = CachedModel(inner, cache)
        calls = [asyncio.ensure_future(model.generate([asked("a")])) for _ in range(2)]
        await asyncio.sleep(0)
        inner.gates.put_nowait(False)
        assert [type(error) for error in await asyncio.gather(*calls, return_exceptions=True)] == [ModelError] * 2
        inner.gates.put_nowait(True)  # and nothing of it stays behind
        assert len(await model.generate([asked("a")])) == 1

    asyncio.run(scenario())


def test_a_cap_on_requests_is_exact_and_keeps_what_was_answered(cache) -> None:
    inner = Counting()
    model = CachedModel(inner, cache, budget=Budget(max_requests=3))
    assert len(texts(model, asked("a"), asked("b"))) == 2
    with pytest.raises(CapReached, match="3 of 3 requests"):
        texts(model, asked("b"), asked("c"), asked("d"), asked("e"))
    assert (inner.asked, len(cache)) == (3, 3)
    # What is known is free: a spent budget still answers it.
    assert texts(model, asked("a"), asked("c")) == ["a 1", "c 3"]


def test_calls_that_wait_for_room_ask_what_they_share_once(cache) -> None:
    class Slow(Counting):
        async def generate(
            self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
        ) -> list[Completion | Failure]:
            await asyncio.sleep(0.001)
            return await super().generate(requests, deliver)

    async def scenario() -> None:
        inner = Slow()
        model = CachedModel(inner, cache, budget=Budget(max_tokens=10**6))
        requests = [asked(str(i)) for i in range(48)]
        # Eight at a time, as nobody knows at first what one costs, so that the calls wait for one another.
        one, two = await asyncio.gather(model.generate(requests[:32]), model.generate(requests[16:]))
        assert [answer.text.split()[0] for answer in one + two] == [str(i) for i in (*range(32), *range(16, 48))]
        assert one[16:] == two[:16]
        assert (inner.asked, model.usage.requests, model.usage.cache_hits) == (48, 64, 16)

    asyncio.run(scenario())


def test_usage_counts_what_was_spent(cache) -> None:
    model = CachedModel(Counting(), cache)
    texts(model, asked("a b c"), asked("a b c"), asked("d"))
    # "a b c" has 3 words and its answer "a b c 1" has 4; "d" 1 and "d 2" 2. The repetition costs nothing.
    seconds = model.usage.seconds
    assert seconds > 0
    assert model.usage == Usage(3, 1, 0, 0, 4, 6, seconds)
    before = model.usage.copy()
    asyncio.run(model.generate([asked("d"), asked("fail too_long")]))
    spent = model.usage.since(before)
    assert replace(spent, seconds=0) == Usage(
        requests=2, cache_hits=1, failures=1, prompt_tokens=2, completion_tokens=1
    )
    before.add(spent)
    assert replace(before, seconds=0) == replace(model.usage, seconds=0)


def test_models_may_share_a_meter(cache) -> None:
    usage = Usage()
    for name in ("one", "two"):
        texts(CachedModel(Counting(name), cache, usage), asked("a"))
    assert (usage.requests, usage.cache_hits) == (2, 0)


def test_a_model_that_breaks_leaves_nothing_behind(cache) -> None:
    class Broken(ScriptedModel):
        async def generate(
            self, requests: Sequence[GenerateRequest], deliver: Deliver | None = None
        ) -> list[Completion | Failure]:
            raise ModelError("out of memory")

    with pytest.raises(ModelError, match="out of memory"):
        texts(CachedModel(Broken(str), cache), asked("a"))
    assert len(cache) == 0


def test_closing_closes_the_model_and_leaves_the_cache_open(cache) -> None:
    closed: list[bool] = []

    class Closing(Counting):
        async def close(self) -> None:
            closed.append(True)

    model = CachedModel(Closing(), cache)
    asyncio.run(model.close())
    assert closed == [True]
    assert cache.enabled


@pytest.mark.parametrize(
    "result",
    [
        Completion("a\n„ü“", "length", 3, 4),
        Scores((0.1 + 0.2, 0.0), 7),
        Failure("too_long", "why", 1, 2),
    ],
)
def test_a_result_comes_back_as_it_was(result: Completion | Scores | Failure) -> None:
    assert decode_result(encode_result(result)) == result


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"type":"completion"}', b'{"type":"other"}', b"\xff"])
def test_what_raif_did_not_write_is_refused(value: bytes) -> None:
    with pytest.raises(StoreError, match="an entry that raif did not write"):
        decode_result(value)
