"""``raif init``: a project to start from."""

from __future__ import annotations

from pathlib import Path

import click

from raif.errors import InputError


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the demo's requests.")
def init(folder: Path, seed: int) -> None:
    """Write a project that runs as it is: raif.yaml with every key explained, a constitution, prompts.

    It is set up for the demo models; change policy, judge, prompts and constitution to your own.

    \b
    Example:
      raif init my-project
      raif run my-project/raif.yaml
    """
    from raif.demo.project import write_project

    if folder.is_dir() and any(folder.iterdir()):
        raise InputError("is not empty; choose a new folder", path=folder)
    click.echo(write_project(folder, seed=seed))
