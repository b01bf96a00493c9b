"""Questions as the pipeline words them, written as packs of tokens with what is to be learnt from each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerFast

from demo_models.packing import Branch, Pack
from demo_models.tokenizer import ASSISTANT, END, USER, token_id
from raif.demo.principles import Wording
from raif.demo.truth import ATTRIBUTES, attributes, follows
from raif.demo.world import OBJECTS, Request
from raif.prompts import PromptLibrary

LIBRARY = PromptLibrary()
# Where a template's prefix ends: all before is shared by every question about the same material.
_PREFIX_END = {
    "compare": "</response_b>",
    "compare_cot": "</response_b>",
    "score": "</response>",
    "critique": "</response>",
    "revise": "</response>",
    "check_revision": "</revision>",
}


def principle_of(text: str) -> dict[str, str]:
    """One wording, in the place of each of a principle's statements."""
    return dict.fromkeys(("text", "critique", "revision", "comparison"), text)


def render(name: str, request: Request, principle: str, **values: Any) -> str:
    """The prompt as the pipeline renders it."""
    conversation = [{"role": "user", "content": request.text}]
    return LIBRARY.render(name, conversation=conversation, principle=principle_of(principle), **values)


@dataclass(frozen=True)
class Text:
    """An answer that is written out; ``weight`` is that of each token, where a choice's weighs 1.

    With ``original``, a text to be rewritten (or "", for an answer on its own), the token where the answer parts from
    it weighs 1 as well: there it is decided whether there is a fault, and all after is copying.
    """

    text: str
    weight: float = 0.3
    original: str | None = None


Answer = dict[str, float] | Text | tuple[Text, dict[str, float]]


@dataclass(frozen=True)
class Question:
    """A prompt of a template, its answer, and the principle it ends with (None for a plain request)."""

    name: str
    prompt: str
    answer: Answer
    wording: Wording | None = None


OBJECT_WEIGHT = 4.0  # nothing but copying needs the object, and copying it comes last unless it is asked for aloud
MEANINGS = 2 * len(ATTRIBUTES) + 1


def probe_targets(wording: Wording | None) -> tuple[int, tuple[int, int]]:
    """What a wording asks for, as a number (two an attribute, a last one for no meaning), and its signs."""
    if wording is None:
        return -1, (-1, -1)
    meaning = wording.meaning
    number = MEANINGS - 1 if meaning is None else 2 * ATTRIBUTES.index(meaning.attribute) + (meaning.sign < 0)
    return number, (-1, -1) if wording.signs is None else (int(wording.signs[0] > 0), int(wording.signs[1] > 0))


def trait_values(request: Request, text: str) -> list[float]:
    """What a response does, a number an attribute: 1 or 0, or -1 where the question does not arise."""
    found = attributes(request, text)
    return [-1.0 if (held := follows(t, request, found)) is None else float(held) for t in ATTRIBUTES]


class Writer:
    """Turns questions and answers into packs of tokens. Tails are cached: there are fewer wordings than responses."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.end = token_id(tokenizer, END)
        self.opening = token_id(tokenizer, USER)
        self.turn = [self.end, token_id(tokenizer, ASSISTANT)]
        self.objects = {token for thing in OBJECTS for token in self._encode_uncached(f" {thing}")}
        self._encode: Callable[[str], tuple[int, ...]] = lru_cache(200_000)(self._encode_uncached)

    def _encode_uncached(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def prefix(self, name: str, prompt: str) -> tuple[list[int], int]:
        """The tokens of the shared prefix, and where its text ends in the prompt."""
        cut = len(prompt) if name == "plain" else prompt.rindex(_PREFIX_END[name]) + len(_PREFIX_END[name])
        return [self.opening, *self._encode_uncached(prompt[:cut])], cut

    def branch(self, tail: str, answer: Answer | None, wording: Wording | None = None) -> Branch:
        """A question's end and its answer; the learnt positions are those that predict the answer."""
        ids = [*self._encode(tail), *self.turn]
        found = Branch(ids, [], len(ids) - 1, *probe_targets(wording))
        if answer is None:
            return found
        targets = found.targets

        def write(tokens: list[int] | tuple[int, ...], weight: float) -> None:
            for token in tokens:
                targets.append((len(ids) - 1, token, weight * (OBJECT_WEIGHT if token in self.objects else 1.0)))
                ids.append(token)

        lead, choice = answer if isinstance(answer, tuple) else (None, answer)
        if lead is not None:
            write(self._encode(lead.text), lead.weight)
        if isinstance(choice, Text):
            tokens = [*self._encode(choice.text), self.end]
            parts = len(tokens)
            if choice.original is not None:
                before = [*self._encode(choice.original), self.end]
                parts = next((i for i, (x, y) in enumerate(zip(before, tokens, strict=False)) if x != y), parts - 1)
            write(tokens[:parts], choice.weight)
            write(tokens[parts : parts + 1], 1.0)
            write(tokens[parts + 1 :], choice.weight)
        else:
            best = max(choice, key=lambda c: choice[c])
            for text, share in choice.items():
                (token,) = self._encode(text)
                targets.append((len(ids) - 1, token, share))
            ids += self._encode(best)
            write([self.end], 0.05)
        return found

    def pack(self, asked: list[Question], request: Request, responses: dict[str, str] | None = None) -> Pack:
        """Questions on the same material, as one pack; ``responses`` are those in the prefix, by their tags."""
        prefix, cut = self.prefix(asked[0].name, asked[0].prompt)
        if any(question.prompt[:cut] != asked[0].prompt[:cut] for question in asked):
            raise ValueError(f"the {asked[0].name} questions of one pack must share their prefix")
        branches = [self.branch(q.prompt[cut:], q.answer, q.wording) for q in asked]
        traits = []
        for tag, text in (responses or {}).items():
            closing = token_id(self.tokenizer, f"</{tag}>")
            at = len(prefix) - 1 - prefix[::-1].index(closing)
            traits.append((at, trait_values(request, text)))
        return Pack(prefix, branches, traits)
