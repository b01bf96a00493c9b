"""Prompts to answer, from any source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raif.config import InputConfig
from raif.errors import InputError
from raif.inputs.collect import Converter, Value, collect, column_names, named_column
from raif.inputs.sources import source_name
from raif.inputs.turns import BadRow, asked, is_transcript, last_reply, turns_of
from raif.records import Message, Prompt
from raif.store import Note

PROMPT_COLUMNS = ("prompt", "messages", "question", "instruction")
ANSWER_COLUMNS = ("demonstration", "response", "completion", "output", "answer")
"""Columns of a human's answer beside the prompt."""


def read_prompts(
    source: str, config: InputConfig, *, limit: int | None = None, on_note: Note | None = None
) -> list[Prompt]:
    """The prompts in a file, a ``datasets`` folder or a hub id, in order and without duplicates.

    A prompt is text, a message list or an HH-RLHF transcript, in the column ``prompt``, ``messages``, ``question``,
    ``instruction`` (to which a column ``input`` is added), or the conversation shared by ``chosen`` and ``rejected``.
    A trailing assistant turn is no part of it and becomes its ``demonstration``, as does a column with an answer.

    Args:
        limit: at most this many, the first ones.
        on_note: told of bad rows, by number, and of duplicates.

    Raises:
        InputError: no such source, no rows, missing columns, or a bad row where ``config.on_bad_row`` is ``fail``.
    """

    def converter(values: Sequence[Value]) -> Converter[Prompt]:
        return _converter(source, config, values)

    return collect(source, config, converter, limit=limit, on_note=on_note, what="prompts")


def _converter(source: str, config: InputConfig, values: Sequence[Value]) -> Converter[Prompt]:
    columns = column_names(values)
    named = named_column(source, columns, config.prompt_column, "--prompt-column")
    prompt = named or prompt_column(columns)
    answer = named_column(source, columns, config.response_column, "--response-column")
    from_pair = prompt is None and holds_conversations(values, "chosen")
    if from_pair:
        prompt = "chosen"
    if prompt is None:
        raise InputError(
            f"no column of prompts among {', '.join(columns)}; looked for {', '.join(PROMPT_COLUMNS)}: "
            "name it with --prompt-column",
            path=source,
        )
    if answer is None and not from_pair:
        answer = next((name for name in ANSWER_COLUMNS if name in columns and name != prompt), None)
    name = source_name(source)

    def convert(row: Value) -> Prompt:
        turns = prompt_turns(row, prompt)
        demonstration = None
        if len(turns) > 1 and turns[-1].role == "assistant":
            demonstration = turns[-1].content.strip() or None
            turns = turns[:-1]
        if from_pair:  # a chosen response is preferred, which does not make it a human's
            demonstration = None
        if answer is not None:
            demonstration = _answer(row.get(answer), answer) or demonstration
        return Prompt(messages=asked(turns, prompt), source=name, demonstration=demonstration)

    return convert


def prompt_column(columns: Sequence[str]) -> str | None:
    """The column that usually holds the prompt, among those there are."""
    return next((name for name in PROMPT_COLUMNS if name in columns), None)


def holds_conversations(values: Sequence[Value], column: str) -> bool:
    """Whether a column has whole conversations: transcripts, or message lists with a user's turn."""
    return any(_is_conversation(value.get(column), column) for value in values)


def _is_conversation(cell: Any, column: str) -> bool:
    if not isinstance(cell, list | tuple):
        return is_transcript(cell)
    try:
        return any(turn.role == "user" for turn in turns_of(cell, column))
    except BadRow:
        return False


def prompt_turns(row: Value, column: str) -> list[Message]:
    """The turns in a row's prompt column. An instruction is completed by the ``input`` beside it.

    Raises:
        BadRow: the cell is empty or holds no text or messages.
    """
    turns = turns_of(row.get(column), column)
    extra = row.get("input") if column == "instruction" else None
    if isinstance(extra, str) and extra.strip():
        turns = [*turns[:-1], Message(role=turns[-1].role, content=f"{turns[-1].content}\n\n{extra}")]
    return turns


def _answer(cell: Any, column: str) -> str | None:
    if cell is None or cell == "":
        return None
    reply = last_reply(cell, column)
    if reply is not None:
        return reply[1].strip() or None
    return str(cell) if str(cell).strip() else None
