"""The stages that ask models: answers, critiques and revisions, labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raif.config import GenerateConfig
from raif.evaluate.missingness import missing_line
from raif.evaluate.summary import Agreement, coverage_line, label_summary, response_summary, revision_summary
from raif.feedback import generate as _generate
from raif.feedback import label as _label
from raif.feedback import modes as _modes
from raif.feedback import rank as _rank
from raif.feedback import revise as _revise
from raif.feedback.calibrate import Calibrator, way_of_asking
from raif.models.base import ChatModel
from raif.records import Comparison, Preference, Prompt, Response, Revision, TrainingPair
from raif.session import Session
from raif.stages.outcome import Outcome, reasons
from raif.stages.qualification import require_qualified
from raif.stages.shards import share
from raif.store import RecordFile, write_atomically


async def generate(session: Session, prompts: Sequence[Prompt], out: Path) -> Outcome:
    """N answers of the policy to each prompt."""
    config, seed = session.config.generate, session.config.seed
    prompts = share(session, "generate", prompts, per_item=config.samples)
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
    session.claim(out, config.model_dump(mode="json"), seed, policy.info.identity, policy.info.shaping)
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
    usable = share(session, "revise", [r for r in responses if r.failure is None and r.sample < config.samples])
    _revise.check(config, constitution, library)
    if config.until_clean and config.rounds < len(constitution.principles):
        session.note(
            f"revise.until_clean ends nothing early: {config.rounds} rounds are fewer than the "
            f"{len(constitution.principles)} principles that have to find a text without fault"
        )
    with session.stage("revise") as log:
        async with session.model(session.judge_spec, "judge") as judge:
            templates = [library.hash(name) for name in _revise.TEMPLATES]
            asked = (judge.info.identity, judge.info.shaping, constitution.hash, templates)
            session.claim(out, config.model_dump(mode="json"), seed, *asked)
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
    session: Session,
    comparisons: Sequence[Comparison],
    out: Path,
    preferences_out: Path | None = None,
    rankings_out: Path | None = None,
) -> Outcome:
    """Preference labels: every comparison with its outcome in ``out``, the decided ones in ``preferences_out``.

    In mode rank the responses to each prompt, ranked, go to ``rankings_out``, and the best of each against the worst to
    ``preferences_out``.
    """
    config = session.config.label
    comparisons = share(session, "label", comparisons)
    with session.stage("label") as log:
        async with session.model(session.judge_spec, "judge") as judge:
            preferences = await labels(session, "label", comparisons, judge, out)
        pairs = [TrainingPair.from_preference(preference) for preference in preferences if preference.decided]
        ranking = None
        if config.mode == "rank" and rankings_out is not None:
            rankings = _rank.rank(preferences)
            write_atomically(rankings_out, b"".join(one.to_json() + b"\n" for one in rankings))
            best = [one.best_and_worst(config.tie_margin) for one in rankings]
            pairs = [pair for pair in best if pair is not None]
            ranking = _rank.summarise(rankings, len(pairs))
            log.counts.update(ranking)
        if preferences_out is not None:
            write_atomically(preferences_out, b"".join(pair.to_json() + b"\n" for pair in pairs))
        summary = label_summary(preferences)
        log.counts.update(
            comparisons=summary.n, decided=summary.decided, ties=summary.ties, abstained=summary.abstained
        )
        if summary.coverage is not None:
            log.counts.update(coverage=round(summary.coverage, 6))
    told = [
        coverage_line(summary),
        missing_line(summary.missing),
        _agreement_line(summary.human),
        _rank.ranking_line(ranking) if ranking else "",
    ]
    return Outcome(
        {"out": str(out), **summary.model_dump(mode="json"), "ranking": ranking}, "; ".join(filter(None, told))
    )


def _agreement_line(human: Agreement | None) -> str:
    if human is None:
        return ""
    estimate = human.agreement
    return (
        f"agreement with {human.labelled:,} human labels "
        f"{100 * estimate.value:.1f} % (95 % CI {100 * estimate.low:.1f}–{100 * estimate.high:.1f}; "
        f"it decided {estimate.n:,} of them)"
        + (": no better than chance, so this judge knows nothing of this data" if estimate.low <= 0.5 else "")
    )


async def labels(
    session: Session,
    name: str,
    comparisons: Sequence[Comparison],
    judge: ChatModel,
    out: Path,
    *,
    measured: bool = False,
) -> list[Preference]:
    """The judge's preferences over ``comparisons``, those in ``out`` included: a killed stage goes on where it was.

    A judge that is only being ``measured`` need not have qualified.
    """
    config, seed, constitution, library = (
        session.config.label,
        session.config.seed,
        session.constitution,
        session.library,
    )
    rewards = judge.info.rates
    if rewards:
        session.note(f"{judge.info.spec} is a reward model: it reads no constitution, and sees no order of responses")
        asked_with = ("", "")
    else:
        _modes.check(config, constitution, library)
        asked_with = (constitution.hash, _modes.template_hash(library, config))
    calibrator = _calibrator(session, judge.info.identity, *asked_with, rewards=rewards)
    if not measured:
        require_qualified(session, judge.info)
    made_with = config.model_dump(mode="json", exclude={"calibration", "foreign_calibration"})
    corrected = [] if calibrator is None else [calibrator.hash]
    session.claim(out, made_with, seed, judge.info.identity, judge.info.shaping, *asked_with, *corrected)
    calibrate = None if calibrator is None else calibrator.curve
    return await session.process(
        name,
        comparisons,
        RecordFile(out, Preference, on_note=session.note),
        lambda part: _label.label(part, judge, constitution, library, config, seed=seed, calibrate=calibrate),
        item_of=lambda preference: preference.comparison.id,
    )


def _calibrator(session: Session, judge: str, constitution: str, template: str, *, rewards: bool) -> Calibrator | None:
    """The configured calibration, if it was made for this judge and this way of asking it (or is wanted all the same).

    Raises:
        InputError: it was made for another, or can't be read.
    """
    config = session.config.label
    found = session.calibration
    if found is None or config.calibration is None:
        return None
    if not config.foreign_calibration:
        found.check(config.calibration, judge, constitution, template, way_of_asking(config, reward=rewards))
    return found
