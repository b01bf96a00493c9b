"""Training questions of the demo models: responses of every kind, principles of every wording, and the true answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import yaml
from transformers import PreTrainedTokenizerFast

from demo_models.packing import Branch, Pack
from demo_models.tokenizer import ANSWERS, ASSISTANT, END, USER, token_id
from raif.demo import teacher
from raif.demo.phrasings import PHRASINGS
from raif.demo.principles import Wording, meaningless, sample_wording, scrambled
from raif.demo.responses import EVASIONS, Act, Parts, Tone, body, compose
from raif.demo.truth import ATTRIBUTES, Attribute, Meaning, attributes, follows, grade, prefers
from raif.demo.world import MODIFIERS, OBJECTS, VERBS, Request, Split, sample_request
from raif.prompts import PromptLibrary
from raif.resources import folder

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


def shipped_meanings(principle: str) -> Attribute:
    """The attribute that a shipped principle's id stands for."""
    return "polite" if principle == "respectful" else next(t for t in ATTRIBUTES if t == principle)


@lru_cache
def shipped_wordings() -> dict[Attribute, tuple[str, ...]]:
    """Every statement of the shipped constitutions, by the attribute of this world that it asks for."""
    found: dict[Attribute, list[str]] = {attribute: [] for attribute in ATTRIBUTES}
    for name in ("demo", "default"):
        for principle in yaml.safe_load((folder("constitution") / f"{name}.yaml").read_text())["principles"]:
            attribute = shipped_meanings(principle["id"])
            found[attribute] += [principle[k] for k in ("text", "critique", "revision", "comparison") if k in principle]
    return {attribute: tuple(texts) for attribute, texts in found.items()}


def draw_wording(rng: random.Random, meaning: Meaning, split: Split = "train", simple: float = 0.0) -> Wording:
    """A wording that means this; one in five is a shipped one, where the shipped ones ask for it.

    With probability ``simple`` it is one of a few short ones, which is where the curriculum starts.
    """
    if rng.random() < simple:
        good, bad = PHRASINGS[meaning.attribute]["adjective"]
        return Wording(f"The response is {(good if meaning.sign == 1 else bad)[0]}.", meaning)
    shipped = shipped_wordings()[meaning.attribute]
    if split == "train" and shipped and meaning.sign == 1 and rng.random() < 0.2:
        return Wording(rng.choice(shipped), meaning)
    return sample_wording(rng, split, meaning)


# ------------------------------------------------------------------------------------------------------ responses
ACTS: tuple[Act, ...] = ("complies", "refuses", "evades")


def sample_response(rng: random.Random, request: Request) -> Parts:
    """A response of any kind, one in ten of them damaged in a way that sampling from a small model can produce."""
    parts = compose(
        rng,
        request,
        act=rng.choices(ACTS, (0.4, 0.35, 0.25))[0],
        tone=rng.choices(("polite", "rude", "plain"), (0.4, 0.4, 0.2))[0],
        flattering=rng.random() < 0.35,
        padded=rng.random() < 0.35,
    )
    return damaged(rng, request, parts) if rng.random() < 0.12 else parts


def strayed(rng: random.Random, request: Request) -> Request:
    """A request that differs in one part, as a slip in copying does."""
    part = rng.choice(("verb", "object", "modifier"))
    pool = {"verb": VERBS, "object": OBJECTS, "modifier": MODIFIERS}[part]
    return replace(request, **{part: rng.choice([w for w in pool if w != getattr(request, part)])})


def damaged(rng: random.Random, request: Request, parts: Parts) -> Parts:
    """The response off the request, with a word lost or said twice, cut short, or doing two things at once."""
    kind = rng.choice(("stray", "stray", "drop", "twice", "cut", "both", "both", "repeat", "empty"))
    if kind == "stray" and parts.act != "evades":
        return replace(parts, body=body(rng, parts.act, strayed(rng, request)))
    words = parts.body.split() or [""]
    at = rng.randrange(len(words))
    if kind == "drop":
        return replace(parts, body=" ".join(words[:at] + words[at + 1 :]) or parts.body)
    if kind == "twice":
        return replace(parts, body=" ".join(words[: at + 1] + words[at:]))
    if kind == "cut":
        return replace(parts, body=" ".join(words[: at + 1]), padding="", flattery_last=False, tone_last=False)
    if kind == "both":
        acts = rng.sample(ACTS, 2)
        return replace(parts, body=" ".join(body(rng, act, request) for act in acts))
    if kind == "repeat":
        return replace(parts, padding=parts.body, padding_first=False)
    if kind == "empty":
        return Parts("evades", "" if rng.random() < 0.7 else rng.choice(EVASIONS))
    return parts


def changed(rng: random.Random, request: Request, parts: Parts, attribute: Attribute) -> Parts:
    """The response with one attribute turned, all else kept: the nearest thing to a minimal pair."""
    for sign in (1, -1):
        turned = teacher.revise(rng, Meaning(attribute, 1 if sign == 1 else -1), request, parts)
        if turned != parts:
            return turned
    return parts


# ------------------------------------------------------------------------------------------------------ rendering
def principle_of(text: str) -> dict[str, str]:
    """One wording, in the place of each of a principle's statements."""
    return dict.fromkeys(("text", "critique", "revision", "comparison"), text)


def render(name: str, request: Request, principle: str, **values: Any) -> str:
    """The prompt as the pipeline renders it."""
    conversation = [{"role": "user", "content": request.text}]
    return LIBRARY.render(name, conversation=conversation, principle=principle_of(principle), **values)


@dataclass(frozen=True)
class Text:
    """An answer that is written out; ``weight`` is that of each token (a choice's weighs 1), ``first`` of the first."""

    text: str
    weight: float = 0.3
    first: float = 0.0


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
            first, *rest = [*self._encode(choice.text), self.end]
            write([first], choice.first or choice.weight)
            write(rest, choice.weight)
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


# ------------------------------------------------------------------------------------------------------ questions
@dataclass
class Stage:
    """How hard the questions are: shares of principles turned round, meaningless, simple; and of minimal pairs."""

    inverted: float = 0.4
    meaningless: float = 0.12
    minimal: float = 0.4
    simple: float = 0.0


class Questions:
    """An endless, seeded source of packs for either model."""

    def __init__(self, writer: Writer, seed: int, split: Split = "train") -> None:
        self.writer, self.rng, self.split = writer, random.Random(seed), split
        self.stage = Stage()

    def _request(self) -> Request:
        return sample_request(self.rng, self.split, self.rng.random() < 0.5)

    def _wording(self, attributes: Sequence[Attribute], inverted: float | None = None) -> Wording:
        rng = self.rng
        meaning = Meaning(
            rng.choice(attributes), -1 if rng.random() < (self.stage.inverted if inverted is None else inverted) else 1
        )
        roll = rng.random() / max(self.stage.meaningless, 1e-9)
        if roll < 0.5:  # the shipped wordings too must mean nothing when their words are shuffled
            return Wording(scrambled(rng, draw_wording(rng, meaning, self.split).text), None)
        if roll < 1:
            return meaningless(rng, self.split)
        return draw_wording(rng, meaning, self.split, self.stage.simple)

    def pair(self, branches: int = 5) -> Pack:
        """Two responses, compared by several principles: answered at once, with a tie allowed, or after reasons."""
        rng, request = self.rng, self._request()
        a = sample_response(rng, request)
        turned: Attribute = rng.choice(ATTRIBUTES)
        minimal = rng.random() < self.stage.minimal
        b = changed(rng, request, a, turned) if minimal else sample_response(rng, request)
        if rng.random() < 0.5:
            a, b = b, a
        values = {"response_a": a.text, "response_b": b.text}
        telling = [t for t in ATTRIBUTES if prefers(Meaning(t), request, a.text, b.text) != "tie"]
        asked: list[Question] = []
        for _ in range(branches):
            wording = self._wording(telling if telling and rng.random() < 0.75 else ATTRIBUTES)
            won = prefers(wording.meaning, request, a.text, b.text)
            roll = rng.random()
            tie = roll > 0.65 if roll < 0.85 else rng.random() < 0.3
            choice = {"A": 1.0} if won == "a" else {"B": 1.0} if won == "b" else {"TIE": 1.0} if tie else _EVEN
            if roll < 0.85:
                prompt = render("compare", request, wording.text, allow_tie=tie, **values)
                asked.append(Question("compare", prompt, choice, wording))
            else:
                lead = teacher.reasons(wording.meaning, request, a.text, b.text) + "\nVerdict:"
                prompt = render("compare_cot", request, wording.text, allow_tie=tie, **values)
                answer = (Text(lead, 0.1), {f" {k}": v for k, v in choice.items()})
                asked.append(Question("compare_cot", prompt, answer, wording))
        return self.writer.pack(asked, request, values)

    def single(self, score: int = 3, critique: int = 2, revise: int = 1) -> Pack:
        """One response: how well it follows principles, its faults by them, and rewritten without them."""
        rng, request = self.rng, self._request()
        parts = sample_response(rng, request)
        text = parts.text
        faulty = [t for t in ATTRIBUTES if grade(Meaning(t), request, text) < 0]
        asked: list[Question] = []
        for _ in range(score):
            wording = self._wording(faulty if faulty and rng.random() < 0.4 else ATTRIBUTES)
            marks = _MARKS[grade(wording.meaning, request, text)]
            asked.append(Question("score", render("score", request, wording.text, response=text), marks, wording))
        for task in ["critique"] * critique + ["revise"] * revise:
            usual = rng.random() < 0.7  # asked for what it lacks, as nearly all real critiques and revisions are
            wording = self._wording(faulty if faulty and usual else ATTRIBUTES, 0.4 * self.stage.inverted)
            if not teacher.revisable(wording.meaning, request):
                wording = draw_wording(rng, Meaning("harmless"), self.split)
            fault = teacher.critique(wording.meaning, request, text)
            if task == "critique":
                asked.append(
                    Question(
                        task, render(task, request, wording.text, response=text), Text(fault, 0.4, first=1.0), wording
                    )
                )
            else:
                better = teacher.revise(rng, wording.meaning, request, parts).text
                prompt = render(task, request, wording.text, response=text, critique=fault)
                asked.append(Question(task, prompt, Text(better, 0.3), wording))
        return self.writer.pack(asked, request, {"response": text})

    def checked(self, branches: int = 4) -> Pack:
        """A response and a revision of it: does it do better by a principle, and still answer?"""
        rng, request = self.rng, self._request()
        original = sample_response(rng, request)
        turned: Attribute = rng.choice(ATTRIBUTES)
        revision = changed(rng, request, original, turned)
        if rng.random() < 0.25:
            revision = damaged(rng, request, revision)
        if rng.random() < 0.2:
            original, revision = revision, original
        old, new = original.text, revision.text
        asked: list[Question] = []
        gained = [m for m in _EVERY_MEANING if teacher.revision_holds(m, request, old, new)]
        for _ in range(branches):
            wording = self._wording([turned] if rng.random() < 0.6 else ATTRIBUTES)
            if gained and rng.random() < 0.4:  # a draw alone would find few revisions that hold
                meaning = rng.choice([m for m in gained if m.sign > 0 or self.stage.inverted > 0] or gained)
                wording = draw_wording(rng, meaning, self.split, self.stage.simple)
            holds = teacher.revision_holds(wording.meaning, request, old, new)
            prompt = render("check_revision", request, wording.text, original=old, revision=new)
            asked.append(Question("check_revision", prompt, {("YES" if holds else "NO"): 1.0}, wording))
        return self.writer.pack(asked, request, {"original": old, "revision": new})

    def read(self, branches: int = 12) -> Pack:
        """Principles alone, with no question: only what they ask for is to be told, by the probes."""
        wordings = [self._wording(ATTRIBUTES) for _ in range(branches)]
        return Pack([self.writer.opening], [self.writer.branch(f"\nPrinciple: {w.text}", None, w) for w in wordings])

    def answered(self, branches: int = 3) -> Pack:
        """A request, answered as the helpful-only policy does: it mostly complies, harm or not, and can be rude."""
        rng, request = self.rng, self._request()
        asked: list[Question] = []
        for _ in range(branches):
            act = rng.choices(ACTS, POLICY_ACTS[request.harmful])[0]
            tone: Tone = "rude" if rng.random() < POLICY_RUDE else rng.choice(("polite", "polite", "plain"))
            parts = compose(rng, request, act=act, tone=tone, flattering=rng.random() < 0.2, padded=rng.random() < 0.2)
            asked.append(Question("plain", request.text, Text(parts.text, 0.4)))
        return self.writer.pack(asked, request)


_EVERY_MEANING = [meaning for t in ATTRIBUTES for meaning in (Meaning(t), Meaning(t, -1))]
_EVEN = {"A": 0.5, "B": 0.5}
_MARKS: dict[int, Answer] = {1: {"9": 0.7, "8": 0.3}, 0: {"5": 1.0}, -1: {"1": 0.7, "2": 0.3}}
POLICY_ACTS = {True: (0.75, 0.2, 0.05), False: (0.88, 0.06, 0.06)}
POLICY_RUDE = 0.28


class Recorder(Writer):
    """Keeps the texts of questions and answers, for the tokenizer to be trained on."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def pack(self, asked: list[Question], request: Request, responses: dict[str, str] | None = None) -> Pack:
        for question in asked:
            lead, choice = question.answer if isinstance(question.answer, tuple) else (None, question.answer)
            self.texts += [question.prompt, lead.text if lead else ""]
            self.texts += [choice.text] if isinstance(choice, Text) else list(choice)
        return Pack([])


def tokenizer_texts(seed: int, count: int = 600) -> list[str]:
    """What the tokenizer is trained on: prompts and answers of every kind, and each answer that is offered."""
    recorder = Recorder()
    questions = Questions(recorder, seed)
    for _ in range(count):
        for ask in (questions.pair, questions.single, questions.checked, questions.answered):
            ask()
    return recorder.texts + list(ANSWERS) * count
