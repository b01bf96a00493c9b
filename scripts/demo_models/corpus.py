"""Training questions of the demo models, and their true answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from demo_models.packing import Pack
from demo_models.samples import ACTS, changed, damaged, draw_wording, sample_response
from demo_models.tokenizer import ANSWERS
from demo_models.writer import Answer, Question, Text, Writer, render
from raif.demo import teacher
from raif.demo.principles import Wording, meaningless, scrambled
from raif.demo.responses import Tone, compose
from raif.demo.truth import ATTRIBUTES, Attribute, Meaning, grade, prefers
from raif.demo.world import Request, Split, sample_request


@dataclass
class Stage:
    """How hard the questions are: shares of principles turned round, meaningless, simple; and of minimal pairs."""

    inverted: float = 0.4
    meaningless: float = 0.12
    minimal: float = 0.4
    simple: float = 0.0
    both_help: float = 0.15


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
        # Two answers that both help are ties by three principles: too rare, left to chance, to be learnt as ties.
        both_help = rng.random() < self.stage.both_help
        if both_help:
            a, b = (sample_response(rng, request, "complies") for _ in range(2))
        if rng.random() < 0.5:
            a, b = b, a
        values = {"response_a": a.text, "response_b": b.text}
        telling = [t for t in ATTRIBUTES if prefers(Meaning(t), request, a.text, b.text) != "tie"]
        asked: list[Question] = []
        for _ in range(branches):
            if both_help and rng.random() < 0.6:
                wording = self._wording(("harmless", "helpful", "non-evasive"))
            else:
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
                prompt = render(task, request, wording.text, response=text)
                asked.append(Question(task, prompt, Text(fault, 0.4, original=""), wording))
            else:
                better = teacher.revise(rng, wording.meaning, request, parts).text
                prompt = render(task, request, wording.text, response=text, critique=fault)
                asked.append(Question(task, prompt, Text(better, 0.3, original=text), wording))
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
