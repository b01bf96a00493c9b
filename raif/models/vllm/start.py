"""Starting vLLM's engine: what it must be told, and, where it won't start, the one line that says why.

vLLM runs the model in a process of its own, which ends with the engine and gives back the GPU's memory as a whole. That
process, and vLLM in this one, say much, and vLLM says it on stdout, which is for data. It goes to a file that nobody
sees, from which the reason of a failure is read; who sets ``VLLM_LOGGING_LEVEL`` sees all of it, on stderr.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from typing import IO, Any

import torch

from raif.config import VllmConfig
from raif.errors import ModelSpecError

_SETTINGS = {
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",  # nothing that raif runs reports home
    "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # this process has threads, which a fork would copy in mid-stride
    "TOKENIZERS_PARALLELISM": "false",
}
"""The environment in which vLLM is imported and started, unless the user has set it."""

_CPU_CACHE = 4 * 2**30
"""Bytes for vLLM's cache of keys and values on a CPU, and at most a quarter of the memory that is free. Left alone,
vLLM takes nine tenths of the whole memory or refuses to start; ``VLLM_CPU_KVCACHE_SPACE`` (GiB) overrides this."""

_CAUSE = re.compile(r"\b((?:\w+\.)*[A-Z]\w*(?:Error|Exception)): (.+)")


@dataclass
class Running:
    """A started engine, and where its process writes what it has to say; None where the user reads along."""

    engine: Any
    log: IO[bytes] | None
    children: Sequence[BaseProcess]
    guard: subprocess.Popen[bytes]

    def reason(self, error: Exception) -> str:
        """Why the engine failed with ``error``, in a line."""
        return (self.log and cause(self.log)) or one_line(str(error) or type(error).__name__)

    def shutdown(self) -> None:
        """End the engine's process, and wait for that."""
        self.engine.engine_core.shutdown()
        for child in self.children:
            child.join(timeout=10)  # vLLM kills it where it takes too long, and does not look whether it is gone
        self.guard.kill()
        self.guard.communicate()
        if self.log is not None:
            self.log.close()


def check_installed(spec: str) -> None:
    """Refuse to go on without vLLM. Nothing is imported.

    Raises:
        ModelSpecError: it is not there; says how to install it.
    """
    found = find_spec("vllm")
    if found is None or found.origin is None:  # a folder that happens to be called vllm has no origin
        raise ModelSpecError(f"{spec} needs vLLM, which is not installed: pip install 'raif[vllm]'")


def choose_platform(spec: str, device: str) -> tuple[torch.device, str]:
    """The device that this vLLM was built for, and vLLM's version.

    Raises:
        ModelSpecError: vLLM can't be imported, finds no device, or was built for another than ``device``.
    """
    with settings(), tempfile.TemporaryFile() as nowhere:
        try:
            with diverted(None if wordy() else nowhere):
                import vllm
                from vllm.platforms import current_platform

            kind, version = str(current_platform.device_type), str(vllm.__version__)
        except Exception as error:  # compiled parts that are missing or don't fit raise whatever they like
            raise ModelSpecError(f"{spec}: vLLM can't be imported: {one_line(str(error))}") from error
    if not kind:
        raise ModelSpecError(
            f"{spec}: vLLM finds none of the devices that it was built for; on a CPU it needs a build for CPUs"
        )
    if device not in ("auto", kind):
        raise ModelSpecError(f"{spec}: this vLLM was built for {kind}, not for {device}; use device auto")
    return torch.device(kind), version


def start(
    place: str, spec: str, *, device: torch.device, dtype: str, revision: str | None, trust: bool, config: VllmConfig
) -> Running:
    """Start an engine with the model at ``place``: tens of seconds, and longer for a large model.

    Args:
        dtype: the number type by name; never ``auto``, which vLLM takes as leave to round.
        revision: of a model of the Hub.

    Raises:
        ModelSpecError: it won't start; one line with vLLM's own reason.
    """
    arguments: dict[str, Any] = {
        "model": place,
        "revision": revision,
        "dtype": dtype,
        "load_format": "safetensors",  # the other formats can run code when they are loaded
        "trust_remote_code": trust,
        "tensor_parallel_size": config.tensor_parallel_size,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "max_model_len": config.max_model_len,
        "enable_prefix_caching": True,
        "generation_config": "vllm",  # requests say it all
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
    }
    if device.type == "cpu":
        arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": cpu_cache()}
    others = set(multiprocessing.active_children())
    log = None if wordy() else tempfile.TemporaryFile()  # noqa: SIM115  the engine keeps it
    with settings():
        try:
            with diverted(log):
                from vllm import EngineArgs, LLMEngine

                engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        except Exception as error:  # vLLM raises whatever its parts raise; all of it is a model that won't open
            reason = (log and cause(log)) or one_line(str(error) or type(error).__name__)
            if log is not None:
                log.close()
            raise ModelSpecError(f"{spec}: vLLM can't start: {reason}{_remedy(reason)}") from error
    if log is not None:
        logging.getLogger("vllm").setLevel(logging.CRITICAL)  # what matters is raised
    children = [child for child in multiprocessing.active_children() if child not in others]
    return Running(engine, log, children, guard([child.pid for child in children]))


def guard(pids: Sequence[int | None]) -> subprocess.Popen[bytes]:
    """Ends the processes ``pids`` as soon as this one is gone, however it went: vLLM's would hold the GPU for ever.

    It waits for the end of its input, which comes with this process's end.
    """
    script = 'read _; kill "$@"; sleep 5; kill -9 "$@"'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", *map(str, pids)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not for it
    )


def wordy() -> bool:
    """Whether the user wants to read what vLLM says."""
    return "VLLM_LOGGING_LEVEL" in os.environ


def cpu_cache() -> int:
    """Bytes to give to vLLM's cache on a CPU."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(_CPU_CACHE, free // 4)


@contextmanager
def settings() -> Iterator[None]:
    """``_SETTINGS``, for as long as it takes. vLLM adds its own, made for its processes; this one goes on without."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in _SETTINGS.items() if name not in before})
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def diverted(log: IO[bytes] | None) -> Iterator[None]:
    """Sends what this process writes to stdout and stderr to ``log``; without one, both to stderr.

    A process that is started meanwhile keeps it so.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(stream) for stream in (1, 2)]
    try:
        for stream in (1, 2):
            os.dup2(2 if log is None else log.fileno(), stream)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)


def cause(log: IO[bytes]) -> str | None:
    """The first error in what was logged: what follows it are its consequences."""
    log.seek(0)
    text = log.read().decode(errors="replace")
    found = _CAUSE.search(text)
    return one_line(found[2]) if found else None


def one_line(text: str) -> str:
    """The start of an error's text, in a line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    return " ".join(lines[:2])[:300].rstrip(".")


def _remedy(reason: str) -> str:
    if re.search("memory|max seq len|max_model_len|KV cache", reason, re.IGNORECASE):
        return "; set vllm.gpu_memory_utilization or vllm.max_model_len"
    return ""
