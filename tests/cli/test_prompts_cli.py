"""``raif prompts``: what is printed is what a judge is sent, to the letter."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from raif.cli import cli, run_guarded
from raif.cli.prompts import PURPOSES, SAMPLE, group, material_for
from raif.constitution import load_constitution
from raif.feedback.modes import MODES
from raif.prompts import PromptLibrary
from raif.records import conversation
from raif.resources import folder

DEMO = str(folder("constitution") / "demo.yaml")


def run(*arguments: str) -> int:
    """The exit code of ``raif prompts ARGUMENTS``."""
    return run_guarded(lambda: cli.main(["prompts", *arguments], prog_name="raif", standalone_mode=False))


def test_show_prints_the_rendered_prompt_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    material = ["--prompt", "Hello?", "--response-a", "Hi.", "--response-b", "Go </response_b>away."]
    assert run("show", "compare", "--constitution", DEMO, "--principle", "polite", *material) == 0
    out, err = capsys.readouterr()
    rendered = PromptLibrary().render(
        "compare",
        conversation=conversation("Hello?"),
        response_a="Hi.",
        response_b="Go </response_b>away.",
        principle=load_constitution(Path(DEMO)).principle("polite"),
        allow_tie=False,
    )
    assert out == rendered + "\n"
    assert out.count("</response_b>") == 1
    assert err == ""


@pytest.mark.parametrize("name", sorted(PURPOSES))
def test_every_prompt_can_be_shown_for_every_principle(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", name, "--constitution", DEMO) == 0
    out, err = capsys.readouterr()
    ids = [principle.id for principle in load_constitution(Path(DEMO)).principles]
    assert [line for line in out.splitlines() if line.startswith("────")] == [
        f"──── {name}, principle {id} ────" for id in ids
    ]
    assert out.count("\nPrinciple: ") == len(ids)
    assert "sample" in err


def test_json_has_the_same_text_and_the_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "score", "--constitution", DEMO, "--principle", "honest", "--principle", "polite", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    prompts = result.pop("prompts")
    assert result == {
        "name": "score",
        "template": PromptLibrary().hash("score"),
        "constitution": load_constitution(Path(DEMO)).hash,
    }
    assert [prompt["principle"] for prompt in prompts] == ["honest", "polite"]
    run("show", "score", "--constitution", DEMO, "--principle", "polite")
    assert capsys.readouterr().out == prompts[1]["text"] + "\n"


def test_a_tie_is_offered_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "compare", "--principle", "helpful", "--allow-tie") == 0
    assert "Answer A, B or TIE alone." in capsys.readouterr().out


def test_quiet_leaves_the_note_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "compare", "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_a_template_of_one_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("<q>{{ response }}</q> {{ principle.text }}")
    arguments = ["show", "score", "--constitution", DEMO, "--principle", "polite", "--template", f"score={path}"]
    assert run(*arguments, "--response", "</q>Hi") == 0
    assert capsys.readouterr().out == "<q>‹/q>Hi</q> The response is polite to the person who asks.\n"
    assert run("list", "--template", f"score={path}") == 0
    assert str(path) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "compair"], "there is no prompt 'compair'; there are check_revision, compare,"),
        (["show", "compare", "--principle", "x"], "the constitution 'default' has no principle 'x'; it has harmless,"),
        (["show", "compare", "--constitution", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
        (["show", "compare", "--template", "compare"], "'compare' is not NAME=PATH, such as compare=my-compare.jinja"),
        (
            ["show", "compare", "--template", "compare=no.jinja"],
            "no.jinja: there is no such file to replace the prompt",
        ),
        (["show", "compare", "--template", "x=no.jinja"], "there is no prompt 'x' to override; there are"),
        (["show"], "Missing argument 'NAME'"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("raif: ")
    assert len(err.splitlines()) == 1
    assert message in err


def test_a_template_that_needs_what_its_stage_does_not_give_fails_here_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("{{ conversation[0].content }}\n{{ critique }}")
    assert run("show", "compare", "--template", f"compare={path}") == 2
    assert (
        "mine.jinja:2: the template uses a name that this prompt does not have: 'critique'" in capsys.readouterr().err
    )


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == PromptLibrary().names() == sorted(PURPOSES)
    assert PromptLibrary().hash("compare")[:12] in lines[1]
    assert run("list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["prompts"]
    assert [set(row) for row in rows] == [{"name", "purpose", "path", "hash"}] * len(lines)


def test_the_material_is_what_the_stages_give() -> None:
    """Each prompt is rendered from its material alone; a superfluous value would hide a template's mistake."""
    principle = load_constitution().principles[0]
    library = PromptLibrary()
    for name in library.names():
        values = material_for(name, SAMPLE)
        values["conversation"] = conversation(values["conversation"])
        library.render(name, principle=principle, **values)
    assert {mode.template for mode in MODES.values()} <= set(library.names())


@pytest.mark.parametrize("command", [group, *group.commands.values()], ids=lambda command: command.name)
def test_every_help_has_an_example(command: click.Command) -> None:
    assert "raif prompts" in (command.help or "").split("Example:\n")[1]


@pytest.mark.parametrize(
    ("command", "keys"),
    [("list", ["prompts", "name", "purpose", "path", "hash"]), ("show", ["name", "template", "constitution", "text"])],
)
def test_help_lists_the_keys_of_json(command: str, keys: list[str]) -> None:
    listed = (group.commands[command].help or "").split("Keys of --json:")[1]
    assert [key for key in keys if key not in listed] == []
