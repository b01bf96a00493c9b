"""The page as a whole: what it says of a run, finished, half-finished, damaged or hostile."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest

from raif.errors import InputError
from raif.records import Comparison, Preference, Response, Revision, RevisionStep, conversation
from raif.report import build_report

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks nesting, and collects what matters."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def report(run: Path) -> Page:
    return Page(build_report(run))


def test_a_finished_run_answers_the_four_questions(run: Path) -> None:
    page = report(run)
    # the change in harm: 108 of 150 to 3 of 150
    assert "Did it get safer? Yes 72.0 % → 2.0 % of harmful requests complied with" in page.words
    assert "(change −70.0 points, " in page.words
    assert "Did it stay helpful? Yes 97.0 % → 97.3 %" in page.words
    assert "Is the judge to be trusted? Here, yes 98.8 %" in page.words
    assert "What did it cost? 4 min 54 s" in page.words
    for title in (
        "Evaluation",
        "Before and after",
        "Labels and the judge",
        "Critique and revision",
        "Training",
        "Cost",
    ):
        assert title in page.words
    assert "The response gives no help with a harmful deed." in page.words  # the constitution was found by its hash
    assert "The reward model ranks 95.0 % (90.0–97.6; n = 120) of held-out pairs as the labels do" in page.words


def test_it_is_one_file_without_script(run: Path) -> None:
    page = report(run)
    assert not {"script", "link", "iframe", "img", "object", "embed"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith("#")
    policies = [attributes.get("content") for tag, attributes in page.tags if tag == "meta"]
    assert "default-src 'none'; style-src 'unsafe-inline'" in policies
    assert "url(" not in build_report(run)


def test_every_drawing_has_its_table(run: Path) -> None:
    page = report(run)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("figure") == tags.count("svg") == tags.count("figcaption") > 8
    assert tags.count("table") >= tags.count("figure")
    identifiers = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    targets = {(attributes.get("href") or "")[1:] for tag, attributes in page.tags if tag == "a"}
    assert targets <= identifiers


def test_equal_runs_give_equal_pages(run: Path) -> None:
    assert build_report(run) == build_report(run)


def test_without_a_known_truth_it_is_the_judges_account(run: Path) -> None:
    (run / "summary.json").unlink()
    page = report(run)
    assert "Did it get safer? Yes, says the judge" in page.words
    assert "win rate of dpo against base under “harmless”" in page.words
    assert "Is the judge to be trusted? Unchecked" in page.words


@pytest.mark.parametrize(
    "missing", ["manifest.json", "10_responses.jsonl", "30_labels.jsonl", "70_eval.json", "50_reward"]
)
def test_a_run_with_a_part_missing(run: Path, missing: str) -> None:
    (run / "summary.json").unlink()
    path = run / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = report(run)
    command = {
        "10_responses.jsonl": "generate",
        "30_labels.jsonl": "label",
        "70_eval.json": "eval",
        "50_reward": "train reward",
    }
    if missing == "manifest.json":
        assert "No manifest: where this run comes from is not recorded." in page.words
    else:
        assert f"raif {command[missing]} --run {run}" in page.words


def test_only_responses(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone folder"
    alone.mkdir()
    shutil.copy(run / "10_responses.jsonl", alone)
    page = report(alone)
    assert f"raif label --run '{alone}'" in page.words
    assert "Did it get safer? Not measured" in page.words


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing of a run"):
        build_report(tmp_path)
    with pytest.raises(InputError, match="no such run folder"):
        build_report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["manifest.json", "summary.json", "70_eval.json", "50_reward/train.json", "30_labels.jsonl"]
)
@pytest.mark.parametrize(
    "content", [b"", b"[1, 2]", b"{", b'{"stages": 3, "policy": [], "metrics": "x"}', b"\xff\xfe\n{}\n"]
)
def test_damaged_files_are_named_and_do_not_stop_it(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    page = report(run)
    odd_but_json = content.startswith(b'{"stages')
    if not odd_but_json and not (name == "30_labels.jsonl" and content in (b"", b"{")):
        assert f"Note {name}: " in page.words
    else:
        assert "Provenance" in page.words


def rewrite(run: Path, change: Any) -> None:
    path = run / "30_labels.jsonl"
    labels = [Preference.model_validate_json(line) for line in path.read_bytes().splitlines()]
    path.write_bytes(b"".join(change(index, label).to_json() + b"\n" for index, label in enumerate(labels)))


def with_human(label: Preference, agrees: bool) -> Preference:
    likes_a = (label.p_a or 0) > 0.5
    fields = label.comparison.model_dump(exclude={"id"}) | {"human_p_a": float(likes_a == agrees)}
    comparison = Comparison.model_validate(fields)
    return Preference.model_validate(label.model_dump(exclude={"id"}) | {"comparison": comparison})


def test_a_judge_no_better_than_chance_is_called_that(run: Path) -> None:
    (run / "summary.json").unlink()
    rewrite(run, lambda index, label: with_human(label, index % 2 == 0))
    page = report(run)
    assert "Is the judge to be trusted? No: no better than chance" in page.words
    assert "This judge agrees with the human labels no better than chance." in page.words
    # its win rates are then no evidence either
    assert "Did it get safer? Not shown" in page.words
    assert "by a judge that is no better than chance" in page.words


def test_a_judge_that_humans_agree_with(run: Path) -> None:
    rewrite(run, lambda index, label: with_human(label, index % 10 != 0))
    page = report(run)
    assert "Is the judge to be trusted? Better than chance" in page.words
    assert "no better than chance" not in page.words


def test_low_coverage_is_called_out(run: Path) -> None:
    def undecided(index: int, label: Preference) -> Preference:
        fields = label.model_dump(exclude={"id"})
        if index % 4 == 0:
            fields |= {"outcome": "abstain", "reason": "low_mass", "p_a": None, "p_a_by_order": (None, None)}
        return Preference.model_validate(fields)

    rewrite(run, undecided)
    page = report(run)
    assert "The judge decided only" in page.words
    assert "low_mass" in page.words


HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)> {{ 7*7 }} \u202egnp\u202c"


def test_nothing_that_others_wrote_runs_or_hides(run: Path) -> None:
    prompt = conversation(HOSTILE)
    response = Response(prompt_id="p", prompt=prompt, model=HOSTILE, text=HOSTILE, finish="stop")
    step = RevisionStep(round=0, principle_id=HOSTILE, critique=HOSTILE, revision="new", accepted=True)
    revision = Revision(
        response_id=response.id,
        prompt_id="p",
        prompt=prompt,
        original=HOSTILE,
        text=f"new {HOSTILE}",
        policy="m",
        judge="j",
        constitution="c",
        steps=(step,),
    )
    (run / "10_responses.jsonl").write_bytes(response.to_json() + b"\n")
    (run / "20_revisions.jsonl").write_bytes(revision.to_json() + b"\n")
    manifest = orjson.loads((run / "manifest.json").read_bytes())
    manifest["models"]["policy"]["spec"] = manifest["constitution"]["name"] = manifest["git_revision"] = HOSTILE
    manifest["stages"][HOSTILE] = {"status": HOSTILE, "seconds": HOSTILE}
    manifest["config"][HOSTILE] = HOSTILE
    (run / "manifest.json").write_bytes(orjson.dumps(manifest))
    summary = orjson.loads((run / "summary.json").read_bytes())
    summary["policy"][HOSTILE] = {"harmful": 0.1, "helpful": HOSTILE, "rude": None}
    (run / "summary.json").write_bytes(orjson.dumps(summary))
    hostile = run.parent / "<script>alert(2)<"
    run.rename(hostile)
    html = build_report(hostile)
    page = Page(html)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert "\u202e" not in html
    assert "U+202E" in html
    assert "{{ 7*7 }}" in page.words
    assert "<script>alert(1)</script>" in page.words
