"""The same question, the same answer: ``hf:``, ``vllm:`` and ``openai:`` in front of a real vLLM server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from raif.config import LabelConfig
from raif.constitution import load_constitution
from raif.feedback.label import label
from raif.models.base import ChatModel
from raif.models.registry import open_model
from raif.prompts import PromptLibrary
from raif.records import Comparison, Preference

TOLERANCE = 1e-4
"""0.02 is promised. In float32 only the order of the sums differs, about 1e-6; one bfloat16 among them costs 0.02."""


def judged(judge: str | ChatModel, comparisons: list[Comparison], constitution: Path) -> list[Preference]:
    """The comparisons, labelled in both orders under all principles, in float32 and from no cache."""

    async def ask() -> list[Preference]:
        model = open_model(judge, dtype="float32") if isinstance(judge, str) else judge
        principles = load_constitution(constitution)
        try:
            return await label(comparisons, model, principles, PromptLibrary({}), LabelConfig(), seed=0)
        finally:
            if model is not judge:
                await model.close()

    return asyncio.run(ask())


def apart(left: list[Preference], right: list[Preference]) -> tuple[float, float, float]:
    """The greatest differences in ``p_a``, in any judgement's ``p_a``, and in the mass of the offered answers."""
    whole, single, mass = [], [], []
    for one, other in zip(left, right, strict=True):
        assert one.comparison == other.comparison
        assert one.p_a is not None
        assert other.p_a is not None
        whole.append(abs(one.p_a - other.p_a))
        for mine, theirs in zip(one.judgements, other.judgements, strict=True):
            assert (mine.order, mine.principle_id) == (theirs.order, theirs.principle_id)
            assert mine.failure is theirs.failure is None
            assert mine.p_a is not None
            assert theirs.p_a is not None
            single.append(abs(mine.p_a - theirs.p_a))
            mass.append(abs((mine.mass or 0) - (theirs.mass or 0)))
    return max(whole), max(single), max(mass)


@pytest.fixture(scope="module")
def answers(
    judge: Path, engine: ChatModel, server: str, comparisons: list[Comparison], project: Path
) -> dict[str, list[Preference]]:
    judges = {"hf": f"hf:{judge}", "vllm": engine, "openai": f"openai:judge@{server}"}
    constitution = project / "constitution" / "demo.yaml"
    return {name: judged(one, comparisons, constitution) for name, one in judges.items()}


@pytest.mark.parametrize(("one", "other"), [("hf", "vllm"), ("hf", "openai"), ("vllm", "openai")])
def test_they_agree(answers: dict[str, list[Preference]], one: str, other: str, record_property) -> None:
    assert len(answers[one]) == 200
    whole, single, mass = apart(answers[one], answers[other])
    record_property("apart", (whole, single, mass))
    print(f"\n{one} and {other}: p_a {whole:.1e}, a judgement {single:.1e}, mass {mass:.1e} apart at most")
    assert whole <= TOLERANCE
    assert single <= TOLERANCE
    assert mass <= TOLERANCE


def test_the_comparisons_are_not_all_alike(answers: dict[str, list[Preference]]) -> None:
    """Agreement on judgements that all say one half, or one and zero, would show nothing."""
    p = [judgement.p_a for preference in answers["hf"] for judgement in preference.judgements]
    assert sum(value is not None and value < 0.3 for value in p) > 100
    assert sum(value is not None and value > 0.7 for value in p) > 100
    assert len({preference.judge for found in answers.values() for preference in found[:1]}) == 3  # a cache key each
