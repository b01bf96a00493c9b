"""Checking a judge, and asking for its certificate before it labels."""

from __future__ import annotations

from collections.abc import Sequence

from raif.errors import UnqualifiedJudge
from raif.feedback import modes
from raif.feedback.calibrate import Curve
from raif.models.base import ModelInfo
from raif.qualify.asking import Inquiry
from raif.qualify.certificate import (
    Key,
    Qualification,
    certificate_path,
    keep,
    known_sections,
    qualification,
    refuse_other_files,
)
from raif.qualify.check import Checked, check
from raif.qualify.gold import Gold
from raif.qualify.show import card_text
from raif.session import Session
from raif.stages.outcome import Outcome


async def check_judge(session: Session, gold: Sequence[Gold], *, again: bool, unprotected: bool) -> Outcome:
    """The judge's report card, and its certificate. ``summary["qualified"]`` says whether it passed.

    Args:
        again: ask everything, whatever an earlier check has found.
        unprotected: also try the injections with the defences off.
    """
    config, constitution = session.config.judge_check, session.constitution
    async with session.model(session.judge_spec, "judge") as judge:
        if not judge.info.rates:
            modes.check(session.config.label, constitution, session.library)
        key = Key.of(judge.info, session.library, session.config.label)
        path = certificate_path(key, config)
        if config.certificate is not None:
            refuse_other_files(config.certificate)
        certificate = known_sections(key, config)
        if again:
            certificate = certificate.model_copy(update={"sections": {}})
        chunk = max(session.config.batch_size, judge.info.in_flight)
        inquiry = Inquiry(
            judge, session.library, session.config.label, session.config.seed, session.reporter, chunk=chunk
        )
        checked = await check(
            inquiry,
            constitution,
            gold,
            config,
            certificate,
            keep=lambda name, section: None if path is None else keep(path, key, {name: section}),
            unprotected=session.library.without_defence() if unprotected else None,
            calibrate=_calibrate(session),
        )
    if path is None:
        session.note("RAIF_CACHE=off: no certificate is kept (--certificate FILE keeps one)")
    summary = {
        "judge": key.judge,
        "constitution": constitution.hash,
        "qualified": checked.card.passed,
        "missed": list(checked.card.missed),
        "certificate": None if path is None else str(path),
        "checked": list(checked.made),
        "known": list(checked.known),
        **checked.card.model_dump(mode="json"),
    }
    return Outcome(summary, _told(session, key.judge, checked))


def _told(session: Session, judge: str, checked: Checked) -> str:
    constitution = session.constitution
    title = f"{judge}, judging by {constitution.name} {constitution.version}".rstrip()
    known = f"\nFrom an earlier check, and not asked again: {', '.join(checked.known)}." if checked.known else ""
    missed = checked.card.missed
    verdict = "Qualified." if not missed else f"Not qualified: it misses {', '.join(name.strip() for name in missed)}."
    return f"{title}\n\n{card_text(checked.card)}\n{known}\n{verdict}"


def require_qualified(session: Session, judge: ModelInfo) -> Qualification:
    """Look for the judge's certificate; say so, here and in the manifest, where it has not qualified.

    Raises:
        UnqualifiedJudge: it has not, and ``judge_check.require_qualified`` is set.
    """
    config, label = session.config.judge_check, session.config.label
    key = Key.of(judge, session.library, label)
    found = qualification(known_sections(key, config), session.constitution, config, label, _calibrate(session))
    session.manifest.models["judge"].qualification = str(found)
    if found.qualified:
        return found
    remedy = "`raif judge check` shows its report card, and leaves a certificate where it passes"
    if config.require_qualified:
        raise UnqualifiedJudge(f"the judge {judge.spec} is {found} (judge_check.require_qualified is set); {remedy}")
    session.note_once(f"WARNING: the judge {judge.spec} is {found}. Its labels may mean nothing: {remedy}.")
    return found


def _calibrate(session: Session) -> Curve | None:
    return None if session.calibration is None else session.calibration.curve
