"""Which form of the protocol a server understands, learned from what it refuses. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

TOP = 20
"""Tokens whose log-probabilities are asked for: the most that the protocol allows."""

_NO = re.compile(
    r"support|not (?:allowed|available|permitted)|unknown|unrecogni[sz]ed|unexpected|extra (?:inputs|fields)|invalid",
    re.IGNORECASE,
)
_AT_MOST = re.compile(
    r"(?:at most|no more than|less than or equal to|<=|≤|up to|maximum (?:value )?(?:is|of|allowed is)"
    r"|max(?:imum)?(?: allowed)?(?: is| of)?:?|between \d+ and|\[0, ?|range \d+ ?(?:to|-))\s*(\d+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How requests to one server are written."""

    limit_key: str = "max_tokens"
    """Reasoning models of OpenAI's want ``max_completion_tokens``."""
    top_logprobs: int = TOP
    """0: the server tells no log-probabilities."""
    seed: bool = True
    whole: int | None = None
    """The ``top_k`` that cuts nothing, where leaving it out would mean the model's own default (vLLM: -1)."""

    def scoring(self, votes: int, vote_tokens: int) -> str:
        """How answers are scored, for the cache's key and the manifest."""
        if self.top_logprobs == 0:
            return f"votes:{votes}" + ("" if vote_tokens == VOTE_TOKENS else f"x{vote_tokens}")
        return "logprobs" if self.top_logprobs == TOP else f"logprobs:{self.top_logprobs}"


VOTE_TOKENS = 16
"""Tokens of a vote unless the configuration says otherwise."""


def adapted(dialect: Dialect, message: str) -> Dialect | None:
    """The dialect to try after a request was refused with ``message``; None where the message asks for no other."""
    text = message.lower()
    if "max_completion_tokens" in text and dialect.limit_key == "max_tokens":
        return replace(dialect, limit_key="max_completion_tokens")
    if "logprob" in text and dialect.top_logprobs:
        limits = [int(number) for number in _AT_MOST.findall(text)]
        fewer = [limit for limit in limits if limit < dialect.top_logprobs]
        if fewer:
            return replace(dialect, top_logprobs=max(fewer))
        if _NO.search(text):
            return replace(dialect, top_logprobs=0)
    if "seed" in text and dialect.seed and _NO.search(text):
        return replace(dialect, seed=False)
    return None
