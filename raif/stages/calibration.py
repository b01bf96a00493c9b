"""The stage that fits a judge's calibration to pairs that humans have labelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from raif._version import __version__
from raif.errors import InputError
from raif.evaluate.recalibration import Gain, Method, cross_validated, fit, gain
from raif.evaluate.statistics import Estimate
from raif.evaluate.summary import label_summary
from raif.feedback.calibrate import Calibrator, way_of_asking
from raif.records import Comparison, Preference, digest
from raif.session import Session
from raif.stages.feedback import labels
from raif.stages.outcome import Outcome, reasons
from raif.store import write_atomically


async def calibrate(
    session: Session, pairs: Sequence[Comparison], gold: str | None, out: Path, *, isotonic: bool
) -> Outcome:
    """Ask the judge about human-labelled ``pairs``, and write to ``out`` how its probabilities are to be corrected.

    What the judge said lies beside ``out``; a killed run goes on where it was. ``gold`` is the SHA-256 of the file.

    Raises:
        InputError: too few pairs have both a human label and a judge's.
    """
    method: Method = "isotonic" if isotonic else "temperature"
    human = [pair for pair in pairs if pair.human_p_a is not None and pair.human_p_a != 0.5]
    if not human:
        raise InputError("none of the pairs says which response a human preferred; --gold takes such pairs alone")
    with session.stage("calibrate") as log:
        async with session.model(session.judge_spec, "judge") as judge:
            preferences = await labels(session, "calibrate", human, judge, labels_beside(out), measured=True)
            rates = judge.info.rates
        judged = [preference for preference in preferences if preference.outcome != "abstain"]
        p_a, human_says, prompts = _columns(judged)
        held_out = cross_validated(p_a, human_says, prompts, method, seed=session.config.seed)
        found = gain(p_a, held_out, human_says, prompts, seed=session.config.seed)
        curve = fit(p_a, human_says, method)
        calibrator = Calibrator(
            raif=__version__,
            curve=curve,
            judge=judged[0].judge,
            constitution=judged[0].constitution,
            template=judged[0].template,
            asked=way_of_asking(session.config.label, reward=rates),
            gold=gold,
            n=len(judged),
            prompts=len(set(prompts)),
            gain=found.model_dump(mode="json"),
        )
        write_atomically(out, orjson.dumps(calibrator.model_dump(mode="json"), option=orjson.OPT_INDENT_2) + b"\n")
        abstained = label_summary(preferences).abstained
        log.counts.update(pairs=len(human), judged=len(judged), abstained=abstained, prompts=calibrator.prompts)
    summary = {
        "out": str(out),
        "method": method,
        "temperature": curve.temperature,
        "knots": len(curve.knots),
        "pairs": len(human),
        "judged": len(judged),
        "abstained": abstained,
        "helps": found.helps,
        **found.model_dump(mode="json"),
    }
    return Outcome(summary, told(calibrator, found, len(human), abstained))


def labels_beside(out: Path) -> Path:
    """Where what the judge said about the pairs lies."""
    return out.with_name(f"{out.stem}.labels.jsonl")


def _columns(judged: Sequence[Preference]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The judge's probabilities, the human labels as 1 and 0, both [n], and a name for each pair's prompt."""
    p_a = np.array([preference.p_a for preference in judged], dtype=np.float64)
    human = np.array([float((p.comparison.human_p_a or 0.0) > 0.5) for p in judged])
    return p_a, human, [digest("prompt", preference.comparison.prompt) for preference in judged]


def told(calibrator: Calibrator, found: Gain, pairs: int, abstained: dict[str, int]) -> str:
    """The table that a person reads."""

    def interval(estimate: Estimate) -> str:
        return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"

    rows = [["", "before", "after, held out", "before − after"]]
    for name, label in (("log_loss", "log-loss"), ("brier", "Brier score"), ("ece", "calibration error")):
        rows.append([label, *(interval(getattr(part, name)) for part in (found.before, found.after, found))])
    rows.append(["  if calibrated", *(f"{part.ece_if_calibrated:.4f}" for part in (found.before, found.after)), ""])
    lines = ["".join(f"{cell:<{width}}" for cell, width in zip(row, (20, 28, 28, 28), strict=True)) for row in rows]
    curve = calibrator.curve
    what = f"temperature {curve.temperature:.3f}" if curve.temperature else f"isotonic, {len(curve.knots)} knots"
    left = f"; the judge abstained from {sum(abstained.values()):,}{reasons(abstained)}" if abstained else ""
    falls = "falls" if found.helps else "does not fall"
    verdict = f"Held out, the log-loss {falls} beyond what chance explains" + (
        "." if found.helps else ": there is little to correct, or there are too few labels."
    )
    return "\n".join(
        [
            f"{what}, from {calibrator.n:,} of {pairs:,} human labels on {calibrator.prompts:,} prompts{left}",
            *(line.rstrip() for line in lines),
            verdict,
        ]
    )
