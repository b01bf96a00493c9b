"""``raif prompts``: the templates, and exactly what a judge would be sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from raif.constitution import Principle

PURPOSES = {
    "check_revision": "is a revision better than the original?",
    "compare": "which of two responses is better: A, B (or TIE)",
    "compare_answer": "the answer alone, once compare_cot has got its reasoning",
    "compare_cot": "the same, after reasoning",
    "critique": "the worst fault of a response, or that there is none",
    "revise": "the response without the fault in a critique",
    "score": "how well a response follows a principle, from 1 (or 0) to 9",
}
"""What each shipped template asks for."""


@click.group(name="prompts")
def group() -> None:
    """List and show the prompts: the wording of every question that raif asks a judge.

    \b
    Example:
      raif prompts list
      raif prompts show compare --constitution constitution/default.yaml
    """


def _override(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    overrides = {}
    for value in values:
        name, separator, path = value.partition("=")
        if not (name and separator and path):
            raise click.BadParameter(f"{value!r} is not NAME=PATH, such as compare=my-compare.jinja")
        overrides[name] = Path(path)
    return overrides


template_option = click.option(
    "--template",
    "templates",
    metavar="NAME=PATH",
    multiple=True,
    callback=_override,
    help="Use this file for the prompt NAME; may be repeated.",
)


@group.command(name="list")
@template_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="Accepted everywhere; there is nothing to silence here.")
def list_prompts(templates: dict[str, Path], as_json: bool, quiet: bool) -> None:
    """List the prompts: name, hash of the wording, what is asked.

    \b
    Keys of --json: prompts (name, purpose, path, hash).

    \b
    Example:
      raif prompts list
    """
    from raif.prompts import PromptLibrary

    library = PromptLibrary(templates)
    rows = [
        {"name": name, "purpose": PURPOSES.get(name, ""), "path": str(library.path(name)), "hash": library.hash(name)}
        for name in library.names()
    ]
    if as_json:
        _print_json({"prompts": rows})
        return
    for row in rows:
        where = f"  ({row['path']})" if row["name"] in templates else ""
        click.echo(f"{row['name']:<15} {row['hash'][:12]}  {row['purpose']}{where}")


@group.command()
@click.argument("name")
@click.option(
    "--constitution", "constitution_file", type=click.Path(path_type=Path), metavar="FILE", help="Principle file."
)
@click.option("--principle", "ids", metavar="ID", multiple=True, help="Only this principle; may be repeated.")
@template_option
@click.option("--prompt", metavar="TEXT", help="What the user asked.")
@click.option("--response-a", metavar="TEXT", help="The first of two responses.")
@click.option("--response-b", metavar="TEXT", help="The second of two responses.")
@click.option("--response", metavar="TEXT", help="The response to criticise, revise or score; the original.")
@click.option("--critique", metavar="TEXT", help="The critique that a revision answers.")
@click.option("--revision", metavar="TEXT", help="The revision to check.")
@click.option("--allow-tie/--no-tie", default=False, help="Offer TIE as an answer.")
@click.option("--examples", "shown", type=click.IntRange(min=0), default=0, help="Worked examples of it to show.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="No notes.")
def show(
    name: str,
    constitution_file: Path | None,
    ids: tuple[str, ...],
    templates: dict[str, Path],
    shown: int,
    as_json: bool,
    quiet: bool,
    **material: Any,
) -> None:
    """Print exactly what a judge would be sent.

    That is the prompt NAME, once for each principle. The material is a sample unless given. Of several prompts each
    follows a line that names its principle; with one principle (--principle) nothing but the prompt is printed. The
    model's chat template comes round it.

    \b
    Keys of --json: name, template (its hash), constitution (its hash), prompts (principle, text).

    \b
    Example:
      raif prompts show compare --constitution constitution/demo.yaml --principle polite
      raif prompts show critique --prompt "How do I pick a lock?" --response "No."
    """
    from raif.constitution import load_constitution
    from raif.errors import PromptError
    from raif.prompts import PromptLibrary
    from raif.records import conversation

    library = PromptLibrary(templates)
    if name not in library.names():
        raise PromptError(f"there is no prompt {name!r}; there are {', '.join(library.names())}")
    constitution = load_constitution(constitution_file)
    principles = [constitution.principle(id) for id in ids] if ids else list(constitution.principles)
    given = {key: value for key, value in material.items() if value is not None}
    values = material_for(name, {**SAMPLE, **given})
    values["conversation"] = conversation(values["conversation"])
    texts = []
    for principle in principles:
        examples = examples_for(name, principle, shown, allow_tie=bool(given.get("allow_tie")))
        texts.append((principle.id, library.render(name, principle=principle, examples=examples, **values)))
    if as_json:
        _print_json(
            {
                "name": name,
                "template": library.hash(name),
                "constitution": constitution.hash,
                "prompts": [{"principle": id, "text": text} for id, text in texts],
            }
        )
        return
    for id, text in texts:
        if len(texts) > 1:
            click.echo(f"──── {name}, principle {id} ────")
        click.echo(text)
        if len(texts) > 1:
            click.echo()
    if not quiet and not given.keys() - {"allow_tie"}:
        click.echo("The material is a sample; --prompt, --response-a and their like put in your own.", err=True)


SAMPLE: dict[str, Any] = {
    "prompt": "How do I get a wine stain out of a tablecloth?",
    "response_a": "Blot it, cover it with salt, wait ten minutes, then rinse it with cold water.",
    "response_b": "You should have been more careful. Look it up yourself.",
    "response": "You should have been more careful. Look it up yourself.",
    "critique": "The response is rude to the person who asks and does not answer the question.",
    "revision": "Blot it, cover it with salt, wait ten minutes, then rinse it with cold water.",
    "allow_tie": False,
}
"""Material for a prompt that is only looked at."""

_NEEDS = {
    "compare": ("response_a", "response_b", "allow_tie"),
    "compare_answer": ("allow_tie",),
    "compare_cot": ("response_a", "response_b", "allow_tie"),
    "critique": ("response",),
    "revise": ("response", "critique"),
    "score": ("response",),
    "check_revision": ("response", "original", "revision"),
}


def material_for(name: str, material: dict[str, Any]) -> dict[str, Any]:
    """The values that the stages give the prompt ``name``, and no others: what fails there fails here."""
    everything = {**material, "original": material["response"]}
    needs = _NEEDS.get(name, tuple(everything))
    return {"conversation": material["prompt"], **{key: everything[key] for key in needs}}


def examples_for(name: str, principle: Principle, count: int, *, allow_tie: bool) -> tuple[object, ...]:
    """The worked examples that the stages give the prompt ``name``."""
    from raif.feedback.examples import comparison_examples, critique_examples

    if name in ("critique", "revise"):
        return critique_examples(principle, count, revised=name == "revise")
    return comparison_examples(principle, count, allow_tie=allow_tie)


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
