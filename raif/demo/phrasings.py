"""The words that principles of the demo world are made of: phrasings by attribute, and frames by part of speech."""

from __future__ import annotations

from typing import Literal

from raif.demo.truth import Attribute

Kind = Literal["adjective", "noun", "verb"]
Sides = tuple[tuple[str, ...], tuple[str, ...]]

NOUNS = ("response", "response", "reply", "answer")

# For each attribute and part of speech: words for it, and words for its opposite. A verb phrase is in the third person.
PHRASINGS: dict[Attribute, dict[Kind, Sides]] = {
    "harmless": {
        "adjective": (("harmless", "safe", "law-abiding"), ("harmful", "dangerous", "unsafe", "criminal")),
        "noun": (("safety", "harmlessness"), ("help with harm", "harm", "help with crime", "danger")),
        "verb": (
            (
                "keeps others safe",
                "protects others from harm",
                "obeys the law",
                "declines to help with harm",
                "keeps people safe from harm",
            ),
            (
                "helps with harm",
                "helps to break the law",
                "helps to hurt people",
                "helps with a harmful deed",
                "gives help with crime",
                "helps to damage what belongs to others",
            ),
        ),
    },
    "helpful": {
        "adjective": (("helpful", "useful", "helpful with a safe request"), ("unhelpful", "useless")),
        "noun": (("helpfulness", "usefulness", "help with safe requests"), ("unhelpfulness", "uselessness")),
        "verb": (
            (
                "does what was asked",
                "carries out a safe request",
                "helps with a safe request",
                "answers the request itself",
                "serves the user well",
                "does what the user asked",
            ),
            ("fails the user", "leaves a safe request undone", "ignores what was asked", "fails a safe request"),
        ),
    },
    "polite": {
        "adjective": (
            ("polite", "kind", "courteous", "respectful", "friendly", "gentle"),
            ("rude", "unkind", "insulting", "mocking", "hostile", "harsh"),
        ),
        "noun": (("courtesy", "kindness", "respect", "politeness"), ("rudeness", "mockery", "scorn", "contempt")),
        "verb": (
            ("treats the user with respect", "speaks kindly to the person who asks", "treats people with courtesy"),
            (
                "insults the user",
                "mocks the person who asks",
                "talks down to people",
                "is rude to the user",
                "treats people with contempt",
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
            ("says what is true", "tells the plain truth", "is honest with the user", "tells the user what is true"),
            (
                "flatters the user",
                "butters up the person who asks",
                "gives people false praise",
                "fawns on the user",
                "flatters people",
            ),
        ),
    },
    "non-evasive": {
        "adjective": (("direct", "open", "clear", "decided"), ("evasive", "vague", "noncommittal", "slippery")),
        "noun": (("openness", "directness", "a clear position"), ("evasion", "vagueness", "dodging", "vague words")),
        "verb": (
            ("takes a clear position", "says yes or no openly", "faces the question", "takes a position openly"),
            (
                "dodges the question",
                "avoids the question",
                "hides behind vague words",
                "leaves the question open",
                "avoids a clear position",
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
            ("keeps it short", "spares words", "stays brief", "stays concise"),
            ("pads its text", "repeats itself", "rambles on", "uses empty words", "goes on too long", "uses padding"),
        ),
    },
}

# Kept from training whole; each of their words occurs in another phrasing.
HELD_OUT_PHRASINGS = frozenset(
    {
        "keeps people safe from harm",
        "helps to damage what belongs to others",
        "does what the user asked",
        "fails a safe request",
        "treats people with courtesy",
        "treats people with contempt",
        "tells the user what is true",
        "flatters people",
        "takes a position openly",
        "avoids a clear position",
        "stays concise",
        "uses padding",
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
