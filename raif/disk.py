"""Effects on the disk: writing a file whole, making a folder, keeping two writers apart; and what can go wrong."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from raif.errors import InputError, RaifError, RunLockedError, StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DEVICE = {errno.EIO, errno.ENXIO, errno.ENODEV}
_HOLDER = re.compile(rb"pid (\d+)\n")


def disk_error(error: OSError, path: Path, action: str) -> RaifError:
    """The error for a file or folder that can't be read or written: ``action`` says what was tried (``write``)."""
    reason = (error.strerror or str(error)).lower()
    if error.errno in _FULL:
        return StoreError(f"{path}: can't {action} ({reason}); make room and run the same command again")
    if error.errno in _DEVICE:
        return StoreError(f"{path}: can't {action} ({reason}); the disk has failed")
    remedy = "check the path and its permissions" if action == "read" else "choose a place that you can write to"
    return InputError(f"can't {action} ({reason}); {remedy}", path=path)


def write_atomically(path: Path | str, data: bytes) -> None:
    """Replace ``path`` by ``data`` so that a reader, or a crash, sees the old file or the new one and nothing between.

    Raises:
        InputError: the folder can't be written to.
        StoreError: the disk is full or fails.
    """
    with replacing(path) as descriptor:
        write_all(descriptor, data)


@contextmanager
def replacing(path: Path | str) -> Iterator[int]:
    """A file descriptor to write to, for what is too large to hold; ``path`` is replaced when the block ends well.

    Raises:
        InputError: the folder can't be written to.
        StoreError: the disk is full or fails.
    """
    path = Path(os.path.realpath(path))  # a link stays a link; what it points to is replaced
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, path, "write") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of ``data``, in as many goes as the system takes, and has it on the disk on return."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a new or renamed entry survive a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(lock_file: Path, what: str) -> Iterator[None]:
    """Keeps every other process from writing ``what`` meanwhile.

    Raises:
        RunLockedError: another process is writing it; names that process where it is known.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(lock_file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        holder = _holder(lock_file)
        by = "this process" if holder == os.getpid() else f"process {holder}" if holder else "another process"
        raise RunLockedError(f"{what}: {by} is writing to it; wait until it is done, or stop it") from None
    except (OSError, NotImplementedError) as error:
        reason = error if isinstance(error, OSError) else OSError(errno.ENOLCK, "no file locks here")
        raise disk_error(reason, Path(what), "lock") from error
    try:
        _write_holder(lock_file, f"pid {os.getpid()}\n".encode())
        yield
    finally:
        _write_holder(lock_file, b"")
        lock.release()


def _holder(lock_file: Path) -> int | None:
    with suppress(OSError):
        if found := _HOLDER.fullmatch(lock_file.read_bytes()):
            return int(found[1])
    return None


def _write_holder(lock_file: Path, content: bytes) -> None:
    """Tell others who holds the lock, unless the locking library keeps something of its own in the file."""
    with suppress(OSError):
        present = lock_file.read_bytes()
        if not present or _HOLDER.fullmatch(present):
            lock_file.write_bytes(content)


@contextmanager
def lock_for(path: Path | str) -> Iterator[None]:
    """Keep other processes from writing to ``path`` while the block runs; the kernel lifts the lock of a killed one.

    Raises:
        RunLockedError: another process, or another block of this one, holds it.
        InputError: the folder can't be written to.
    """
    resolved = Path(os.path.realpath(path))
    make_folder(resolved.parent)
    with locked(resolved.with_name(f".{resolved.name}.lock"), str(path)):
        yield


def make_folder(path: Path) -> Path:
    """The folder, made where it is missing, with its parents.

    Raises:
        InputError: something else is in its place, or its parent can't be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError("this is a file, and a folder is needed; choose another place", path=path) from error
    except OSError as error:
        raise disk_error(error, path, "make this folder") from error
    return path
