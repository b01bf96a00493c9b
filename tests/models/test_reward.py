"""A reward model as a judge: its rewards are those it was trained to give, and it does nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from raif.cache import CompletionCache
from raif.config import LabelConfig
from raif.constitution import load_constitution
from raif.errors import ModelError, ModelSpecError
from raif.feedback.label import label
from raif.feedback.reading import logistic
from raif.models.base import Failure, GenerateRequest, Rater, RateRequest, Rating, Sampling, ScoreRequest
from raif.models.registry import model_path, open_model, parse_spec
from raif.models.reward import RewardModel
from raif.prompts import PromptLibrary
from raif.records import Comparison, Conversation, Message, conversation
from raif.train.scoring import score_responses
from support.tiny import CONTEXT, make_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny reward model with random weights."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    place = tmp_path_factory.mktemp("reward")
    base = make_tiny_model(place / "base", "qwen2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
        torch.nn.init.normal_(model.score.weight, std=0.3)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(place / "reward")
    tokenizer.save_pretrained(place / "reward")
    return place


def asked(*texts: str) -> list[Conversation]:
    return [(*conversation("Which bread?"), Message(role="assistant", content=text)) for text in texts]


def test_rewards_are_those_that_it_was_trained_to_give(folder: Path) -> None:
    turns = asked("Rye.", "I won't help with that.", "Mix flour, water, salt and yeast, and wait.", "Rye.")
    wanted = score_responses(folder / "reward", turns)
    assert len(set(wanted)) == 3
    for batch_size in (1, 3):
        model = open_model(f"reward:{folder / 'reward'}", batch_size=batch_size)
        found = asyncio.run(model.rate([RateRequest(one) for one in turns]))
        assert [one.value for one in found if isinstance(one, Rating)] == pytest.approx(wanted, abs=1e-5)
        assert all(one.prompt_tokens > 0 for one in found)


def test_it_is_metered_cached_and_asked_nothing_twice(folder: Path, tmp_path: Path) -> None:
    requests = [RateRequest(one) for one in asked("Rye.", "Oats.", "Rye.")]
    results = []
    for hits in (1, 3):
        cache = CompletionCache(tmp_path / "cache.sqlite")
        model = open_model(f"reward:{folder / 'reward'}", cache=cache)
        results.append(asyncio.run(model.rate(requests)))
        cache.close()
        assert (model.usage.requests, model.usage.cache_hits) == (3, hits)
    assert results[0] == results[1]


def test_results_are_delivered_as_they_come(folder: Path) -> None:
    model = RewardModel.open(str(folder / "reward"), batch_size=1)
    assert isinstance(model, Rater)
    assert model.info.rates
    assert model.info.identity.startswith("reward:reward@")
    heard: dict[int, object] = {}
    requests = [RateRequest(one) for one in asked("Rye.", "Oats and rye.")]
    assert asyncio.run(model.rate(requests, heard.__setitem__)) == [heard[0], heard[1]]


def test_what_is_too_long_fails_alone(folder: Path) -> None:
    model = open_model(f"reward:{folder / 'reward'}")
    long, short = asyncio.run(model.rate([RateRequest(one) for one in asked("bread " * CONTEXT, "Rye.")]))
    assert isinstance(long, Failure)
    assert (long.kind, "context has 256" in long.detail) == ("too_long", True)
    assert isinstance(short, Rating)


def test_it_judges_by_the_difference_of_its_rewards(folder: Path) -> None:
    one, two = score_responses(folder / "reward", asked("Rye.", "Oats."))
    compared = Comparison(prompt=conversation("Which bread?"), response_a="Rye.", response_b="Oats.", source="file")
    model = open_model(f"reward:{folder / 'reward'}")
    config = LabelConfig(tie_margin=0.0)
    (made,) = asyncio.run(label([compared], model, load_constitution(None), PromptLibrary(), config, seed=0))
    assert made.p_a == pytest.approx(logistic(one - two), abs=1e-5)
    assert made.judge == model.info.identity


def test_it_answers_no_questions(folder: Path) -> None:
    model = open_model(f"reward:{folder / 'reward'}")
    for call in (
        model.generate([GenerateRequest(conversation("Hello?"), Sampling())]),
        model.score([ScoreRequest(conversation("Hello?"), ("A", "B"))]),
    ):
        with pytest.raises(ModelSpecError, match="is a reward model: it rates responses and answers no questions"):
            asyncio.run(call)


def test_other_models_give_no_rewards(folder: Path) -> None:
    model = open_model(f"hf:{folder / 'base'}")
    with pytest.raises(ModelSpecError, match="gives no rewards; name a reward model with reward:PATH"):
        asyncio.run(model.rate([RateRequest(one) for one in asked("Rye.")]))


def test_a_closed_one_says_so(folder: Path) -> None:
    model = RewardModel.open(str(folder / "reward"))

    async def close_twice_and_ask() -> None:
        await model.close()
        await model.close()
        await model.rate([RateRequest(one) for one in asked("Rye.")])

    with pytest.raises(ModelError, match="is closed"):
        asyncio.run(close_twice_and_ask())


def test_what_is_no_reward_model_is_refused(folder: Path) -> None:
    with pytest.raises(ModelSpecError, match="is not a reward model; raif train reward makes one"):
        open_model(f"reward:{folder / 'base'}")
    with pytest.raises(ModelSpecError, match="there is no such folder"):
        open_model(f"reward:{folder / 'nowhere'}")
    with pytest.raises(ModelSpecError, match="can't be trained: a reward model rates"):
        model_path(f"reward:{folder / 'reward'}")
    assert (parse_spec("reward:x").backend, str(parse_spec("reward:x"))) == ("reward", "reward:x")
