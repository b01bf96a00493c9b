"""The section on the judge: how many comparisons it decided, what sways it, and whether humans agree."""

from __future__ import annotations

from raif.evaluate.missingness import missing_line
from raif.evaluate.summary import Agreement, LabelSummary
from raif.report.artefacts import Artefacts, dictionary
from raif.report.blocks import Block, Facts, Notice, Plot, Section, Table, Text
from raif.report.findings import LOW_COVERAGE, no_better_than_chance
from raif.report.plots import Bar, counted, histogram, intervals, reliability, stack
from raif.report.text import NONE, number, percent, plural, reasons, share

_BINS = 20


def labels_section(found: Artefacts, summary: LabelSummary | None) -> Section:
    """What the labels are worth."""
    title = "Labels and the judge"
    if summary is None:
        return Section("labels", title, "Nothing has been labelled yet.", [Text("Labels:", found.command("label"))])
    undecided = {f"abstained: {reason}": count for reason, count in summary.abstained.items()}
    counts = {"decided": summary.decided, "tie": summary.ties, **undecided}
    outcomes = Table(
        "Outcomes",
        ["outcome", "comparisons", "share"],
        [[name, f"{count:,}", percent(count / summary.n)] for name, count in counts.items()],
    )
    qualified = qualification(found)
    blocks: list[Block] = [
        *([Notice(f"This judge is {qualified}. Its labels may mean nothing.")] if qualified.startswith("not") else []),
        *_notices(summary),
        Facts(
            [
                ("comparisons", f"{summary.n:,}, of {plural(summary.prompts, 'prompt')}"),
                ("coverage", percent(summary.coverage)),
                ("flip rate between the orders", share(summary.flip_rate)),
                ("mean |p_a − ½|, at most 0.5", number(summary.decisiveness)),
                ("raif judge check", qualified or NONE),
            ]
        ),
        Plot(stack(counts, "Outcomes of all comparisons"), "What became of every comparison.", outcomes),
        *_biases(summary),
        *_spread(found),
        _principles(summary),
        *(_human(summary.human) if summary.human else [Text(f"Agreement with humans: {summary.human_missing}.")]),
    ]
    return Section("labels", title, _headline(summary), blocks)


def qualification(found: Artefacts) -> str:
    """What the manifest says of the judge's certificate: ``qualified``, or why not; empty where it says nothing."""
    judge = dictionary(dictionary(found.manifest.get("models")).get("judge"))
    return str(judge.get("qualification") or "")


def _headline(summary: LabelSummary) -> str:
    headline = f"The judge decided {percent(summary.coverage)} of {plural(summary.n, 'comparison')}"
    if summary.flip_rate is not None:
        headline += f" and changed its mind with the order in {share(summary.flip_rate, n=False)}"
    if summary.human is None:
        return f"{headline}; no human has checked it here."
    agreement = share(summary.human.agreement)
    verdict = ", no better than a coin toss" if no_better_than_chance(summary) else ""
    return f"{headline}; humans agree with {agreement} of what it decided{verdict}."


def _notices(summary: LabelSummary) -> list[Block]:
    blocks: list[Block] = []
    if no_better_than_chance(summary):
        blocks.append(
            Notice(
                "This judge agrees with the human labels no better than chance. It knows nothing of this kind of data "
                "(the small demo judge knows nothing of this world, only its own): don't train on these labels, and "
                "don't read the win rates of this report as evidence."
            )
        )
    if summary.coverage is not None and summary.coverage < LOW_COVERAGE:
        blocks.append(
            Notice(
                f"The judge decided only {percent(summary.coverage)} of the comparisons (ties {summary.ties:,}; "
                f"abstained: {reasons(summary.abstained)}). All rates speak for the decided part alone."
            )
        )
    if found := missing_line(summary.missing):
        blocks.append(
            Notice(
                f"What the judge left undecided is not like the rest: {found}. The figures speak for the kind that it "
                "did decide."
            )
        )
    position = summary.position_preference
    if position is not None and position.excludes(0.5):
        side = "first" if position.value > 0.5 else "second"
        blocks.append(
            Notice(
                f"The judge leans to the response that it sees {side}: it prefers the first one in "
                f"{share(position)} of its answers. "
                "Asking in both orders cancels this on average; a label asked in one order carries it."
            )
        )
    return blocks


def _biases(summary: LabelSummary) -> list[Block]:
    found = {
        "the first shown": summary.position_preference,
        "the longer response": summary.longer_preferred,
        "the revision": summary.revision_preferred,
    }
    bars = [Bar(name, e.value, e.low, e.high, share(e, n=False)) for name, e in found.items() if e is not None]
    if not bars:
        return []
    table = Table(
        "What the judge prefers", ["prefers", "share (95 % CI)"], [[k, share(e)] for k, e in found.items() if e]
    )
    caption = (
        "What the judge prefers; at the dashed line it pays no attention. A fair judge is there for the position. "
        "Longer responses and revisions may deserve to win: far from the line is a reason to look, not a fault."
    )
    return [Plot(intervals(bars, "What the judge prefers"), caption, table)]


def _spread(found: Artefacts) -> list[Block]:
    values = [label.p_a for label in found.labels if label.p_a is not None]
    if not values:
        return []
    counts = counted(values, _BINS)
    table = Table(
        "How sure the judge is",
        ["p_a", "comparisons"],
        [[f"{i / _BINS:.2f}–{(i + 1) / _BINS:.2f}", f"{count:,}"] for i, count in enumerate(counts)],
    )
    svg = histogram(values, "Distribution of p_a", bins=_BINS, x_label="p_a, the probability that response A is better")
    caption = (
        "Sides are drawn by a hash, so the picture should be symmetric. Much in the middle: the judge can't tell, or "
        "its principles and orders pull in different directions."
    )
    return [Plot(svg, caption, table)]


def _principles(summary: LabelSummary) -> Table:
    return Table(
        "Principle by principle",
        [
            "principle",
            "answers",
            "failed",
            "flips between orders",
            "mean |p_a − ½|",
            "p of the winner",
            "against the label",
        ],
        [
            [
                principle,
                f"{own.judgements:,}",
                f"{own.failed:,}",
                share(own.flip_rate, n=False),
                number(own.decisiveness),
                number(own.p_winner),
                share(own.disagreement, n=False),
            ]
            for principle, own in summary.by_principle.items()
        ],
    )


def _human(human: Agreement) -> list[Block]:
    found = human.calibration
    null = f"{found.ece:.3f}; a calibrated judge shows {found.ece_if_calibrated:.3f} on so few items, and "
    null += f"at most {found.ece_if_calibrated_95:.3f} in 95 % of cases"
    facts = Facts(
        [
            ("agreement with humans", share(human.agreement)),
            (
                "κ = 2(agreement − ½)",
                f"{human.kappa.value:.2f} ({human.kappa.low:.2f} to {human.kappa.high:.2f})".replace("-", "−"),
            ),
            ("decided, of the human labels", f"{percent(human.coverage)} of {human.labelled:,}"),
            ("calibration error", null),
            ("Brier score (a coin: 0.25)", f"{found.brier:.3f}"),
        ]
    )
    table = Table(
        "Calibration against human labels",
        ["how sure", "items", "mean sureness", "humans agree"],
        [[f"{b.low:.2f}–{b.high:.2f}", f"{b.n:,}", percent(b.confidence), percent(b.accuracy)] for b in found.bins],
    )
    svg = reliability([(b.confidence, b.accuracy, b.n) for b in found.bins], "Calibration against human labels")
    return [facts, Plot(svg, "Whether the judge is right as often as it is sure, against human labels.", table)]
