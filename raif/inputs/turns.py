"""Conversations from what files hold: text, message lists, and HH-RLHF transcripts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from raif.records import Conversation, Message, Role

_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


class BadRow(ValueError):
    """One row can't be used; the message says why. It never leaves ``raif.inputs``."""


def is_transcript(value: Any) -> bool:
    """Whether text has HH-RLHF's turns: it opens with ``Human:`` and an assistant's turn follows."""
    return isinstance(value, str) and value.lstrip().startswith("Human:") and "\n\nAssistant:" in value


def transcript_turns(text: str) -> list[Message]:
    """The turns of an HH-RLHF transcript, stripped. The last may be empty: an answer that is missing."""
    _, *parts = _TURN.split(text.lstrip())
    return [
        Message(role=_ROLES[speaker.lower()], content=content.strip())
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def merged(turns: Sequence[Message]) -> list[Message]:
    """Turns in a row by the same role made one, as transcripts have them and chat templates refuse them."""
    result: list[Message] = []
    for turn in turns:
        if result and result[-1].role == turn.role:
            result[-1] = Message(role=turn.role, content=f"{result[-1].content}\n\n{turn.content}")
        else:
            result.append(turn)
    return result


def listed_turns(value: Sequence[Any], column: str) -> list[Message]:
    """The turns of a message list: ``role`` and ``content``, or ``from`` and ``value``.

    Raises:
        BadRow: an entry is no message, or its role is none that raif knows.
    """
    turns = []
    for number, entry in enumerate(value, 1):
        if not isinstance(entry, Mapping):
            raise BadRow(f"column {column!r}: entry {number} is no message with role and content")
        role = entry.get("role", entry.get("from"))
        if not isinstance(role, str) or role.lower() not in _ROLES:
            raise BadRow(
                f"column {column!r}: message {number} has the role {role!r}; raif knows system, user, assistant"
            )
        content = _content(entry.get("content", entry.get("value")), f"column {column!r}: message {number}")
        turns.append(Message(role=_ROLES[role.lower()], content=content))
    return turns


def _content(value: Any, place: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and value:
        texts = [part.get("text") for part in value if isinstance(part, Mapping) and part.get("type") == "text"]
        if len(texts) == len(value) and all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
    raise BadRow(f"{place} holds no text")


def turns_of(value: Any, column: str) -> list[Message]:
    """The turns in a cell: of a message list, of a transcript, or one user turn of plain text.

    Raises:
        BadRow: the cell is empty or neither of these.
    """
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, list | tuple):
        if not value:
            raise BadRow(f"column {column!r} is empty")
        return listed_turns(value, column)
    text = text_of(value, column)
    if not is_transcript(text):
        return [Message(role="user", content=text)]
    turns = merged(transcript_turns(text))
    # "Assistant:" and nothing after it is how a transcript says whose turn it is.
    return turns[:-1] if turns[-1].role == "assistant" and not turns[-1].content else turns


def text_of(value: Any, column: str) -> str:
    """A cell's text.

    Raises:
        BadRow: it is empty or something else.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRow(f"column {column!r} is empty")
    if not isinstance(value, str):
        raise BadRow(f"column {column!r} holds {type(value).__name__} where text or messages are expected")
    return value


def asked(turns: Sequence[Message], column: str) -> Conversation:
    """The turns as a conversation that waits for an answer.

    Raises:
        BadRow: a turn is empty, or the last one is not the user's.
    """
    if not turns or turns[-1].role != "user":
        raise BadRow(f"column {column!r}: the conversation does not end with a user's turn")
    if not all(turn.content.strip() for turn in turns):
        raise BadRow(f"column {column!r}: the conversation has an empty turn")
    return tuple(turns)


def last_reply(value: Any, column: str) -> tuple[list[Message], str] | None:
    """What was said before the last assistant turn of a message list or transcript, and that turn; None for plain text.

    Raises:
        BadRow: the cell is empty, or its last turn is not the assistant's.
    """
    if isinstance(value, str) and not is_transcript(value):
        return None
    transcript = isinstance(value, str)
    turns = transcript_turns(value) if transcript else turns_of(value, column)
    if turns[-1].role != "assistant":
        raise BadRow(f"column {column!r} does not end with an assistant's turn")
    before = merged(turns[:-1]) if transcript else turns[:-1]
    return before, turns[-1].content
