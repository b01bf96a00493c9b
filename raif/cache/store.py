"""The completion cache: raw model replies by the digest of everything that determines them.

One SQLite file that all runs of a user share. A reply is acknowledged once it is committed, so a killed process asks
again only what was in flight. The cache saves money and time and holds nothing else: where it can't be written, raif
says so and goes on without.

Beside each reply stands when it came, which model gave it and to what kind of question, for ``raif cache``; a lookup
needs the key alone. Files of before that was kept are brought up to date when they are opened.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from raif.errors import StoreError
from raif.records import canonical_json
from raif.store import Note

FILE_NAME = "completions.sqlite3"
_APPLICATION = 0x72616966  # "raif", in the SQLite header: tells our file from another program's
_SCHEMA = 1
"""``PRAGMA user_version`` of the tables below; 0 had ``replies (key, value)`` alone."""
_TABLES = (
    # What is small comes before the value, which may overflow its page. An older raif gives key and value alone.
    "CREATE TABLE replies (key BLOB PRIMARY KEY, source INTEGER NOT NULL DEFAULT 0, "
    "created INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)), value BLOB NOT NULL)",
    "CREATE TABLE sources (id INTEGER PRIMARY KEY, model TEXT NOT NULL, kind TEXT NOT NULL, UNIQUE (model, kind))",
)
_KEYS_PER_QUERY = 500
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)
_PATIENCE = 30.0
"""Seconds to wait while another process writes."""


def cache_path() -> Path | None:
    """Where the cache lies: the file or folder in ``RAIF_CACHE``, else in the user's cache folder; None if ``off``."""
    setting = os.environ.get("RAIF_CACHE", "").strip()
    if setting.lower() == "off":
        return None
    if not setting:
        from platformdirs import user_cache_path

        return user_cache_path("raif", appauthor=False) / FILE_NAME
    path = Path(setting).expanduser()
    return path / FILE_NAME if path.is_dir() or not path.suffix else path


def cache_key(*parts: Any) -> bytes:
    """SHA-256 (32 bytes) over the canonical JSON of ``parts``: keys sorted, models and dataclasses as their fields."""
    return hashlib.sha256(canonical_json(parts)).digest()


class CompletionCache:
    """Bytes by key, in one SQLite file in WAL mode. Threads and processes may share it.

    Args:
        path: the file, made with its folder where missing; None for a cache that remembers nothing.
        on_note: told once if the cache can't be used.

    Raises:
        StoreError: the file is damaged or another program's.
    """

    def __init__(self, path: Path | str | None, *, on_note: Note | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.on_note = on_note
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._sources: dict[tuple[str, str], int] = {}
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = self._open(self.path)
            except OSError as error:
                self._give_up(error.strerror or str(error))
            except sqlite3.Error as error:
                self._failed(error)

    @classmethod
    def default(cls, *, on_note: Note | None = None) -> Self:
        """The user's cache; see :func:`cache_path`."""
        return cls(cache_path(), on_note=on_note)

    @property
    def enabled(self) -> bool:
        """Whether anything is remembered."""
        return self._connection is not None

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those ``keys`` that are known.

        Raises:
            StoreError: the file is damaged.
        """
        found: dict[bytes, bytes] = {}
        wanted = list(dict.fromkeys(keys))
        with self._lock:
            for start in range(0, len(wanted), _KEYS_PER_QUERY):
                if self._connection is None:
                    break
                part = wanted[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(part))
                try:
                    found.update(
                        self._connection.execute(f"SELECT key, value FROM replies WHERE key IN ({marks})", part)
                    )
                except sqlite3.Error as error:
                    self._failed(error)
        return found

    def put_many(self, items: Iterable[tuple[bytes, bytes]], *, model: str = "", kind: str = "") -> None:
        """Remember values, in one transaction; they are committed on return. A key that is known keeps its value.

        Args:
            model: the identity of the model that replied.
            kind: what it was asked: ``generate`` or ``score``.

        Raises:
            StoreError: the file is damaged.
        """
        rows = list(items)
        now = int(time.time())
        with self._lock:
            if self._connection is None or not rows:
                return
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    source = self._source(self._connection, model, kind)
                    self._connection.executemany(
                        "INSERT OR IGNORE INTO replies (key, source, created, value) VALUES (?, ?, ?, ?)",
                        [(key, source, now, value) for key, value in rows],
                    )
                    self._connection.execute("COMMIT")
                except BaseException:
                    self._sources.clear()
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                self._failed(error)

    def _source(self, connection: sqlite3.Connection, model: str, kind: str) -> int:
        """The number that stands for a model and a kind; 0 where neither is told. Numbers are never taken back."""
        if not (model or kind):
            return 0
        if (model, kind) not in self._sources:
            connection.execute("INSERT OR IGNORE INTO sources (model, kind) VALUES (?, ?)", (model, kind))
            found = connection.execute("SELECT id FROM sources WHERE model = ? AND kind = ?", (model, kind))
            self._sources[model, kind] = int(found.fetchone()[0])
        return self._sources[model, kind]

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What one statement gives, for the upkeep of the file (see ``raif.cache.upkeep``).

        Raises:
            StoreError: the file is damaged, or can't be used.
        """
        with self._lock:
            if self._connection is not None:
                try:
                    return self._connection.execute(sql, parameters).fetchall()
                except sqlite3.Error as error:
                    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING:
                        raise StoreError(
                            f"{self.path}: the completion cache can't be tidied now ({error}); try again when nothing "
                            "else uses it, with as much room on the disk as it takes"
                        ) from error
                    self._failed(error)
        raise StoreError(f"{self.path}: the completion cache can't be used; check the path and its permissions")

    def __bool__(self) -> bool:
        return True  # an empty cache is still a cache: ``if cache`` must not depend on what it holds

    def __len__(self) -> int:
        with self._lock:
            if self._connection is None:
                return 0
            return int(self._connection.execute("SELECT count(*) FROM replies").fetchone()[0])

    def close(self) -> None:
        """Close the file. Calling it twice is fine; afterwards nothing is remembered."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            # Both readings of one moment: another process may be making the file between them.
            connection.execute("BEGIN")
            known, schema = _is_ours(connection, path), _schema(connection)
            connection.execute("COMMIT")
            if not known:
                _enter_wal_mode(connection)
            if not known or schema != _SCHEMA:
                _bring_up_to_date(connection, path)
            connection.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _failed(self, error: sqlite3.Error) -> None:
        """Turn SQLite's failures into a note where raif can go on without a cache, and into an error where not."""
        if not hasattr(error, "sqlite_errorcode"):
            raise error  # a wrong call, not a wrong file
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
            self._drop()
            raise StoreError(
                f"{self.path}: is no completion cache, or is damaged ({error}); set RAIF_CACHE to a folder or a "
                "cache's file, or delete this one if it was raif's"
            ) from error
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
            self._drop()
            raise StoreError(
                f"{self.path}: the completion cache is damaged ({error}); delete the file (its replies will be asked "
                "again), or set RAIF_CACHE=off"
            ) from error
        self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self._drop()
        if self.on_note:
            self.on_note(
                f"{self.path}: going on without a completion cache ({reason.lower()}); "
                "set RAIF_CACHE to a place that can be written to"
            )

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is a completion cache; False where it is still empty."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != _APPLICATION and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreError(f"{path}: this is another program's database; set RAIF_CACHE to another place")
    return bool(application == _APPLICATION)


def _schema(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or add to those of an older raif, in no time: no row is rewritten.

    Replies of before count as made at this moment, which is the latest that they can have been.

    Raises:
        StoreError: a newer raif made the file.
    """
    if _schema(connection) > _SCHEMA:
        raise StoreError(
            f"{path}: a newer raif made this completion cache; update raif, or set RAIF_CACHE to another place"
        )
    connection.execute("BEGIN IMMEDIATE")
    if not _is_ours(connection, path):  # another process may have been faster, here and below
        for table in _TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute(f"PRAGMA user_version={_SCHEMA}")
    elif _schema(connection) < _SCHEMA:
        now = int(time.time())
        try:
            connection.execute("ALTER TABLE replies ADD COLUMN source INTEGER NOT NULL DEFAULT 0")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
                raise
            connection.execute("ROLLBACK")  # it can be read as it is
            return
        connection.execute(f"ALTER TABLE replies ADD COLUMN created INTEGER NOT NULL DEFAULT {now}")
        connection.execute(_TABLES[1])
        connection.execute(f"PRAGMA user_version={_SCHEMA}")
    connection.execute("COMMIT")


def _enter_wal_mode(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, which the busy timeout does not cover when several processes do it at once."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            # A file system without shared memory answers with its old mode, which works too.
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
