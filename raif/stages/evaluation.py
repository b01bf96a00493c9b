"""The stage that puts policies side by side on held-out prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from raif.config import GenerateConfig
from raif.evaluate.winrate import EvalResult, evaluate
from raif.feedback import pairs as _pairs
from raif.records import Comparison, Preference, Prompt, Response
from raif.session import Session
from raif.stages.feedback import answers, labels
from raif.stages.outcome import Outcome
from raif.store import RunFolder, write_atomically

BASELINE = "base"
"""The name that evaluation gives to the policy all others are compared with."""


async def compare_policies(
    session: Session, policies: Mapping[str, str], prompts: Sequence[Prompt], folder: Path, out: Path
) -> Outcome:
    """Policies side by side on the same held-out prompts: each against the first, as the judge sees them.

    Args:
        policies: name to model specification; the first is the baseline.
        folder: where each policy's answers and labels go.
        out: the result, as JSON.
    """
    config = session.config.eval
    sampling = GenerateConfig(samples=config.samples, temperature=config.temperature, max_tokens=config.max_tokens)
    baseline = next(iter(policies))
    responses: dict[str, list[Response]] = {}
    preferences: dict[str, list[Preference]] = {}
    with session.stage("eval") as log:
        for name, spec in policies.items():
            async with session.model(spec, name) as policy:
                path = folder / f"{name}.responses.jsonl"
                responses[name] = await answers(
                    session, f"eval {name}", prompts, policy, sampling, session.config.seed, path
                )
        if config.compare:
            async with session.model(session.judge_spec, "judge") as judge:
                for name in policies:
                    if name != baseline:
                        pairs = _against(name, responses[name], baseline, responses[baseline], session.config.seed)
                        path = folder / f"{name}.labels.jsonl"
                        preferences[name] = await labels(session, f"judge {name}", pairs, judge, path)
        result = evaluate(responses, preferences, baseline)
        write_atomically(out, orjson.dumps(result.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
        abstained = Counter(p.reason for own in preferences.values() for p in own if p.reason is not None)
        log.counts.update(prompts=result.prompts, policies=len(policies), abstained=dict(sorted(abstained.items())))
    return Outcome(result.model_dump(mode="json"), eval_line(result))


def _against(
    name: str, responses: Sequence[Response], baseline: str, others: Sequence[Response], seed: int
) -> list[Comparison]:
    """The policy's answers against the baseline's, sample by sample; equal and failed ones have nothing to compare."""
    return _pairs.unique(
        _pairs.compare(own.prompt, (own.text, name), (other.text, baseline), source="eval", seed=seed)
        for own, other in zip(responses, others, strict=True)
        if own.failure is None and other.failure is None and own.text.strip() != other.text.strip()
    )


def _abstained(counts: Mapping[str, int]) -> str:
    return "".join(f", {reason} {count:,}" for reason, count in counts.items())


def eval_line(result: EvalResult) -> str:
    """Win rates with their intervals, in one line."""
    parts = []
    for name, policy in result.policies.items():
        overall = policy.overall
        rate = overall.win_rate if overall else None
        if overall is not None and rate is not None:
            parts.append(
                f"{name} {100 * rate.value:.1f} % (95 % CI {100 * rate.low:.1f}–{100 * rate.high:.1f}; "
                f"coverage {100 * (overall.coverage or 0):.1f} %{_abstained(overall.abstained)})"
            )
    against = f"win rate against {result.baseline}: {', '.join(parts)}" if parts else "nothing compared"
    return f"{result.prompts:,} held-out prompts, {len(result.policies)} policies; {against}"


def report(session: Session, run: RunFolder) -> Outcome:
    """One self-contained HTML file about a run."""
    from raif.report import build_report

    with session.stage("report"):
        write_atomically(run.report, build_report(run.path).encode())
    return Outcome({"report": str(run.report)}, f"report: {run.report}")
