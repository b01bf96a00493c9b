"""From examples to token ids: where the answer begins, what is left out, and which token pads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raif.records import Message, TrainingPair, conversation
from raif.train.backbone import open_backbone
from raif.train.data import SftExample
from raif.train.tokens import choose_pad, dpo_rows, note_missing_end, reward_rows, sft_rows
from support.tiny import make_tokenizer

HI = conversation("hi")
X = -100


@pytest.fixture(scope="session")
def tokenizer(tiny: Path) -> Any:
    return open_backbone(tiny).tokenizer


def example(text: str, prompt: str = "hi") -> SftExample:
    return SftExample(prompt=conversation(prompt), completion=text, source="demonstration")


def pair(chosen: str, rejected: str) -> TrainingPair:
    better, worse = Message(role="assistant", content=chosen), Message(role="assistant", content=rejected)
    return TrainingPair(prompt=HI, chosen=(better,), rejected=(worse,), p_chosen=1.0)


# Tokens: <|end|> 1, <|user|> 3, <|assistant|> 4, a 6 … h 13, i 14, k 16, n 19, o 20, full stop 42.
# "hi" is 3 13 14 1 4 up to where the assistant begins; "ok." answers it with 20 16 42 1.


def test_only_the_answer_has_loss(tokenizer: Any) -> None:
    (row,) = sft_rows(tokenizer, [example("ok.")], limit=9).rows
    assert row == {"input_ids": [3, 13, 14, 1, 4, 20, 16, 42, 1], "labels": [X, X, X, X, X, 20, 16, 42, 1]}


def test_pairs_share_their_prompt(tokenizer: Any) -> None:
    (row,) = dpo_rows(tokenizer, [pair("ok.", "no")], limit=9).rows
    assert row == {"prompt_ids": [3, 13, 14, 1, 4], "chosen_ids": [20, 16, 42, 1], "rejected_ids": [19, 20, 1]}
    (row,) = reward_rows(tokenizer, [pair("ok.", "no")], limit=9).rows
    assert row == {
        "chosen_ids": [3, 13, 14, 1, 4, 20, 16, 42, 1],
        "rejected_ids": [3, 13, 14, 1, 4, 19, 20, 1],
    }


def test_what_is_one_token_too_long_is_left_out_and_counted(tokenizer: Any) -> None:
    found = sft_rows(tokenizer, [example("ok."), example("no")], limit=8)  # 9 tokens and 8
    assert [len(row["input_ids"]) for row in found.rows] == [8]
    assert found.left_out == {"too_long": 1}
    for rows in (dpo_rows, reward_rows):
        found = rows(tokenizer, [pair("ok.", "no"), pair("no", "ok."), pair("no", "ok")], limit=8)
        assert (len(found.rows), found.left_out) == (1, {"too_long": 2})


def test_a_template_that_ends_prompts_differently_is_reported(tokenizer: Any) -> None:
    tokenizer = make_copy(tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{% if add_generation_prompt %}<|assistant|>", "{% if add_generation_prompt %}<|assistant|>a"
    )
    found = sft_rows(tokenizer, [example("ok."), example("no")], limit=20)
    assert found.rows[0]["labels"] == [X, X, X, X, X, 20, 16, 42, 1]
    (note,) = found.notes
    assert "'a' is not there" in note


def test_a_conversation_that_the_template_refuses_is_left_out() -> None:
    tokenizer = make_tokenizer("llama")  # its template wants user and assistant in turn
    system = SftExample(
        prompt=(Message(role="system", content="be kind"), *HI), completion="ok", source="demonstration"
    )
    found = sft_rows(tokenizer, [system, example("ok")], limit=99)
    assert (len(found.rows), found.left_out) == (1, {"template_refused": 1})
    assert "must alternate" in found.notes[0]


def test_answers_without_an_end_are_reported(tokenizer: Any) -> None:
    found = sft_rows(tokenizer, [example("ok"), example("no")], limit=99)
    note_missing_end(found, "labels", {1})
    assert found.notes == []
    note_missing_end(found, "labels", {20})  # o, which both answers hold
    assert found.notes == []
    note_missing_end(found, "labels", {16})  # k, which one of them holds
    assert "1 of 2 answers have no end-of-sequence token" in found.notes[0]


def make_copy(tokenizer: Any) -> Any:
    import copy

    return copy.deepcopy(tokenizer)


def test_a_pad_that_ends_nothing_is_kept(tokenizer: Any) -> None:
    tokenizer = make_copy(tokenizer)
    assert choose_pad(tokenizer, {1}) is None
    assert tokenizer.pad_token == "<|pad|>"


@pytest.mark.parametrize("ending", ["pad_token", "last"])
def test_a_pad_that_ends_texts_is_replaced_by_one_of_the_vocabulary(tokenizer: Any, ending: str) -> None:
    tokenizer = make_copy(tokenizer)
    tokenizer.pad_token = "<|end|>" if ending == "pad_token" else "<|user|>"
    said = choose_pad(tokenizer, {1, 3})
    assert tokenizer.pad_token == "<|pad|>"
    assert said is not None
    assert "'<|pad|>' of its vocabulary pads instead" in said


def test_a_tokenizer_without_pad_gets_a_new_token(character_model: Callable[..., Path], tmp_path: Path) -> None:
    tokenizer = open_backbone(character_model(tmp_path / "model", pad=None)).tokenizer
    before = len(tokenizer)
    said = choose_pad(tokenizer, {1})
    assert (tokenizer.pad_token, tokenizer.pad_token_id, len(tokenizer)) == ("<|pad|>", before, before + 1)
    assert said == "the tokenizer has no pad token; a new token '<|pad|>' pads instead"
