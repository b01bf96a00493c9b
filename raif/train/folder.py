"""A trainer's folder, and what may be believed of it after a crash.

    OUT/train.json          written last: only with it is the run finished
    OUT/log.jsonl           one line an optimiser step
    OUT/*.safetensors …     the final model, opened by hf:OUT
    OUT/adapter/            the adapters, where the run had some
    OUT/checkpoints/        raif.json (whose they are), checkpoint-N/ (complete with the file ``complete`` in it)

Checkpoints of a run with another fingerprint are never gone on from. Only what raif made here is ever removed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
from pydantic import ValidationError

from raif.disk import disk_error, make_folder
from raif.errors import StoreError
from raif.store import write_atomically
from raif.train.results import TrainResult

COMPLETE = "complete"


class TrainFolder:
    """The folder of one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.log = path / "log.jsonl"
        self.result = path / "train.json"
        self._owner = self.checkpoints / "raif.json"
        self._incoming = path / ".incoming"
        self._discarded = path / ".discarded"

    def finished(self, fingerprint: str) -> TrainResult | None:
        """The result that lies here, where it is of the same run and its model is there; None otherwise."""
        try:
            result = TrainResult.model_validate_json(self.result.read_bytes())
        except (OSError, ValidationError):
            return None
        if result.fingerprint != fingerprint or not any(self.path.glob("*.safetensors")):
            return None
        return result.model_copy(update={"path": self.path, "reused": True})

    def begin(self, fingerprint: str) -> str | None:
        """Makes the folder ready for a run; returns what was thrown away, for a note.

        Raises:
            InputError: it can't be written to.
            StoreError: ``checkpoints`` is not raif's.
        """
        make_folder(self.path)
        note = None
        try:
            self._remove(self._incoming)
            self._remove(self._discarded)
            if self.result.exists():
                self.result.unlink()
                note = "an earlier model"
            if self.checkpoints.exists() and self._read_owner() != fingerprint:
                self.clear()
                note = "checkpoints of another run"
            if not self.checkpoints.exists():
                self.checkpoints.mkdir()
                write_atomically(self._owner, orjson.dumps({"fingerprint": fingerprint}))
            self._sweep()
            latest = self.latest()
            self._cut_log(_step(latest) if latest else 0)
        except OSError as error:
            raise disk_error(error, self.path, "write") from error
        return f"{self.path}: {note} (with other data, configuration or base) made way" if note else None

    def _read_owner(self) -> str:
        if not self._owner.is_file():
            if any(self.checkpoints.iterdir()):
                raise StoreError(f"{self.checkpoints}: these are not raif's; move them away or choose another --out")
            return ""
        try:
            return str(orjson.loads(self._owner.read_bytes())["fingerprint"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return ""

    def completed(self, step: int) -> None:
        """Marks the checkpoint of ``step`` as whole, and only then removes the older ones."""
        newest = self.checkpoints / f"checkpoint-{step}"
        write_atomically(newest / COMPLETE, b"")
        for path in self._all_checkpoints():
            if path != newest:
                self._remove(path)

    def latest(self) -> Path | None:
        """The newest whole checkpoint."""
        return max((path for path in self._all_checkpoints() if (path / COMPLETE).exists()), key=_step, default=None)

    def _sweep(self) -> None:
        """Removes what a killed run left half written."""
        latest = self.latest()
        for path in self._all_checkpoints():
            if path != latest:
                self._remove(path)

    def _all_checkpoints(self) -> list[Path]:
        return [path for path in self.checkpoints.glob("checkpoint-*") if path.name[11:].isdigit()]

    def _cut_log(self, step: int) -> None:
        """Keeps the log's lines up to ``step``, so that a resumed log equals an uninterrupted one."""
        if not self.log.exists():
            return
        kept = []
        for line in self.log.read_bytes().splitlines(keepends=True):
            try:
                if not line.endswith(b"\n") or orjson.loads(line)["step"] > step:
                    break
            except (orjson.JSONDecodeError, KeyError, TypeError):
                break
            kept.append(line)
        write_atomically(self.log, b"".join(kept))

    def incoming(self) -> Path:
        """An empty folder to save the final model in."""
        self._remove(self._incoming)
        self._incoming.mkdir()
        return self._incoming

    def commit(self, result: TrainResult) -> None:
        """Puts the model saved in ``incoming`` in place of any older one, then writes ``train.json``."""
        for old in (*self.path.glob("*.safetensors"), *self.path.glob("*.safetensors.index.json")):
            old.unlink()
        self._remove(self.path / "adapter")
        for new in sorted(self._incoming.iterdir()):
            new.replace(self.path / new.name)
        self._incoming.rmdir()
        write_atomically(self.result, result.to_json())

    def clear(self) -> None:
        """Removes the checkpoints: renamed first, so that a removal killed half-way leaves none to go on from."""
        self._remove(self._discarded)
        if self.checkpoints.exists():
            self.checkpoints.rename(self._discarded)
            self._remove(self._discarded)

    @staticmethod
    def _remove(folder: Path) -> None:
        if folder.exists():
            shutil.rmtree(folder)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
