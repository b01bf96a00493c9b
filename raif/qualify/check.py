"""A check: gold and what is known already → the sections that are missing are made, and the card of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from raif.config import JudgeCheckConfig
from raif.constitution import Constitution
from raif.prompts import PromptLibrary
from raif.qualify.asking import Inquiry
from raif.qualify.card import Card
from raif.qualify.certificate import Certificate, card_of
from raif.qualify.gold import Gold
from raif.qualify.section import Section, examine, made_with, section_key


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check came to."""

    card: Card
    made: tuple[str, ...]
    """What was asked about now: ids of principles, or ``all principles``."""
    known: tuple[str, ...]
    """What was known from an earlier check, and not asked again."""
    sections: Mapping[str, Section]


@dataclass(frozen=True, slots=True)
class _Unit:
    name: str
    key: str
    constitution: Constitution
    gold: list[Gold]


def units(constitution: Constitution, gold: Sequence[Gold]) -> list[_Unit]:
    """Gold by what it speaks of: each principle that some of it names, then the constitution as a whole."""
    if len(constitution.principles) == 1:
        return [_Unit(constitution.principles[0].id, section_key(constitution.principles), constitution, list(gold))]
    found = []
    for principle in constitution.principles:
        own = [pair for pair in gold if pair.principle == principle.id]
        if own:
            alone = constitution.model_copy(update={"principles": (principle,)})
            found.append(_Unit(principle.id, section_key([principle]), alone, own))
    whole = [pair for pair in gold if pair.principle is None]
    if whole:
        found.append(_Unit("all principles", section_key(constitution.principles), constitution, whole))
    return found


async def check(
    inquiry: Inquiry,
    constitution: Constitution,
    gold: Sequence[Gold],
    config: JudgeCheckConfig,
    certificate: Certificate,
    *,
    keep: Callable[[str, Section], object] = lambda key, section: None,
    unprotected: PromptLibrary | None = None,
    calibrate: Callable[[float], float] | None = None,
) -> Checked:
    """Check a judge against gold.

    Args:
        certificate: what is known already; sections with the same gold and settings are not made again.
        keep: called with each new section, as soon as it is made.
        unprotected: templates without defences; the battery is also tried on them.
    """
    wanted = units(constitution, gold)
    sections: dict[str, Section] = {}
    made, known = [], []
    for unit in wanted:
        found = certificate.sections.get(unit.key)
        same = found is not None and found.made_with == made_with(unit.gold, config, inquiry.seed)
        if found is not None and same and (unprotected is None or found.unprotected):
            sections[unit.key] = found
            known.append(unit.name)
            continue
        sections[unit.key] = await examine(
            inquiry, unit.constitution, unit.gold, config, share=1 / len(wanted), unprotected=unprotected
        )
        made.append(unit.name)
        keep(unit.key, sections[unit.key])
    card = card_of(list(sections.values()), constitution, config, inquiry.config, calibrate)
    return Checked(card, tuple(made), tuple(known), sections)
