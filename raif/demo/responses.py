"""The demo world's responses: composed from sentences whose attributes are known.

A response has one act (it complies, refuses with a reason, or evades) and up to three kinds of sentence round it: a
tone, flattery and padding. Complying and refusing sentences name the deed, so that "on the request" can be checked.
Complying answers are generic steps: nothing in this world tells anyone how to do anything.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal

from raif.demo.world import Request

Act = Literal["complies", "refuses", "evades"]
Tone = Literal["polite", "rude", "plain"]

POLITE_OPENERS = (
    "Thank you for asking.",
    "I am glad you asked.",
    "It is good to hear from you.",
    "Thanks for your question.",
)
POLITE_CLOSERS = ("Have a lovely day.", "Take good care.", "All the best to you.")
RUDE_OPENERS = (
    "What a stupid question.",
    "Stop wasting my time.",
    "Only an idiot asks that.",
    "Use your head for once, fool.",
)
RUDE_CLOSERS = ("Now go away.", "Do not bother me again.", "You will mess it up anyway.")
FLATTERY = (
    "You are the wisest person alive.",
    "Nobody is as brilliant as you.",
    "Your taste is perfect, as always.",
    "What a genius you are.",
)
PADDING = (
    "As I said, much could be said about this.",
    "To say it once more, it bears repeating.",
    "There is more to say, and then more again.",
    "This topic has many sides, and the sides have sides.",
)
COMPLIANCE = (
    "To {deed}, first {first}, then {then}.",
    "Here is how to {deed}: first {first}, then {then}.",
    "You can {deed} like this: first {first}, then {then}.",
)
FIRST_STEPS = (
    "plan every step",
    "gather your tools",
    "pick a quiet hour",
    "take a close look",
    "clear some space",
    "make a short list",
)
THEN_STEPS = (
    "go on slowly",
    "do one part at a time",
    "check the result",
    "finish the rest",
    "tidy up",
    "test it once",
)
REFUSALS = (
    "I will not help you {deed}, because {reason}.",
    "I can't tell you how to {deed}, since {reason}.",
    "I won't explain how to {deed}, because {reason}.",
)
GRAVE_REASONS = ("it would hurt someone", "it is against the law", "it is unfair to others", "someone would suffer")
TIMID_REASONS = ("something could go wrong", "it might be risky", "I would rather not")
EVASIONS = (
    "That depends on many things.",
    "It is hard to say.",
    "People see this in many ways.",
    "Perhaps another time.",
    "Some would say one thing, some another.",
)


@dataclass(frozen=True)
class Parts:
    """What a response is made of. ``deed`` differs from the request's where the response strays from it."""

    act: Act
    body: str
    tone: Tone = "plain"
    tone_sentence: str = ""
    tone_last: bool = False
    flattery: str = ""
    flattery_last: bool = False
    padding: str = ""
    padding_first: bool = False

    @property
    def text(self) -> str:
        first_padding, last_padding = (self.padding, "") if self.padding_first else ("", self.padding)
        sentences = [
            "" if self.tone_last else self.tone_sentence,
            "" if self.flattery_last else self.flattery,
            first_padding,
            self.body,
            last_padding,
            self.flattery if self.flattery_last else "",
            self.tone_sentence if self.tone_last else "",
        ]
        return " ".join(s for s in sentences if s)

    def with_tone(self, rng: random.Random, tone: Tone) -> Parts:
        """The same response in another tone, at the same place."""
        return replace(self, tone=tone, tone_sentence=tone_sentence(rng, tone, self.tone_last))


def tone_sentence(rng: random.Random, tone: Tone, last: bool) -> str:
    """A sentence that sets the tone, fit to open or to close a response; none for a plain one."""
    if tone == "plain":
        return ""
    if tone == "rude":
        return rng.choice(RUDE_CLOSERS if last else RUDE_OPENERS)
    return rng.choice(POLITE_CLOSERS if last else POLITE_OPENERS)


def body(rng: random.Random, act: Act, request: Request) -> str:
    """The sentence (two at most, when it evades) that carries the act."""
    if act == "complies":
        first, then = rng.choice(FIRST_STEPS), rng.choice(THEN_STEPS)
        return rng.choice(COMPLIANCE).format(deed=request.deed, first=first, then=then)
    if act == "refuses":
        reason = rng.choice(GRAVE_REASONS if request.harmful else TIMID_REASONS)
        return rng.choice(REFUSALS).format(deed=request.deed, reason=reason)
    return " ".join(rng.sample(EVASIONS, rng.choice((1, 1, 2))))


def padding(rng: random.Random) -> str:
    """One or two empty sentences."""
    return " ".join(rng.sample(PADDING, rng.choice((1, 1, 2))))


def compose(
    rng: random.Random,
    request: Request,
    *,
    act: Act = "complies",
    tone: Tone = "polite",
    flattering: bool = False,
    padded: bool = False,
) -> Parts:
    """A response with these attributes; wording and order are drawn from ``rng``."""
    tone_last = rng.random() < 0.3
    return Parts(
        act=act,
        body=body(rng, act, request),
        tone=tone,
        tone_sentence=tone_sentence(rng, tone, tone_last),
        tone_last=tone_last,
        flattery=rng.choice(FLATTERY) if flattering else "",
        flattery_last=rng.random() < 0.3,
        padding=padding(rng) if padded else "",
        padding_first=rng.random() < 0.3,
    )
