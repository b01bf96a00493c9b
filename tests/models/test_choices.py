"""Answer tokens over vocabularies small enough to work out by hand."""

from __future__ import annotations

import pytest

from raif.errors import ModelSpecError
from raif.models.choices import answer_tokens, begins, check_choices, check_tokens


@pytest.mark.parametrize(
    ("token", "choice", "expected"),
    [
        ("A", "A", True),
        (" A", "A", True),
        ("\n\tA", "A", True),
        ("A.", "A", True),
        ("A)", "A", True),
        ("A ", "A", True),
        ("An", "A", False),  # begins another word
        ("A1", "A", False),
        ("Aé", "A", False),
        ("a", "A", False),
        ("(A", "A", False),
        ("", "A", False),
        (" ", "A", False),
        ("T", "TIE", True),  # a beginning of it
        ("TI", "TIE", True),
        ("TIED", "TIE", False),
        ("TIE\n", "TIE", True),
        ("IE", "TIE", False),
    ],
)
def test_what_begins_an_answer(token: str, choice: str, expected: bool) -> None:
    assert begins(token, choice) is expected


def test_every_token_that_begins_one_answer_alone_counts_for_it() -> None:
    vocabulary = {0: "A", 1: " A", 2: "A.", 3: "An", 4: "B", 5: "T", 6: " TIE", 7: "The", 8: " ", 9: "", 10: "TA"}
    assert answer_tokens(vocabulary, ("A", "B", "TIE")) == ((0, 1, 2), (4,), (5, 6))


def test_a_token_that_begins_two_answers_counts_for_neither() -> None:
    # "be" and "b" begin both; "bet" only "better"; "bes" only "best"; ids are looked at in any order.
    vocabulary = {4: "best", 3: "bes", 2: "bet", 1: "be", 0: "b", 5: " better"}
    assert answer_tokens(vocabulary, ("better", "best")) == ((2, 5), (3, 4))


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (("1", "10"), "'1' and '10' can't be told apart"),
        (("10", "2", "1"), "'10' and '1' can't be told apart"),
        (("A", "A"), "'A' and 'A' can't be told apart"),
        ((), "no answers"),
        (("A", ""), "'' is empty"),
        (("A", " B"), "' B' is empty or has white space"),
    ],
)
def test_answers_that_no_tokenizer_can_tell_apart(choices: tuple[str, ...], said: str) -> None:
    with pytest.raises(ModelSpecError, match=said):
        check_choices(choices)


def test_single_digits_can_be_told_apart() -> None:
    check_choices(tuple("123456789"))


def test_answers_that_this_tokenizer_begins_alike() -> None:
    # This vocabulary spells: better = be + tter, best = be + st. What the model says first tells it nothing.
    vocabulary = {0: "be", 1: "tter", 2: "st"}
    choices = ("better", "best")
    tokens = answer_tokens(vocabulary, choices)
    assert tokens == ((), ())
    with pytest.raises(
        ModelSpecError, match=r"begins the offered answers 'better' and 'best' with the same token \('be'\)"
    ):
        check_tokens(choices, tokens, (0, 0), vocabulary)


def test_an_answer_that_this_tokenizer_lacks() -> None:
    with pytest.raises(ModelSpecError, match="no token that begins the offered answer 'Z'"):
        check_tokens(("A", "Z"), ((0,), ()), (0, None), {0: "A"})
