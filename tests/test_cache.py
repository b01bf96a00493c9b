"""The completion cache: keys that tell everything apart, commits that outlive the process, failures that are said."""

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raif.cache import CompletionCache, cache_key, cache_path
from raif.errors import StoreError
from raif.models.base import Sampling
from raif.records import Message

ROOT = Path(__file__).resolve().parents[1]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)


def key(number: int) -> bytes:
    return cache_key("test", number)


def test_what_is_put_is_got_also_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "c.sqlite3"
    with CompletionCache(path) as cache:
        assert cache.enabled
        cache.put_many([(key(1), b"one"), (key(2), b"\0\xff")])
        cache.put_many([])
        assert cache.get_many([key(1), key(3), key(2), key(1)]) == {key(1): b"one", key(2): b"\0\xff"}
        assert cache.get_many([]) == {}
    with CompletionCache(path) as cache:
        assert cache.get_many([key(1)]) == {key(1): b"one"}
        assert len(cache) == 2


def test_more_keys_than_one_query_takes(tmp_path: Path) -> None:
    items = [(key(n), str(n).encode()) for n in range(1201)]  # 500 + 500 + 201
    with CompletionCache(tmp_path / "c.sqlite3") as cache:
        cache.put_many(iter(items))
        assert cache.get_many([k for k, _ in items] + [key(-1)]) == dict(items)


def test_a_reply_never_changes(tmp_path: Path) -> None:
    with CompletionCache(tmp_path / "c.sqlite3") as cache:
        cache.put_many([(key(1), b"first")])
        cache.put_many([(key(1), b"second"), (key(2), b"new")])
        assert cache.get_many([key(1), key(2)]) == {key(1): b"first", key(2): b"new"}


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    with CompletionCache(tmp_path / "c.sqlite3") as cache:
        with pytest.raises(sqlite3.Error):
            cache.put_many([(key(1), b"one"), (key(2), object())])  # type: ignore[list-item]
        assert len(cache) == 0
        cache.put_many([(key(1), b"one")])
        assert len(cache) == 1


def test_the_file_is_as_measured_to_be_fast(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite3"
    with CompletionCache(path) as cache:
        cache.put_many([(key(1), b"one")])
        assert cache._connection is not None
        assert cache._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert cache._connection.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL
        (sql,) = cache._connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table'").fetchone()
        assert "WITHOUT ROWID" not in sql


def test_without_a_file_nothing_is_remembered() -> None:
    cache = CompletionCache(None)
    cache.put_many([(key(1), b"one")])
    assert cache.get_many([key(1)]) == {}
    assert not cache.enabled
    assert len(cache) == 0
    assert cache  # `if cache` asks whether there is one
    cache.close()
    cache.close()


def test_threads_share_one_cache(tmp_path: Path) -> None:
    with CompletionCache(tmp_path / "c.sqlite3") as cache, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: cache.put_many([(key(n), b"x"), (key(n + 1), b"x")]), range(40)))
        found = list(pool.map(lambda n: cache.get_many([key(n)]), range(41)))
    assert all(found)


WRITER = """
import sys
from raif.cache import CompletionCache, cache_key
path, first = sys.argv[1], int(sys.argv[2])
print("up", flush=True)
sys.stdin.readline()
with CompletionCache(path, on_note=lambda note: sys.exit(note)) as cache:
    for n in range(first, first + 200):
        cache.put_many([(cache_key("test", n), str(n).encode())])
        print(n, flush=True)
"""


def writer(path: Path, first: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(first)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_processes_share_one_cache_from_its_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite3"
    writers = [writer(path, 1000 * n) for n in range(3)]
    for process in writers:
        assert process.stdout is not None
        process.stdout.readline()
    for process in writers:  # all make the file at once
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in writers:
        process.communicate(timeout=60)
    assert [process.returncode for process in writers] == [0, 0, 0]
    with CompletionCache(path) as cache:
        assert len(cache) == 600


def test_what_was_acknowledged_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite3"
    process = writer(path, 0)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    for _ in range(30):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    acknowledged = 29 + len(process.stdout.read().splitlines())  # the first line was "up"
    process.communicate()
    with CompletionCache(path) as cache:
        assert len(cache) >= acknowledged
        assert cache.get_many([key(28)]) == {key(28): b"28"}


@pytest.mark.parametrize(
    "content", [b"not a database, and long enough to be looked at" * 50, b"SQLite format 3\0" + b"\7" * 2000]
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.sqlite3"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"c\.sqlite3: is no completion cache, or is damaged .* set RAIF_CACHE"):
        CompletionCache(path)
    assert path.read_bytes() == content


def test_damage_in_the_middle_is_found_when_read(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite3"
    with CompletionCache(path) as cache:
        cache.put_many([(key(n), b"x" * 500) for n in range(200)])
    data = bytearray(path.read_bytes())
    data[4096:] = b"\7" * (len(data) - 4096)
    path.write_bytes(data)
    with CompletionCache(path) as cache, pytest.raises(StoreError, match="damaged"):
        cache.get_many([key(n) for n in range(200)])


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite3"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE replies (key, value)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's"):
        CompletionCache(path)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.sqlite3").mkdir()
    for path in (tmp_path / "file" / "c.sqlite3", tmp_path / "folder.sqlite3"):
        notes: list[str] = []
        cache = CompletionCache(path, on_note=notes.append)
        assert not cache.enabled
        cache.put_many([(key(1), b"one")])
        assert cache.get_many([key(1)]) == {}
        assert len(notes) == 1
        assert str(path) in notes[0]
        assert "without a completion cache" in notes[0]


def test_a_disk_that_fills_is_a_note(tmp_path: Path) -> None:
    notes: list[str] = []
    with CompletionCache(tmp_path / "c.sqlite3", on_note=notes.append) as cache:
        assert cache._connection is not None
        cache._connection.execute("PRAGMA max_page_count=4")  # SQLite's own way to be full
        for n in range(3):
            cache.put_many([(key(n), b"x" * 20_000)])
        assert not cache.enabled
    assert len(notes) == 1
    assert "full" in notes[0]


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting, expected in (
        ("off", None),
        (" OFF ", None),
        (str(tmp_path), tmp_path / "completions.sqlite3"),
        (str(tmp_path / "new"), tmp_path / "new" / "completions.sqlite3"),
        (str(tmp_path / "my.db"), tmp_path / "my.db"),
    ):
        monkeypatch.setenv("RAIF_CACHE", setting)
        assert cache_path() == expected
    monkeypatch.delenv("RAIF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = cache_path()
    assert found is not None
    assert found.name == "completions.sqlite3"
    assert found.parent.name == "raif"
    assert tmp_path in found.parents
    monkeypatch.setenv("RAIF_CACHE", "off")
    assert not CompletionCache.default().enabled


def test_a_key_is_pinned_and_tells_parts_apart() -> None:
    # printf '["m",[{"content":"q","role":"user"}],{"temperature":1.0}]' | sha256sum
    parts = ("m", (Message(role="user", content="q"),), {"temperature": 1.0})
    assert cache_key(*parts).hex() == "ed61a66e3be62af3c05bce0fad94985569939c25a7022102afa410644948e81e"
    different = [
        cache_key("ab", "c"),
        cache_key("a", "bc"),
        cache_key("abc"),
        cache_key(["ab", "c"]),
        cache_key("ab", "c", None),
        cache_key("ab", "c", 0),
        cache_key("ab", "c", "0"),
        cache_key("ab", "c", Sampling(seed=1)),
        cache_key("ab", "c", Sampling(seed=2)),
    ]
    assert len(set(different)) == len(different)
    assert cache_key({"a": 1, "b": 2}) == cache_key({"b": 2, "a": 1})


@given(json_values, json_values)
def test_equal_values_alone_have_equal_keys(one: object, other: object) -> None:
    assert (cache_key(one) == cache_key(other)) == (repr_json(one) == repr_json(other))


def repr_json(value: object) -> str:
    import json

    return json.dumps(value, sort_keys=True)
