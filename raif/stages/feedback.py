"""The stages that ask models: answers, critiques and revisions, labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raif.config import GenerateConfig
from raif.evaluate.summary import coverage_line, label_summary, response_summary, revision_summary
from raif.feedback import generate as _generate
from raif.feedback import label as _label
from raif.feedback import revise as _revise
from raif.models.base import ChatModel
from raif.records import Comparison, Preference, Prompt, Response, Revision, TrainingPair
from raif.session import Session
from raif.stages.outcome import Outcome, reasons
from raif.store import RecordFile, write_atomically


async def generate(session: Session, prompts: Sequence[Prompt], out: Path) -> Outcome:
    """N answers of the policy to each prompt."""
    config, seed = session.config.generate, session.config.seed
    with session.stage("generate") as log:
        async with session.model(session.config.policy, "policy") as policy:
            responses = await answers(session, "generate", prompts, policy, config, seed, out)
        summary = response_summary(responses)
        log.counts.update(responses=summary.n, prompts=summary.prompts, failures=summary.failures)
    failed = sum(summary.failures.values())
    return Outcome(
        {"out": str(out), **summary.model_dump(mode="json")},
        f"{summary.n:,} responses to {summary.prompts:,} prompts, {failed:,} failed{reasons(summary.failures)}",
    )


async def answers(
    session: Session,
    name: str,
    prompts: Sequence[Prompt],
    policy: ChatModel,
    config: GenerateConfig,
    seed: int,
    out: Path,
) -> list[Response]:
    """The policy's responses to ``prompts``, those in ``out`` included: a killed stage goes on where it was."""
    session.claim(out, config.model_dump(mode="json"), seed, policy.info.identity)
    return await session.process(
        name,
        prompts,
        RecordFile(out, Response, on_note=session.note),
        lambda part: _generate.generate(part, policy, config, seed=seed),
        item_of=lambda response: response.prompt_id,
        per_item=config.samples,
    )


async def revise(session: Session, responses: Sequence[Response], out: Path) -> Outcome:
    """Critiques and revisions of responses; those that failed have nothing to revise."""
    config, seed, constitution, library = (
        session.config.revise,
        session.config.seed,
        session.constitution,
        session.library,
    )
    usable = [r for r in responses if r.failure is None and r.sample < config.samples]
    with session.stage("revise") as log:
        async with session.model(session.judge_spec, "judge") as judge:
            templates = [library.hash(name) for name in _revise.TEMPLATES]
            session.claim(out, config.model_dump(mode="json"), seed, judge.info.identity, constitution.hash, templates)
            revisions = await session.process(
                "revise",
                usable,
                RecordFile(out, Revision, on_note=session.note),
                lambda part: _revise.revise(part, judge, constitution, library, config, seed=seed),
                item_of=lambda revision: revision.response_id,
            )
        summary = revision_summary(revisions)
        changed = sum(revision.changed for revision in revisions)
        log.counts.update(revisions=summary.n, changed=changed, clean=summary.clean, failures=summary.failures)
    failed = sum(summary.failures.values())
    return Outcome(
        {"out": str(out), **summary.model_dump(mode="json")},
        f"{summary.n:,} responses: {changed:,} changed, {summary.clean:,} without a fault; "
        f"{failed:,} steps failed{reasons(summary.failures)}",
    )


async def label(
    session: Session, comparisons: Sequence[Comparison], out: Path, preferences_out: Path | None = None
) -> Outcome:
    """Preference labels: every comparison with its outcome in ``out``, the decided ones in ``preferences_out``."""
    with session.stage("label") as log:
        async with session.model(session.judge_spec, "judge") as judge:
            preferences = await labels(session, "label", comparisons, judge, out)
        if preferences_out is not None:
            decided = [TrainingPair.from_preference(p) for p in preferences if p.decided]
            write_atomically(preferences_out, b"".join(pair.to_json() + b"\n" for pair in decided))
        summary = label_summary(preferences)
        log.counts.update(
            comparisons=summary.n, decided=summary.decided, ties=summary.ties, abstained=summary.abstained
        )
    human = summary.human
    agreement = ""
    if human is not None:
        estimate = human.agreement
        agreement = (
            f"; agreement with {human.labelled:,} human labels "
            f"{100 * estimate.value:.1f} % (95 % CI {100 * estimate.low:.1f}–{100 * estimate.high:.1f})"
        )
        if estimate.low <= 0.5:
            agreement += ": no better than chance, so this judge knows nothing of this data"
    return Outcome({"out": str(out), **summary.model_dump(mode="json")}, coverage_line(summary) + agreement)


async def labels(
    session: Session, name: str, comparisons: Sequence[Comparison], judge: ChatModel, out: Path
) -> list[Preference]:
    """The judge's preferences over ``comparisons``, those in ``out`` included: a killed stage goes on where it was."""
    config, seed, constitution, library = (
        session.config.label,
        session.config.seed,
        session.constitution,
        session.library,
    )
    template = library.hash(_label.TEMPLATES[config.mode])
    session.claim(out, config.model_dump(mode="json"), seed, judge.info.identity, constitution.hash, template)
    return await session.process(
        name,
        comparisons,
        RecordFile(out, Preference, on_note=session.note),
        lambda part: _label.label(part, judge, constitution, library, config, seed=seed),
        item_of=lambda preference: preference.comparison.id,
    )
