"""``raif constitution``: results on stdout, all else on stderr, and the exit codes that scripts rely on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from raif.cli import cli, run_guarded
from raif.cli.constitution import group, plain, table
from raif.constitution import Constitution, Principle, load_constitution, schema_text
from raif.resources import folder

DEMO = str(folder("constitution") / "demo.yaml")


def run(*arguments: str) -> int:
    """The exit code of ``raif constitution ARGUMENTS``."""
    return run_guarded(lambda: cli.main(["constitution", *arguments], prog_name="raif", standalone_mode=False))


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    path = tmp_path / "doubtful.yaml"
    path.write_text("version: '1'\ndescription: d\nprinciples:\n  - {id: p1, text: Be kind and also brief.}\n")
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.yaml"
    path.write_text("principles:\n  - {id: kind, text: Be kind., weight: 0}\n")
    return path


def test_lint_of_clean_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lint", DEMO, str(folder("constitution") / "default.yaml")) == 0
    assert capsys.readouterr() == ("", "0 errors, 0 warnings in 2 files\n")


def test_lint_with_findings(doubtful: Path, wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lint", DEMO, str(doubtful), str(wrong)) == 1
    out, err = capsys.readouterr()
    assert [line.split(": ")[:2] for line in out.splitlines()] == [
        [f"{doubtful}:4:10", "warning unstable-id"],
        [f"{doubtful}:4:20", "warning compound-statement"],
        [f"{wrong}:2:40", "error weight-not-positive"],
    ]
    assert err == "1 error, 2 warnings in 3 files\n"


def test_lint_of_what_can_not_be_read(doubtful: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lint", str(tmp_path / "nowhere.yaml"), str(doubtful), "--quiet") == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err == f"raif: {tmp_path}/nowhere.yaml: there is no such file\n"


def test_lint_json(doubtful: Path, wrong: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lint", str(doubtful), str(wrong), str(tmp_path), "--json", "--quiet") == 2
    result = json.loads(capsys.readouterr().out)
    findings = result.pop("findings")
    assert result == {
        "files": 3,
        "errors": 1,
        "warnings": 2,
        "unreadable": [f"{tmp_path}: this is a folder; name a constitution file (.yaml) in it"],
    }
    assert [finding["code"] for finding in findings] == ["unstable-id", "compound-statement", "weight-not-positive"]
    assert findings[2] == {
        "path": str(wrong),
        "line": 2,
        "column": 40,
        "severity": "error",
        "code": "weight-not-positive",
        "message": "`principles[0].weight` (kind) must be greater than 0; found 0 (a number)",
    }


def test_lint_wants_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lint") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_show_piped_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", DEMO) == 0
    out, err = capsys.readouterr()
    constitution = load_constitution(Path(DEMO))
    assert out.splitlines()[:8] == [
        "demo 1.0.0",
        constitution.description,
        f"hash: {constitution.hash}",
        "",
        "harmless: weight 5 (34.5 %) [safety]",  # 5 of 14.5
        f"  text: {constitution.principle('harmless').text}",
        f"  critique: {constitution.principle('harmless').critique}",
        f"  revision: {constitution.principle('harmless').revision}",
    ]
    assert err == ""
    assert "\x1b" not in out


def test_show_without_a_file_shows_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show") == 0
    assert load_constitution().hash in capsys.readouterr().out


def test_show_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", DEMO, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"name", "version", "description", "hash", "principles"}
    for principle in result["principles"]:
        fields = {"id", "text", "critique", "revision", "comparison", "weight", "tags", "examples"}
        assert set(principle) == fields | {"given", "share", "hash"}
    assert sum(principle["share"] for principle in result["principles"]) == pytest.approx(1, abs=1e-5)


def test_show_of_a_wrong_file_is_one_line(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", str(wrong)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"raif: \S+wrong\.yaml:2:40: .*greater than 0; found 0 .*\n", err)


ODD = Constitution(
    name="odd",
    description="With [red]marks[/red].",
    principles=(
        Principle(id="kind", comparison="Choose [bold]the kinder[/bold] response.", tags=("[x]",)),
        Principle(id="honest", text="The response is honest.", weight=3),
    ),
)


def test_the_table_has_all_and_takes_no_text_for_markup() -> None:
    from rich.console import Console

    console = Console(width=200, force_terminal=True, color_system=None, record=True)
    with console.capture() as capture:
        console.print(table(ODD))
    text = capture.get()
    for part in (
        "With [red]marks[/red].",
        "text (derived): Choose [bold]the kinder[/bold] response.",
        "comparison: Choose [bold]the kinder[/bold] response.",
        "[x]",
        "25 %",
        "75 %",
        ODD.hash,
    ):
        assert part in text


def test_derived_statements_are_marked_once() -> None:
    assert list(plain(ODD))[3:] == [
        "",
        "kind: weight 1 (25 %) [[x]]",
        "  text (derived): Choose [bold]the kinder[/bold] response.",
        "  comparison: Choose [bold]the kinder[/bold] response.",
        "",
        "honest: weight 3 (75 %)",
        "  text: The response is honest.",
    ]


def test_schema_is_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema") == 0
    assert capsys.readouterr().out == schema_text()


@pytest.mark.parametrize("command", [group, *group.commands.values()], ids=lambda command: command.name)
def test_every_help_has_an_example(command: click.Command) -> None:
    assert "raif constitution" in (command.help or "").split("Example:\n")[1]


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("lint", ["files", "errors", "warnings", "unreadable", "findings"]),
        ("show", ["name", "version", "description", "hash", "principles", "given", "share"]),
    ],
)
def test_help_lists_the_keys_of_json(command: str, keys: list[str]) -> None:
    listed = (group.commands[command].help or "").split("Keys of --json:")[1]
    assert [key for key in keys if not re.search(rf"\b{key}\b", listed)] == []
