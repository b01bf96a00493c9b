"""``raif cache``: stats, prune and export, and the migration of a file that an older raif made."""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raif.cache import CompletionCache, cache_key
from raif.cache import store as cache_store
from raif.cache.upkeep import prune, stats
from raif.cli import main
from raif.cli.cache import duration, show_size, size
from raif.errors import StoreError

DAY = 86_400
NOW = 1_800_000_000
"""15 January 2027, 08:00 UTC."""


def key(number: int) -> bytes:
    return cache_key("test", number)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's cache lies, for this test."""
    monkeypatch.setenv("RAIF_CACHE", str(tmp_path / "c.sqlite3"))
    return tmp_path / "c.sqlite3"


def fill(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten scores of one model 100 days old, ten completions of it 10 days old, five of another model of today."""
    for days, model, kind, numbers in (
        (100, "hf:judge@1", "score", range(10)),
        (10, "hf:judge@1", "generate", range(10, 20)),
        (0, "openai:big", "score", range(20, 25)),
    ):
        monkeypatch.setattr(time, "time", lambda days=days: NOW - days * DAY + 0.5)
        with CompletionCache(file) as cache:
            rows = [(key(n), json.dumps({"type": "scores", "n": n}).encode()) for n in numbers]
            cache.put_many(rows, model=model, kind=kind)
    monkeypatch.setattr(time, "time", lambda: float(NOW))


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """Standard output of ``raif cache …``, or standard error where it ends with another ``code`` than 0."""
    with pytest.raises(SystemExit) as stopped:
        main(["cache", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    assert stopped.value.code == code, captured.err
    return captured.err if code else captured.out


def test_stats_by_model_and_kind(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(file, monkeypatch)
    with CompletionCache(file) as cache:
        cache.put_many([(key(99), b"x" * 5000)])  # by someone who tells neither
    found = json.loads(run(capsys, "stats", "--json"))
    assert (found["file"], found["entries"]) == (str(file), 26)
    assert found["bytes"] == sum(f.stat().st_size for f in file.parent.glob("c.sqlite3*") if f.suffix != ".sqlite3-shm")
    assert (found["oldest"], found["newest"]) == (NOW - 100 * DAY, NOW)
    # 32 bytes of key; {"type": "scores", "n": 0} is 26 bytes, and 27 with two digits.
    assert found["models"] == [
        {"model": "unknown", "kind": "unknown", "entries": 1, "bytes": 5032},
        {"model": "hf:judge@1", "kind": "generate", "entries": 10, "bytes": 10 * (32 + 27)},
        {"model": "hf:judge@1", "kind": "score", "entries": 10, "bytes": 10 * (32 + 26)},
        {"model": "openai:big", "kind": "score", "entries": 5, "bytes": 5 * (32 + 27)},
    ]
    text = run(capsys, "stats")
    assert f"{file}: 26 replies, " in text
    assert "2026-10-07 to 2027-01-15" in text  # 15 January less 100 days
    assert re.search(r"^ +10 +590 B  generate  hf:judge@1$", text, re.M)
    assert run(capsys, "stats", "--quiet") == ""


def test_a_cache_that_is_not_there(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(run(capsys, "stats", "--json"))["entries"] == 0
    assert "0 replies" in run(capsys, "stats")
    assert not file.exists()  # looking makes nothing
    for command in (("prune", "--older-than", "1d"), ("export", "--out", "x.jsonl")):
        assert f"{file}: there is no completion cache yet" in run(capsys, *command, code=2)
    monkeypatch.setenv("RAIF_CACHE", "off")
    assert "switched off (RAIF_CACHE=off)" in run(capsys, "stats", code=2)


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("--older-than", "30d"), range(10, 25)),
        (("--older-than", "1d"), range(20, 25)),
        (("--older-than", "101d"), range(25)),
        (("--model", "hf:judge@1"), range(20, 25)),
        (("--model", "*big"), range(20)),
        (("--model", "nobody"), range(25)),
        (("--model", "hf:*", "--older-than", "30d"), range(10, 25)),
        (("--model", "openai:*", "--older-than", "30d"), range(25)),
    ],
)
def test_prune_removes_what_is_named_and_a_dry_run_counts_it(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    left: range,
) -> None:
    fill(file, monkeypatch)
    planned = json.loads(run(capsys, "prune", *arguments, "--dry-run", "--json"))
    with CompletionCache(file) as cache:
        assert len(cache) == 25
    done = json.loads(run(capsys, "prune", *arguments, "--json"))
    assert (done["removed"], done["kept"]) == (planned["removed"], planned["kept"]) == (25 - len(left), len(left))
    assert (planned["dry_run"], done["dry_run"]) == (True, False)
    with CompletionCache(file) as cache:
        assert set(cache.get_many([key(n) for n in range(25)])) == {key(n) for n in left}


def test_prune_to_a_size_keeps_the_newest_and_shrinks_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(10):
        monkeypatch.setattr(time, "time", lambda day=day: float(NOW + day * DAY))
        with CompletionCache(file) as cache:
            cache.put_many([(key(100 * day + n), b"x" * 1000) for n in range(100)], model="m", kind="score")
    before = file.stat().st_size
    assert before > 1_000_000
    about = json.loads(run(capsys, "prune", "--max-size", "400KB", "--dry-run", "--json"))
    found = json.loads(run(capsys, "prune", "--max-size", "400KB", "--json"))
    assert found["bytes_after"] == file.stat().st_size <= 400_000
    # Three replies of 1,032 bytes to a page of 4,096, and the index: some 1,430 bytes a reply, 280 replies at best.
    assert 250 <= found["kept"] <= 280
    assert abs(about["kept"] - found["kept"]) < 40
    with CompletionCache(file) as cache:
        kept = set(cache.get_many([key(n) for n in range(1000)]))
    # The newest, without a gap.
    assert kept == {key(n) for n in range(1000 - found["kept"], 1000)}
    assert "0 replies removed" in run(capsys, "prune", "--max-size", "1GB")
    assert json.loads(run(capsys, "prune", "--max-size", "1KB", "--json"))["kept"] == 0


def test_prune_needs_to_know_what(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "give --older-than, --model or --max-size" in run(capsys, "prune", code=2)
    assert "Invalid value for '--older-than': '30' is no duration" in run(capsys, "prune", "--older-than", "30", code=2)
    assert "Invalid value for '--max-size': 'big' is no size" in run(capsys, "prune", "--max-size", "big", code=2)


def test_prune_says_so_where_another_process_writes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(file, monkeypatch)
    monkeypatch.setattr(cache_store, "_PATIENCE", 0.05)
    other = sqlite3.connect(file, isolation_level=None)
    with CompletionCache(file) as cache:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"c\.sqlite3: the completion cache can't be tidied now \(database is lo"):
            prune(cache, older_than=0)
        other.execute("COMMIT")
        assert prune(cache, older_than=0, now=NOW + 1).kept == 0
    other.close()


def test_export(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fill(file, monkeypatch)
    with CompletionCache(file) as cache:
        cache.put_many([(key(99), b"\0\xff")], model="odd")
    plain, packed = file.with_name("all.jsonl"), file.with_name("all.jsonl.gz")
    assert json.loads(run(capsys, "export", "--out", plain, "--json")) == {"out": str(plain), "entries": 26}
    assert "26 replies" in run(capsys, "export", "--out", packed)
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    once = packed.read_bytes()
    assert "is there already; add --redo" in run(capsys, "export", "--out", packed, "--model", "odd", code=2)
    assert packed.read_bytes() == once
    run(capsys, "export", "--out", packed, "--redo")
    assert packed.read_bytes() == once
    assert once[4:8] == bytes(4)  # RFC 1952, section 2.3: no time, so that equal contents are equal bytes
    rows = [json.loads(line) for line in plain.read_text().splitlines()]
    when = datetime.fromtimestamp(NOW - 100 * DAY, UTC).isoformat()
    assert rows[3] == {
        "key": key(3).hex(),
        "model": "hf:judge@1",
        "kind": "score",
        "created": when,
        "value": {"type": "scores", "n": 3},
    }
    assert (rows[-1]["model"], rows[-1]["kind"], rows[-1]["value_base64"]) == ("odd", "unknown", "AP8=")
    run(capsys, "export", "--out", plain, "--redo", "--model", "openai:*")
    assert [json.loads(line)["value"]["n"] for line in plain.read_text().splitlines()] == list(range(20, 25))
    assert "no reply is of a model nobody" in run(
        capsys, "export", "--out", plain, "--redo", "--model", "nobody", code=2
    )
    before = file.read_bytes()
    assert "this is the cache itself" in run(capsys, "export", "--out", file, code=2)
    assert file.read_bytes() == before
    assert "can't write" in run(capsys, "export", "--out", file / "below.jsonl", code=2)


# What an older raif left


def old_file(file: Path, rows: int = 3) -> None:
    """A cache as raif made it before it kept models and times."""
    old = sqlite3.connect(file, isolation_level=None)
    old.execute("PRAGMA journal_mode=WAL")
    old.execute("CREATE TABLE replies (key BLOB PRIMARY KEY, value BLOB NOT NULL)")
    old.execute(f"PRAGMA application_id={0x72616966}")
    old.executemany("INSERT INTO replies VALUES (?, ?)", [(key(n), b"old") for n in range(rows)])
    old.close()


def test_an_old_file_opens_keeps_its_replies_and_ages(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_file(file)
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    older_raif = sqlite3.connect(file, isolation_level=None)  # still at work meanwhile
    with CompletionCache(file) as cache:
        assert cache.get_many([key(n) for n in range(4)]) == {key(n): b"old" for n in range(3)}
        cache.put_many([(key(3), b"new")], model="m", kind="score")
        older_raif.execute("INSERT OR IGNORE INTO replies (key, value) VALUES (?, ?)", (key(4), b"late"))
    older_raif.close()
    with CompletionCache(file) as cache:  # a second time changes nothing
        found = stats(cache)
        assert [(held.model, held.entries) for held in found.models] == [("unknown", 4), ("m", 1)]
        assert (found.oldest, found.newest) == (NOW, NOW)
        assert prune(cache, older_than=DAY, now=NOW + DAY / 2).removed == 0
        assert prune(cache, model="unknown").removed == 4
        assert cache.get_many([key(3)]) == {key(3): b"new"}


def test_an_old_file_that_cannot_be_written_to_is_read(file: Path) -> None:
    old_file(file)
    plain = sqlite3.connect(file, isolation_level=None)
    plain.execute("PRAGMA journal_mode=DELETE")  # write-ahead logging needs to write
    plain.close()
    file.chmod(0o444)
    read_only = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
    cache_store._bring_up_to_date(read_only, file)  # whoever runs this may be root, whom no mode stops
    assert read_only.execute("PRAGMA user_version").fetchone() == (0,)
    assert read_only.execute("SELECT count(*) FROM replies").fetchone() == (3,)
    read_only.close()


def test_a_newer_file_is_left_alone(file: Path) -> None:
    CompletionCache(file).close()
    newer = sqlite3.connect(file, isolation_level=None)
    newer.execute("PRAGMA user_version=2")
    newer.close()
    with pytest.raises(StoreError, match=r"c\.sqlite3: a newer raif made this completion cache; update raif"):
        CompletionCache(file)


# Sizes and durations


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1GB", 10**9),
        ("1 gb", 10**9),
        ("1.5MB", 1_500_000),
        ("2GiB", 2**31),
        ("1KiB", 1024),
        ("7", 7),
        ("3T", 3 * 10**12),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("30d", 30 * DAY), ("12h", 43_200), ("1.5m", 90), ("9S", 9), ("2w", 14 * DAY)]
)
def test_durations(text: str, expected: float) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1XB", "1e3MB", "1 2GB", "∞"])
def test_what_is_no_size_or_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is no size; .* such as 1GB"):
        size(text)
    with pytest.raises(click.BadParameter, match=r"is no duration; .* such as 30d"):
        duration(text)


@given(st.integers(0, 10**14))
def test_a_shown_size_is_short_and_right(count: int) -> None:
    shown = show_size(count)
    number, unit = shown.split()
    back = float(number.replace(",", "")) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert abs(back - count) <= 0.05 * max(count, 1) + 0.5
    assert len(number) <= 5


def test_what_json_prints_is_what_help_lists(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(file, monkeypatch)
    calls = {"stats": (), "export": ("--out", file.with_name("x.jsonl")), "prune": ("--older-than", "1d")}
    for name, arguments in calls.items():
        found = re.search(r"--json prints: (.*?)Example:", run(capsys, name, "--help"), re.DOTALL)
        assert found, name
        listed = {key.strip(" \b\n") for key in re.sub(r"\([^)]*\)", "", found[1]).split(",")}
        assert set(json.loads(run(capsys, name, *arguments, "--json"))) == listed, name
