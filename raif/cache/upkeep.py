"""What the completion cache holds, and how it is kept small: ``raif cache stats``, ``prune`` and ``export``."""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from raif.cache.store import CompletionCache
from raif.disk import replacing
from raif.errors import InputError, StoreError

UNKNOWN = "unknown"
"""What a model and a kind are called that were not kept: replies of an older raif."""
_PAGE = 1000
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Holding:
    """The replies of one model to one kind of question."""

    model: str
    kind: str
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What the file holds. ``oldest`` and ``newest`` are seconds since 1970; None where it holds nothing."""

    file: str
    bytes: int
    entries: int
    oldest: int | None
    newest: int | None
    models: tuple[Holding, ...]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or (``dry_run``) would be, and the size of the file before and after."""

    removed: int
    kept: int
    bytes_before: int
    bytes_after: int
    dry_run: bool


def open_existing(path: Path) -> CompletionCache:
    """The cache in a file that is there.

    Raises:
        InputError: it is not there.
        StoreError: it can't be used.
    """
    if not path.is_file():
        raise InputError("there is no completion cache yet; RAIF_CACHE says where it lies", path=path)
    notes: list[str] = []
    cache = CompletionCache(path, on_note=notes.append)
    if not cache.enabled:
        raise StoreError("; ".join(notes).replace("going on without a completion cache", "can't be opened"))
    return cache


def stats(cache: CompletionCache) -> Stats:
    """What a cache holds, by model and kind, the largest first."""
    names = _names(cache)
    rows = cache.rows(
        "SELECT source, count(*), sum(length(key) + length(value)), min(created), max(created) FROM replies "
        "GROUP BY source"
    )
    holdings = [Holding(*names.get(source, (UNKNOWN, UNKNOWN)), entries, size) for source, entries, size, *_ in rows]
    return Stats(
        file=str(cache.path),
        bytes=_file_size(cache),
        entries=sum(holding.entries for holding in holdings),
        oldest=min((row[3] for row in rows), default=None),
        newest=max((row[4] for row in rows), default=None),
        models=tuple(sorted(holdings, key=lambda holding: (-holding.bytes, holding.model, holding.kind))),
    )


def prune(
    cache: CompletionCache,
    *,
    older_than: float | None = None,
    model: str | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
    now: float | None = None,
) -> Pruned:
    """Remove replies, and give their room back to the disk.

    Args:
        older_than: seconds; with ``model``, replies of that model that are older.
        model: an identity, or a pattern of it (``*``).
        max_bytes: after that, remove the oldest until the file is no larger.
        dry_run: only say what would be removed; for ``max_bytes``, what by its average size.
        now: seconds since 1970; the clock unless given.

    Raises:
        StoreError: the file is damaged, or another process keeps it.
    """
    before, entries = _file_size(cache), _count(cache)
    condition, parameters = _condition(cache, older_than, model, time.time() if now is None else now)
    chosen = _count(cache, condition, parameters) if condition else 0
    if dry_run:
        share = 1.0 if max_bytes is None else _share(cache, max_bytes)
        left = min(entries - chosen, int(entries * share))
        size = before * left // entries if entries else before
        return Pruned(entries - left, left, before, size if left < entries else before, True)
    if condition:
        cache.rows(f"DELETE FROM replies WHERE {condition}", parameters)
    _vacuum(cache)
    for _ in range(_TRIES):
        if max_bytes is None or _file_size(cache) <= max_bytes or not _count(cache):
            break
        _keep_newest(cache, _share(cache, max_bytes))
        _vacuum(cache)
    kept = _count(cache)
    return Pruned(entries - kept, kept, before, _file_size(cache), False)


def export(cache: CompletionCache, out: Path, model: str | None = None, *, redo: bool = False) -> int:
    """Write replies to a JSONL file, oldest first, gzipped where its name ends in ``.gz``; returns how many.

    A line holds ``key`` (hex), ``model``, ``kind``, ``created`` (UTC), and ``value``, or ``value_base64`` where the
    value is no JSON.

    Raises:
        InputError: the file can't be written to, is the cache, or is there and is not to be replaced (``redo``).
        StoreError: the cache is damaged, or the disk is full.
    """
    if cache.path is not None and out.exists() and out.samefile(cache.path):
        raise InputError("this is the cache itself; write elsewhere", path=out)
    if out.exists() and not redo:
        raise InputError("is there already; add --redo to replace it, or write elsewhere", path=out)
    count = 0
    with replacing(out) as descriptor, open(descriptor, "wb", closefd=False) as raw:
        # Without name and time: equal contents, equal bytes.
        packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if out.suffix == ".gz" else None
        file = cast(BinaryIO, packed or raw)
        for line in _lines(cache, model):
            file.write(line)
            count += 1
        if packed is not None:
            packed.close()
    return count


def _lines(cache: CompletionCache, model: str | None) -> Iterator[bytes]:
    names = _names(cache)
    wanted = None if model is None else set(_matching(cache, model))
    last = 0
    while page := cache.rows(
        "SELECT rowid, key, source, created, value FROM replies WHERE rowid > ? ORDER BY rowid LIMIT ?", (last, _PAGE)
    ):
        last = page[-1][0]
        for _, key, source, created, value in page:
            if wanted is not None and source not in wanted:
                continue
            name, kind = names.get(source, (UNKNOWN, UNKNOWN))
            line: dict[str, Any] = {
                "key": key.hex(),
                "model": name,
                "kind": kind,
                "created": datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds"),
            }
            try:
                line["value"] = orjson.loads(value)
            except orjson.JSONDecodeError:
                line["value_base64"] = base64.b64encode(value).decode()
            yield orjson.dumps(line) + b"\n"


def _names(cache: CompletionCache) -> dict[int, tuple[str, str]]:
    return {number: (model or UNKNOWN, kind or UNKNOWN) for number, model, kind in _sources(cache)}


def _sources(cache: CompletionCache) -> list[tuple[Any, ...]]:
    if not cache.rows("SELECT 1 FROM sqlite_master WHERE name = 'sources'"):
        raise StoreError(f"{cache.path}: an older raif made this cache, and it can't be written to; make it writable")
    return cache.rows("SELECT id, model, kind FROM sources")


def _matching(cache: CompletionCache, pattern: str) -> list[int]:
    """The numbers of the sources whose model matches; 0 is that of the unknown."""
    names = {0: (UNKNOWN, UNKNOWN)} | _names(cache)
    return [number for number, (model, _) in names.items() if fnmatchcase(model, pattern)]


def _condition(
    cache: CompletionCache, older_than: float | None, model: str | None, now: float
) -> tuple[str, Sequence[Any]]:
    parts: list[str] = []
    parameters: list[Any] = []
    if older_than is not None:
        parts.append("created < ?")
        parameters.append(now - older_than)
    if model is not None:
        numbers = _matching(cache, model)
        parts.append(f"source IN ({','.join('?' * len(numbers))})")
        parameters += numbers
    return " AND ".join(parts), parameters


def _count(cache: CompletionCache, condition: str = "1", parameters: Sequence[Any] = ()) -> int:
    return int(cache.rows(f"SELECT count(*) FROM replies WHERE {condition}", parameters)[0][0])


def _share(cache: CompletionCache, max_bytes: int) -> float:
    """The share of what is in the file that fits into ``max_bytes``, by its average size."""
    pages, free, size = (
        int(cache.rows(f"PRAGMA {name}")[0][0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return min(1.0, max_bytes / max(1, (pages - free) * size))


def _keep_newest(cache: CompletionCache, share: float) -> None:
    """Remove the oldest until ``share`` of the bytes is left, a little less: pages are not filled to the brim."""
    (total,) = cache.rows("SELECT sum(length(key) + length(value)) FROM replies")[0]
    cache.rows(
        "DELETE FROM replies WHERE rowid IN (SELECT number FROM (SELECT rowid AS number, "
        "sum(length(key) + length(value)) OVER (ORDER BY created DESC, rowid DESC) AS kept FROM replies) "
        "WHERE kept > ?)",
        (int(total * share * 0.98),),
    )


def _vacuum(cache: CompletionCache) -> None:
    cache.rows("VACUUM")
    cache.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def _file_size(cache: CompletionCache) -> int:
    """Bytes on the disk, the write-ahead log included."""
    assert cache.path is not None
    files = (cache.path, cache.path.with_name(f"{cache.path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
