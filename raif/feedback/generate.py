"""A policy's answers to prompts."""

from __future__ import annotations

from collections.abc import Sequence

from raif.config import GenerateConfig
from raif.models.base import ChatModel, Failure, GenerateRequest, Sampling
from raif.records import Prompt, Response


async def generate(
    prompts: Sequence[Prompt], policy: ChatModel, config: GenerateConfig, *, seed: int
) -> list[Response]:
    """``config.samples`` responses for each prompt, prompt by prompt. A failed one says why and has no text."""
    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens, seed=seed)
    asked = [(prompt, sample) for prompt in prompts for sample in range(config.samples)]
    answers = await policy.generate([GenerateRequest(prompt.messages, sampling, sample) for prompt, sample in asked])
    responses = []
    for (prompt, sample), answer in zip(asked, answers, strict=True):
        failure = answer.kind if isinstance(answer, Failure) else None if answer.text else "empty"
        responses.append(
            Response(
                prompt_id=prompt.id,
                prompt=prompt.messages,
                model=policy.info.identity,
                sample=sample,
                text="" if isinstance(answer, Failure) else answer.text,
                finish=None if isinstance(answer, Failure) else answer.finish,
                failure=failure,
            )
        )
    return responses
