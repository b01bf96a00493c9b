"""What survives a crash in a trainer's folder, and what is believed of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from raif.errors import InputError, StoreError
from raif.train.folder import TrainFolder
from raif.train.results import TrainResult


def checkpoint(folder: TrainFolder, step: int, *, whole: bool = True) -> Path:
    path = folder.checkpoints / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    if whole:
        (path / "complete").write_bytes(b"")
    return path


def log(*steps: int) -> bytes:
    return b"".join(b'{"step":%d,"loss":1.0}\n' % step for step in steps)


def result(fingerprint: str = "mine") -> TrainResult:
    return TrainResult(kind="dpo", fingerprint=fingerprint, steps=4, examples=8, parameters="p")


@pytest.fixture
def folder(tmp_path: Path) -> TrainFolder:
    folder = TrainFolder(tmp_path / "out")
    assert folder.begin("mine") is None
    return folder


def test_the_newest_whole_checkpoint_is_gone_on_from(folder: TrainFolder) -> None:
    checkpoint(folder, 9)
    newest = checkpoint(folder, 10)
    checkpoint(folder, 11, whole=False)
    assert folder.begin("mine") is None
    assert folder.latest() == newest
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["checkpoint-10", "raif.json"]


def test_a_checkpoint_is_marked_before_the_older_one_goes(folder: TrainFolder) -> None:
    checkpoint(folder, 1)
    newer = checkpoint(folder, 2, whole=False)
    folder.completed(2)
    assert folder.latest() == newer
    assert [path.name for path in folder.checkpoints.glob("checkpoint-*")] == ["checkpoint-2"]


def test_the_log_ends_where_the_checkpoint_is(folder: TrainFolder) -> None:
    checkpoint(folder, 2)
    folder.log.write_bytes(log(1, 2, 3) + b'{"step":4,"lo')
    folder.begin("mine")
    assert folder.log.read_bytes() == log(1, 2)
    folder.log.write_bytes(log(1) + b"torn\n" + log(2))
    folder.begin("mine")
    assert folder.log.read_bytes() == log(1)


def test_without_a_checkpoint_the_log_begins_again(folder: TrainFolder) -> None:
    folder.log.write_bytes(log(1, 2))
    folder.begin("mine")
    assert folder.log.read_bytes() == b""


def test_checkpoints_of_another_run_are_never_gone_on_from(folder: TrainFolder) -> None:
    checkpoint(folder, 5)
    folder.log.write_bytes(log(1, 5))
    note = folder.begin("yours")
    assert note is not None
    assert "checkpoints of another run" in note
    assert folder.latest() is None
    assert folder.log.read_bytes() == b""


def test_what_raif_did_not_make_is_left_alone(tmp_path: Path) -> None:
    folder = TrainFolder(tmp_path)
    kept = checkpoint(folder, 5)
    with pytest.raises(StoreError, match="not raif's"):
        folder.begin("mine")
    assert kept.exists()


def test_a_model_is_finished_with_its_train_json_alone(folder: TrainFolder) -> None:
    (folder.path / "model.safetensors").write_bytes(b"old")
    (folder.path / "adapter").mkdir()
    assert folder.finished("mine") is None
    (folder.incoming() / "model.safetensors").write_bytes(b"new")
    folder.commit(result())
    assert (folder.path / "model.safetensors").read_bytes() == b"new"
    assert not (folder.path / "adapter").exists()
    done = folder.finished("mine")
    assert done is not None
    assert (done.reused, done.path) == (True, folder.path)
    assert folder.finished("yours") is None
    (folder.path / "model.safetensors").unlink()
    assert folder.finished("mine") is None


def test_a_damaged_train_json_is_no_result(folder: TrainFolder) -> None:
    (folder.path / "model.safetensors").write_bytes(b"new")
    folder.result.write_bytes(b'{"kind": "dpo"')
    assert folder.finished("mine") is None
    folder.begin("mine")
    assert not folder.result.exists()


def test_leftovers_of_a_killed_save_and_a_killed_removal_go(folder: TrainFolder) -> None:
    (folder.incoming() / "model.safetensors").write_bytes(b"half")
    (folder.path / ".discarded" / "checkpoint-3").mkdir(parents=True)
    folder.begin("mine")
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoints"]


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file"):
        TrainFolder(tmp_path / "file").begin("mine")
