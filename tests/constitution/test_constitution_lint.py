"""Lint: each slip has its code and its place, and good files have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from raif.constitution import lint
from raif.constitution.source import UnreadableError
from raif.resources import folder

HEAD = "version: 1.0.0\ndescription: For tests.\nprinciples:\n"  # principles begin in line 4


def found(tmp_path: Path, text: str) -> list[tuple[int, int, str, str]]:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return [(f.line, f.column, f.severity, f.code) for f in lint(path)]


@pytest.mark.parametrize("path", sorted(folder("constitution").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_are_clean(path: Path) -> None:
    assert lint(path) == []


KIND = "  - {id: kind, text: The response is kind.}\n"


@pytest.mark.parametrize(
    ("principles", "expected"),
    [
        (KIND, []),
        ("  - {id: p1, text: Be kind.}\n", [(4, 10, "warning", "unstable-id")]),
        ("  - {id: principle-12, text: Be kind.}\n", [(4, 10, "warning", "unstable-id")]),
        ("  - {id: '3', text: Be kind.}\n", [(4, 10, "warning", "unstable-id")]),
        ("  - {id: c, text: Be kind.}\n", [(4, 10, "warning", "unstable-id")]),
        ("  - {id: gdpr-2016, text: Be kind.}\n", []),
        ("  - {id: no-pii2, text: Be kind.}\n", []),
        ("  - {id: Kind, text: Be kind.}\n", [(4, 10, "warning", "id-not-slug")]),
        ("  - {id: be kind, text: Be kind.}\n", [(4, 10, "warning", "id-not-slug")]),
        ("  - {id: kind-, text: Be kind.}\n", [(4, 10, "warning", "id-not-slug")]),
        ("  - {id: kind, text: TODO}\n", [(4, 22, "warning", "empty-statement")]),
        ("  - {id: kind, text: Be kind and also brief.}\n", [(4, 22, "warning", "compound-statement")]),
        ("  - {id: kind, revision: Be kind and also brief.}\n", []),
        (f"  - {{id: kind, text: {'kind ' * 60}}}\n", []),
        (f"  - {{id: kind, text: {'kind ' * 61}}}\n", [(4, 22, "warning", "overlong-statement")]),
        ("  - {id: kind, text: Be kind., tags: [a, b, a]}\n", [(4, 38, "warning", "duplicate-tag")]),
        (
            "  - {id: kind, text: The response is polite., comparison: Choose the ruder response.}\n",
            [(4, 59, "warning", "contradiction")],
        ),
        # The other has 1 of 10.1 parts, less than a tenth; of 10 parts, exactly a tenth.
        (
            KIND + "  - {id: brief, text: The response is short., weight: 9.1}\n",
            [(5, 55, "warning", "weight-drowns-others")],
        ),
        (KIND + "  - {id: brief, text: The response is short., weight: 9}\n", []),
        ("  - {id: brief, text: The response is short., weight: 900}\n", []),
        (KIND + "  - {id: brief, text: The response is short.}\n", []),
        (KIND + "  - {id: kinder, text: the response is Kind!}\n", [(5, 24, "warning", "duplicate-statement")]),
        (KIND + "  - {id: nice, text: the response is Kind, weight: 2}\n", [(5, 22, "warning", "conflicting-weights")]),
        (KIND + "  - {id: kinder, critique: The response is kind.}\n", [(5, 28, "warning", "duplicate-statement")]),
        (KIND + "  - {id: polite, comparison: The politer response.}\n", [(5, 30, "warning", "near-duplicate")]),
        (KIND + "  - {id: rude, comparison: Choose the ruder response.}\n", [(5, 28, "warning", "contradiction")]),
        (
            "  - {id: kind, text: The response is kind., revision: Write it again.}\n"
            "  - {id: brief, text: The response is short., revision: Write it again.}\n",
            [],
        ),
        # errors
        ("  - {id: kind, text: [}\n", [(4, 23, "error", "syntax")]),
        ("  - {id: kind, text: x, text: y}\n", [(4, 25, "error", "duplicate-key")]),
        ("  - {id: kind}\n", [(4, 5, "error", "no-statement")]),
        ("  - {text: Be kind.}\n", [(4, 5, "error", "missing-field")]),
        ("  - {id: kind, text: ''}\n", [(4, 22, "error", "empty-value")]),
        ("  - {id: kind, text: Be kind., hue: 1}\n", [(4, 32, "error", "unknown-field")]),
        ("  - {id: kind, text: Be kind., weight: 0}\n", [(4, 40, "error", "weight-not-positive")]),
        ("  - {id: kind, text: Be kind., weight: -2}\n", [(4, 40, "error", "weight-not-positive")]),
        ("  - {id: kind, text: Be kind., weight: much}\n", [(4, 40, "error", "wrong-value")]),
        (KIND + KIND + KIND, [(5, 10, "error", "duplicate-id"), (6, 10, "error", "duplicate-id")]),
        (
            "  - {id: kind, text: 1, weight: 0}\n  - {id: kind, txt: x}\n",
            [
                (4, 22, "error", "wrong-value"),
                (4, 33, "error", "weight-not-positive"),
                (5, 10, "error", "duplicate-id"),
                (5, 16, "error", "unknown-field"),
            ],
        ),
    ],
)  # fmt: skip
def test_each_slip_has_its_code_and_its_place(
    tmp_path: Path, principles: str, expected: list[tuple[int, int, str, str]]
) -> None:
    assert found(tmp_path, HEAD + principles) == expected


def test_version_and_description_are_missed(tmp_path: Path) -> None:
    assert found(tmp_path, "principles:\n" + KIND) == [
        (1, 1, "warning", "missing-description"),
        (1, 1, "warning", "missing-version"),
    ]
    assert found(tmp_path, "version: ''\ndescription: x\nprinciples:\n" + KIND) == [
        (1, 10, "warning", "missing-version")
    ]


@pytest.mark.parametrize(("text", "code"), [("", "empty-file"), ("[]", "not-a-mapping")])
def test_no_constitution_at_all(tmp_path: Path, text: str, code: str) -> None:
    assert found(tmp_path, text) == [(1, 1, "error", code)]


def test_a_finding_reads_as_one_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(HEAD + "  - {id: Be Kind, text: The response is kind.}\n")
    (finding,) = lint(path)
    assert str(finding) == (
        f"{path}:4:10: warning id-not-slug: the id 'Be Kind' is not a plain name; write it as, say, 'be-kind'"
    )
    assert finding.as_dict() == {
        "path": str(path),
        "line": 4,
        "column": 10,
        "severity": "warning",
        "code": "id-not-slug",
        "message": "the id 'Be Kind' is not a plain name; write it as, say, 'be-kind'",
    }


def test_what_can_not_be_read_is_not_a_finding(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: gr\xf6\xdfer\n")
    for path in (tmp_path, tmp_path / "nowhere.yaml", tmp_path / "latin.yaml"):
        with pytest.raises(UnreadableError):
            lint(path)
