"""What a server's complaint says: one line for people, without secrets, and what raif makes of it. All pure."""

from __future__ import annotations

import re
from typing import Any, Literal

import orjson

from raif.records import FailureKind

_LONGEST = 300
_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|gsk|hf|xai|key)[-_][\w*.\-]{6,}|(?<=Bearer )\S+", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context.{0,2}length|maximum context|context window|available context|too many (?:input )?tokens"
    r"|(?:prompt|input) is too long|maximum model length|max_model_len",
    re.IGNORECASE,
)
_FLAGGED = re.compile(r"content.?(?:filter|policy|management)|moderation|flagged", re.IGNORECASE)
_SPENT = re.compile(r"insufficient.?(?:quota|balance|credit|funds)|exceeded your current quota", re.IGNORECASE)


def one_line(value: object) -> str:
    """Text, or the text inside an error object, as one line of bounded length."""
    text = " ".join(_text(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def scrub(text: str, key: str | None) -> str:
    """``text`` without the key, and without anything that looks like one: servers quote keys, half masked."""
    if key:
        text = text.replace(key, "***")
    return _KEY_LIKE.sub("***", text)


def complaint(data: bytes, key: str | None) -> str:
    """What the body of a refusal says, in one line without secrets."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = re.sub(r"<[^>]*>", " ", data[:5000].decode(errors="replace"))
    return one_line(scrub(" ".join(_text(value).split()), key))


def course(status: int, said: str) -> Literal["unpaid", "locked", "busy", "later", "no"]:
    """What a status other than 200, with its complaint, leaves to do.

    ``unpaid`` and ``locked`` (the key) concern every request, ``busy`` asks for fewer of them, ``later`` for another
    attempt, and ``no`` is about this request alone.
    """
    if status == 402 or (status == 429 and _SPENT.search(said)):
        return "unpaid"  # waiting does not fill an account
    if status in (429, 503):
        return "busy"
    if status in (408, 409, 425) or status >= 500:
        return "later"
    # 403 is also said to a prompt that a filter flags, and to a model without log-probabilities.
    if status == 401 or (status == 403 and not _FLAGGED.search(said) and "logprob" not in said.lower()):
        return "locked"
    return "no"


def failure_kind(said: str) -> FailureKind:
    """Which failure the complaint about one request is."""
    if _FLAGGED.search(said):
        return "refusal"
    return "too_long" if _TOO_LONG.search(said) else "request_error"


def _text(value: Any) -> str:
    """The message in the shapes that servers use: a text, an object with one, or a list of complaints."""
    if isinstance(value, dict):
        for name in ("error", "message", "detail", "msg"):
            if value.get(name):
                code = value.get("code") if name == "message" else None
                place = value.get("loc") if name == "msg" else None
                where = f"{'.'.join(map(str, place))}: " if isinstance(place, list) else ""
                return where + _text(value[name]) + (f" ({code})" if isinstance(code, str) and code else "")
        return orjson.dumps(value).decode() if value else ""
    if isinstance(value, list):
        return "; ".join(_text(part) for part in value)
    return "" if value is None else str(value)
