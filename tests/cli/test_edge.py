"""The command line's edge: one clear line and the right exit code for whatever goes wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from raif.cli import COMMANDS, cli, main, run_guarded
from raif.cli.progress import PlainReporter, TerminalReporter, make_reporter
from raif.errors import CapReached, ConfigError, InputError, TrainingError
from raif.reporting import SilentReporter


def outcome(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``raif ARGUMENTS``."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


def every_command() -> list[tuple[str, ...]]:
    context = click.Context(cli)
    names: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        names.append((name,))
        if isinstance(command, click.Group):
            names += [(name, sub) for sub in command.list_commands(context)]
    return names


@pytest.mark.parametrize("names", every_command(), ids=" ".join)
def test_every_help_has_an_example(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = outcome(capsys, *names, "--help")
    assert (code, err) == (0, "")
    assert "Example:" in out
    assert f"raif {' '.join(names)}" in out.split("Example:")[1]


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (ConfigError("seed: found 'x'"), 2, "raif: seed: found 'x'\n"),
        (InputError("is empty", path="a.jsonl", line=3), 2, "raif: a.jsonl:3: is empty\n"),
        (TrainingError("diverged"), 1, "raif: diverged\n"),
        (CapReached("1,000 requests"), 3, "raif: 1,000 requests\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "raif: /x: Permission denied\n"),
        (click.UsageError("no such\n  option"), 2, "raif: no such option\n"),
        (
            KeyboardInterrupt(),
            130,
            "raif: stopped; what was finished is kept, and the same command goes on from there\n",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_stops_a_command_is_one_line(
    raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> None:
        raise raised

    assert run_guarded(action) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lable"], "No such command 'lable'"),
        (["label", "--seeed", "3"], "No such option"),
        (["label", "--seed", "many"], "'many' is not a valid integer"),
        (["label", "--limit", "0"], "0 is not in the range"),
        (["label"], "give --run DIR for a run folder, or --out PATH"),
        (["label", "--out", "OUT"], "pairs is not set; give --pairs FILE|ID"),
        (["label", "--out", "OUT", "--pairs", "MISSING"], "MISSING"),
        (["label", "--out", "OUT", "--set", "label.ordres=one"], "did you mean orders?"),
        (["label", "--principles", "none", "--out", "OUT"], "label.principles: found 'none'"),
        (["generate", "--out", "OUT", "--config", "MISSING"], "MISSING: can't be read"),
        (["generate", "--out", "OUT"], "prompts is not set; give --prompts FILE|ID"),
        (["revise", "--out", "OUT"], "give --responses FILE with --out"),
        (["train", "sft", "--out", "OUT"], "give --revisions FILE with --out"),
        (["train", "dpo", "--out", "OUT"], "pairs is not set"),
        (["eval", "--out", "OUT", "--against", "spec"], "expected NAME=SPEC"),
        (["report"], "give --run DIR"),
        (["report", "--run", "MISSING"], "MISSING"),
        (["status"], "which run?"),
        (["status", "MISSING"], "MISSING"),
        (["run"], "`raif init DIR` writes one"),
        (["run", "MISSING"], "MISSING: can't be read"),
        (["run", "--run", "OUT", "--from", "dpo", "--until", "label"], "comes after --until"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"OUT": tmp_path / "out", "MISSING": tmp_path / "missing"}
    code, out, err = outcome(capsys, *(places.get(argument, argument) for argument in arguments))
    assert code == 2
    assert out == ""
    assert said.replace("MISSING", str(tmp_path / "missing")) in err
    assert err.startswith("raif: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hf:MISSING", "MISSING"),
        ("demo:jugde", "did you mean demo:judge"),
        ("openai:m@http://user:pass@localhost:1/v1", "leave name, password and query out of the server's address"),
        ("vllm:m", "needs vLLM, which is not installed: pip install 'raif[vllm]'"),
        ("nonsense", "hf:PATH_OR_ID"),
        ("scripted:MISSING", "can't be read"),
    ],
)
def test_a_wrong_model_is_one_line(spec: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    missing = str(tmp_path / "missing")
    code, out, err = outcome(
        capsys, "label", "--pairs", pairs, "--out", tmp_path / "out", "--judge", spec.replace("MISSING", missing)
    )
    assert (code, out) == (2, "")
    assert said.replace("MISSING", missing) in err
    assert [line for line in err.splitlines() if "Traceback" in line] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "raif: EMPTY:1:1: the file is empty"),
        (b"principles: [{id: a", "raif: EMPTY:1:"),
        (b"name: x\nversion: 1.0.0\nprinciples:\n  - id: kind\n    texxt: be kind\n", "EMPTY:5"),
    ],
)
def test_a_malformed_constitution_names_its_place(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, constitution = tmp_path / "pairs.jsonl", tmp_path / "c.yaml"
    pairs.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    constitution.write_bytes(content)
    rules = tmp_path / "judge.jsonl"
    rules.write_text('{"match": "", "probabilities": {"A": 0.9}}\n')
    code, _, err = outcome(
        capsys,
        *("label", "--pairs", pairs, "--out", tmp_path / "out"),
        *("--judge", f"scripted:{rules}", "--constitution", constitution),
    )
    assert code == 2
    assert said.replace("EMPTY", str(constitution)) in err


def test_an_empty_input_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_bytes(b"")
    code, _, err = outcome(capsys, "label", "--pairs", pairs, "--out", tmp_path / "out")
    assert code == 2
    assert str(pairs) in err
    assert err.count("\n") == 1


@pytest.mark.skipif(not Path("/proc/1").exists(), reason="needs a place where nothing can be made")
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # /proc takes no new folders, not even from root, to whom permissions mean nothing.
    code, _, err = outcome(capsys, "init", "/proc/raif-project")
    assert code == 2
    assert "/proc/raif-project" in err
    assert err.count("\n") == 1


def process(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from raif.cli import main; main()", *arguments]
    return subprocess.run(command, text=True, check=False, **more)  # type: ignore[call-overload, no-any-return]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = process("constitution", "schema", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "full" in done.stderr


def test_a_reader_that_goes_away_is_one_line() -> None:
    read, write = os.pipe()
    os.close(read)
    done = process("constitution", "schema", stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == "raif: the reader of standard output went away before all was written\n"


# Progress


class _Stream:
    def __init__(self, terminal: bool) -> None:
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...


def test_the_reporter_fits_where_it_goes() -> None:
    assert isinstance(make_reporter(True, _Stream(True)), SilentReporter)  # type: ignore[arg-type]
    assert isinstance(make_reporter(False, _Stream(True)), TerminalReporter)  # type: ignore[arg-type]
    assert isinstance(make_reporter(False, _Stream(False)), PlainReporter)  # type: ignore[arg-type]


def test_plain_lines_come_at_intervals_with_rate_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 12.0, 13.0])  # start; too early; time to speak; too early again
    monkeypatch.setattr("raif.cli.progress.time.monotonic", lambda: next(clock))
    stream = _Stream(False)
    with PlainReporter(stream).task("label", 100, done=20) as task:  # type: ignore[arg-type]
        task.advance(20)
        task.advance(4, info="loss 0.5")
        task.advance(1)
    # 44 are done, 24 of them here in 12 s: 2 a second; 56 are left: 28 s.
    assert stream.text == "label: 44/100, 2.0/s, 28 s left (loss 0.5)\n"


def test_work_of_unknown_size_says_it_later(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 11.0])
    monkeypatch.setattr("raif.cli.progress.time.monotonic", lambda: next(clock))
    stream = _Stream(False)
    with PlainReporter(stream).task("sft", 0) as task:  # type: ignore[arg-type]
        task.reach(50, 100)  # resumed at step 50
        task.reach(72, 100, "loss 1.0")
    # 22 steps since it went on, in 11 s: 2 a second; 28 are left: 14 s.
    assert stream.text == "sft: 72/100, 2.0/s, 14 s left (loss 1.0)\n"


def test_bars_on_a_terminal_and_notes_above_them() -> None:
    stream = _Stream(True)
    reporter = TerminalReporter(stream)  # type: ignore[arg-type]
    with reporter.task("label", 2) as task:
        task.advance(1)
        reporter.note("[brackets] are not markup")
        task.reach(2, 2, "done")
    assert "[brackets] are not markup" in stream.text
