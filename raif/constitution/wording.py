"""What a statement says, as far as words alone tell: is it empty, is it several in one, does it turn another round?

Heuristics for ``raif constitution lint``. They are tuned to stay quiet on principles as people write them, and prefer
missing a fault to finding one that is not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ALIKE = 0.85
"""Share of common concepts, of all in either statement, from which longer statements count as alike."""

ENOUGH = 4
"""Concepts that make a statement a longer one."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_PLACEHOLDER = re.compile(r"(?:todo|tbd|fixme|xxx+|n/?a|none|null|lorem ipsum|placeholder|\W*)\W*", re.IGNORECASE)

_ADDITION = re.compile(
    r"\b(?:and also|and additionally|and furthermore|and moreover|in addition|on top of that|as well as being|"
    r"additionally|furthermore|moreover|while also|but also)\b",
    re.IGNORECASE,
)
_MODAL = r"(?:should|must|ought to|has to|needs to|shall)"
_TWO_MODALS = re.compile(rf"\b{_MODAL}\b[^.;:!?]*\band (?:it |they |the response )?{_MODAL}\b", re.IGNORECASE)
_TWO_MORES = re.compile(
    r"\b(more|less|most|least) (\w+)(?:, (?:\1 )?\w+)*,? and \1 (\w+)\b|"
    r"\b(?:more|less|most|least|be|is|as) (\w+), (?:more |less )?\w+,? and (?:more |less )?(\w+)\b",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"(?:please )?(?:choose|prefer|pick|select)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'“(]?[A-ZÀ-Þ])")
_DEMAND = re.compile(
    rf"\b{_MODAL}\b|"
    r"^(?:please |then |also |and )*(?:never|always|do not|don't|choose|prefer|pick|select|avoid|make|be|take|remove|"
    r"add|rewrite|say|write|answer|keep|use|refuse|decline|explain|give|stop|reject|penali[sz]e|reward)\b|"
    r"^(?:the response|it) (?:does|is|gives|says|treats|takes|has|never|always)\b",
    re.IGNORECASE,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of one idea: those on the left ask for it, those on the right for its opposite.
_OPPOSITES = (
    (
        "polite politer courteous respectful kind kinder friendly friendlier nice nicer",
        "rude ruder mean meaner hostile",
    ),
    ("honest truthful true accurate", "dishonest untruthful false deceptive inaccurate lying"),
    ("helpful", "unhelpful"),
    ("harmless safe safer", "harmful unsafe dangerous"),
    ("long longer verbose wordy wordier", "short shorter brief briefer concise terse"),
    ("clear clearer", "unclear vague vaguer obscure"),
    ("simple simpler", "complex complicated"),
    ("evasive", "direct forthright open"),
    ("formal", "informal casual"),
    ("ethical moral", "unethical immoral"),
    ("legal lawful", "illegal unlawful"),
    ("good better best", "bad worse worst"),
    ("biased", "unbiased impartial"),
    ("cautious careful", "careless reckless"),
)
_CONCEPT = {
    word: (words[0].split()[0], sign)
    for words in _OPPOSITES
    for side, sign in zip(words, (1, -1), strict=True)
    for word in side.split()
}
_NEGATIVE = _words("less least fewer not no never without avoid avoids avoiding cannot reject rejects refrain")
_EMPTY = _words(
    "a an the that which who it its this is are be being been do does did has have to of in on for as than by with "
    "and or more most much very please response responses answer answers reply one should must shall ought needs "
    "will would choose prefer pick select assistant ai"
)


def _stem(word: str) -> str:
    for ending in ("ing", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4 and not word.endswith("ss"):
            return word.removesuffix(ending)
    return word


@dataclass(frozen=True)
class Meaning:
    """A bag of concepts and a direction: ``less polite`` and ``ruder`` are the same concept in the same direction."""

    concepts: frozenset[str]
    sign: int


def meaning(statement: str) -> Meaning:
    """The concepts of a statement and its direction: +1, or -1 after an odd number of negations."""
    concepts, sign = set(), 1
    for word in _WORD.findall(statement.lower().replace("’", "'")):
        if word in _NEGATIVE or word.endswith("n't"):
            sign = -sign
        elif word in _CONCEPT:
            concept, direction = _CONCEPT[word]
            concepts.add(concept)
            sign *= direction
        elif word not in _EMPTY:
            concepts.add(_stem(word))
    return Meaning(frozenset(concepts), sign)


def opposed(first: str, second: str) -> bool:
    """Whether two statements have the same concepts, in opposite directions."""
    one, other = meaning(first), meaning(second)
    return bool(one.concepts) and one.concepts == other.concepts and one.sign != other.sign


def alike(first: str, second: str) -> int:
    """1 where two statements say the same or nearly so, -1 where one is the other turned round, else 0.

    Short statements must have all concepts in common; from ``ENOUGH`` on, a share of ``ALIKE`` of them will do.
    """
    one, other = meaning(first), meaning(second)
    common, union = one.concepts & other.concepts, one.concepts | other.concepts
    needed = ALIKE if min(len(one.concepts), len(other.concepts)) >= ENOUGH else 1
    if not union or len(common) / len(union) < needed:
        return 0
    return one.sign * other.sign


def same_words(first: str, second: str) -> bool:
    """Whether two statements differ in case, spaces and punctuation at most."""
    return _WORD.findall(first.lower()) == _WORD.findall(second.lower())


def is_empty(statement: str) -> bool:
    """A placeholder, punctuation, or a single word: nothing that could be judged by."""
    return _PLACEHOLDER.fullmatch(statement.strip()) is not None or len(_WORD.findall(statement)) < 2


def compound(statement: str) -> str | None:
    """What shows that a statement makes several demands, in the statement's own words; None where nothing does.

    A list joined by "or", a clause after a semicolon that explains, and "more X and less Y" (which says one thing
    twice) are not taken for several demands.
    """
    if found := _ADDITION.search(statement):
        return found.group()
    if found := _TWO_MODALS.search(statement):
        return found.group()
    for found in _TWO_MORES.finditer(statement):
        first, last = (word for word in found.groups()[1:] if word)
        if meaning(first).concepts != meaning(last).concepts:
            return found.group()
    clauses = [clause.strip() for clause in re.split(r"[.;!?]\s+", statement)]
    choices = [clause for clause in clauses if _CHOICE.match(clause)]
    if len(choices) > 1:
        return choices[1]
    sentences = [sentence for sentence in _SENTENCE_END.split(statement) if _DEMAND.search(sentence)]
    return sentences[1] if len(sentences) > 1 else None


def length(statement: str) -> int:
    """In words."""
    return len(_WORD.findall(statement))
