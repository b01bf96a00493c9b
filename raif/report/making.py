"""The sections on what was made on the way: responses, revisions, and trained models."""

from __future__ import annotations

from raif.evaluate.statistics import Estimate, proportion
from raif.evaluate.summary import response_summary, revision_summary
from raif.report.artefacts import Artefacts, Trained, dictionary
from raif.report.blocks import Block, Facts, Notice, Plot, Section, Table, Text
from raif.report.plots import Bar, curve, intervals
from raif.report.text import number, plural, quantity, reasons, share


def responses_section(found: Artefacts) -> Section:
    """What the policy answered."""
    if not found.responses:
        blocks: list[Block] = [Text("Answers of the policy:", found.command("generate"))]
        return Section("responses", "Responses", "The policy has not answered yet.", blocks)
    summary = response_summary(found.responses)
    failed = sum(summary.failures.values())
    headline = f"{plural(summary.n, 'response')} to {plural(summary.prompts, 'prompt')}; {failed:,} failed."
    facts = Facts(
        [
            ("failed", f"{failed:,} ({reasons(summary.failures)})" if failed else "0"),
            ("cut off at the limit", share(summary.truncated)),
            ("length in characters", quantity(summary.length)),
        ]
    )
    return Section("responses", "Responses", headline, [facts])


def revisions_section(found: Artefacts) -> Section:
    """What critique and revision did, principle by principle."""
    if not found.revisions:
        blocks: list[Block] = [Text("Critiques and revisions:", found.command("revise"))]
        return Section("revisions", "Critique and revision", "Nothing has been revised yet.", blocks)
    summary = revision_summary(found.revisions)
    steps = sum(own.steps for own in summary.by_principle.values())
    accepted = sum(own.accepted for own in summary.by_principle.values())
    headline = (
        f"{share(summary.changed, n=False)} of {plural(summary.n, 'response')} changed; {accepted:,} of "
        f"{plural(steps, 'step')} led to an accepted revision, and {plural(summary.clean, 'response')} had no fault."
    )
    bars = [
        Bar(name, rate.value, rate.low, rate.high, share(rate))
        for name, own in summary.by_principle.items()
        if (rate := proportion(own.accepted, own.steps)) is not None
    ]
    table = Table(
        "Steps by principle",
        ["principle", "steps", "no fault", "accepted", "rejected", "failed", "mean P(better)"],
        [
            [
                name,
                f"{own.steps:,}",
                f"{own.clean:,}",
                f"{own.accepted:,}",
                f"{own.rejected:,}",
                f"{own.failed:,}",
                number(own.p_improved, 2),
            ]
            for name, own in summary.by_principle.items()
        ],
    )
    failures = [Notice(f"Steps that gave nothing usable: {reasons(summary.failures)}.")] if summary.failures else []
    plot = Plot(
        intervals(bars, "Accepted revisions by principle", reference=None),
        "Steps that led to an accepted revision, of all steps under each principle.",
        table,
    )
    return Section("revisions", "Critique and revision", headline, [*failures, plot])


def training_section(found: Artefacts) -> Section:
    """The reward model and the policies."""
    blocks: list[Block] = []
    if found.reward:
        blocks += _model(found.reward, "Reward model")
    else:
        blocks.append(Text("No reward model yet:", found.command("train reward")))
    for policy in found.policies:
        blocks += _model(policy, f"Policy {policy.name}")
    if not found.policies:
        blocks.append(Text("No trained policy yet:", f"{found.command('train sft')}; {found.command('train dpo')}"))
    return Section("training", "Training", _headline(found), blocks)


def accuracy(trained: Trained) -> Estimate | None:
    """A held-out accuracy with its interval, where all of it is recorded."""
    value, low, high = (trained.metric(name) for name in ("accuracy", "accuracy_low", "accuracy_high"))
    n = trained.metric("n") or trained.metric("n_eval")
    if value is None or low is None or high is None:
        return None
    return Estimate(value=value, low=low, high=high, n=int(n or 0))


def _headline(found: Artefacts) -> str:
    parts = []
    if found.reward:
        estimate = accuracy(found.reward)
        if estimate is None:
            parts.append("The reward model's accuracy on held-out pairs is not recorded")
        else:
            doubt = ", which is not above chance" if estimate.low <= 0.5 else ""
            parts.append(f"The reward model ranks {share(estimate)} of held-out pairs as the labels do{doubt}")
    if found.policies:
        parts.append(f"trained policies: {', '.join(p.name for p in found.policies)}")
    return "; ".join(parts) + "." if parts else "Nothing has been trained yet."


def _model(trained: Trained, title: str) -> list[Block]:
    metrics = dictionary(trained.result.get("metrics"))
    first = trained.metric("loss_first") or trained.metric("first_loss")
    last = trained.metric("loss_last") or trained.metric("last_loss")
    left_out = {reason: count for reason, count in dictionary(trained.result.get("left_out")).items() if count}
    items = [
        ("optimiser steps", number(trained.result.get("steps"))),
        ("examples", number(trained.result.get("examples"))),
        ("left out", ", ".join(f"{reason} {number(count)}" for reason, count in left_out.items()) or "none"),
        ("loss, first → last step", f"{number(first)} → {number(last)}"),
    ]
    estimate = accuracy(trained)
    if estimate is not None:
        items.append(("accuracy on held-out pairs", share(estimate)))
    known = {"loss_first", "loss_last", "first_loss", "last_loss", "n", "n_eval"}
    known |= {"accuracy", "accuracy_low", "accuracy_high"} if estimate is not None else set()
    items += [(name.replace("_", " "), number(value)) for name, value in metrics.items() if name not in known]
    blocks: list[Block] = [Facts(items, title)]
    notes = trained.result.get("notes")
    if isinstance(notes, list):
        blocks += [Text(str(note)) for note in notes]
    if not trained.result:
        blocks.insert(0, Notice(f"{title}: this training has not finished."))
    if trained.losses:
        blocks.append(_curve(trained, title))
    return blocks


def _curve(trained: Trained, title: str) -> Plot:
    losses = trained.losses
    picked = losses if len(losses) <= 12 else [losses[round(i * (len(losses) - 1) / 11)] for i in range(12)]
    table = Table(f"{title}: loss", ["step", "loss"], [[f"{x:g}", f"{y:.4f}"] for x, y in picked])
    svg = curve(losses, f"{title}: loss at each step", x_label="optimiser step", y_label=f"{title}: training loss")
    lowest = min(y for _, y in losses)
    caption = f"Training loss: thin as logged, thick as a moving mean. Lowest {lowest:.3f}, last {losses[-1][1]:.3f}."
    return Plot(svg, caption, table)
