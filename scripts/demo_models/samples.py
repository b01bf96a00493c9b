"""What training questions are about: wordings of principles, and responses of every kind, whole and damaged."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import lru_cache

import yaml

from raif.demo import teacher
from raif.demo.phrasings import PHRASINGS
from raif.demo.principles import Wording, sample_wording
from raif.demo.responses import EVASIONS, Act, Parts, body, compose
from raif.demo.truth import ATTRIBUTES, Attribute, Meaning
from raif.demo.world import MODIFIERS, OBJECTS, VERBS, Request, Split
from raif.resources import folder


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


ACTS: tuple[Act, ...] = ("complies", "refuses", "evades")


def sample_response(rng: random.Random, request: Request, act: Act | None = None) -> Parts:
    """A response of any kind, one in ten of them damaged in a way that sampling from a small model can produce."""
    parts = compose(
        rng,
        request,
        act=act or rng.choices(ACTS, (0.4, 0.35, 0.25))[0],
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
