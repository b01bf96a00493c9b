"""What surrounds an engine's start, without vLLM: what is said where, and why it failed."""

from __future__ import annotations

import importlib.machinery
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raif.errors import ModelSpecError
from raif.models.registry import open_model
from raif.models.vllm import start

LOG = b"""\
(EngineCore pid=7) INFO 11-20 19:00:00 [core.py:1] loading
(Worker pid=8) ERROR 11-20 19:00:01 [multiproc_executor.py:9] Traceback (most recent call last):
(Worker pid=8) ERROR 11-20 19:00:01 [multiproc_executor.py:9] ValueError: Available memory is less than desired.
(EngineCore pid=7) ERROR 11-20 19:00:02 [core.py:2] Exception: WorkerProc initialization failed. See stack trace.
RuntimeError: Engine core initialization failed. See root cause above.
"""


def test_without_vllm_the_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(start, "find_spec", lambda name: None)
    with pytest.raises(ModelSpecError, match=r"^vllm:org/name needs vLLM, .*: pip install 'raif\[vllm\]'$"):
        open_model("vllm:org/name")
    # A folder called vllm on the path is no vLLM.
    spec = importlib.machinery.PathFinder.find_spec("vllm", [str(tmp_path)])
    (tmp_path / "vllm").mkdir()
    importlib.invalidate_caches()
    spec = importlib.machinery.PathFinder.find_spec("vllm", [str(tmp_path)])
    assert spec is not None
    monkeypatch.setattr(start, "find_spec", lambda name: spec)
    with pytest.raises(ModelSpecError, match="is not installed"):
        open_model("vllm:org/name")


def test_the_first_error_in_the_log_is_the_cause() -> None:
    assert start.cause(io.BytesIO(LOG)) == "Available memory is less than desired"
    assert start.cause(io.BytesIO(b"nothing but INFO\n")) is None


def test_a_want_of_memory_names_the_settings() -> None:
    assert start._remedy("Available memory is less than desired") == (
        "; set vllm.gpu_memory_utilization or vllm.max_model_len"
    )
    assert start._remedy("not a safetensors file") == ""


def test_an_error_of_many_lines_becomes_one() -> None:
    assert start.one_line("1 validation error for ModelConfig\n\n  Value error, no such model.\n more") == (
        "1 validation error for ModelConfig Value error, no such model"
    )
    assert start.one_line("") == "no reason given"


def test_settings_are_there_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    monkeypatch.delenv("VLLM_NO_USAGE_STATS", raising=False)
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    before = dict(os.environ)
    with start.settings():
        assert os.environ["VLLM_LOGGING_LEVEL"] == "INFO"  # the user's own stays
        assert os.environ["VLLM_NO_USAGE_STATS"] == "1"
        os.environ["LD_PRELOAD"] = "libgomp.so"  # as vLLM does, for its processes
        del os.environ["VLLM_LOGGING_LEVEL"]
    assert dict(os.environ) == before


DIVERTED = """
import subprocess, sys, tempfile
from raif.models.vllm.start import diverted
with tempfile.TemporaryFile() as log:
    with diverted(log if sys.argv[1] == "log" else None):
        print("from python")
        child = subprocess.Popen(["sh", "-c", "read go; echo from a child; echo and its errors >&2"], stdin=-1)
    print("afterwards")
    child.communicate(b"go")
    log.seek(0)
    print(sorted(log.read().decode().splitlines()))
"""


@pytest.mark.parametrize("to", ["log", "stderr"])
def test_what_vllm_says_never_gets_to_stdout(to: str) -> None:
    done = subprocess.run([sys.executable, "-c", DIVERTED, to], capture_output=True, text=True, check=True)
    said = ["and its errors", "from a child", "from python"]
    assert done.stdout == f"afterwards\n{said if to == 'log' else []}\n"
    assert sorted(done.stderr.splitlines()) == ([] if to == "log" else said)


GUARDED = """
import subprocess, sys, time
from raif.models.vllm.start import guard
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
guard([child.pid])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_killed_process_takes_what_it_started_along() -> None:
    process = subprocess.Popen([sys.executable, "-c", GUARDED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    os.kill(child, 0)
    process.kill()
    process.communicate()
    for _ in range(100):
        try:
            state = Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":  # ended; nobody is left to ask how
            return
        time.sleep(0.1)
    raise AssertionError("the child lives on")


def test_a_cpu_s_cache_is_a_part_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    # 4 GiB free in pages of 4 KiB: a quarter of it; with 64 GiB free: 4 GiB and no more.
    for pages, expected in ((2**20, 2**30), (2**24, 2**32)):
        monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": pages, "SC_PAGE_SIZE": 4096}.__getitem__)
        assert start.cpu_cache() == expected
