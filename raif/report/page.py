"""One self-contained HTML file from a run folder: no script, nothing fetched, everything that others wrote escaped."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from raif._version import __version__
from raif.evaluate.summary import label_summary
from raif.report.artefacts import Artefacts, dictionary, read_artefacts
from raif.report.blocks import Notice
from raif.report.evidence import evaluation_section, examples_section
from raif.report.findings import findings
from raif.report.judging import labels_section
from raif.report.making import responses_section, revisions_section, training_section
from raif.report.origin import constitution_section, cost_section, provenance_section
from raif.report.text import plain, plural, quoted, visible


def build_report(run: Path) -> str:
    """The report of a run, finished or not, as HTML.

    Raises:
        InputError: ``run`` is no folder, or holds nothing of a run.
    """
    found = read_artefacts(Path(run))
    labels = label_summary(found.labels) if found.labels else None
    sections = [
        evaluation_section(found),
        examples_section(found),
        labels_section(found, labels),
        revisions_section(found),
        responses_section(found),
        training_section(found),
        constitution_section(found),
        cost_section(found),
        provenance_section(found),
    ]
    environment = Environment(
        loader=PackageLoader("raif.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "quoted": quoted, "plain": plain}
    style = Markup((Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8"))
    return environment.get_template("report.html.jinja").render(
        title=found.path.resolve().name,
        models=_models(found),
        findings=findings(found, labels),
        progress=_progress(found),
        problems=[Notice(f"{name}: {problem}") for name, problem in found.problems.items()],
        sections=sections,
        style=style,
        version=__version__,
    )


def _models(found: Artefacts) -> list[tuple[str, str]]:
    named = {role: dictionary(model).get("spec") for role, model in dictionary(found.manifest.get("models")).items()}
    named["constitution"] = dictionary(found.manifest.get("constitution")).get("name")
    return [(role, str(named[role])) for role in ("policy", "judge", "constitution") if named.get(role)]


def _progress(found: Artefacts) -> list[tuple[str, str, str]]:
    """Each stage: name, what there is of it (empty: nothing yet), and the section on it."""

    def counted(things: Sized, noun: str) -> str:
        return plural(len(things), noun) if things else ""

    policies = [policy.name for policy in found.policies if policy.result]
    compared = len(found.evaluation.policies) if found.evaluation else 0
    return [
        ("generate", counted(found.responses, "response"), "responses"),
        ("revise", counted(found.revisions, "revision"), "revisions"),
        ("label", counted(found.labels, "label"), "labels"),
        ("reward model", "trained" if found.reward and found.reward.result else "", "training"),
        ("policies", ", ".join(policies), "training"),
        ("evaluate", f"{compared} policies" if compared else "", "evaluation"),
    ]
