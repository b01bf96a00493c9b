"""What a trainer is fed: pure functions from records to examples, with a count of everything left out and why.

Abstentions and ties never train. Neither does a response that nobody found good: one that was never critiqued, or
whose fault was found and not mended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from pydantic import Field

from raif.config import SftConfig
from raif.errors import ConfigError
from raif.records import Conversation, Preference, Prompt, Record, Revision, TrainingPair, digest

T = TypeVar("T", bound=Record)


class SftExample(Record):
    """One answer to imitate, and where it comes from."""

    identity = ("prompt", "completion")

    prompt: Conversation = Field(min_length=1)
    completion: str
    source: Literal["revision", "demonstration"]


@dataclass(frozen=True, slots=True)
class Selection(Generic[T]):
    """Examples in the order of the input; how many were left out, by reason; how many each source gave."""

    examples: tuple[T, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)


def sft_examples(
    revisions: Iterable[Revision], demonstrations: Iterable[Prompt], config: SftConfig, seed: int
) -> Selection[SftExample]:
    """The answers to imitate, as ``config.data`` says.

    ``revisions``: what the accepted steps made of each response; with ``config.steps`` all, also what each of them made
    on the way (arXiv 2212.08073, section 3.1). ``demonstrations``: humans' answers. ``mixture``: all
    usable revisions, and as many demonstrations as make up ``helpful_share`` of the whole. Those are drawn without
    replacement: the ones whose digest of (seed, id) comes first, so that a draw of more contains a draw of fewer.
    Where there are too few, all are taken, and ``sources`` shows the smaller share.

    Raises:
        ConfigError: a mixture whose ``helpful_share`` is 0 or 1 (it would be no mixture).
    """
    left_out: Counter[str] = Counter()
    if config.data == "mixture" and not 0 < config.helpful_share < 1:
        raise ConfigError(
            f"train.sft.helpful_share is {config.helpful_share:g}, which makes no mixture; "
            "give a share between 0 and 1, or set train.sft.data to revisions or demonstrations"
        )
    revised: list[SftExample] = []
    if config.data != "demonstrations":
        for revision in revisions:
            reason = _unusable(revision)
            if reason:
                left_out[reason] += 1
            else:
                revised += [
                    SftExample(prompt=revision.prompt, completion=text, source="revision")
                    for text in _texts(revision, config.steps)
                ]
    shown: list[SftExample] = []
    if config.data != "revisions":
        answered = [prompt for prompt in demonstrations if prompt.demonstration and prompt.demonstration.strip()]
        if config.data == "mixture":
            wanted = round(len(revised) * config.helpful_share / (1 - config.helpful_share))
            drawn = {p.id for p in sorted(answered, key=lambda p: digest("helpful", seed, p.id))[:wanted]}
            left_out["not_drawn"] = sum(prompt.id not in drawn for prompt in answered)
            answered = [prompt for prompt in answered if prompt.id in drawn]
        shown = [
            SftExample(prompt=prompt.messages, completion=prompt.demonstration or "", source="demonstration")
            for prompt in answered
        ]
    sources = {"revision": len(revised), "demonstration": len(shown)}
    return Selection((*revised, *shown), _nonzero(left_out), _nonzero(sources))


def _texts(revision: Revision, steps: Literal["final", "all"]) -> list[str]:
    """What to imitate of a usable revision: its text, after every different one on the way where ``steps`` is all."""
    accepted = [step.revision for step in revision.steps if step.accepted and step.revision and step.revision.strip()]
    return list(dict.fromkeys([*(accepted if steps == "all" else ()), revision.text]))


def _unusable(revision: Revision) -> str | None:
    """Why a revision should not be imitated; None where it may be."""
    if not revision.text.strip():
        return "empty"
    if revision.changed:
        return None
    if any(step.critique is not None and not step.clean and not step.accepted for step in revision.steps):
        return "fault_not_mended"
    return None if any(step.clean for step in revision.steps) else "not_critiqued"


def training_pairs(records: Iterable[Preference | TrainingPair]) -> Selection[TrainingPair]:
    """The decided pairs. Ties are left out as ``tie``, abstentions as ``abstain:REASON``, equal texts as such."""
    pairs: list[TrainingPair] = []
    left_out: Counter[str] = Counter()
    for record in records:
        if isinstance(record, Preference):
            if not record.decided or record.p_a is None:
                left_out[f"abstain:{record.reason}" if record.outcome == "abstain" else record.outcome] += 1
                continue
            record = TrainingPair.from_preference(record)
        if record.chosen == record.rejected:
            left_out["equal_texts"] += 1
        else:
            pairs.append(record)
    return Selection(tuple(pairs), _nonzero(left_out), _nonzero(Counter(pair.source for pair in pairs)))


def hold_out(
    pairs: Sequence[TrainingPair], share: float, seed: int
) -> tuple[tuple[TrainingPair, ...], tuple[TrainingPair, ...]]:
    """Splits pairs into (training, held out) by whole prompts, so that no prompt is on both sides.

    Prompts are ranked by a digest of (seed, prompt), and the first ``share`` of them, rounded to the nearest whole
    number but at least one where ``share`` > 0, are held out. The order of the input decides nothing.
    """
    prompts = {digest("prompt", pair.prompt): None for pair in pairs}
    ranked = sorted(prompts, key=lambda prompt: digest("held out", seed, prompt))
    count = max(1, round(share * len(ranked))) if share > 0 and ranked else 0
    out = set(ranked[:count])
    training = tuple(pair for pair in pairs if digest("prompt", pair.prompt) not in out)
    held = tuple(pair for pair in pairs if digest("prompt", pair.prompt) in out)
    return training, held


def _nonzero(counts: dict[str, int] | Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts) if counts[name]}
