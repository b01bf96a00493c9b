"""Tiny random models, made once a session; tests that change a folder copy it first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.tiny import make_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny model of an architecture. Don't write to it."""
    root = tmp_path_factory.mktemp("tiny")

    def folder(architecture: str) -> Path:
        path = root / architecture
        return path if path.exists() else make_tiny_model(path, architecture)

    return folder


@pytest.fixture
def tiny_copy(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of that folder, to be damaged."""

    def copy(architecture: str) -> Path:
        return Path(shutil.copytree(tiny(architecture), tmp_path / f"{architecture}_copy"))

    return copy
