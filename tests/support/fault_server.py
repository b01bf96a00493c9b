"""A server that speaks the OpenAI protocol, judges without a preference for a position, and fails as it is told.

It runs in a process of its own. What it does with a request follows from the request's digest, the number of the
attempt and a seed alone, so that a run can be repeated; and it logs every request with what it answered, before it
answers, so that a client's totals can be held against it.

    python fault_server.py --log FILE [--latency S] [--faults SHARE --kinds 429,500,…] [--seed N] …

prints its port, and serves until it is killed. A judge: asked for "A or B" about two responses, it finds the one that
says ``quality N`` with the larger N better, ``P = 1/(1 + exp(N_b − N_a))``, and leaves 2 % to other tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRANSIENT = ("429", "500", "503", "slow", "cut", "hangup", "malformed", "nochoices", "nologprobs")
"""Faults that pass: a request meets them on its first attempt, or first few, and never again."""
FINAL = ("refuse", "filter", "empty", "toolong")
"""Answers that are no answers, and stay so."""
MASS = 0.98
OTHER = (" the", "I", "It", "\n", "Both", "Response")

_WANTED = re.compile(rf"\[({'|'.join(TRANSIENT + FINAL)})\]")
_QUALITY = re.compile(r"quality (-?\d+(?:\.\d+)?)")


def share(*parts: object) -> float:
    """A number in [0, 1) that depends on ``parts`` alone."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7]) / 2**56


def p_first(text: str) -> float:
    """The judge's probability that the response shown first is better."""
    found = [float(number) for number in _QUALITY.findall(text)]
    return 0.5 if len(found) < 2 else 1 / (1 + math.exp(found[1] - found[0]))


class FaultServer:
    """The handlers and what they remember."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.kinds: list[str] = [kind for kind in options.kinds.split(",") if kind]
        self.attempts: Counter[str] = Counter()
        self.log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if options.log else None
        self.at_once = self.most_at_once = 0

    def fault(self, text: str, digest: str, attempt: int) -> str | None:
        """Which fault the attempt number ``attempt`` (from 1) at a request meets; None for a good answer.

        A prompt that says ``[KIND]`` meets that fault, a transient one once.
        """
        if (wanted := _WANTED.search(text)) is not None:
            return wanted[1] if wanted[1] in FINAL or attempt == 1 else None
        if share(self.options.seed, digest) >= self.options.faults or not self.kinds:
            return None
        kind = self.kinds[int(share(self.options.seed, digest, "kind") * len(self.kinds))]
        if kind in FINAL:
            return kind
        times = 1 + int(share(self.options.seed, digest, "times") * self.options.times)
        return kind if attempt <= times else None

    def note(self, **entry: object) -> None:
        if self.log is not None:
            os.write(self.log, json.dumps({**entry, "then": time.time()}).encode() + b"\n")

    async def models(self, request: Any) -> Any:
        from aiohttp import web

        if not self.options.listed:
            raise web.HTTPNotFound()
        about = {"object": "model", "owned_by": self.options.owner, "root": self.options.root}
        listed = [{"id": name, **about} for name in self.options.listed.split(",")]
        return web.json_response({"object": "list", "data": listed})

    async def chat(self, request: Any) -> Any:

        options = self.options
        data = await request.read()
        body = json.loads(data)
        text = "\n".join(message["content"] for message in body["messages"])
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
        self.attempts[digest] += 1
        attempt = self.attempts[digest]
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            entry = {
                "digest": digest,
                "attempt": attempt,
                "at": time.time(),
                "at_once": self.at_once,
                "top_k": body.get("top_k"),
                "first": "comes first in the alphabet" in text,
                "key": request.headers.get("Authorization") == f"Bearer {options.key}",
            }
            if options.key and not entry["key"]:
                self.note(**entry, answered="401")
                quoted = request.headers.get("Authorization", "").removeprefix("Bearer ")
                return self.refusal(401, f"Incorrect API key provided: {quoted}.", "invalid_api_key")
            if (said := self.unsupported(body)) is not None:
                self.note(**entry, answered="400")
                return self.refusal(400, said)
            kind = self.fault(text, digest, attempt)
            if entry["first"] and (options.spare or kind in FINAL):
                kind = None
            await asyncio.sleep(options.latency)
            reply = self.reply(body, text, kind)
            told = kind in (None, "nochoices", "nologprobs", "refuse", "filter", "empty")  # by a reply that can be read
            self.note(**entry, answered=kind or "ok", usage=reply.get("usage") if told else None)
            if kind == "slow":
                await asyncio.sleep(options.slow)
            return await self.answer(request, json.dumps(reply).encode(), kind)
        finally:
            self.at_once -= 1

    def unsupported(self, body: dict[str, Any]) -> str | None:
        """Why a request is refused by a server that can't do all that it asks; None where it can."""
        model, options = body["model"], self.options
        if options.completion_limit and "max_tokens" in body:
            return (
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead."
            )
        if body.get("top_logprobs", 0) > options.top:
            if options.top == 0:
                return f"logprobs are not supported with {model}"
            return (
                f"Requested sample logprobs of {body['top_logprobs']}, which is greater than max allowed: {options.top}"
            )
        return None

    def refusal(self, status: int, said: str, code: str | None = None, **headers: str) -> Any:
        from aiohttp import web

        error = {"message": said, "type": "invalid_request_error", "code": code}
        return web.json_response({"error": error}, status=status, headers=headers)

    async def answer(self, request: Any, content: bytes, kind: str | None) -> Any:
        from aiohttp import web

        if kind == "429":
            return self.refusal(429, "Rate limit reached", **{"Retry-After": self.options.retry_after})
        if kind in ("500", "503"):
            return self.refusal(int(kind), "The engine is overloaded")
        if kind == "toolong":
            return self.refusal(400, "This model's maximum context length is 512 tokens", "context_length_exceeded")
        if kind == "hangup":
            request.transport.close()
            return web.Response()
        if kind == "malformed":
            content = content[: len(content) // 2]
        if kind == "cut":
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            response.content_length = len(content)
            await response.prepare(request)
            await response.write(content[: len(content) // 2])
            request.transport.close()
            return response
        return web.Response(body=content, content_type="application/json")

    def reply(self, body: dict[str, Any], text: str, kind: str | None) -> dict[str, Any]:
        """A chat completion, with the flaw that ``kind`` names."""
        sampled = share(self.options.seed, body.get("seed"), text)
        p = p_first(text)
        said, finish = ("A" if sampled < p else "B"), "stop"
        if body.get("temperature") == 0 or "logprobs" in body:
            said = "A" if p >= 0.5 else "B"
        if "A or B" not in text:
            limit = body.get("max_tokens", body.get("max_completion_tokens", 16))
            words = f"quality {round(9 * sampled)} words of an answer".split()
            said, finish = " ".join(words[:limit]), "length" if limit < len(words) else "stop"
        message: dict[str, Any] = {"role": "assistant", "content": said}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish}
        if body.get("logprobs") and kind != "nologprobs" and not self.options.bare:
            likely = {"A": MASS * p, "B": MASS * (1 - p)} | {word: (1 - MASS) / len(OTHER) for word in OTHER}
            top = [{"token": word, "logprob": math.log(max(q, 1e-30))} for word, q in likely.items()]
            top.sort(key=lambda entry: -entry["logprob"])
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top[: body["top_logprobs"]]}]}
        if kind == "refuse":
            message |= {"content": None, "refusal": "I can't compare these."}
        elif kind == "filter":
            message["content"], choice["finish_reason"] = "", "content_filter"
        elif kind == "empty":
            message["content"] = ""
            choice.pop("logprobs", None)
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": max(1, len(said.split()))}
        return {
            "id": "x",
            "object": "chat.completion",
            "choices": [] if kind == "nochoices" else [choice],
            **({} if self.options.no_usage else {"usage": usage}),
        }


@dataclass(frozen=True)
class Served:
    """A running server."""

    port: int
    process: subprocess.Popen[str]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def entries(self) -> list[dict[str, Any]]:
        """The log, without the requests by which a client finds out what the server can do."""
        return [entry for entry in self.all_entries() if not entry["first"]]

    def all_entries(self) -> list[dict[str, Any]]:
        lines = self.log.read_bytes().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines]


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Served]:
    """A fault server in a process of its own, until the context ends; its log lies in ``folder``."""
    log = folder / "server.jsonl"
    command = [sys.executable, str(Path(__file__).resolve()), "--log", str(log), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "the fault server did not start"
            yield Served(int(port), process, log)
        finally:
            process.kill()


async def _main(options: argparse.Namespace) -> None:
    from aiohttp import web

    server = FaultServer(options)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_get("/v1/models", server.models)
    app.router.add_post("/v1/chat/completions", server.chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.port, backlog=1024)
    await site.start()
    assert site._server is not None
    print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[attr-defined]
    await asyncio.Event().wait()


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", help="appended to, a line a request")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before an answer")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests that meet a fault")
    parser.add_argument("--kinds", default=",".join(TRANSIENT + FINAL))
    parser.add_argument("--times", type=int, default=1, help="a transient fault comes up to this many times")
    parser.add_argument("--spare", action="store_true", help="a client's first word is always answered")
    parser.add_argument("--slow", type=float, default=5.0, help="seconds that a slow answer takes")
    parser.add_argument("--retry-after", default="1")
    parser.add_argument("--key", help="the only key that is accepted")
    parser.add_argument("--listed", default="judge", help="models that are served; empty: no list")
    parser.add_argument("--owner", default="tests", help="whose models they are said to be")
    parser.add_argument("--root", default="weights", help="what the served name stands for")
    parser.add_argument("--top", type=int, default=20, help="most log-probabilities; 0: none, and it says so")
    parser.add_argument("--bare", action="store_true", help="no log-probabilities, without a word")
    parser.add_argument("--completion-limit", action="store_true", help="insists on max_completion_tokens")
    parser.add_argument("--no-usage", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    asyncio.run(_main(_options(sys.argv[1:])))
