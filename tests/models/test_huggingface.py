"""Real neural models, tiny and random: what they say must not depend on who else is asked."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from raif.errors import ConfigError, ModelError, ModelSpecError
from raif.models import scoring
from raif.models.base import ChatModel, Completion, Failure, GenerateRequest, Sampling, ScoreRequest, Scores
from raif.models.huggingface import HuggingFaceModel
from raif.models.middleware import CachedModel
from raif.models.scoring import with_way
from raif.models.tree import fewest_tokens
from raif.records import Message, conversation
from support.tiny import ARCHITECTURES, CONTEXT

GREEDY = Sampling(temperature=0.0, max_tokens=10)
PROMPTS = [
    "A or B?",
    "Which response is better, A or B? " * 3,
    "",
    "How do I bake bread at home?",
    "Mix flour. " * 7,
    "x",
]


def opened(folder: Path, **options: object) -> HuggingFaceModel:
    return HuggingFaceModel.open(str(folder), device="cpu", **options)


def generate(model: HuggingFaceModel, *requests: GenerateRequest) -> list[Completion | Failure]:
    return asyncio.run(model.generate(requests))


def score(model: HuggingFaceModel, *requests: ScoreRequest) -> list[Scores | Failure]:
    return asyncio.run(model.score(requests))


def asked(text: str, sampling: Sampling = GREEDY, sample: int = 0) -> GenerateRequest:
    return GenerateRequest(conversation(text), sampling, sample)


def by_hand(model: HuggingFaceModel, text: str, steps: int) -> list[int]:
    """The greedy tokens of a prompt, one whole forward pass each: no padding, no cache, no generate."""
    loaded = model._loaded
    ids = loaded.chat.encode(conversation(text))
    start = len(ids)
    with torch.inference_mode():
        for _ in range(steps):
            ids.append(int(loaded.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[start:]


@pytest.fixture(params=ARCHITECTURES)
def model(request, tiny) -> HuggingFaceModel:
    return opened(tiny(request.param), batch_size=4)


def test_it_is_a_chat_model(model) -> None:
    assert isinstance(model, ChatModel)


def test_greedy_is_the_likeliest_token_again_and_again(model) -> None:
    for text, completion in zip(PROMPTS, generate(model, *map(asked, PROMPTS)), strict=True):
        tokens = by_hand(model, text, 10)
        if 2 in tokens:  # the end of a turn
            tokens = tokens[: tokens.index(2) + 1]
        assert completion.completion_tokens == len(tokens)
        assert completion.text == model._loaded.chat.decode([token for token in tokens if token != 2])
        assert completion.prompt_tokens == len(model._loaded.chat.encode(conversation(text)))


def test_a_completion_is_the_same_in_any_batch(model) -> None:
    sampling = Sampling(temperature=0.8, top_p=0.9, top_k=50, max_tokens=12, seed=4)
    requests = [asked(text, sampling, sample) for text in PROMPTS for sample in (0, 1)]
    together = generate(model, *requests)
    assert together == [generate(model, request)[0] for request in requests]
    assert together[::-1] == generate(model, *requests[::-1])
    assert generate(model, *requests[3:8]) == together[3:8]


def test_what_is_drawn_depends_on_seed_and_sample_and_on_no_global_state(model) -> None:
    def drawn(seed: int = 0, sample: int = 0) -> str:
        return generate(model, asked("Hi", Sampling(max_tokens=10, seed=seed), sample))[0].text

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = drawn()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert drawn() == first
    assert len({first, drawn(seed=1), drawn(sample=1)}) == 3


def test_requests_of_different_kinds_share_a_call(model) -> None:
    kinds = [GREEDY, Sampling(max_tokens=3), Sampling(temperature=0.5, max_tokens=6), Sampling(max_tokens=6, top_k=1)]
    requests = [asked(text, kind) for text in PROMPTS[:2] for kind in kinds]
    assert generate(model, *requests) == [generate(model, request)[0] for request in requests]
    # One token to choose from is a greedy choice.
    assert generate(model, asked("Hi", kinds[3])) == generate(
        model, asked("Hi", Sampling(temperature=0.0, max_tokens=6))
    )


def test_scores_are_the_mass_of_the_tokens_that_begin_an_answer(model) -> None:
    choices = ("A", "B", "TIE")
    loaded = model._loaded
    results = score(model, *(ScoreRequest(conversation(text), choices) for text in PROMPTS))
    vocabulary = [loaded.chat.tokenizer.decode([i]) for i in range(len(loaded.chat.tokenizer))]
    for text, result in zip(PROMPTS, results, strict=True):
        ids = loaded.chat.encode(conversation(text))
        with torch.inference_mode():
            p = loaded.model(torch.tensor([ids])).logits[0, -1].softmax(dim=-1).tolist()
        # Said plainly for these answers: the token, less white space, is the answer, or a beginning of TIE.
        expected = [
            sum(q for q, token in zip(p, vocabulary, strict=True) if token.lstrip() in begun)
            for begun in ({"A", "A.", "A)", "A,"}, {"B", "B.", "B)", "B?"}, {"T", "TI", "TIE"})
        ]
        assert result.probabilities == pytest.approx(expected, abs=1e-6)
        assert 0 < result.mass <= 1
        assert result.prompt_tokens == len(ids)


def test_scores_are_the_same_in_any_batch(model) -> None:
    requests = [ScoreRequest(conversation(text), c) for text in PROMPTS for c in (("A", "B"), ("yes", "no"))]
    together = score(model, *requests)
    assert score(model, *requests) == together
    for request, result in zip(requests, together, strict=True):
        assert score(model, request)[0].probabilities == pytest.approx(result.probabilities, abs=1e-5)
    assert len({result.probabilities for result in together}) == len(requests)


def test_a_comparison_s_questions_share_what_they_have_in_common(model) -> None:
    head = "Which response is better, A or B? " * 2
    texts = [
        f"{head}{first} {second} Principle: {principle}"
        for first, second in (("Mix flour.", "I won't help."), ("I won't help.", "Mix flour."))
        for principle in ("kinder", "shorter and kinder", "no harm")
    ]
    requests = [ScoreRequest(conversation(text), ("A", "B")) for text in texts]
    tokens: list[int] = []
    hook = model._loaded.model.register_forward_pre_hook(
        lambda _, __, arguments: tokens.append(arguments["input_ids"].numel()), with_kwargs=True
    )
    shared = score(model, *requests)
    assert tokens == [fewest_tokens([model._loaded.chat.encode(request.messages) for request in requests])]
    assert model.info.details["prefixes"] == "tree"
    model._scorer.way = "plain"
    plain = score(model, *requests)
    hook.remove()
    assert sum(tokens[1:]) > 2 * tokens[0]
    for one, other in zip(shared, plain, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert one.prompt_tokens == other.prompt_tokens
    assert len({one.probabilities for one in shared}) == len(requests)


def test_how_it_is_scored_is_no_part_of_the_key(model) -> None:
    request = ScoreRequest(conversation("?"), ("A", "B"))
    key = CachedModel(model).key("score", request)
    model._info = with_way(model.info, "plain")
    assert model.info.details["prefixes"] == "plain"
    assert CachedModel(model).key("score", request) == key


def test_a_letter_is_found_however_the_tokenizer_writes_it(tiny) -> None:
    for architecture, spellings in (("llama", {"▁A", "A"}), ("qwen2", {"ĠA", "A"})):
        model = opened(tiny(architecture))
        score(model, ScoreRequest(conversation("?"), ("A", "B")))
        ids = model._answers(("A", "B"))[0]
        assert spellings <= set(model._loaded.chat.tokenizer.convert_ids_to_tokens(list(ids)))


def test_tokens_that_the_model_has_no_row_for_are_left_alone(tiny_copy) -> None:
    folder = tiny_copy("qwen2")
    requests = [asked(text) for text in PROMPTS]
    plain = generate(opened(folder), *requests)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<|nowhere|>"})
    tokenizer.add_tokens(["Awful"])
    tokenizer.save_pretrained(folder)
    model = opened(folder)
    assert generate(model, *requests) == plain
    assert isinstance(score(model, ScoreRequest(conversation("?"), ("A", "B")))[0], Scores)
    with pytest.raises(ModelSpecError, match="no token that begins the offered answer 'Ж'"):
        score(model, ScoreRequest(conversation("?"), ("A", "Ж")))


def test_answers_that_begin_alike_are_named(model) -> None:
    with pytest.raises(ModelSpecError, match="'1' and '10' can't be told apart"):
        score(model, ScoreRequest(conversation("?"), tuple(map(str, range(1, 11)))))
    assert isinstance(score(model, ScoreRequest(conversation("?"), tuple("123456789")))[0], Scores)


def test_the_end_and_the_cut(tiny_copy) -> None:
    folder = tiny_copy("qwen2")
    tokens = by_hand(opened(folder), "Hi", 8)
    end = next(i for i in range(2, 8) if tokens[i] not in tokens[:i])
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, tokens[end]]}))
    model = opened(folder)
    stopped, cut = generate(
        model, asked("Hi", Sampling(temperature=0, max_tokens=8)), asked("Hi", Sampling(temperature=0, max_tokens=end))
    )
    text = model._loaded.chat.decode(tokens[:end])
    prompt = len(model._loaded.chat.encode(conversation("Hi")))
    assert stopped == Completion(text, "stop", prompt, end + 1)
    assert cut == Completion(text, "length", prompt, end)


def test_what_the_repository_recommends_does_not_leak_in(tiny_copy) -> None:
    folder = tiny_copy("llama")
    requests = [asked("Hi"), asked("Hi", Sampling(max_tokens=10))]
    model = opened(folder)
    plain = generate(model, *requests)
    first = by_hand(model, "Hi", 1)  # what a greedy completion begins with, which this advice would forbid
    advice = {"do_sample": True, "temperature": 9.0, "repetition_penalty": 5.0, "suppress_tokens": first}
    (folder / "generation_config.json").write_text(json.dumps(advice))
    assert generate(opened(folder), *requests) == plain


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_context_is_kept_to(tiny, architecture: str) -> None:
    model = opened(tiny(architecture))
    length = len(model._loaded.chat.encode(conversation("")))
    word = next(w for w in (" A", "A") if len(model._loaded.chat.encode(conversation(w * 9))) == length + 9)

    def filled(tokens: int) -> str:
        text = word * (tokens - length)
        assert len(model._loaded.chat.encode(conversation(text))) == tokens
        return text

    sampling = Sampling(max_tokens=20)
    short, room, full, over = generate(
        model,
        asked("Hi", sampling),
        asked(filled(CONTEXT - 5), sampling),
        asked(filled(CONTEXT), sampling),
        asked(filled(CONTEXT + 1), sampling),
    )
    assert short == generate(model, asked("Hi", sampling))[0]
    assert room.completion_tokens <= 5
    assert full.kind == over.kind == "too_long"
    last, beyond = score(model, *(ScoreRequest(conversation(filled(n)), ("A", "B")) for n in (CONTEXT, CONTEXT + 1)))
    assert isinstance(last, Scores)
    assert isinstance(beyond, Failure)
    assert beyond.kind == "too_long"


def test_one_refused_conversation_costs_its_neighbours_nothing(tiny) -> None:
    model = opened(tiny("llama"))
    twice = (Message(role="user", content="Hi"), Message(role="user", content="Hello?"))
    refused, kept = generate(model, GenerateRequest(twice, GREEDY), asked("Hi"))
    assert refused.kind == "request_error"
    assert "must alternate" in refused.detail
    assert kept == generate(model, asked("Hi"))[0]
    assert score(model, ScoreRequest(twice, ("A", "B")))[0].kind == "request_error"


def test_no_requests_no_results(tiny) -> None:
    model = opened(tiny("llama"))
    assert generate(model) == []
    assert score(model) == []


def test_logits_that_are_not_numbers_break_the_model(tiny) -> None:
    model = opened(tiny("llama"))
    with torch.no_grad():
        model._loaded.model.lm_head.weight.fill_(torch.nan)
    for call in (
        lambda: generate(model, asked("Hi")),
        lambda: score(model, ScoreRequest(conversation("?"), ("A", "B"))),
    ):
        with pytest.raises(ModelError, match="not numbers"):
            call()


def test_a_model_that_breaks_says_so_in_one_line(tiny, monkeypatch) -> None:
    model = opened(tiny("llama"), batch_size=7)

    def full(**_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nMore lines")

    monkeypatch.setattr(model._loaded.model, "generate", full)
    with pytest.raises(ModelError, match=r"ran out of memory with batch_size 7; set a smaller batch_size$"):
        generate(model, asked("Hi"))


@pytest.mark.parametrize("method", ["score", "generate"])
def test_results_are_delivered_pass_by_pass(tiny, monkeypatch, method: str) -> None:
    monkeypatch.setattr(scoring, "LEAST_ROW", 0)
    model = opened(tiny("llama"), batch_size=1)
    texts = [f"{number}{' A or B?' * 12}" for number in range(5)]  # too long for two of them to share a row of 128
    requests = [
        ScoreRequest(conversation(text), ("A", "B")) if method == "score" else asked(text, Sampling(max_tokens=4))
        for text in [*texts, "A " * CONTEXT]
    ]
    ask = getattr(model, method)
    came: dict[int, object] = {}

    def deliver(index: int, result: object) -> None:
        assert index not in came
        came[index] = result

    results = asyncio.run(ask(requests, deliver))
    assert [came[index] for index in range(6)] == results == asyncio.run(ask(requests))
    assert next(iter(came)) == 5  # it is too long, which is known before any pass
    assert results[5].kind == "too_long"

    passes, seen = [], []

    def slow(*_: object) -> None:
        passes.append(1)
        time.sleep(0.05)

    def refuse(index: int, result: object) -> None:
        seen.append(index)
        if len(seen) == 2:
            raise ConfigError("enough")

    hook = model._loaded.model.register_forward_pre_hook(slow)
    with pytest.raises(ConfigError, match="enough"):
        asyncio.run(ask(requests, refuse))
    hook.remove()
    assert len(seen) == 2
    assert len(passes) <= (2 if method == "score" else 8)  # the second had begun, no third: at most 4 a completion
    assert asyncio.run(ask(requests)) == results


def test_concurrent_calls_wait_for_each_other(tiny) -> None:
    model = opened(tiny("llama"))
    requests = [asked(text, Sampling(max_tokens=8)) for text in PROMPTS]

    async def at_once() -> list[list[Completion | Failure]]:
        return await asyncio.gather(*(model.generate([request]) for request in requests))

    assert [result for (result,) in asyncio.run(at_once())] == generate(model, *requests)


def test_a_cancelled_call_stops_the_work_and_the_model_can_be_closed(tiny) -> None:
    model = opened(tiny("llama"), batch_size=1)
    requests = [asked(f"Hi {i}", Sampling(max_tokens=200)) for i in range(400)]  # minutes of work

    async def cancelled() -> float:
        task = asyncio.create_task(model.generate(requests))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        begun = time.perf_counter()
        await model.generate([asked("Hi", Sampling(max_tokens=1))])  # waits for the worker
        waited = time.perf_counter() - begun
        await model.close()
        await model.close()
        return waited

    assert asyncio.run(cancelled()) < 10
    with pytest.raises(ModelError, match="is closed"):
        generate(model, asked("Hi"))
