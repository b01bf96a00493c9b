"""The store: what a killed writer leaves is recognised, what it finished is kept, and two writers are kept apart."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raif.errors import InputError, RunLockedError, StoreError
from raif.records import Comparison, Prompt, conversation
from raif.store import RecordFile, RunFolder, lock_for, write_atomically

ROOT = Path(__file__).resolve().parents[1]


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt(messages=conversation(text)) for text in texts]


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    records = prompts("a", "b\n\u2028", "ü")
    with RecordFile(tmp_path / "deep" / "p.jsonl", Prompt) as file:
        assert (file.read(), file.count()) == ([], 0)
        file.append(records[:2])
        file.append([])
        file.append(records[2:])
        assert (file.read(), file.count()) == (records, 3)
    assert RecordFile(file.path, Prompt).read() == records


def test_every_torn_tail_is_recognised_and_repaired(tmp_path: Path) -> None:
    """The file is cut at each byte: whole records are read, a torn one is noted, and the file can go on."""
    records = prompts("one", "zwei ü", "three")
    path = tmp_path / "p.jsonl"
    RecordFile(path, Prompt).append(records)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    # A line whose text is all there is whole, with or without its line end.
    ends = [sum(map(len, lines[: n + 1])) - 1 for n in range(3)]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = sum(cut >= end for end in ends)
        torn = cut not in (0, *ends, *(end + 1 for end in ends))
        notes: list[str] = []
        file = RecordFile(path, Prompt, on_note=notes.append)
        assert (file.read(), file.count()) == (records[:kept], kept), cut
        assert len(notes) == torn, cut
        file.append(records[kept:])
        assert path.read_bytes() == whole, cut
        assert len(notes) == torn, cut


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=1, max_size=5, unique=True),
    data=st.data(),
)
def test_any_cut_then_the_same_appends_give_the_same_file(
    tmp_path: Path, texts: list[str], data: st.DataObject
) -> None:
    path = tmp_path / "p.jsonl"
    path.unlink(missing_ok=True)
    records = prompts(*texts)
    RecordFile(path, Prompt).append(records)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    file = RecordFile(path, Prompt)
    file.append(records[file.count() :])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("tail", [b"\0" * 40, b'{"id": "1', b'{"id\0\0\0', b"\n", b'{"a": 1\n', b" "])
def test_what_a_power_cut_leaves_is_dropped(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "p.jsonl"
    RecordFile(path, Prompt).append(prompts("a"))
    with path.open("ab") as file:
        file.write(tail)
    notes: list[str] = []
    records = RecordFile(path, Prompt, on_note=notes.append)
    assert records.read() == prompts("a")
    assert len(notes) == 1
    assert str(path) in notes[0]
    assert "torn" in notes[0]


def test_long_lines_and_many_lines(tmp_path: Path) -> None:
    """Longer than the block in which the end of the file is looked for."""
    path = tmp_path / "p.jsonl"
    records = prompts("x" * 200_000, *(f"{n}" for n in range(2000)), "y" * 150_000)
    RecordFile(path, Prompt).append(records)
    path.write_bytes(path.read_bytes()[:-3])
    file = RecordFile(path, Prompt)
    assert file.count() == 2001
    file.append(records[-1:])
    assert file.read() == records


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    RecordFile(path, Prompt).append(prompts("a", "b", "c"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:9] + b"\n" + lines[2])
    with pytest.raises(StoreError, match=r"p\.jsonl:2: this line is damaged"):
        RecordFile(path, Prompt).read()


def test_a_foreign_line_names_the_line_and_the_field(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    RecordFile(path, Prompt).append(prompts("a"))
    with path.open("ab") as file:
        file.write(b'{"messages": [{"role": "robot", "content": "x"}]}\n')
    before = path.read_bytes()
    for action in (lambda f: f.read(), lambda f: f.append(prompts("b")), lambda f: f.truncate(0)):
        with pytest.raises(StoreError, match=r"p\.jsonl:2: this line is no Prompt: messages\.0\.role"):
            action(RecordFile(path, Prompt))
    with pytest.raises(StoreError, match=r"p\.jsonl:1: this line is no Comparison"):
        RecordFile(path, Comparison).read()
    assert path.read_bytes() == before


def test_an_edited_record_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    RecordFile(path, Prompt).append(prompts("a"))
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"b"'))
    with pytest.raises(StoreError, match=r":1: this line is no Prompt: the id \w+ does not belong"):
        RecordFile(path, Prompt).read()


@pytest.mark.parametrize(
    "content", [b"my notes\n", b"x", b'{\n  "a": 1\n}\n', b"[1, 2]\n", b"\xff\xfe\n", b'{"a": 1}\n']
)
def test_a_file_of_something_else_is_never_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    for action in (lambda f: f.read(), lambda f: f.append(prompts("a")), lambda f: f.truncate(0)):
        with pytest.raises(StoreError, match=r"mine\.txt"):
            action(RecordFile(path, Prompt))
    assert path.read_bytes() == content


def test_truncate_keeps_the_first_records(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    file = RecordFile(path, Prompt)
    file.truncate(0)
    assert not path.exists()
    file.append(prompts("a", "b", "c"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])  # whole but for its line end
    file.truncate(3)
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-2])
    file.truncate(2)
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:2])
    file.truncate(2)
    file.append(prompts("d"))
    assert file.read() == prompts("a", "b", "d")
    with pytest.raises(ValueError, match="holds 3 records, not 4"):
        file.truncate(4)


def test_a_failed_append_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """A real one: the process may write no file over 2,000 bytes, so the write stops half way."""
    path = tmp_path / "p.jsonl"
    RecordFile(path, Prompt).append(prompts("a"))
    before = path.read_bytes()
    done = run_python(
        """
        import resource, signal, sys
        from raif.errors import StoreError
        from raif.records import Prompt, conversation
        from raif.store import RecordFile, write_atomically
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        file = RecordFile(sys.argv[1], Prompt)
        for action in (
            lambda: file.append([Prompt(messages=conversation(f"{n}" * 200)) for n in range(20)]),
            lambda: write_atomically(sys.argv[1], b"x" * 5000),
        ):
            try:
                action()
            except StoreError as error:
                print(error)
        """,
        str(path),
    )
    assert done.stdout.count("make room") == 2, done
    assert str(path) in done.stdout
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EROFS, InputError, "read-only file system"),
        (errno.EACCES, InputError, "permission denied"),
        (errno.ENOSPC, StoreError, "no space left"),
        (errno.EIO, StoreError, "disk has failed"),
    ],
)
def test_what_the_system_refuses_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception], words: str
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    path = tmp_path / "p.jsonl"
    monkeypatch.setattr(os, "open", refuse)
    for action in (lambda: RecordFile(path, Prompt).append(prompts("a")), lambda: write_atomically(path, b"x")):
        with pytest.raises(kind) as caught:
            action()
        assert words in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_records_go_to_ordinary_files_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, Path(os.devnull), tmp_path / "file" / "p.jsonl"):
        with pytest.raises(InputError):
            RecordFile(path, Prompt).append(prompts("a"))
    with pytest.raises(InputError):
        RecordFile(tmp_path, Prompt).read()


def test_kill_9_leaves_whole_records_and_at_most_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from raif.records import Prompt, conversation; from raif.store import RecordFile\n"
            "file = RecordFile(sys.argv[1], Prompt)\n"
            "for chunk in range(10**6):\n"
            "    file.append([Prompt(messages=conversation(f'{chunk * 3 + n} ' * 500)) for n in range(3)])\n"
            "    print(chunk, flush=True)\n",
            str(path),
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert writer.stdout is not None
    for _ in range(20):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    acknowledged = 20 + len(writer.stdout.read().splitlines())
    writer.stdout.close()
    writer.wait()
    found = RecordFile(path, Prompt).read()
    assert len(found) >= 3 * acknowledged
    assert [record.messages[0].content.split()[0] for record in found] == [str(n) for n in range(len(found))]


def test_write_atomically_replaces_and_keeps_links(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    write_atomically(path, b"1")
    os.umask(old := os.umask(0o022))
    assert path.stat().st_mode & 0o777 == 0o666 & ~old
    link = tmp_path / "link.json"
    link.symlink_to(path)
    write_atomically(link, b"2")
    assert link.is_symlink()
    assert path.read_bytes() == b"2"
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]
    with pytest.raises(InputError):
        write_atomically(tmp_path / "deep", b"")


def test_a_run_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "one")
    assert run.path.is_dir()
    names = [run.responses, run.revisions, run.labels, run.preferences, run.reward, run.eval_folder, run.eval]
    assert [path.name for path in [*names, run.report, run.manifest, run.policy("dpo")]] == [
        "10_responses.jsonl",
        "20_revisions.jsonl",
        "30_labels.jsonl",
        "35_preferences.jsonl",
        "50_reward",
        "70_eval",
        "70_eval.json",
        "80_report.html",
        "manifest.json",
        "dpo",
    ]
    assert run.policy("dpo").parent == run.path / "60_policy"


def test_a_run_folder_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="this is a file"):
        RunFolder(tmp_path / "file")
    with pytest.raises(InputError, match="not a directory"):
        RunFolder(tmp_path / "file" / "run")
    with pytest.raises(InputError, match="no such run folder"):
        RunFolder(tmp_path / "absent", create=False)
    assert not (tmp_path / "absent").exists()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match="read-only file system"):
        RunFolder(tmp_path / "new")


HOLDER = """
import sys, time
from raif.store import RunFolder, lock_for
with RunFolder(sys.argv[1]).lock(), lock_for(sys.argv[2]):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_and_a_killed_one_forgotten(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out" / "labels.jsonl"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run), str(out)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    link = tmp_path / "link"
    link.symlink_to(run)
    for _ in range(2):  # asking does not make it forget who holds it
        for folder in (run, link):
            with (
                pytest.raises(RunLockedError, match=rf"{folder}: process {holder.pid} is writing"),
                RunFolder(folder).lock(),
            ):
                pass
        with pytest.raises(RunLockedError, match=rf"labels\.jsonl: process {holder.pid}"), lock_for(out):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.stdout.close()
    holder.wait()
    began = time.monotonic()
    with RunFolder(run).lock(), lock_for(out):
        assert time.monotonic() - began < 5
        with pytest.raises(RunLockedError, match="this process is writing"), RunFolder(run).lock():
            pass
    with RunFolder(run).lock():  # lifted at the end of the block, also after a refusal
        pass
    visible = [path.name for folder in (run, out.parent) for path in folder.iterdir() if not path.name.startswith(".")]
    assert visible == []
