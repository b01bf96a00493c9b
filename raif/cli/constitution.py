"""``raif constitution``: check, show and describe principle files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from raif.constitution import Constitution, Finding

UNREADABLE = 2


@click.group(name="constitution")
def group() -> None:
    """Check and show constitutions: the principle files that a judge judges by.

    \b
    Example:
      raif constitution show                      raif's default constitution
      raif constitution lint my-principles.yaml   what in it is worth a second look
    """


@group.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="No summary.")
@click.pass_context
def lint(ctx: click.Context, files: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """Find what is wrong or doubtful in principle files.

    Checks syntax and fields (errors: the file does not load), and ids, statements and weights (warnings: it loads,
    but would hardly do what it should). Prints one line a finding: FILE:LINE:COLUMN: SEVERITY CODE: MESSAGE.

    \b
    Exit codes: 0 nothing found, 1 findings, 2 a file that can't be read.
    Keys of --json: files, errors, warnings, unreadable,
      findings (path, line, column, severity, code, message).

    \b
    Example:
      raif constitution lint constitution/*.yaml
    """
    from raif.constitution import lint as lint_file
    from raif.errors import ConstitutionError

    findings: list[Finding] = []
    unreadable: list[ConstitutionError] = []
    for file in files:
        try:
            findings += lint_file(file)
        except ConstitutionError as error:
            unreadable.append(error)
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        _print_json(
            {
                "files": len(files),
                "errors": errors,
                "warnings": len(findings) - errors,
                "unreadable": [str(error) for error in unreadable],
                "findings": [finding.as_dict() for finding in findings],
            }
        )
    else:
        for finding in findings:
            click.echo(str(finding))
    for problem in unreadable:
        click.echo(f"raif: {problem}", err=True)
    if not quiet:
        checked = len(files) - len(unreadable)
        summary = f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')} in {_count(checked, 'file')}"
        click.echo(summary + (f"; {_count(len(unreadable), 'file')} unreadable" if unreadable else ""), err=True)
    ctx.exit(UNREADABLE if unreadable else 1 if findings else 0)


@group.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="Accepted everywhere; there is nothing to silence here.")
def show(file: Path | None, as_json: bool, quiet: bool) -> None:
    """Show a constitution as raif reads it.

    That is with its derived statements, the shares of the weight and the hash that records carry. Without FILE,
    raif's default constitution. A table on a terminal, plain lines when piped.

    \b
    Keys of --json: name, version, description, hash,
      principles (id, text, critique, revision, comparison, weight, tags, examples, given, share, hash).

    \b
    Example:
      raif constitution show constitution/demo.yaml
    """
    from raif.constitution import load_constitution

    constitution = load_constitution(file)
    if as_json:
        _print_json(_as_object(constitution))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(table(constitution))
    else:
        for line in plain(constitution):
            click.echo(line)


@group.command()
@click.option("--json", "as_json", is_flag=True, help="Accepted everywhere; the schema is JSON already.")
@click.option("--quiet", is_flag=True, help="Accepted everywhere; there is nothing to silence here.")
def schema(as_json: bool, quiet: bool) -> None:
    """Print the JSON Schema of principle files.

    With it editors complete and check as one types. A file names it in its first line:
    # yaml-language-server: $schema=constitution.schema.json

    \b
    Example:
      raif constitution schema > constitution.schema.json
    """
    from raif.constitution import schema_text

    click.echo(schema_text(), nl=False)


def table(constitution: Constitution) -> Table:
    """For a terminal. Statements are inserted as text, never as markup."""
    from rich.table import Table
    from rich.text import Text

    title, aim = Text(_title(constitution), style="bold"), Text(constitution.description)
    if aim:
        title.append("\n").append_text(aim)
    result = Table(title=title, caption=f"hash {constitution.hash}", show_lines=True, title_justify="left")
    result.add_column("principle", style="bold", overflow="fold")
    result.add_column("weight", justify="right", no_wrap=True)
    result.add_column("statements", overflow="fold", ratio=1)
    for principle, share in _shares(constitution):
        name = Text(principle.id)
        for tag in principle.tags:
            name.append(f"\n{tag}", style="dim not bold")
        statements = Text()
        for label, statement in _statements(principle):
            statements.append("\n" if statements else "").append(f"{label}: ", style="dim").append(statement)
        result.add_row(name, Text(f"{principle.weight:g}\n{100 * share:.3g} %"), statements)
    return result


def plain(constitution: Constitution) -> Iterator[str]:
    """For a pipe: one line a fact, in the order of the file."""
    yield _title(constitution)
    if constitution.description:
        yield constitution.description
    yield f"hash: {constitution.hash}"
    for principle, share in _shares(constitution):
        tags = f" [{', '.join(principle.tags)}]" if principle.tags else ""
        yield ""
        yield f"{principle.id}: weight {principle.weight:g} ({100 * share:.3g} %){tags}"
        for label, statement in _statements(principle):
            yield f"  {label}: {statement}"


def _statements(principle: Any) -> Iterator[tuple[str, str]]:
    """Each statement with what it is used for; those that were derived are not repeated."""
    from raif.constitution import STATEMENTS

    for field in STATEMENTS:
        if field in principle.given or (field == "text" and "text" not in principle.given):
            derived = "" if field in principle.given else " (derived)"
            yield field + derived, getattr(principle, field)
    if principle.examples:
        yield "examples", str(len(principle.examples))


def _as_object(constitution: Constitution) -> dict[str, Any]:
    principles = [
        {
            **principle.model_dump(mode="json"),
            "given": list(principle.given),
            "share": round(share, 6),
            "hash": principle.hash,
        }
        for principle, share in _shares(constitution)
    ]
    return {
        "name": constitution.name,
        "version": constitution.version,
        "description": constitution.description,
        "hash": constitution.hash,
        "principles": principles,
    }


def _shares(constitution: Constitution) -> Iterator[tuple[Any, float]]:
    total = sum(principle.weight for principle in constitution.principles)
    for principle in constitution.principles:
        yield principle, principle.weight / total


def _title(constitution: Constitution) -> str:
    return f"{constitution.name} {constitution.version}".strip()


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
