"""The real engine in this process's charge: what it answers, and what it leaves behind."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from raif.config import VllmConfig
from raif.errors import ModelError, ModelSpecError
from raif.models.base import Completion, Failure, GenerateRequest, Sampling, ScoreRequest, Scores
from raif.models.registry import open_model
from raif.models.vllm import VllmModel
from raif.records import conversation
from support.tiny import make_tiny_model

ASK = conversation("How do I sell the boat for a friend?")
QUESTION = conversation("Which response is better, A or B?")


def drawn(seed: int, sample: int = 0, **sampling) -> GenerateRequest:
    return GenerateRequest(ASK, Sampling(seed=seed, **{"max_tokens": 24} | sampling), sample)


def run(model: VllmModel, requests: list) -> list:
    kind = model.score if isinstance(requests[0], ScoreRequest) else model.generate
    return asyncio.run(kind(requests))


def test_equal_requests_get_equal_completions_in_any_company(engine: VllmModel) -> None:
    first, again, other, sample, alone = (
        *run(engine, [drawn(1), drawn(1), drawn(2), drawn(1, sample=1)]),
        *run(engine, [drawn(1)]),
    )
    assert isinstance(first, Completion)
    assert first == again == alone
    assert len({first.text, other.text, sample.text}) == 3
    assert (first.finish, first.completion_tokens) in (("length", 24), ("stop", first.completion_tokens))


def test_greedy_is_greedy_and_the_same_as_transformers(engine: VllmModel, judge: Path) -> None:
    asked = [GenerateRequest(conversation(f"Hello {n}?"), Sampling(temperature=0, max_tokens=16)) for n in range(4)]
    hf = open_model(f"hf:{judge}", device="cpu", dtype="float32")
    assert run(engine, asked) == asyncio.run(hf.generate(asked))


def test_a_completion_is_cut_at_max_tokens_and_ends_where_it_ends(engine: VllmModel) -> None:
    cut, whole = run(engine, [drawn(5, max_tokens=3, temperature=0), drawn(5, max_tokens=300, temperature=0)])
    assert (cut.finish, cut.completion_tokens) == ("length", 3)
    assert whole.finish == "stop"
    assert whole.text.startswith(cut.text)
    assert "<" not in whole.text  # no control token shows
    assert 3 < whole.completion_tokens < 300


def test_what_is_too_long_fails_alone(engine: VllmModel) -> None:
    endless = conversation("boat " * 5000)
    good, bad = run(engine, [drawn(1), GenerateRequest(endless, Sampling(max_tokens=4))])
    assert isinstance(good, Completion)
    assert isinstance(bad, Failure)
    assert bad.kind == "too_long"
    assert "the model's context has 4096" in bad.detail
    scored, unscored = run(engine, [ScoreRequest(QUESTION, ("A", "B")), ScoreRequest(endless, ("A", "B"))])
    assert isinstance(scored, Scores)
    assert unscored.kind == "too_long"


def test_each_result_is_delivered_once_on_the_loop(engine: VllmModel) -> None:
    async def ask() -> None:
        delivered: dict[int, Scores | Completion | Failure] = {}
        asked = [ScoreRequest(conversation(f"{n}: A or B?"), ("A", "B")) for n in range(40)]
        loop = asyncio.get_running_loop()

        def keep(index: int, result) -> None:
            assert asyncio.get_running_loop() is loop
            assert index not in delivered
            delivered[index] = result

        results = await engine.score(asked, keep)
        assert [delivered[index] for index in range(40)] == results

    asyncio.run(ask())


def test_who_refuses_a_result_ends_the_call_and_the_engine_goes_on(engine: VllmModel) -> None:
    def refuse(index: int, result) -> None:
        raise RuntimeError("enough")

    async def ask() -> None:
        with pytest.raises(RuntimeError, match="enough"):
            await engine.generate([drawn(n, max_tokens=300) for n in range(30)], refuse)

    asyncio.run(ask())
    assert isinstance(run(engine, [drawn(1)])[0], Completion)


def test_a_cancelled_call_is_taken_back(engine: VllmModel) -> None:
    async def ask() -> float:
        call = asyncio.ensure_future(engine.generate([drawn(n, max_tokens=2000, temperature=2.0) for n in range(200)]))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        begun = time.monotonic()
        await engine.generate([drawn(1, max_tokens=2)])
        return time.monotonic() - begun

    assert asyncio.run(ask()) < 15  # 200 endless completions would take minutes


def test_two_calls_at_once_share_the_engine(engine: VllmModel) -> None:
    async def ask() -> list[list[Completion | Failure]]:
        return await asyncio.gather(*(engine.generate([drawn(n)]) for n in (1, 2, 1)))

    one, two, three = asyncio.run(ask())
    assert one == three != two
    assert run(engine, [drawn(1)]) == one


def test_answers_that_begin_with_many_tokens_are_asked_for_in_parts(engine: VllmModel, monkeypatch) -> None:
    asked = [ScoreRequest(QUESTION, ("A", "B", "TIE"))]
    whole = run(engine, asked)
    monkeypatch.setattr("raif.models.vllm.model.MOST_LOGPROBS", 1)
    parts = run(engine, asked)
    assert parts[0].probabilities == pytest.approx(whole[0].probabilities, rel=1e-5)
    assert parts[0].prompt_tokens == whole[0].prompt_tokens


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_other_tokenizers_score_as_transformers_does(tmp_path: Path, architecture: str) -> None:
    """Byte-level and ▁-style tokenizers, random weights (here stored in bfloat16), a template without system turns."""
    folder = make_tiny_model(tmp_path / architecture, architecture)
    asked = [ScoreRequest(conversation(f"{n} Which response is better?"), ("A", "B", "TIE")) for n in range(20)]

    async def ask(spec: str) -> list[Scores | Failure]:
        model = open_model(spec, dtype="float32", device="cpu")
        try:
            return await model.score(asked)
        finally:
            await model.close()

    for mine, theirs in zip(asyncio.run(ask(f"vllm:{folder}")), asyncio.run(ask(f"hf:{folder}")), strict=True):
        assert mine.probabilities == pytest.approx(theirs.probabilities, abs=1e-5)
        assert mine.prompt_tokens == theirs.prompt_tokens


def test_auto_is_float32_on_a_cpu_whatever_the_weights_are_stored_in(judge: Path) -> None:
    model = open_model(f"vllm:{judge}")
    assert '"dtype": "bfloat16"' in (judge / "config.json").read_text(encoding="utf-8")
    assert model.info.details["dtype"] == "float32"
    assert model.info.details["engine"].startswith("vllm 0.")
    assert model.info.in_flight > 0
    hf = open_model(f"hf:{judge}")
    assert model.info.details["fingerprint"] == hf.info.details["fingerprint"]
    assert model.info.identity == hf.info.identity.replace("hf:", "vllm:")
    asked = ScoreRequest(QUESTION, ("A", "B"))
    assert model.key("score", asked) != hf.key("score", asked)
    shorter = open_model(f"vllm:{judge}", vllm=VllmConfig(max_model_len=100))
    assert model.key("score", asked) != shorter.key("score", asked)  # what is too long for one is not for the other


def test_nothing_is_started_for_what_is_never_asked(judge: Path) -> None:
    before = multiprocessing.active_children()
    model = open_model(f"vllm:{judge}")
    assert multiprocessing.active_children() == before
    asyncio.run(model.close())
    asyncio.run(model.close())
    with pytest.raises(ModelError, match="is closed"):
        asyncio.run(model.generate([drawn(1)]))


def test_what_keeps_the_engine_from_starting_is_one_line(judge: Path, tmp_path: Path, capfd) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(judge, broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelSpecError, match=r"vllm:.*broken: vLLM can't start: .") as caught:
        asyncio.run(open_model(f"vllm:{broken}").generate([drawn(1)]))
    assert "\n" not in str(caught.value)
    assert "See stack trace" not in str(caught.value)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_the_wrong_device_is_one_line(judge: Path) -> None:
    with pytest.raises(ModelSpecError, match="this vLLM was built for cpu, not for cuda; use device auto"):
        open_model(f"vllm:{judge}", device="cuda")


PROGRAM = """
import asyncio, multiprocessing, os, signal, sys
from raif.models.base import ScoreRequest
from raif.models.registry import open_model
from raif.records import conversation

async def main():
    environment = dict(os.environ)
    model = open_model(f"vllm:{sys.argv[1]}", dtype="float32")
    print((await model.score([ScoreRequest(conversation("A or B?"), ("A", "B"))]))[0].mass > 0, flush=True)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    if sys.argv[2] == "wait":
        await asyncio.sleep(600)
    await model.close()
    print(multiprocessing.active_children(), environment == dict(os.environ), flush=True)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
    asyncio.run(main())
"""


def tree(pids: list[int]) -> list[psutil.Process]:
    roots = [psutil.Process(pid) for pid in pids]
    return roots + [child for root in roots for child in root.children(recursive=True)]


@pytest.fixture
def program(tmp_path: Path, judge: Path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    started: list[subprocess.Popen[str]] = []

    def start(mode: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(tmp_path / "program.py"), str(judge), mode]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_program_that_closes_it_leaves_nothing_and_says_nothing(program) -> None:
    process = program("close")
    out, err = process.communicate(timeout=600)
    said = out.splitlines()
    assert process.returncode == 0, err
    assert (said[0], said[2]) == ("True", "[] True")
    assert err == ""
    assert not any(psutil.pid_exists(int(pid)) for pid in said[1].split())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_program_that_is_stopped_takes_the_engine_along(program, number: signal.Signals) -> None:
    process = program("wait")
    assert process.stdout.readline() == "True\n", process.communicate()[1]
    left = tree([int(pid) for pid in process.stdout.readline().split()])
    assert len(left) >= 2  # the engine and its worker
    os.kill(process.pid, number)
    process.wait(timeout=300)
    _, alive = psutil.wait_procs(left, timeout=30)
    assert alive == []
