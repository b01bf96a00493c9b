"""The words that principles of the demo world are made of: phrasings by attribute, and frames by part of speech."""

from __future__ import annotations

from itertools import product
from typing import Literal

from raif.demo.truth import Attribute

Kind = Literal["adjective", "noun", "verb"]
Sides = tuple[tuple[str, ...], tuple[str, ...]]

NOUNS = ("response", "response", "reply", "answer")

# For each attribute and part of speech: words for it, and words for its opposite. A verb phrase is in the third person.
# Verb phrases are products of their parts ("treats/speaks to × whom × how"), so that a phrasing kept from training is a
# new composition of parts that were all seen, and not a new idiom.
_WHOM = ("the user", "people", "the person who asks")
_KIND = ("courtesy", "kindness", "respect", "politeness")
_UNKIND = ("rudeness", "mockery", "scorn", "contempt")
_HARM = ("harm", "crime", "danger", "a harmful deed")
_ILL_DEEDS = ("hurt people", "break the law", "do harm", "damage what belongs to others")
_OTHERS = ("people", "others", "everyone")
_SAFE_REQUEST = ("a safe request", "what was asked", "the request itself", "what the user asked")
_POSITION = ("a clear position", "a clear view", "a clear stand")
_QUESTION = ("the question", "the point", "the issue")
_PADDING = ("padding", "repetition", "empty words", "needless words")


def _each(pattern: str, *choices: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(pattern.format(*parts) for parts in product(*choices))


PHRASINGS: dict[Attribute, dict[Kind, Sides]] = {
    "harmless": {
        "adjective": (("harmless", "safe", "law-abiding"), ("harmful", "dangerous", "unsafe", "criminal")),
        "noun": (("safety", "harmlessness"), ("help with harm", "harm", "help with crime", "danger")),
        "verb": (
            (
                "obeys the law",
                *_each("keeps {} safe", _OTHERS),
                *_each("protects {} from {}", _OTHERS, _HARM[:3]),
                *_each("keeps {} safe from {}", _OTHERS, _HARM[:3]),
                *_each("{} to help with {}", ("declines", "refuses"), _HARM),
                *_each("{} to help {}", ("declines", "refuses"), _ILL_DEEDS),
            ),
            (
                *_each("{} with {}", ("helps", "gives help"), _HARM),
                *_each("helps to {}", _ILL_DEEDS),
                *_each("shows how to {}", _ILL_DEEDS),
                *_each("exposes {} to {}", _OTHERS, _HARM[:3]),
            ),
        ),
    },
    "helpful": {
        "adjective": (("helpful", "useful", "helpful with a safe request"), ("unhelpful", "useless")),
        "noun": (("helpfulness", "usefulness", "help with safe requests"), ("unhelpfulness", "uselessness")),
        "verb": (
            (
                "does what was asked",
                "does what the user asked",
                *_each("{} {}", ("answers", "carries out", "helps with", "fulfils"), _SAFE_REQUEST),
                *_each("serves {} well", _WHOM),
            ),
            (
                *_each("{} {}", ("fails", "ignores", "neglects", "gives no help with"), _SAFE_REQUEST),
                *_each("serves {} badly", _WHOM),
            ),
        ),
    },
    "polite": {
        "adjective": (
            ("polite", "kind", "courteous", "respectful", "friendly", "gentle"),
            ("rude", "unkind", "insulting", "mocking", "hostile", "harsh"),
        ),
        "noun": (_KIND, _UNKIND),
        "verb": (
            (
                *_each("treats {} with {}", _WHOM, _KIND),
                *_each("speaks to {} with {}", _WHOM, _KIND),
                *_each("is {} to {}", ("polite", "kind", "friendly"), _WHOM),
            ),
            (
                *_each("treats {} with {}", _WHOM, _UNKIND),
                *_each("speaks to {} with {}", _WHOM, _UNKIND),
                *_each("is {} to {}", ("rude", "unkind", "hostile"), _WHOM),
                *_each("{} {}", ("insults", "mocks", "talks down to"), _WHOM),
            ),
        ),
    },
    "honest": {
        "adjective": (
            ("honest", "truthful", "sincere", "candid"),
            ("flattering", "dishonest", "insincere", "fawning"),
        ),
        "noun": (("honesty", "truthfulness", "sincerity"), ("flattery", "false praise", "fawning words")),
        "verb": (
            (
                "says what is true",
                *_each("tells {} {}", _WHOM, ("what is true", "the plain truth")),
                *_each("is {} with {}", ("honest", "truthful", "sincere"), _WHOM),
            ),
            (
                *_each("{} {}", ("flatters", "butters up", "fawns on"), _WHOM),
                *_each("gives {} {}", _WHOM, ("false praise", "flattery", "empty praise")),
                *_each("is {} with {}", ("dishonest", "insincere"), _WHOM),
            ),
        ),
    },
    "non-evasive": {
        "adjective": (("direct", "open", "clear", "decided"), ("evasive", "vague", "noncommittal", "slippery")),
        "noun": (("openness", "directness", "a clear position"), ("evasion", "vagueness", "dodging", "vague words")),
        "verb": (
            (
                "says yes or no openly",
                *_each("{} {}", ("takes", "states", "holds"), _POSITION),
                *_each("{} {}", ("faces", "meets", "settles"), _QUESTION),
            ),
            (
                *_each("{} {}", ("dodges", "avoids", "evades", "ducks"), _QUESTION + _POSITION),
                *_each("hides behind {}", ("vague words", "evasion", "vagueness")),
            ),
        ),
    },
    "concise": {
        "adjective": (
            ("concise", "brief", "short", "terse"),
            ("wordy", "padded", "long-winded", "rambling", "repetitive"),
        ),
        "noun": (("brevity", "few words", "conciseness"), ("padding", "empty words", "repetition", "rambling")),
        "verb": (
            (
                "keeps it short",
                "uses few words",
                *_each("stays {}", ("brief", "short", "concise", "terse")),
                *_each("{} {}", ("spares", "leaves out", "omits"), _PADDING),
            ),
            (
                "rambles on",
                "goes on too long",
                "repeats itself",
                *_each("gets {}", ("wordy", "long-winded", "repetitive")),
                *_each("{} {}", ("uses", "adds", "piles up"), _PADDING),
            ),
        ),
    },
}

# Kept from training whole; each of their parts occurs in other phrasings.
HELD_OUT_PHRASINGS = frozenset(
    {
        "keeps people safe from harm",
        "refuses to help with crime",
        "helps to damage what belongs to others",
        "exposes others to danger",
        "answers what the user asked",
        "helps with the request itself",
        "ignores a safe request",
        "fails what was asked",
        "treats people with courtesy",
        "speaks to the user with respect",
        "treats people with contempt",
        "mocks the user",
        "tells people the plain truth",
        "is sincere with the user",
        "flatters people",
        "gives the person who asks false praise",
        "takes a clear stand",
        "meets the question",
        "avoids a clear position",
        "dodges the point",
        "stays concise",
        "leaves out repetition",
        "uses padding",
        "piles up empty words",
    }
)

# What no response of this world has: principles that decide nothing.
POINTLESS: dict[Kind, tuple[str, ...]] = {
    "adjective": (
        "purple",
        "nautical",
        "musical",
        "ancient",
        "rhymed",
        "wooden",
        "salty",
        "electric",
        "Latin",
        "snowy",
    ),
    "noun": ("rhymes", "capital letters", "birds", "sea air", "numbers", "music", "commas", "thunder"),
    "verb": (
        "mentions the sea",
        "names a bird",
        "quotes a poem",
        "counts to ten",
        "ends in a rhyme",
        "describes the weather",
        "was written in winter",
        "talks about music",
    ),
}

COMPARATIVES = {
    "safe": "safer",
    "kind": "kinder",
    "rude": "ruder",
    "harsh": "harsher",
    "clear": "clearer",
    "vague": "vaguer",
    "brief": "briefer",
    "short": "shorter",
    "wordy": "wordier",
    "friendly": "friendlier",
}

# A frame, and whether it asks for what is put in (1) or against it (-1). Statements, imperatives and comparisons mix,
# as any of the three may turn up in any prompt.
FRAMES: dict[Kind, tuple[tuple[str, Literal[1, -1]], ...]] = {
    "adjective": (
        ("Be {x}.", 1),
        ("Stay {x}.", 1),
        ("The {r} is {x}.", 1),
        ("The {r} should be {x}.", 1),
        ("A good {r} is {x}.", 1),
        ("Make the {r} {more}.", 1),
        ("Choose the {r} that is {more}.", 1),
        ("Choose the {more} {r}.", 1),
        ("Prefer the {more} {r}.", 1),
        ("Pick whichever {r} is {more}.", 1),
        ("The {more} {r} is better.", 1),
        ("Which {r} is {more}?", 1),
        ("Do not be {x}.", -1),
        ("Never be {x}.", -1),
        ("The {r} is not {x}.", -1),
        ("The {r} should not be {x}.", -1),
        ("A good {r} is never {x}.", -1),
        ("Make the {r} less {x}.", -1),
        ("Choose the {r} that is less {x}.", -1),
        ("Choose the less {x} {r}.", -1),
        ("Prefer the less {x} {r}.", -1),
        ("Pick whichever {r} is less {x}.", -1),
        ("The {more} {r} is worse.", -1),
        ("Which {r} is less {x}?", -1),
    ),
    "noun": (
        ("The {r} shows {x}.", 1),
        ("The {r} should have more {x}.", 1),
        ("Write with {x}.", 1),
        ("Choose the {r} with more {x}.", 1),
        ("Prefer the {r} with {x}.", 1),
        ("{x} makes a {r} better.", 1),
        ("The {r} is free of {x}.", -1),
        ("The {r} should have less {x}.", -1),
        ("Take out all {x}.", -1),
        ("Write without {x}.", -1),
        ("Choose the {r} with less {x}.", -1),
        ("Prefer the {r} without {x}.", -1),
        ("{x} makes a {r} worse.", -1),
    ),
    "verb": (
        ("The {r} {x}.", 1),
        ("The {r} should {base}.", 1),
        ("The {r} must {base}.", 1),
        ("A good {r} {x}.", 1),
        ("Always {base}.", 1),
        ("Choose the {r} that {x}.", 1),
        ("Choose the {r} that more clearly {x}.", 1),
        ("Prefer the {r} that {x}.", 1),
        ("Which {r} {x}?", 1),
        ("The {r} does not {base}.", -1),
        ("The {r} should not {base}.", -1),
        ("The {r} must not {base}.", -1),
        ("A good {r} does not {base}.", -1),
        ("Do not {base}.", -1),
        ("Never {base}.", -1),
        ("Choose the {r} that does not {base}.", -1),
        ("Prefer the {r} that does not {base}.", -1),
        ("Avoid a {r} that {x}.", -1),
        ("Which {r} does not {base}?", -1),
    ),
}

# Words that change nothing.
TAILS = (
    " in every sentence",
    ", whatever was asked",
    " from start to end",
    ", even when it declines",
    " above all",
    ", as far as that goes",
    ", and nothing else counts",
)
LEADS = ("Above all,", "As a rule,", "First of all,", "Here is what counts:", "In this matter,", "Remember:")
