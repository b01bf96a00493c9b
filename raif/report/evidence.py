"""The sections that show what became of the policy: the known truth of a demo, win rates, and texts side by side."""

from __future__ import annotations

from raif.evaluate.statistics import Estimate
from raif.evaluate.winrate import PolicyResult, WinRate
from raif.records import Conversation, Response, Revision, digest
from raif.report.artefacts import Artefacts, dictionary
from raif.report.blocks import Block, Example, Examples, Notice, Plot, Section, Table, Text
from raif.report.findings import counted_rate, demo_policies, demo_rate, rate_text, weakest
from raif.report.plots import Bar, intervals, panels
from raif.report.text import percent, quantity, reasons, share

SHOWN = 3
"""Examples of each kind."""

_MEASURES = {
    "harmful": "Harmful: complied, of harmful requests",
    "helpful": "Helpful: done as asked, of benign requests",
    "rude": "Rude: of all answers",
}
_PANELS = {
    "harmful": "Harmful (lower is better)",
    "helpful": "Helpful (higher is better)",
    "rude": "Rude (lower is better)",
}


def evaluation_section(found: Artefacts) -> Section:
    """Policies against the truth where one is known, and against each other as the judge sees them."""
    blocks: list[Block] = [*_truth(found), *_win_rates(found)]
    if not blocks:
        headline = "No policy has been evaluated yet."
        blocks = [Text("Side by side on held-out prompts:", found.command("eval"))]
        return Section("evaluation", "Evaluation", headline, blocks)
    return Section("evaluation", "Evaluation", _headline(found), blocks)


def _headline(found: Artefacts) -> str:
    policies = demo_policies(found)
    if len(policies) > 1:
        parts = []
        for measure in _MEASURES:
            before, after = (demo_rate(found, name, measure) for name in (policies[0], policies[-1]))
            if before is not None and after is not None:
                parts.append(f"{measure} {_plain(before)} → {_plain(after)}")
        return f"From {policies[0]} to {policies[-1]}, against the known truth: {', '.join(parts)}."
    final = found.final_policy
    if final is None or found.evaluation is None:
        return "Answers were drawn, but no policy was compared with the one it began with."
    result = found.evaluation.policies[final]
    rate = result.overall.win_rate if result.overall else None
    if rate is None:
        return f"{final} was not compared with {found.evaluation.baseline}: there are answers but no labels."
    if rate.excludes(0.5):
        verdict = f"finds {final} {'better' if rate.value > 0.5 else 'worse'} than {found.evaluation.baseline}"
    else:
        verdict = f"does not tell {final} from {found.evaluation.baseline}"
    headline = f"The judge {verdict}: a win rate of {share(rate)}."
    lost = weakest(list(result.by_principle.items()))
    return headline + (f" Under “{lost[0]}” {final} loses: {share(lost[1])}." if lost else "")


def _plain(rate: Estimate | float) -> str:
    return percent(rate.value if isinstance(rate, Estimate) else rate)


def _truth(found: Artefacts) -> list[Block]:
    policies = demo_policies(found)
    if not policies:
        return []
    groups: dict[str, list[Bar]] = {}
    rows = []
    for name in policies:
        rates = [demo_rate(found, name, measure) for measure in _MEASURES]
        rows.append([name, *(rate_text(rate) for rate in rates)])
        for measure, rate in zip(_MEASURES, rates, strict=True):
            if isinstance(rate, Estimate):
                groups.setdefault(_PANELS[measure], []).append(Bar(name, rate.value, rate.low, rate.high))
            elif rate is not None:
                groups.setdefault(_PANELS[measure], []).append(Bar(name, rate))
    table = Table("Against the known truth", ["policy", *_MEASURES.values()], rows)
    blocks: list[Block] = []
    if groups:
        blocks.append(
            Plot(
                panels(groups, "Harmful, helpful and rude answers of each policy"),
                "Answers of each policy to held-out requests of the demo world, counted by its known truth. No "
                "stage of the run saw that truth.",
                table,
            )
        )
    parts = {name: dictionary(found.demo.get(name)) for name in ("revision", "labels", "reward", "judge")}
    measured = [
        ("harmful before revision", parts["revision"], "harmful_before"),
        ("harmful after revision", parts["revision"], "harmful_after"),
        ("harmful after self-revision", dictionary(parts["revision"].get("self")), "harmful_after"),
        ("labels right", parts["labels"], "accuracy"),
        ("reward model right", parts["reward"], "accuracy"),
        ("judge right, both orders", parts["judge"], "accuracy"),
        ("judge's flip rate", parts["judge"], "flip_rate"),
        ("judge abstained", parts["judge"], "abstained"),
    ]
    rows = [[name, rate_text(counted_rate(part, key))] for name, part, key in measured]
    blocks.append(Table("The stages on the way, against the truth", ["measure", "share (95 % CI)"], rows))
    return blocks


def _win_rates(found: Artefacts) -> list[Block]:
    if found.evaluation is None:
        return []
    baseline, blocks = found.evaluation.baseline, []
    policies = {name: result for name, result in found.evaluation.policies.items() if result.overall is not None}
    for name, result in policies.items():
        blocks += _against(name, result, baseline)
    blocks.append(
        Table(
            f"Answers to {found.evaluation.prompts:,} held-out prompts",
            ["policy", "answers", "failed", "cut off at the limit", "characters (95 % CI)"],
            [
                [
                    name,
                    f"{result.responses.n:,}",
                    reasons(result.responses.failures),
                    share(result.responses.truncated, n=False),
                    quantity(result.responses.length),
                ]
                for name, result in found.evaluation.policies.items()
            ],
        )
    )
    return blocks


def _against(name: str, result: PolicyResult, baseline: str) -> list[Block]:
    rates: dict[str, WinRate] = {"all principles": result.overall} if result.overall else {}
    rates |= result.by_principle
    bars = [
        Bar(label, rate.win_rate.value, rate.win_rate.low, rate.win_rate.high, share(rate.win_rate, n=False))
        for label, rate in rates.items()
        if rate.win_rate is not None
    ]
    table = Table(
        f"{name} against {baseline}",
        ["under", "win rate (95 % CI)", "won", "tied", "of them equal answers", "lost", "abstained", "coverage"],
        [
            [
                label,
                share(rate.win_rate),
                f"{rate.wins:,}",
                f"{rate.ties:,}",
                f"{rate.identical:,}",
                f"{rate.losses:,}",
                reasons(rate.abstained),
                percent(rate.coverage),
            ]
            for label, rate in rates.items()
        ],
    )
    blocks: list[Block] = []
    overall = result.overall
    if overall is not None and overall.coverage is not None and overall.coverage < 0.9:
        blocks.append(
            Notice(
                f"The judge abstained on {percent(1 - overall.coverage)} of the comparisons of {name} with {baseline} "
                f"({reasons(overall.abstained)}): the win rate speaks for the rest alone."
            )
        )
    caption = (
        f"How often the judge prefers {name} to {baseline}: a tie counts half, the dashed line is no difference, bars "
        "are 95\u00a0% intervals over prompts. This is the judge's account; read it with the section on the judge."
    )
    return (
        [*blocks, Plot(intervals(bars, f"Win rates of {name} against {baseline}"), caption, table)] if bars else blocks
    )


def examples_section(found: Artefacts) -> Section:
    """Texts side by side, drawn by a hash and not by merit."""
    blocks: list[Block] = []
    policies = _policy_examples(found)
    if policies:
        blocks.append(Examples("Held-out prompts to which the two policies answered differently.", policies))
    revisions = _revision_examples(found)
    if revisions:
        blocks.append(Examples("Responses that critique and revision changed.", revisions))
    if not blocks:
        headline = "No response has been changed yet."
        return Section("examples", "Before and after", headline, [Text("Critiques:", found.command("revise"))])
    return Section("examples", "Before and after", "Drawn by a hash of each record, not by merit.", blocks)


def _last_turn(prompt: Conversation) -> str:
    return prompt[-1].content


def _policy_examples(found: Artefacts) -> list[Example]:
    names = [name for name in (found.evaluation.policies if found.evaluation else {}) if name in found.answers]
    if found.evaluation is None or found.final_policy not in names or found.evaluation.baseline not in names:
        return []
    before, after = found.evaluation.baseline, found.final_policy
    other = {(r.prompt_id, r.sample): r for r in found.answers[before] if r.failure is None}
    pairs: list[tuple[Response, Response]] = []
    for response in found.answers[after]:
        first = other.get((response.prompt_id, response.sample))
        if first is not None and response.failure is None and first.text.strip() != response.text.strip():
            pairs.append((first, response))
    pairs.sort(key=lambda pair: digest("example", pair[0].prompt_id, pair[0].sample))
    return [
        Example(_last_turn(first.prompt), before, first.text, after, second.text) for first, second in pairs[:SHOWN]
    ]


def _revision_examples(found: Artefacts) -> list[Example]:
    changed = sorted((r for r in found.revisions if r.changed), key=lambda r: digest("example", r.response_id))
    return [
        Example(_last_turn(r.prompt), "response", r.original, "revision", r.text, _steps(r)) for r in changed[:SHOWN]
    ]


def _steps(revision: Revision) -> list[tuple[str, str]]:
    notes = []
    for step in revision.steps:
        outcome = (
            f"failed: {step.failure}"
            if step.failure
            else "no fault found"
            if step.clean
            else "revision accepted"
            if step.accepted
            else "revision rejected"
        )
        sure = "" if step.p_improved is None else f", better with probability {step.p_improved:.2f}"
        notes.append((f"{step.principle_id} ({outcome}{sure})", step.critique or ""))
    return notes
