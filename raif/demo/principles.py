"""Principles of the demo world, worded from parts: frames × phrasings × polarity, with wordings kept from training.

A judge that has learnt a list of sentences reads nothing. So a wording is composed: a phrasing (an adjective, a noun or
a verb phrase) that stands for an attribute or for its opposite, in a frame that asks for it or against it. Both can
turn the meaning round: "the response should not be rude" asks for politeness, "prefer the less polite reply" against.
Held out from training are one in eight of the (frame, phrasing) pairs, and some phrasings whole, whose words all occur
in others. Wordings without meaning (blank, scrambled, off the point) belong too: they must decide nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Literal

from raif.demo.phrasings import COMPARATIVES, FRAMES, HELD_OUT_PHRASINGS, LEADS, NOUNS, PHRASINGS, POINTLESS, TAILS
from raif.demo.truth import ATTRIBUTES, Attribute, Meaning
from raif.demo.world import Split

Kind = Literal["adjective", "noun", "verb"]
_HELD_OUT_SHARE = 0.125


@dataclass(frozen=True)
class Phrasing:
    """A part of speech that stands for an attribute (``sign`` 1), its opposite (-1), or nothing of this world (0)."""

    kind: Kind
    words: str
    attribute: Attribute | None
    sign: Literal[-1, 0, 1]

    @property
    def held_out(self) -> bool:
        return self.words in HELD_OUT_PHRASINGS


@dataclass(frozen=True)
class Wording:
    """A principle's text, and what it asks for: nothing, where the text has no meaning in this world.

    ``signs`` are those of its frame and of its phrasing, where it has one of each: their product is the meaning's.
    """

    text: str
    meaning: Meaning | None
    signs: tuple[int, int] | None = None


def _phrasings() -> tuple[Phrasing, ...]:
    found = []
    for attribute in ATTRIBUTES:
        for kind, (good, bad) in PHRASINGS[attribute].items():
            found += [Phrasing(kind, words, attribute, 1) for words in good]
            found += [Phrasing(kind, words, attribute, -1) for words in bad]
    for kind, words in POINTLESS.items():
        found += [Phrasing(kind, each, None, 0) for each in words]
    return tuple(found)


ALL = _phrasings()


def base_form(verb_phrase: str) -> str:
    """``treats the user`` → ``treat the user``."""
    verb, _, rest = verb_phrase.partition(" ")
    irregular = {"is": "be", "goes": "go", "does": "do", "has": "have", "was": "be"}
    base = irregular.get(verb) or (verb[:-3] + "y" if verb.endswith("ies") else verb[:-1])
    return f"{base} {rest}".strip()


def phrase(frame: str, phrasing: Phrasing, noun: str) -> str:
    """A frame with its parts put in: the phrasing, its comparative or base form, and the word for a response."""
    words = phrasing.words
    more = COMPARATIVES.get(words, f"more {words}")
    text = frame.format(x=words, more=more, base=base_form(words), r=noun).replace(" a answer", " an answer")
    return text[0].upper() + text[1:]


def pair_held_out(frame: str, phrasing: Phrasing) -> bool:
    """Whether this frame is never filled with this phrasing in training."""
    digest = sha256(f"{frame}|{phrasing.words}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < _HELD_OUT_SHARE


def _meaning(phrasing: Phrasing, sign: int) -> Meaning | None:
    if phrasing.attribute is None:
        return None
    return Meaning(phrasing.attribute, 1 if phrasing.sign * sign > 0 else -1)


@lru_cache
def _pairs(split: Split, meaning: Meaning | None) -> tuple[tuple[str, Phrasing, int], ...]:
    """The (frame, phrasing) pairs of a split that mean this, each with its frame's sign."""
    found = []
    for phrasing in ALL:
        for frame, sign in FRAMES[phrasing.kind]:
            kept = phrasing.held_out or pair_held_out(frame, phrasing)
            if _meaning(phrasing, sign) == meaning and kept == (split == "held_out"):
                found.append((frame, phrasing, int(sign)))
    return tuple(found)


def _draw(rng: random.Random, split: Split, meaning: Meaning | None) -> tuple[str, Phrasing, int]:
    """One pair, its part of speech drawn first: verb phrases are many, and would crowd out the rest."""
    return rng.choice(rng.choice(_pairs_by_kind(split, meaning)))


@lru_cache
def _pairs_by_kind(split: Split, meaning: Meaning | None) -> tuple[tuple[tuple[str, Phrasing, int], ...], ...]:
    pairs = _pairs(split, meaning)
    by_kind = (tuple(pair for pair in pairs if pair[1].kind == kind) for kind in FRAMES)
    return tuple(group for group in by_kind if group)


def sample_wording(rng: random.Random, split: Split, meaning: Meaning | None, decorated: float = 0.35) -> Wording:
    """One wording that means ``meaning``; without meaning it is off the point.

    With probability ``decorated`` it is longer than one frame: two frames side by side, or one with words that add
    nothing.
    """
    noun = rng.choice(NOUNS)
    frame, phrasing, sign = _draw(rng, split, meaning)
    text, signs = phrase(frame, phrasing, noun), (sign, int(phrasing.sign))
    roll = rng.random() / max(decorated, 1e-9)
    if roll < 0.4:
        frame, phrasing, other_sign = _draw(rng, split, meaning)
        other = phrase(frame, phrasing, noun)
        if (other_sign, phrasing.sign) != signs:
            return Wording(f"{text} {other}" if rng.random() < 0.5 else _joined(text, other), meaning)
        if other != text:
            text = f"{text} {other}" if rng.random() < 0.5 else _joined(text, other)
    elif roll < 0.7:
        text = f"{text[:-1]}{rng.choice(TAILS)}."
    elif roll < 1.0:
        text = f"{rng.choice(LEADS)} {text[0].lower()}{text[1:]}"
    return Wording(text, meaning, signs if meaning else None)


def _joined(text: str, other: str) -> str:
    return f"{text[:-1]}; {other[0].lower()}{other[1:]}"


def held_out_wordings(sign: Literal[1, -1], whole_phrasings: bool) -> list[Wording]:
    """Every plain wording of the sign that training never saw: of phrasings kept whole, or of kept pairs alone."""
    found = []
    for attribute in ATTRIBUTES:
        meaning = Meaning(attribute, sign)
        for frame, phrasing, _ in _pairs("held_out", meaning):
            if phrasing.held_out == whole_phrasings:
                found.append(Wording(phrase(frame, phrasing, NOUNS[0]), meaning))
    return found


def scrambled(rng: random.Random, text: str) -> str:
    """The same words in another order; fewer than four are repeated first, as order means little to them."""
    words = text.split()
    while len(words) < 4:
        words += text.split()
    mixed = list(words)
    while mixed == words:
        rng.shuffle(mixed)
    return " ".join(mixed)


def meaningless(rng: random.Random, split: Split) -> Wording:
    """A wording that must decide nothing: blank, scrambled, or about something that no response of this world has."""
    roll = rng.random()
    if roll < 0.15:
        return Wording("", None)
    if roll < 0.7:
        attribute: Attribute = rng.choice(ATTRIBUTES)
        sign: Literal[1, -1] = rng.choice((1, -1))
        return Wording(scrambled(rng, sample_wording(rng, split, Meaning(attribute, sign)).text), None)
    return sample_wording(rng, split, None)
