"""The sections on where it all comes from: the constitution, what the run used, and what would make it again."""

from __future__ import annotations

from typing import Any

import yaml

from raif.report.artefacts import Artefacts, dictionary
from raif.report.blocks import Block, Facts, Notice, Plot, Section, Table, Text
from raif.report.findings import usage
from raif.report.plots import Bar, intervals
from raif.report.text import NONE, duration, number, percent


def constitution_section(found: Artefacts) -> Section:
    """The principles in force, or what is known of them."""
    recorded = dictionary(found.manifest.get("constitution"))
    name, version, digest = (str(recorded.get(key) or NONE) for key in ("name", "version", "hash"))
    facts = Facts([("name", name), ("version", version), ("hash", digest)])
    if found.constitution is None:
        used = sorted({judgement.principle_id for label in found.labels for judgement in label.judgements})
        blocks: list[Block] = [facts]
        if recorded:
            blocks.append(Text("Its wording is not shown: no file with this hash lies where the run read it."))
        if used:
            blocks.append(Text(f"The labels name these principles: {', '.join(used)}."))
        headline = f"Judged by the constitution “{name}”." if recorded else "No constitution is recorded."
        return Section("constitution", "Constitution", headline, blocks)
    principles = found.constitution.principles
    table = Table(
        "Principles",
        ["id", "statement", "weight", "tags"],
        [[p.id, p.text, f"{p.weight:g}", ", ".join(p.tags) or "–"] for p in principles],
        numeric=False,
    )
    headline = f"{len(principles)} principles of “{name}”, version {version}."
    return Section("constitution", "Constitution", headline, [facts, table])


def cost_section(found: Artefacts) -> Section:
    """Time, model calls and tokens, stage by stage."""
    stages = {name: dictionary(stage) for name, stage in dictionary(found.manifest.get("stages")).items()}
    if not stages:
        blocks: list[Block] = [Text("The manifest records no stage.")]
        return Section("cost", "Cost", "What the run cost is not recorded.", blocks)
    used = usage(stages)
    cached = (
        f"; {percent(used.cache_hits / used.requests)} of the answers came from the cache" if used.cache_hits else ""
    )
    money = "" if not used.cost else f", {used.cost:,.2f} in money" + (" for the models with a price" * used.unpriced)
    headline = f"{duration(used.seconds)} and {used.tokens:,} tokens in {used.calls:,} model calls{money}{cached}."
    seconds = {name: _number(stage.get("seconds")) for name, stage in stages.items()}
    total = sum(seconds.values()) or 1
    bars = [Bar(name, took / total, None, None, duration(took)) for name, took in seconds.items()]
    table = Table(
        "Cost of each stage",
        ["stage", "status", "time", "requests", "from the cache", "prompt tokens", "completion tokens", "attempts"],
        [
            [
                name,
                str(stage.get("status") or NONE),
                duration(stage.get("seconds")),
                number(stage.get("requests")),
                number(stage.get("cache_hits")),
                number(stage.get("prompt_tokens")),
                number(stage.get("completion_tokens")),
                number(stage.get("attempts")),
            ]
            for name, stage in stages.items()
        ],
    )
    models = Table(
        "Cost of each model",
        [
            "stage",
            "model",
            "requests",
            "from the cache",
            "retries",
            "failures",
            "prompt tokens",
            "completion tokens",
            "seconds",
            "cost",
        ],
        [
            [
                name,
                identity,
                *(number(spent.get(key)) for key in ("requests", "cache_hits", "retries", "failures")),
                *(number(spent.get(key)) for key in ("prompt_tokens", "completion_tokens", "seconds")),
                NONE if spent.get("cost") is None else f"{_number(spent.get('cost')):,.4f}",
            ]
            for name, stage in stages.items()
            for identity, spent in ((i, dictionary(s)) for i, s in dictionary(stage.get("models")).items())
        ],
    )
    unfinished = [name for name, stage in stages.items() if stage.get("status") not in ("done", "running", None)]
    notices: list[Block] = [Notice(f"Stages that did not finish: {', '.join(unfinished)}.")] if unfinished else []
    caption = "Share of the time that each stage took; time and tokens are added up over all attempts."
    plot = Plot(intervals(bars, "Time of each stage", reference=None), caption, table)
    return Section("cost", "Cost", headline, [*notices, plot, *([models] if models.rows else [])])


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def provenance_section(found: Artefacts) -> Section:
    """Versions, models, hashes and settings: what would make this run again."""
    manifest = found.manifest
    versions = dictionary(manifest.get("versions"))
    facts = Facts(
        [
            ("raif", str(manifest.get("raif") or NONE)),
            ("git revision", str(manifest.get("git_revision") or NONE)),
            ("seed", number(manifest.get("seed"))),
            *((name, str(version)) for name, version in versions.items()),
        ]
    )
    blocks: list[Block] = [facts]
    models = {role: dictionary(model) for role, model in dictionary(manifest.get("models")).items()}
    if models:
        rows = [
            [
                role,
                str(model.get("spec") or NONE),
                str(model.get("identity") or NONE),
                ", ".join(f"{key} {value}" for key, value in dictionary(model.get("details")).items()) or "–",
            ]
            for role, model in models.items()
        ]
        blocks.append(Table("Models", ["role", "given as", "identity", "details"], rows, numeric=False))
    inputs = {name: dictionary(entry) for name, entry in dictionary(manifest.get("inputs")).items()}
    if inputs:
        rows = [[name, number(entry.get("rows")), str(entry.get("sha256") or NONE)] for name, entry in inputs.items()]
        blocks.append(Table("Inputs", ["file or data set", "rows", "SHA-256"], rows, numeric=False))
    templates = dictionary(manifest.get("templates"))
    if templates:
        rows = [[name, str(digest)] for name, digest in templates.items()]
        blocks.append(Table("Prompt templates", ["template", "SHA-256"], rows, numeric=False))
    config = dictionary(manifest.get("config"))
    if config:
        settings = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        blocks.append(Text("The configuration of the last command:", settings))
    headline = (
        "What would make this run again." if manifest else "No manifest: where this run comes from is not recorded."
    )
    return Section("provenance", "Provenance", headline, blocks)
