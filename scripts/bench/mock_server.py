#!/usr/bin/env python3
"""An OpenAI-compatible server that thinks for a fixed time and always says the same: a judge that costs nothing.

    python scripts/bench/mock_server.py [--latency 0.02] [--port 0]

It prints its port and serves until it is killed. `POST /v1/chat/completions` is answered with the log-probabilities of
20 tokens, `GET /v1/models` with its one model, `GET /count` with how many completions it has given. What it simplifies:
it reads lengths, not bodies, so that the client under measurement, and not the server, is what a benchmark measures.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import math
import re
from contextlib import suppress
from typing import Any

MODEL = "judge"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def completion() -> dict[str, Any]:
    """The one reply: A with 0.62, B with 0.31, and 18 tokens that share the rest."""
    told = [("A", 0.62), ("B", 0.31), *((f" word{number:02}", 0.07 / 18) for number in range(18))]
    top = [{"token": token, "logprob": round(math.log(p), 6), "bytes": None} for token, p in told]
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "A", "refusal": None},
                "logprobs": {"content": [{**top[0], "top_logprobs": top}], "refusal": None},
                "finish_reason": "length",
            }
        ],
        "usage": {"prompt_tokens": 300, "completion_tokens": 1, "total_tokens": 301},
    }


def response(value: Any) -> bytes:
    """An HTTP response that carries ``value``."""
    body = json.dumps(value, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Server:
    """What all connections share."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.answered = 0
        self.completion = response(completion())
        self.models = response({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "bench"}]})


class Connection(asyncio.Protocol):
    """One client's connection: requests one after another, or several at once, answered in their order."""

    def __init__(self, server: Server) -> None:
        self.server, self.loop = server, asyncio.get_running_loop()
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that has come in whole."""
        buffer = self.buffer + data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(buffer, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(buffer) < whole:
                break
            if buffer.startswith(b"POST"):
                self.loop.call_later(self.server.latency, self.answer)
            else:
                self.inform(buffer[: buffer.index(b"\r")])
            buffer = buffer[whole:]
        self.buffer = buffer

    def answer(self) -> None:
        """Send the completion."""
        self.server.answered += 1
        if not self.transport.is_closing():
            self.transport.write(self.server.completion)

    def inform(self, line: bytes) -> None:
        """Answer what is no request for a completion."""
        models = b"/models" in line
        self.transport.write(self.server.models if models else response({"answered": self.server.answered}))


async def serve(latency: float, port: int) -> None:
    """Serve for ever, after the port has been printed."""
    state = Server(latency)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(state), "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the arguments and serve, on uvloop where it is installed."""
    parser = argparse.ArgumentParser(description="A mock judge behind the OpenAI protocol.")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds before each reply")
    parser.add_argument("--port", type=int, default=0, help="0: a free one, which is printed")
    arguments = parser.parse_args()
    runner: Any = asyncio
    with suppress(ImportError):
        runner = importlib.import_module("uvloop")
    runner.run(serve(arguments.latency, arguments.port))


if __name__ == "__main__":
    main()
