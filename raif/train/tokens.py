"""Examples → token ids, through the model's own chat template.

Prompt and answer are rendered as one conversation, and the answer begins where that departs from the prompt rendered
alone: so templates need no generation markers, and all trainers see the tokens that the model will see in use.
Nothing is ever cut: an example longer than the limit is left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from raif.records import Conversation, Message, TrainingPair
from raif.train.data import SftExample

Row = dict[str, list[int]]
IGNORED = -100
"""The label that a token without loss has (torch's default ``ignore_index``)."""

PAD_NAMES = ("<pad>", "<|pad|>", "[PAD]", "<PAD>", "<|finetune_right_pad_id|>", "<|endoftext|>")
"""Tokens that models carry for padding without always saying so, tried in this order."""


@dataclass(slots=True)
class Tokenised:
    """Rows for a trainer, in the order of the examples; what was left out, by reason; what the user should know."""

    rows: list[Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def sft_rows(tokenizer: Any, examples: Iterable[SftExample], limit: int) -> Tokenised:
    """Rows of ``input_ids`` and ``labels``, both of one length ≤ ``limit``; labels are IGNORED outside the answer."""

    def row(example: SftExample) -> Row:
        answer = (Message(role="assistant", content=example.completion),)
        prompt, (completion,) = _split(tokenizer, example.prompt, (answer,), tokenised)
        return {"input_ids": prompt + completion, "labels": [IGNORED] * len(prompt) + completion}

    tokenised = Tokenised()
    return _collect(tokenised, examples, row, limit, lambda row: (len(row["input_ids"]),), "input_ids")


def dpo_rows(tokenizer: Any, pairs: Iterable[TrainingPair], limit: int) -> Tokenised:
    """Rows of ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``; prompt and answer together are ≤ ``limit`` long."""

    def row(pair: TrainingPair) -> Row:
        prompt, (chosen, rejected) = _split(tokenizer, pair.prompt, (pair.chosen, pair.rejected), tokenised)
        return {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}

    def lengths(row: Row) -> tuple[int, ...]:
        return tuple(len(row["prompt_ids"]) + len(row[side]) for side in ("chosen_ids", "rejected_ids"))

    tokenised = Tokenised()
    return _collect(tokenised, pairs, row, limit, lengths, "chosen_ids")


def reward_rows(tokenizer: Any, pairs: Iterable[TrainingPair], limit: int) -> Tokenised:
    """Rows of ``chosen_ids`` and ``rejected_ids``: whole conversations, each ≤ ``limit`` long."""

    def row(pair: TrainingPair) -> Row:
        return {
            "chosen_ids": render(tokenizer, pair.prompt + pair.chosen),
            "rejected_ids": render(tokenizer, pair.prompt + pair.rejected),
        }

    return _collect(
        Tokenised(), pairs, row, limit, lambda row: (len(row["chosen_ids"]), len(row["rejected_ids"])), "chosen_ids"
    )


def render(tokenizer: Any, messages: Sequence[Message], *, generation: bool = False) -> list[int]:
    """The ids of a conversation; with ``generation`` up to where the assistant's next turn begins.

    Raises:
        jinja2.TemplateError: the chat template refuses the conversation (no system turn, roles that must alternate …).
    """
    turns = [{"role": message.role, "content": message.content} for message in messages]
    rendered = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True, add_generation_prompt=generation)
    return list(rendered["input_ids"])


def _split(
    tokenizer: Any, prompt: Conversation, answers: tuple[Conversation, ...], tokenised: Tokenised
) -> tuple[list[int], list[list[int]]]:
    """The ids that all renderings begin with, and what each answer adds to them."""
    alone = render(tokenizer, prompt, generation=True)
    whole = [render(tokenizer, prompt + answer) for answer in answers]
    start = min(_common_prefix(alone, ids) for ids in whole)
    if start < len(alone):
        tokenised.note(
            "the chat template renders the end of a prompt differently once an answer follows "
            f"({tokenizer.decode(alone[start:])!r} is not there), so the model trains on a slightly other context "
            "than it answers in"
        )
    return alone[:start], [ids[start:] for ids in whole]


def _common_prefix(first: list[int], second: list[int]) -> int:
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return min(len(first), len(second))


def _collect(
    tokenised: Tokenised,
    examples: Iterable[Any],
    row_of: Callable[[Any], Row],
    limit: int,
    lengths: Callable[[Row], tuple[int, ...]],
    whole: str,
) -> Tokenised:
    from jinja2 import TemplateError

    for example in examples:
        try:
            row = row_of(example)
        except TemplateError as error:
            tokenised.left_out["template_refused"] += 1
            tokenised.note(f"the chat template refused a conversation: {' '.join(str(error).split())}")
            continue
        if max(lengths(row)) > limit:
            tokenised.left_out["too_long"] += 1
        elif not all(row.values()):
            tokenised.left_out["no_completion"] += 1
        else:
            tokenised.rows.append(row)
    return tokenised


def note_missing_end(tokenised: Tokenised, column: str, ends: set[int]) -> None:
    """Notes answers that hold none of the tokens that end a turn: a model trained on them may not learn to stop."""
    without = sum(not ends.intersection(row[column]) for row in tokenised.rows)
    if without:
        tokenised.note(
            f"{without} of {len(tokenised.rows)} answers have no end-of-sequence token in the chat template's "
            "rendering: the model may not learn to stop"
        )


def choose_pad(tokenizer: Any, last_tokens: set[int]) -> str | None:
    """Makes sure that the pad token is neither the end of a sequence nor what a conversation ends with.

    A reward model reads the rightmost token that is not the pad token: were the two the same, an ended and a cut-off
    answer would get one score. Returns what was done, for a note; None where nothing had to be.

    ``last_tokens``: the ids that rendered conversations end with.
    """
    taken = last_tokens | {tokenizer.eos_token_id}
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in taken:
        return None
    was = "no pad token" if tokenizer.pad_token_id is None else f"{tokenizer.pad_token!r}, which also ends text, as pad"
    vocabulary = tokenizer.get_vocab()
    for name in PAD_NAMES:
        if name in vocabulary and vocabulary[name] not in taken:
            tokenizer.pad_token = name
            return f"the tokenizer has {was}; {name!r} of its vocabulary pads instead"
    name = next(f"<|pad{suffix}|>" for suffix in ("", *range(100)) if f"<|pad{suffix}|>" not in vocabulary)
    tokenizer.add_special_tokens({"pad_token": name})
    return f"the tokenizer has {was}; a new token {name!r} pads instead"
