"""What a perfect judge of the demo world would write: critiques, reasons and revisions, composed from the truth.

The build script trains the demo models on these, and checks what the models write with ``fault_named``. Like the
truth, this is not for any stage of the pipeline.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Literal

from raif.demo.responses import FLATTERY, Act, Parts, body, padding
from raif.demo.truth import Attribute, Attributes, Meaning, attributes, follows, grade, prefers
from raif.demo.world import Request

NO_FAULT = "No fault."

# What a critique says of a response that fails a principle, by what the principle asks for.
_FAULTS: dict[Meaning, str] = {
    Meaning("harmless"): "The response tells how to {deed}, which would do harm.",
    Meaning("helpful"): "The response gives no proper help to {deed}, though that is safe.",
    Meaning("polite"): "The response is rude to someone who wants to {deed}.",
    Meaning("honest"): "The response flatters someone who wants to {deed}.",
    Meaning("non-evasive"): "The response dodges the question of how to {deed}.",
    Meaning("concise"): "The response pads its words on how to {deed}.",
    Meaning("harmless", -1): "The response does no harm when asked how to {deed}.",
    Meaning("helpful", -1): "The response is helpful when asked how to {deed}.",
    Meaning("polite", -1): "The response is not rude to someone who wants to {deed}.",
    Meaning("honest", -1): "The response does not flatter someone who wants to {deed}.",
    Meaning("non-evasive", -1): "The response does not dodge the question of how to {deed}.",
    Meaning("concise", -1): "The response does not pad its words on how to {deed}.",
}
_PATTERNS = tuple(
    (meaning, re.compile(re.escape(text).replace(r"\{deed\}", "(.+?)"))) for meaning, text in _FAULTS.items()
)

# What reasoning says of one response: where the attribute holds, where it does not, where the question does not arise.
_REASONS: dict[Attribute, tuple[str, str, str]] = {
    "harmless": ("does no harm", "helps with harm", ""),
    "helpful": ("does what was asked", "does not do what was asked", "was asked for harm"),
    "polite": ("is not rude", "is rude", ""),
    "honest": ("does not flatter", "flatters", ""),
    "non-evasive": ("does not dodge", "dodges", ""),
    "concise": ("has no padding", "is padded", ""),
}

_WANTED: dict[Attribute, tuple[str, str]] = {
    "harmless": ("safety", "harm"),
    "helpful": ("help", "no help"),
    "polite": ("courtesy", "rudeness"),
    "honest": ("honesty", "flattery"),
    "non-evasive": ("openness", "dodging"),
    "concise": ("few words", "many words"),
}


def critique(meaning: Meaning | None, request: Request, response: str) -> str:
    """The fault of the response by this principle and the deed it concerns, or that there is none."""
    if meaning is None or grade(meaning, request, response) >= 0:
        return NO_FAULT
    return _FAULTS[meaning].format(deed=request.deed)


def fault_named(text: str) -> tuple[Meaning, str] | None:
    """The fault that a critique names, with the deed it names; None where it names no fault of this world."""
    for meaning, pattern in _PATTERNS:
        if match := pattern.fullmatch(text.strip()):
            return meaning, match[1]
    return None


def reasons(meaning: Meaning | None, request: Request, a: str, b: str) -> str:
    """What each response does under the principle, after what it asks for: what comes before a verdict."""
    if meaning is None:
        return "The principle says nothing of response A. It says nothing of response B."

    def of(response: str) -> str:
        holds = follows(meaning.attribute, request, attributes(request, response))
        return _REASONS[meaning.attribute][2 if holds is None else 0 if holds else 1]

    wanted = _WANTED[meaning.attribute][0 if meaning.sign == 1 else 1]
    return f"The principle asks for {wanted}. Response A {of(a)}. Response B {of(b)}."


def revisable(meaning: Meaning | None, request: Request) -> bool:
    """Whether a fault by this principle can be put right: harm can't be put into a harmless request."""
    return meaning != Meaning("harmless", -1) or request.harmful


def revise(rng: random.Random, meaning: Meaning | None, request: Request, original: Parts) -> Parts:
    """The response with its fault by this principle put right and all else kept; the same one where it has none."""
    if meaning is None or grade(meaning, request, original.text) >= 0 or not revisable(meaning, request):
        return original
    wanted = meaning.sign == 1
    if meaning.attribute == "polite":
        return original.with_tone(rng, "polite" if wanted else "rude")
    if meaning.attribute == "honest":
        return replace(original, flattery="" if wanted else rng.choice(FLATTERY))
    if meaning.attribute == "concise":
        return replace(original, padding="" if wanted else padding(rng))
    act: Act
    if meaning.attribute == "harmless":
        act = "refuses" if wanted else "complies"
    elif meaning.attribute == "helpful":
        act = "complies" if wanted else "refuses"
    else:
        act = ("refuses" if request.harmful else "complies") if wanted else "evades"
    return replace(original, act=act, body=body(rng, act, request))


def revision_holds(meaning: Meaning | None, request: Request, original: str, revision: str) -> bool:
    """Whether a revision does better by the principle than its original, and still answers the request."""
    found: Attributes = attributes(request, revision)
    improved: Literal["a", "b", "tie"] = prefers(meaning, request, revision, original)
    return improved == "a" and found.on_request
