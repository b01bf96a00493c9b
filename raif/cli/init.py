"""``raif init``: a project to start from."""

from __future__ import annotations

from pathlib import Path

import click

from raif.errors import InputError


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the demo's requests.")
@click.option("--preset", type=click.Choice(["cai-2022", "rlaif-2023"]), help="Begin with the settings of a paper.")
def init(folder: Path, seed: int, preset: str | None) -> None:
    """Write a project that runs as it is: raif.yaml with every key explained, a constitution, prompts.

    It is set up for the demo models; change policy, judge, prompts and constitution to your own. With --preset the
    settings of a paper are written out, each with the section that it is from.

    \b
    Example:
      raif init my-project
      raif run my-project/raif.yaml
    """
    from raif.demo.project import write_project

    if folder.is_dir() and any(folder.iterdir()):
        raise InputError("is not empty; choose a new folder", path=folder)
    sets = [f"preset={preset}"] if preset else []
    click.echo(write_project(folder, seed=seed, sets=sets))
