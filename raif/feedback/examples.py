"""Few-shot examples: the worked comparisons and critiques that a constitution's author wrote under a principle.

The first ``count`` of a principle are shown, in the author's order and with the author's sides, to every question under
that principle alike; so the two orders of a comparison see the same ones, and what they sway cancels. RLAIF (arXiv
2309.00267, section 4.4) found that examples help with harmlessness, and hurt elsewhere: none is the default.
"""

from __future__ import annotations

from collections.abc import Iterable

from raif.constitution import Constitution, Principle
from raif.constitution.model import ComparisonExample, CritiqueExample
from raif.errors import ConfigError, PromptError
from raif.prompts import PromptLibrary


def comparison_examples(principle: Principle, count: int, *, allow_tie: bool) -> tuple[ComparisonExample, ...]:
    """Up to ``count`` worked comparisons; a tie is left out where TIE is not offered."""
    found = (example for example in principle.examples if isinstance(example, ComparisonExample))
    return tuple(example for example in found if allow_tie or example.better != "tie")[:count]


def critique_examples(principle: Principle, count: int, *, revised: bool = False) -> tuple[CritiqueExample, ...]:
    """Up to ``count`` worked critiques; with ``revised`` only those that also show the revision."""
    found = (example for example in principle.examples if isinstance(example, CritiqueExample))
    return tuple(example for example in found if example.revision or not revised)[:count]


def check_examples(key: str, shown: Iterable[object], library: PromptLibrary, templates: Iterable[str]) -> None:
    """Refuse to ask with examples that nobody would see.

    Args:
        key: the configuration's key that asks for them.
        shown: those that there are.

    Raises:
        ConfigError: there are none.
        PromptError: a template leaves them out.
    """
    if not any(True for _ in shown):
        raise ConfigError(f"{key}: the constitution has no worked example to show; write some, or set {key} to 0")
    for template in templates:
        if not library.uses(template, "examples"):
            raise PromptError(f"shows no examples; let it insert them, or set {key} to 0", path=library.path(template))


def all_comparison_examples(constitution: Constitution, count: int, *, allow_tie: bool) -> list[ComparisonExample]:
    """Those that the principles of a constitution show."""
    return [e for p in constitution.principles for e in comparison_examples(p, count, allow_tie=allow_tie)]


def all_critique_examples(constitution: Constitution, count: int) -> list[CritiqueExample]:
    """Those that the principles of a constitution show."""
    return [e for p in constitution.principles for e in critique_examples(p, count)]
