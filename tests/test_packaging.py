"""What a user installs: the wheel, built from the sdist as a release is, in an environment that knows no checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

Raif = Callable[..., subprocess.CompletedProcess[str]]

DEMO_WEIGHTS_LIMIT = 8_000_000
"""Bytes, all demo weights together."""


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the sdist built from the checkout: what is missing from either is missing from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("raif-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> dict[str, int]:
    """Size in bytes of every file in the wheel, by its name there."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.file_size for entry in archive.infolist()}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Raif:
    """Runs a program of a new environment that holds the wheel alone, from a folder outside the checkout.

    What raif depends on is lent by this interpreter's site-packages: a path that a ``.pth`` file adds is searched last
    and its own ``.pth`` files are not read, so that an editable install of raif there stays unseen.
    """
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=300)
    python = home / "bin" / "python"
    paths = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})
    (Path(paths["purelib"]) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, timeout=300)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}

    def run(program: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        command = [str(home / "bin" / program), *arguments]
        return subprocess.run(
            command, cwd=elsewhere, env=env, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


def test_the_wheel_holds_what_the_package_reads(project: Path, contents: dict[str, int]) -> None:
    source = [path for path in (project / "raif").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {f"raif/{path.relative_to(project / 'raif').as_posix()}" for path in source}
    for name in ("prompts", "constitution"):
        files = [path for path in (project / name).rglob("*") if path.is_file()]
        expected |= {f"raif/_data/{name}/{path.relative_to(project / name).as_posix()}" for path in files}
    packed = {name for name in contents if name.startswith("raif/")}
    assert {
        "raif/py.typed",
        "raif/_data/prompts/compare.jinja",
        "raif/_data/constitution/default.yaml",
        "raif/_data/constitution/demo.yaml",
        "raif/_data/constitution/constitution.schema.json",
    } <= packed
    assert packed == expected


def test_the_wheel_holds_the_demo_s_models_and_they_are_small(contents: dict[str, int]) -> None:
    weights = {name: size for name, size in contents.items() if name.endswith(".safetensors")}
    assert {Path(name).parent.name for name in weights} == {"judge", "policy"}
    assert sum(weights.values()) < DEMO_WEIGHTS_LIMIT


def test_the_installed_package_is_the_wheel_s(project: Path, installed: Raif) -> None:
    show = "print(raif.__file__, folder('prompts'), folder('constitution'), sep='\\n')"
    done = installed("python", "-c", f"import raif; from raif.resources import folder; {show}")
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert "site-packages" in line
        assert not Path(line).is_relative_to(project / "raif")
        assert Path(line).exists()


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("--help", "raif demo"),
        ("--version", "raif"),
        ("constitution show", "default"),
        ("prompts list", "compare"),
        ("prompts show compare", "Answer A or B alone."),
    ],
)
def test_the_installed_commands_find_their_files(installed: Raif, arguments: str, shown: str) -> None:
    done = installed("raif", *arguments.split())
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


@pytest.mark.slow
def test_the_installed_demo_runs_from_another_folder(installed: Raif, tmp_path: Path) -> None:
    out = tmp_path / "demo run"
    done = installed("raif", "demo", "--quick", "--out", str(out), timeout=600)
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert set(summary) >= {"judge", "revision", "labels", "reward", "policy", "seconds"}
    assert set(summary["policy"]) >= {"base", "sft", "dpo"}
    assert (out / "80_report.html").is_file()
