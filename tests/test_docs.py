"""Documentation that fails the build.

The README's commands exist and every command is in it; its tree is the one on disk, in an order in which imports point
upwards; every ``--help`` shows an example that would parse; every public name says what it is for.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from import_graph import component, internal, modules, tree
from raif.cli import cli

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")


@cache
def commands() -> dict[str, click.Command]:
    """Every command that does something, by how it is typed: ``raif train sft``."""
    found: dict[str, click.Command] = {}

    def walk(command: click.Command, typed: str) -> None:
        if not isinstance(command, click.Group):
            found[typed] = command
            return
        context = click.Context(command, info_name=typed)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, f"{typed} lists {name} and does not have it"
            walk(below, f"{typed} {name}")

    walk(cli, "raif")
    return found


def section(title: str) -> str:
    """What the README says under ``## title``."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no section {title!r}"
    return found.group(1)


def code(markdown: str) -> str:
    """The fenced blocks and the spans between backticks, one a line."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\w*\n.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *(f"`{' '.join(span.split())}`" for span in re.findall(r"`([^`]+)`", prose))])


def command_lines(text: str) -> Iterator[str]:
    """The lines of ``text`` that someone would type: ``raif …``, alone on a line or between backticks."""
    text = text.replace("\\\n", " ")
    for line in text.splitlines():
        if re.match(r"\s*(\$ )?raif ", line):
            # In a help page, what a line does stands behind it, two spaces apart or more; `#` begins a comment.
            yield re.split(r"\s{2,}|\s#", line.strip().removeprefix("$ "))[0]
    yield from re.findall(r"`(raif [^`]+)`", text)


def problem(line: str) -> str | None:
    """Why ``line`` could not be typed: a command or a flag that does not exist."""
    words = shlex.split(line)
    known = commands()
    typed = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in known), None)
    if typed is None:
        group = next((name for name in known if name.startswith(f"{' '.join(words[:2])} ")), None)
        if group or words[1].startswith("-"):
            return None
        return f"there is no command {' '.join(words[:2])!r}"
    flags = {flag for option in known[typed].params for flag in (*option.opts, *option.secondary_opts)}
    for word in words:
        flag = word.split("=")[0]
        if flag.startswith("--") and flag not in flags | {"--help"}:
            return f"{typed} has no flag {flag}"
    return None


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert problem("raif demo --quick --out runs/demo") is None
    assert problem("raif demonstrate") == "there is no command 'raif demonstrate'"
    assert problem("raif demo --quack") == "raif demo has no flag --quack"
    help_page = "  raif demo --quick     the short one\n  and `raif train sft --run DIR` after it"
    assert list(command_lines(help_page)) == ["raif demo --quick", "raif train sft --run DIR"]


def test_the_table_lists_every_command_and_no_other() -> None:
    rows = re.findall(r"^\| `(raif [^`]+)` \| (.+) \|$", section("Commands"), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(commands())


def test_every_line_of_the_readme_could_be_typed() -> None:
    lines = [line for line in command_lines(code(README)) if "|" not in line]
    assert len(lines) > 5
    assert [found for found in map(problem, lines) if found] == []


def test_the_readme_s_scripts_exist_and_can_be_started() -> None:
    named = set(re.findall(r"\b(?:scripts|\.ci)/[a-z_/]+(?:\.py)?\b", README))
    assert {"scripts/demo", "scripts/test"} <= named
    for name in named:
        path = PROJECT / name
        assert path.is_file(), f"{name} is in the README and not in the checkout"
        assert path.suffix == ".py" or path.stat().st_mode & 0o111, f"{name} can't be executed"


def tree_entries() -> list[str]:
    """The paths of the README's tree, in its order; indentation makes the folders."""
    entries: list[str] = []
    above: list[tuple[int, str]] = []
    for line in section("The code, in reading order").splitlines():
        found = re.match(r"^ {4}( *)(\S+)(?: {2,}\S.*)?$", line)
        if not found:
            continue
        depth, name = len(found.group(1)), found.group(2)
        while above and above[-1][0] >= depth:
            above.pop()
        entries.append("".join(folder for _, folder in above) + name)
        if name.endswith("/"):
            above.append((depth, name))
    return entries


def test_what_the_tree_names_is_there() -> None:
    entries = tree_entries()
    assert "raif/errors.py" in entries
    assert [entry for entry in entries if not (PROJECT / entry).exists()] == []


def reading_order() -> dict[str, int]:
    """The components of raif by their place in the README's tree."""
    inside = [entry.removeprefix("raif/") for entry in tree_entries() if entry.startswith("raif/") and entry != "raif/"]
    return {entry.removesuffix("/").removesuffix(".py"): place for place, entry in enumerate(inside)}


def test_the_tree_names_every_component_of_the_package() -> None:
    components = {component(module) for module in modules()} - {"raif", "_version"}
    assert components == set(reading_order())


def test_reading_order_is_the_order_of_dependencies() -> None:
    place = reading_order()
    below = [
        str(edge)
        for edge in internal()
        if component(edge.imported) in place
        and component(edge.importer) in place
        and place[component(edge.imported)] > place[component(edge.importer)]
    ]
    assert below == []


@pytest.mark.parametrize("typed", sorted(commands()))
def test_every_help_page_shows_an_example_that_parses(typed: str) -> None:
    command = commands()[typed]
    page = command.get_help(click.Context(command, info_name=typed))
    heading = re.search(r"^\s*Examples?:\s*$", page, re.MULTILINE)
    assert heading, f"{typed} --help has no example"
    lines = list(command_lines(page[heading.end() :]))
    assert any(line.startswith(typed) for line in lines), f"no example of {typed} itself"
    assert [found for found in map(problem, lines) if found] == []


@pytest.mark.parametrize("typed", sorted(commands()))
def test_every_option_says_what_it_does(typed: str) -> None:
    options = [option for option in commands()[typed].params if isinstance(option, click.Option)]
    assert [option.opts[0] for option in options if not option.help] == []


def test_public_names_have_docstrings() -> None:
    silent = []
    for module in modules():
        if not ast.get_docstring(tree(module)):
            silent.append(module)
        for node in tree(module).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{module}.{node.name}")
    assert silent == []


def test_what_a_package_exports_is_what_it_says() -> None:
    differing = {}
    for module, path in modules().items():
        if path.name != "__init__.py":
            continue
        declared: set[str] = set()
        bound: set[str] = set()
        for node in tree(module).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                declared = set(ast.literal_eval(node.value))
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                bound.add(node.name)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("raif"):
                bound |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Assign):
                bound |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        public = {name for name in bound if not name.startswith("_") or name in declared}
        if declared and declared != public:
            differing[module] = sorted(declared ^ public)
    assert differing == {}


def test_the_changelog_has_an_unreleased_section() -> None:
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[Unreleased\]\n\n### (Added|Changed|Deprecated|Removed|Fixed|Security)\n", changelog, re.M)
