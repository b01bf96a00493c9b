"""``manifest.json``: what a run was made from and what each stage did. Times and machine paths live here alone."""

from __future__ import annotations

import hashlib
import platform
import struct
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raif._version import __version__
from raif.disk import disk_error, write_atomically
from raif.errors import InputError, StoreError
from raif.resources import PACKAGE
from raif.store import validation_summary

StageStatus = Literal["running", "done", "failed", "interrupted"]

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets")
"""Packages whose version can change a run's result."""

SIDE_MANIFEST = ".manifest.json"
"""What is appended to the name of an output outside any run to name its manifest."""

_MIB = 1 << 20
_WHOLE = 1 << 30
_SHAPING = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
)


class _Part(BaseModel):
    # Keys of a newer raif are kept as they were found.
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class ConstitutionEntry(_Part):
    """Which constitution the judge read."""

    name: str
    version: str
    hash: str


class InputEntry(_Part):
    """One file, folder or data set that was read."""

    sha256: str | None = None
    """None for a data set from a hub."""
    rows: int | None = None


class ModelEntry(_Part):
    """One model that took part: what the user wrote, which model that was, and where it came from."""

    spec: str
    identity: str
    details: dict[str, str] = Field(default_factory=dict)
    qualification: str = ""
    """Of a judge: ``qualified``, or why it is not; see ``raif.qualify``."""


class SpentEntry(_Part):
    """What one model was asked in one stage, over all attempts. An answer out of the cache costs nothing."""

    requests: int = 0
    cache_hits: int = 0
    failures: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """In which at least one request was out."""
    cost: float | None = 0.0
    """None where the price of the model's tokens is not known."""

    def plus(self, other: SpentEntry) -> SpentEntry:
        """Both together; a cost that is not known stays unknown."""
        both = {name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields if name != "cost"}
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return SpentEntry(**both | {"seconds": round(both["seconds"], 3)}, cost=cost)


class StageEntry(_Part):
    """What one stage did, over all the attempts that it took."""

    status: StageStatus = "running"
    fingerprint: str = ""
    """A digest of all that the stage's result depends on; a stage whose fingerprint changed is done afresh."""
    counts: dict[str, int | float | dict[str, int]] = Field(default_factory=dict)
    attempts: int = 0
    requests: int = 0
    cache_hits: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    models: dict[str, SpentEntry] = Field(default_factory=dict)
    """Identity of each model that was asked, to what it was asked; requests, hits and tokens above are their sums."""
    started: str | None = None
    finished: str | None = None
    notes: list[str] = Field(default_factory=list)

    def spend(self, identity: str, spent: SpentEntry) -> None:
        """Add what a model was asked in one attempt."""
        self.models[identity] = self.models.get(identity, SpentEntry()).plus(spent)
        self.requests += spent.requests
        self.cache_hits += spent.cache_hits
        self.prompt_tokens += spent.prompt_tokens
        self.completion_tokens += spent.completion_tokens


class Manifest(_Part):
    """The whole of ``manifest.json``."""

    raif: str = __version__
    git_revision: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    constitution: ConstitutionEntry | None = None
    templates: dict[str, str] = Field(default_factory=dict)
    """Name of a prompt template to its hash."""
    inputs: dict[str, InputEntry] = Field(default_factory=dict)
    models: dict[str, ModelEntry] = Field(default_factory=dict)
    """Role (``policy``, ``judge``) to the model that played it."""
    stages: dict[str, StageEntry] = Field(default_factory=dict)
    artefacts: dict[str, str] = Field(default_factory=dict)
    """File name to the digest of everything that it is made with: settings, models, constitution, templates."""
    shard: dict[str, Any] | None = None
    """Which part of a stage this is, where it is a part alone; see ``raif.stages.shards``."""

    @classmethod
    def begin(cls, config: Mapping[str, Any] | None = None, seed: int = 0) -> Self:
        """A manifest for a new run with this raif, on this machine."""
        return cls(git_revision=git_revision(), versions=package_versions(), config=dict(config or {}), seed=seed)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The manifest in a file.

        Raises:
            InputError: there is none.
            StoreError: it is damaged or something else.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise InputError("there is no manifest; is this a run folder?", path=path) from error
        except OSError as error:
            raise disk_error(error, path, "read") from error
        try:
            found = cls.model_validate_json(data)
            if "raif" not in found.model_fields_set:
                raise StoreError(f"{path}: this is not a manifest of raif; choose another folder")
        except ValidationError as error:
            raise StoreError(
                f"{path}: damaged, or not a manifest of raif ({validation_summary(error)}); "
                "restore it, or delete it to have the run begin afresh"
            ) from error
        return found

    def save(self, path: Path | str) -> None:
        """Replace the file at once, so that it is never half written."""
        data = orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        write_atomically(path, data)

    def update_stage(
        self,
        name: str,
        *,
        status: StageStatus | None = None,
        fingerprint: str | None = None,
        counts: Mapping[str, int | float | dict[str, int]] | None = None,
        seconds: float = 0.0,
        note: str | None = None,
    ) -> StageEntry:
        """Record what happened in a stage since the last call; the caller saves.

        ``status="running"`` begins an attempt. Seconds are an *increment*, added up over attempts; ``counts`` replace
        what they name. A new ``fingerprint`` means other work: the entry begins afresh.
        """
        entry = self.stages.get(name)
        if entry is None or (fingerprint is not None and entry.fingerprint not in ("", fingerprint)):
            entry = self.stages[name] = StageEntry()
        if fingerprint is not None:
            entry.fingerprint = fingerprint
        if status is not None:
            entry.status = status
            now = datetime.now(UTC).isoformat(timespec="seconds")
            if status == "running":
                entry.attempts += 1
                entry.started = entry.started or now
                entry.finished = None
            else:
                entry.finished = now
        entry.counts.update(counts or {})
        entry.seconds = round(entry.seconds + seconds, 3)
        if note and note not in entry.notes:
            entry.notes.append(note)
        return entry


def package_versions() -> dict[str, str]:
    """The versions of Python and of the installed packages that a result may depend on; imports none of them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision(checkout: Path | None = None) -> str | None:
    """The commit of raif's own checkout, with ``-dirty`` where files differ from it; None outside a checkout."""
    root = checkout or PACKAGE.parent
    if not (root / ".git").exists():  # never the revision of a repository that merely contains raif
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def file_hash(path: Path | str) -> str:
    """SHA-256 (64 hex digits) of a file, or of the names and contents of all files in a folder but hidden ones.

    Raises:
        InputError: it can't be read.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for name, file_path in _visible_files(path):
            digest.update(f"{name}\0{file_hash(file_path)}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    except OSError as error:
        raise disk_error(error, path, "read") from error


def _visible_files(folder: Path) -> list[tuple[str, Path]]:
    found = ((path.relative_to(folder), path) for path in folder.rglob("*") if path.is_file())
    return sorted(
        (name.as_posix(), path) for name, path in found if not any(part.startswith(".") for part in name.parts)
    )


_fingerprints: dict[tuple[object, ...], str] = {}


def weights_fingerprint(folder: Path | str) -> str:
    """16 hex digits that change when a local model would answer differently.

    Covers the model's configuration, its tokenizer and chat template, and ``*.safetensors``. Weights of up to 1 GiB
    together are hashed whole. Of larger ones, each file's size, header (names, types, shapes) and first and last MiB
    are: training moves every tensor, so a changed model shows there, at a bounded cost. Computed once a process for
    files that kept their size and time of change.

    Raises:
        InputError: the folder can't be read or holds no ``*.safetensors``.
    """
    folder = Path(folder)
    try:
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise InputError("there are no *.safetensors here (raif loads no pickled weights)", path=folder)
        files = [path for name in _SHAPING if (path := folder / name).is_file()] + weights
        states = [(path.name, path.stat()) for path in files]
        key = (str(folder.resolve()), *((name, state.st_size, state.st_mtime_ns) for name, state in states))
        if key not in _fingerprints:
            total = sum(path.stat().st_size for path in weights)
            digest = hashlib.sha256()
            for path in files:
                content = file_hash(path) if path not in weights or total <= _WHOLE else _sampled_hash(path)
                digest.update(f"{path.name}\0{content}\n".encode())
            _fingerprints[key] = digest.hexdigest()[:16]
        return _fingerprints[key]
    except OSError as error:
        raise disk_error(error, folder, "read") from error


def _sampled_hash(path: Path) -> str:
    """SHA-256 over a safetensors file's size, header, and first and last MiB."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        prefix = file.read(8)
        header = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        digest.update(prefix + file.read(min(header, size)))
        file.seek(0)
        digest.update(file.read(_MIB))
        file.seek(max(0, size - _MIB))
        digest.update(file.read(_MIB))
    return digest.hexdigest()
