"""What a server can do, found out with two short requests before it is asked anything that counts.

How answers are scored enters the cache's key, so it has to be known before the first of them: a server that could
change its mind half way would leave scores of two kinds under one key.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import orjson

from raif.errors import ModelError, ModelSpecError
from raif.models.base import Failure
from raif.models.openai.dialect import Dialect
from raif.models.openai.exchanges import first_word, greeting
from raif.models.openai.pool import Pool
from raif.models.openai.wire import Target

BARE = 3
"""Replies without log-probabilities, one after another, that show a server to have none."""
_LISTED = 5  # served models that an error names
_LISTING = 10.0  # seconds: the list of models is a courtesy
_REFUSED = ("400", "404", "405", "413", "422")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """What a probe found: how to write requests, whether replies count tokens, and whose weights are served."""

    dialect: Dialect
    counts_tokens: bool
    root: str | None


async def probe(pool: Pool, target: Target, logprobs: str) -> Found:
    """Find out what the server behind ``pool`` can do.

    Args:
        logprobs: ``auto``, ``on`` (it has to tell them) or ``off`` (it is not asked for them).

    Raises:
        AbsentError: no server answers.
        ModelSpecError: it does not serve this model, or not in the way that was asked for.
        ModelError: it refuses the key, or does not answer so much as a short request.
    """
    entry = await _served(pool, target.model)
    if entry.get("owned_by") == "vllm":
        pool.dialect = replace(pool.dialect, whole=-1)
    place = pool.transport.address.place
    if logprobs == "off":
        pool.dialect = replace(pool.dialect, top_logprobs=0)
        answer: Any = (await pool.run([greeting(target)]))[0]
    else:
        for _ in range(BARE):
            answer = (await pool.run([first_word(target)]))[0]
            if not isinstance(answer, Failure) or answer.kind == "request_error" or not pool.dialect.top_logprobs:
                break
        if isinstance(answer, Failure) and answer.kind != "request_error":
            if logprobs == "on":
                raise ModelSpecError(
                    f"{target.model} at {place} tells no log-probabilities; set server.logprobs to auto or off, and "
                    "answers are scored by sampled votes"
                )
            pool.dialect = replace(pool.dialect, top_logprobs=0)
    if isinstance(answer, Failure) and answer.kind == "request_error":
        kind = ModelSpecError if answer.detail.startswith(_REFUSED) else ModelError
        raise kind(
            f"{target.model} at {place} does not answer a short request ({answer.detail}); check the model's name and "
            "the address, which usually ends in /v1"
        )
    root = entry.get("root")
    return Found(
        pool.dialect, answer.prompt_tokens > 0, root if isinstance(root, str) and root != target.model else None
    )


async def _served(pool: Pool, model: str) -> dict[str, Any]:
    """The entry of the model in the server's list of models; empty where it keeps no list that can be read.

    Raises:
        AbsentError: no server answers.
        ModelSpecError: the list does not hold the model; names what it holds.
    """
    reply = await pool.listing(_LISTING)
    if reply is None:
        return {}
    try:
        listed = orjson.loads(reply.data)["data"] if reply.status == 200 else []
        entries = {str(entry["id"]): entry for entry in listed}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    for name, entry in entries.items():
        # Ollama lists "name:latest", Gemini "models/name", a gateway patterns: all of them serve "name".
        if name == model or name.startswith(f"{model}:") or name.endswith(f"/{model}") or fnmatchcase(model, name):
            return dict(entry)
    if not entries:
        return {}
    near = get_close_matches(model, entries, n=_LISTED, cutoff=0.4)
    shown = [*near, *(name for name in entries if name not in near)][:_LISTED]
    more = f" and {len(entries) - len(shown):,} more" if len(entries) > len(shown) else ""
    raise ModelSpecError(f"{pool.transport.address.place} does not serve {model!r}; it serves {', '.join(shown)}{more}")


def run_apart(action: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in an event loop of its own, whether or not one runs in this thread."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(asyncio.run(action()))
        except BaseException as error:  # raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=work, name="raif-probe", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
