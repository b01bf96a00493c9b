"""Which first tokens begin which of the answers that a judge was offered.

Whether a model says ``A``, ``␠A`` or ``▁A`` depends on its tokenizer and on how the prompt ends. The probability of an
answer is therefore the sum over every token that begins it and no other offered answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from raif.errors import ModelSpecError

if TYPE_CHECKING:
    from raif.models.chat import ChatFormat


def begins(token: str, choice: str) -> bool:
    """Whether a completion whose first token reads ``token`` may be the answer ``choice``.

    So it is where the token, without leading white space, is a beginning of the choice, the choice itself, or the
    choice followed by something that ends a word (``A.``). Upper and lower case differ.
    """
    text = token.lstrip()
    if not text:
        return False
    if len(text) <= len(choice):
        return choice.startswith(text)
    return text.startswith(choice) and not text[len(choice)].isalnum()


def answer_tokens(vocabulary: Mapping[int, str], choices: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """For each choice, the ids of the tokens that begin it and no other choice, ascending.

    Args:
        vocabulary: id to text of every token that can begin an answer (no control tokens).
        choices: the offered answers.
    """
    tokens: list[list[int]] = [[] for _ in choices]
    starts = {choice[0] for choice in choices}
    for index, token in vocabulary.items():
        text = token.lstrip()
        if not text or text[0] not in starts:
            continue
        begun = [i for i, choice in enumerate(choices) if begins(text, choice)]
        if len(begun) == 1:
            tokens[begun[0]].append(index)
    return tuple(tuple(sorted(ids)) for ids in tokens)


def check_choices(choices: Sequence[str]) -> None:
    """Refuse answers that no first token can tell apart, whatever the tokenizer.

    Raises:
        ModelSpecError: none, an empty one, one with white space around it, or one that begins another.
    """
    if not choices:
        raise ModelSpecError("no answers were offered to score")
    for choice in choices:
        if not choice or choice != choice.strip():
            raise ModelSpecError(f"the offered answer {choice!r} is empty or has white space around it")
    for i, first in enumerate(choices):
        for second in choices[i + 1 :]:
            if first.startswith(second) or second.startswith(first):
                raise ModelSpecError(
                    f"the offered answers {first!r} and {second!r} can't be told apart by their first token; "
                    "reword one of them"
                )


def check_tokens(
    choices: Sequence[str], tokens: Sequence[Sequence[int]], own: Sequence[int | None], vocabulary: Mapping[int, str]
) -> None:
    """Refuse answers that this tokenizer can't tell apart by the token that it begins them with.

    Args:
        choices: the offered answers.
        tokens: what ``answer_tokens`` found for each.
        own: for each choice, the first token (other than white space) of the tokenizer's own encoding of it.
        vocabulary: id to text of every token that can begin an answer.

    Raises:
        ModelSpecError: names the answers.
    """
    for choice, ids, first in zip(choices, tokens, own, strict=True):
        if first in ids:
            continue
        text = "" if first is None else vocabulary.get(first, "")
        others = [other for other in choices if other != choice and text and begins(text, other)]
        if others:
            raise ModelSpecError(
                f"this model's tokenizer begins the offered answers {choice!r} and {others[0]!r} with the same token "
                f"({text!r}); reword one of them"
            )
        raise ModelSpecError(f"this model's tokenizer has no token that begins the offered answer {choice!r}")


class AnswerTokens:
    """Which tokens begin which answer, for one model's tokenizer; worked out once for each set of answers.

    Args:
        chat: the tokenizer with its chat template.
        size: rows of the model's embedding: its tokenizer may know fewer tokens, or more.
    """

    def __init__(self, chat: ChatFormat, size: int) -> None:
        self._chat, self._size = chat, size
        self._vocabulary: dict[int, str] = {}
        self._known: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}

    def __call__(self, choices: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        """For each choice, the tokens that begin it and no other, ascending.

        Raises:
            ModelSpecError: answers that this tokenizer can't tell apart.
        """
        if choices not in self._known:
            check_choices(choices)
            vocabulary = self._vocabulary = self._vocabulary or self._chat.vocabulary(self._size)
            tokens = answer_tokens(vocabulary, choices)
            own = [self._chat.first_token(choice, vocabulary) for choice in choices]
            check_tokens(choices, tokens, own, vocabulary)
            self._known[choices] = tokens
        return self._known[choices]
