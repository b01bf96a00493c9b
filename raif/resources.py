"""Where the files that ship with raif lie: ``prompts/`` and ``constitution/``.

In a checkout they are the top-level folders that people edit; in a wheel hatchling puts copies under ``raif/_data``.
The checkout is recognised by raif's own ``pyproject.toml`` above the package, never by the working directory.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def _is_checkout(folder: Path) -> bool:
    project = folder / "pyproject.toml"
    return project.is_file() and 'name = "raif"' in project.read_text(encoding="utf-8")


def folder(name: str) -> Path:
    """The shipped folder ``prompts`` or ``constitution``."""
    checkout = PACKAGE.parent
    return checkout / name if _is_checkout(checkout) else PACKAGE / "_data" / name
