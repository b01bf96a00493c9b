"""From a conversation to a model's token ids, by the model's own chat template and tokenizer.

Text from users and models is data: a control token that it spells out (``<|im_start|>``, ``[INST]``) is broken before
the template sees it, so that no message can end its own turn and speak as another role.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from raif.errors import ModelSpecError
from raif.records import Conversation, Message

# Delimiters that templates write without making them tokens: <|im_start|>, <start_of_turn>, [INST], <<SYS>>.
_DELIMITER = re.compile(r"<\|[^|<>\s]+\|>|<</?[A-Z]+>>|</?[A-Za-z_][\w-]*>|\[/?[A-Z][A-Z_]+\]")
_BROKEN = {"<": "‹", "＜": "‹", "[": "⟦", "［": "⟦"}
_FULL_WIDTH = 0xFEE0
# Templates that print today's date would give another prompt tomorrow. Theirs is the day that they fall back on.
_TEMPLATE_VALUES = {"enable_thinking": False, "date_string": "26 Jul 2024"}
_SYSTEM, _USER, _ASSISTANT = "raif probes system", "raif probes user", "raif probes assistant"


class ChatRefusedError(Exception):
    """The chat template does not take this conversation; ``str(error)`` says why."""


def control_words(special_tokens: Iterable[str], template: str) -> list[str]:
    """What a message must not spell: the special tokens, and the delimiters in the chat template's source."""
    words = set(special_tokens) | set(_DELIMITER.findall(template))
    return sorted((word for word in words if len(word.strip()) > 1), key=lambda word: (-len(word), word))


def forgeries(words: Sequence[str]) -> re.Pattern[str] | None:
    """Matches any of ``words``, also in full-width letters, which some tokenizers fold into plain ones."""
    if not words:
        return None
    return re.compile("|".join("".join(map(_either_width, word)) for word in words))


def _either_width(char: str) -> str:
    if "!" <= char <= "~":
        return f"[{re.escape(char)}{chr(ord(char) + _FULL_WIDTH)}]"
    return re.escape(char)


def break_apart(text: str, pattern: re.Pattern[str] | None) -> str:
    """``text`` with every match broken: its first bracket turned into a look-alike, or a space after its first letter.

    All else stays as it is.
    """

    def broken(match: re.Match[str]) -> str:
        word = match.group()
        for i, char in enumerate(word):
            if char in _BROKEN:
                return word[:i] + _BROKEN[char] + word[i + 1 :]
        return f"{word[0]} {word[1:]}"

    return pattern.sub(broken, text) if pattern else text


class ChatFormat:
    """A tokenizer with its chat template, probed once for what the template takes.

    Args:
        tokenizer: a transformers tokenizer.
        spec: the model's specification, for messages.

    Raises:
        ModelSpecError: no chat template, or one that can't be used.
    """

    def __init__(self, tokenizer: Any, spec: str) -> None:
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise ModelSpecError(
                f"{spec}: the tokenizer has no chat template; use an instruction-tuned model, or put a "
                "chat_template.jinja into its folder"
            )
        try:
            self.source: str = tokenizer.get_chat_template()
            heard = self._apply([{"role": "user", "content": _USER}], prompt=True)
        except (TemplateError, ValueError, TypeError) as error:
            raise ModelSpecError(f"{spec}: the chat template can't be rendered: {error}") from error
        if _USER not in heard:
            raise ModelSpecError(f"{spec}: the chat template leaves out what the user says")
        added = getattr(tokenizer, "added_tokens_decoder", {})
        special = {str(token) for token in added.values() if token.special} | set(tokenizer.all_special_tokens)
        self.control = forgeries(control_words(special, self.source))
        self.special_ids = frozenset(tokenizer.convert_tokens_to_ids(token) for token in special)
        self.takes_system = self._takes_system()

    def _apply(self, turns: list[dict[str, str]], *, prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt, **_TEMPLATE_VALUES)
        )

    def _takes_system(self) -> bool:
        """Whether a system message comes out of the template; some raise at it, and some drop it in silence."""
        turns = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
        try:
            return _SYSTEM in self._apply(turns, prompt=True)
        except TemplateError:
            return False

    def end_of_turn(self) -> int | None:
        """The special token that the template writes after an assistant's turn; None where it writes none."""
        turns = [{"role": "user", "content": _USER}, {"role": "assistant", "content": _ASSISTANT}]
        try:
            tail = self._apply(turns, prompt=False).rpartition(_ASSISTANT)[2].lstrip()
        except TemplateError:
            return None
        ids = self.tokenizer(tail, add_special_tokens=False)["input_ids"] if tail else []
        return ids[0] if ids and ids[0] in self.special_ids else None

    def render(self, messages: Conversation, *, prompt: bool = True) -> str:
        """The prompt's text, up to where the assistant begins to speak; without ``prompt``, to the last turn's end.

        Raises:
            ChatRefusedError: the template does not take this conversation.
        """
        turns = [{"role": m.role, "content": break_apart(m.content, self.control)} for m in self._heard(messages)]
        try:
            return self._apply(turns, prompt=prompt)
        except TemplateError as error:
            raise ChatRefusedError(f"the chat template refuses this conversation: {error}") from error

    def _heard(self, messages: Conversation) -> Conversation:
        """The conversation, with a system message put before the first user's turn where the template takes none."""
        if self.takes_system or not messages or messages[0].role != "system":
            return messages
        system, rest = messages[0], messages[1:]
        if not rest or rest[0].role != "user":
            return (Message(role="user", content=system.content), *rest)
        return (Message(role="user", content=f"{system.content}\n\n{rest[0].content}"), *rest[1:])

    def encode(self, messages: Conversation, *, prompt: bool = True) -> list[int]:
        """The token ids of what ``render`` gives.

        Raises:
            ChatRefusedError: the template does not take this conversation.
        """
        # The template has written the control tokens already: a tokenizer that adds its own would double them.
        text = self.render(messages, prompt=prompt)
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a completion, without control tokens and without white space around it."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text).strip()

    def vocabulary(self, size: int) -> dict[int, str]:
        """Id to text of the tokens below ``size`` that are not control tokens."""
        ids = [i for i in range(min(size, len(self.tokenizer))) if i not in self.special_ids]
        texts = self.tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
        return dict(zip(ids, texts, strict=True))

    def first_token(self, text: str, vocabulary: dict[int, str]) -> int | None:
        """The first token, other than white space, of the tokenizer's own encoding of ``text``."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return next((i for i in ids if vocabulary.get(i, "").strip()), None)
