"""Pairs of responses: to be judged, or, where they are labelled, to be trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raif.config import InputConfig
from raif.errors import InputError
from raif.inputs.collect import Converter, Value, collect, column_names, named_column
from raif.inputs.prompts import holds_conversations, prompt_column, prompt_turns
from raif.inputs.sources import source_name
from raif.inputs.turns import BadRow, asked, last_reply, text_of
from raif.records import Comparison, Conversation, Message, Preference, TrainingPair, digest
from raif.store import Note

LABEL_COLUMNS = ("human_p_a", "p_a", "label", "preferred", "winner")
_LABELS: dict[str, float | None] = {
    **dict.fromkeys(("a", "response_a", "model_a", "0"), 1.0),
    **dict.fromkeys(("b", "response_b", "model_b", "1"), 0.0),
    "tie": 0.5,
    "": None,
}


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two responses as a row has them, and the probability that the first is better, where it says."""

    prompt: Conversation
    first: str
    second: str
    p_first: float | None
    human: bool = True
    """The label is a human's, not a judge's of an earlier run."""
    comparison_id: str = ""


def read_pairs(
    source: str, config: InputConfig, *, limit: int | None = None, seed: int = 0, on_note: Note | None = None
) -> list[Comparison]:
    """The pairs in a file, a ``datasets`` folder or a hub id, in order, as comparisons that a judge may see.

    Read are ``chosen`` and ``rejected`` (text beside a prompt, message lists, or HH-RLHF transcripts), ``response_a``
    and ``response_b`` with a label (``a``, ``b``, ``tie``; ``0`` for a, ``1`` for b; or a probability ``p_a``), and
    raif's own ``35_preferences.jsonl`` and ``30_labels.jsonl``. Sides are drawn by a hash of the two texts, so that
    neither side, order nor source tells which was chosen; that is in ``human_p_a`` alone. Comparisons of an earlier run
    keep their sides. What a judge of an earlier run preferred is no human label and is left out.

    Raises:
        InputError: no such source, no rows, missing columns, or a bad row where ``config.on_bad_row`` is ``fail``.
    """

    def converter(values: Sequence[Value]) -> Converter[Comparison]:
        return comparison_reader(source, config, values, seed=seed, on_note=on_note)

    return collect(source, config, converter, limit=limit, on_note=on_note, what="pairs")


def comparison_reader(
    source: str, config: InputConfig, values: Sequence[Value], *, seed: int = 0, on_note: Note | None = None
) -> Callable[[Value], Comparison]:
    """How :func:`read_pairs` makes a comparison of a row, given the first rows: for readers that look for more in it.

    Raises:
        InputError: there are no columns of pairs; the function that is returned raises BadRow.
    """
    name, read = source_name(source), _reader(source, config, values, on_note)

    def convert(row: Value) -> Comparison:
        pair = read(row)
        if isinstance(pair, Preference):
            return pair.comparison
        p_first = pair.p_first if pair.human else None
        return with_neutral_sides(pair.prompt, pair.first, pair.second, p_first, seed=seed, source=name)

    return convert


def read_training_pairs(
    source: str, config: InputConfig, *, limit: int | None = None, on_note: Note | None = None
) -> list[TrainingPair]:
    """The labelled pairs in a source, in order, for the reward model and DPO.

    Reads what :func:`read_pairs` reads. Undecided pairs (ties, abstentions, no label) are left out, with a note.
    Repeated pairs stay: to a trainer they are evidence.

    Raises:
        InputError: as :func:`read_pairs`, or none of the pairs is decided.
    """
    name = source_name(source)

    def converter(values: Sequence[Value]) -> Converter[TrainingPair]:
        read = _reader(source, config, values, on_note)

        def convert(row: Value) -> TrainingPair | None:
            pair = read(row)
            if isinstance(pair, Preference):
                return TrainingPair.from_preference(pair) if pair.decided else None
            return _training_pair(pair, name)

        return convert

    return collect(
        source,
        config,
        converter,
        limit=limit,
        on_note=on_note,
        what="pairs",
        unique=False,
        passed_over="undecided pairs (tie, abstention, or no label)",
    )


def with_neutral_sides(
    prompt: Conversation,
    first: str,
    second: str,
    p_first: float | None = None,
    *,
    seed: int,
    source: str,
    origins: tuple[str, str] = ("file", "file"),
) -> Comparison:
    """A comparison whose sides depend on ``seed``, the prompt and the *set* of the two texts, not on which is first.

    Args:
        p_first: the human probability that ``first`` is better, if known.
        origins: who wrote ``first`` and ``second``.
    """
    low, high = sorted((first, second))
    low_is_a = int(digest("sides", seed, prompt, low, high), 16) % 2 == 0
    comparison = Comparison(
        prompt=prompt,
        response_a=first,
        response_b=second,
        source=source,
        origin_a=origins[0],
        origin_b=origins[1],
        human_p_a=p_first,
    )
    return comparison if (first == low) == low_is_a else comparison.swap()


def _training_pair(pair: _Pair, source: str) -> TrainingPair | None:
    if pair.p_first is None or pair.p_first == 0.5:
        return None
    chosen, rejected, p = pair.first, pair.second, pair.p_first
    if p < 0.5:
        chosen, rejected, p = rejected, chosen, 1 - p
    return TrainingPair(
        prompt=pair.prompt,
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        p_chosen=p,
        comparison_id=pair.comparison_id,
        source=source,
    )


_Reader = Callable[[Value], _Pair | Preference]


def _reader(source: str, config: InputConfig, values: Sequence[Value], on_note: Note | None) -> _Reader:
    """Chooses how to read a row, from the columns that there are."""
    columns = column_names(values)
    prompt = named_column(source, columns, config.prompt_column, "--prompt-column") or prompt_column(columns)
    chosen = named_column(source, columns, config.chosen_column, "--chosen-column")
    rejected = named_column(source, columns, config.rejected_column, "--rejected-column")
    if not (chosen or rejected) and {"comparison", "outcome", "judge"} <= set(columns):
        return lambda row: Preference.model_validate(row)
    by_label = not (chosen or rejected) and "chosen" not in columns and {"response_a", "response_b"} <= set(columns)
    first, second = ("response_a", "response_b") if by_label else (chosen or "chosen", rejected or "rejected")
    if missing := [name for name in (first, second) if name not in columns]:
        raise InputError(
            f"no pairs of responses among the columns {', '.join(columns)} (there is no {' and no '.join(missing)}); "
            "chosen and rejected, or response_a and response_b are read, and --chosen-column, --rejected-column and "
            "--prompt-column name others",
            path=source,
        )
    if prompt is None and not holds_conversations(values, first):
        raise InputError(
            f"no column of prompts among {', '.join(columns)}, and {first} holds no conversation; "
            "name the prompts with --prompt-column",
            path=source,
        )
    label = _label_reader(source, columns, values, on_note) if by_label else _chosen_probability

    def read(row: Value) -> _Pair:
        def given() -> Conversation | None:
            return None if prompt is None else asked(prompt_turns(row, prompt), prompt)

        prompt_1, text_1 = _response(row.get(first), first, given)
        prompt_2, text_2 = _response(row.get(second), second, given)
        if prompt_1 != prompt_2:
            raise BadRow(f"{first} and {second} share no prompt")
        for text, column in ((text_1, first), (text_2, second)):
            if not text.strip():
                raise BadRow(f"the response in {column} is empty")
        if text_1 == text_2:
            raise BadRow("both responses are the same")
        comparison_id = row.get("comparison_id") or ""
        return _Pair(
            prompt=asked(prompt_1, first),
            first=text_1,
            second=text_2,
            p_first=label(row),
            human=not comparison_id,  # raif's own 35_preferences.jsonl has one
            comparison_id=str(comparison_id),
        )

    return read


def _response(cell: Any, column: str, given: Callable[[], Conversation | None]) -> tuple[Conversation, str]:
    """The prompt and the response in a cell: both, of a whole conversation; else the response to the prompt given."""
    reply = None if cell is None else last_reply(cell, column)
    before, text = ((), cell) if reply is None else (tuple(reply[0]), reply[1])
    if before and not isinstance(cell, str):
        return before, text
    prompt = given()
    if prompt is None:
        if not before:
            raise BadRow(f"column {column!r} holds no conversation, and there is no prompt beside it")
        return before, text
    if before and before != prompt:
        return prompt, cell  # plain text that happens to look like a transcript
    return prompt, text if isinstance(text, str) else text_of(text, column)


def _chosen_probability(row: Value) -> float:
    p = row.get("p_chosen")
    return 1.0 if p is None or p == "" else _probability(p, "p_chosen")


def _label_reader(
    source: str, columns: Sequence[str], values: Sequence[Value], on_note: Note | None
) -> Callable[[Value], float | None]:
    column = next((name for name in LABEL_COLUMNS if name in columns), None)
    if column is None:
        return lambda row: None
    if column in ("human_p_a", "p_a"):
        return lambda row: None if row.get(column) in (None, "") else _probability(row[column], column)
    if on_note and all(str(value.get(column)) in ("0", "1") for value in values):
        on_note(f"{source}: column {column!r}: 0 is read as response_a, 1 as response_b")
    return lambda row: _label(row.get(column), column)


def _label(cell: Any, column: str) -> float | None:
    text = "" if cell is None else str(cell).strip().lower()
    if isinstance(cell, bool) or text not in _LABELS:
        raise BadRow(f"column {column!r} holds {cell!r}; a, b, tie, 0 (a) or 1 (b) are read, or a probability p_a")
    return _LABELS[text]


def _probability(cell: Any, column: str) -> float:
    try:
        p = float(cell)
    except (TypeError, ValueError):
        p = -1.0
    if not 0 <= p <= 1:
        raise BadRow(f"column {column!r} holds {cell!r}, which is no probability")
    return p
