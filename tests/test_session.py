"""How a stage goes on: chunks are cut from the input, half-written ones are done again, foreign files are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from raif.errors import CapReached, ConfigError, StoreError
from raif.models.base import ModelInfo
from raif.records import Prompt, Response, conversation
from raif.reporting import SilentReporter
from raif.session import Session, StageLog
from raif.settings import resolve
from raif.store import RecordFile

PROMPTS = [Prompt(messages=conversation(f"question {number}")) for number in range(10)]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(resolve(environment={}, flags={"batch_size": 4}), SilentReporter(), tmp_path / "manifest.json")


def answer(prompt: Prompt, sample: int) -> Response:
    return Response(prompt_id=prompt.id, prompt=prompt.messages, model="m", sample=sample, text="yes")


def run(session: Session, out: RecordFile[Response], prompts: Sequence[Prompt] = PROMPTS) -> list[list[str]]:
    """Process ``prompts``, two records each; the chunks that the step was given."""
    chunks: list[list[str]] = []

    async def step(part: Sequence[Prompt]) -> list[Response]:
        chunks.append([prompt.messages[0].content.split()[-1] for prompt in part])
        return [answer(prompt, sample) for prompt in part for sample in range(2)]

    made = asyncio.run(
        session.process("generate", prompts, out, step, item_of=lambda response: response.prompt_id, per_item=2)
    )
    assert [response.prompt_id for response in made] == [prompt.id for prompt in prompts for _ in range(2)]
    assert out.read() == made
    return chunks


def test_a_half_written_chunk_is_done_again_as_a_whole(session: Session, tmp_path: Path) -> None:
    whole, torn = (RecordFile(tmp_path / name, Response) for name in ("whole.jsonl", "torn.jsonl"))
    assert run(session, whole) == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"]]
    # Five prompts and a half are there: the first chunk of four stays, the second begins again.
    torn.append(whole.read()[:11])
    assert run(session, torn) == [["4", "5", "6", "7"], ["8", "9"]]
    assert torn.path.read_bytes() == whole.path.read_bytes()
    assert run(session, whole) == []


class Pool:
    """Stands for an open model that answers ``in_flight`` requests at once."""

    def __init__(self, in_flight: int) -> None:
        self.info = ModelInfo("pool", "pool", in_flight=in_flight)


def test_a_model_that_answers_many_at_once_is_kept_busy(session: Session, tmp_path: Path) -> None:
    out, out_of_order = RecordFile(tmp_path / "out.jsonl", Response), []

    async def step(part: Sequence[Prompt]) -> list[Response]:
        first = part[0].messages[0].content.split()[-1]
        out_of_order.append(f"begin {first}")
        await asyncio.sleep(0.05 if first == "0" else 0.01)
        out_of_order.append(f"end {first}")
        return [answer(prompt, 0) for prompt in part]

    async def scenario() -> list[Response]:
        session._log = StageLog()
        session._log.models.append(Pool(in_flight=10))  # type: ignore[arg-type]
        return await session.process("label", PROMPTS, out, step, item_of=lambda response: response.prompt_id)

    made = asyncio.run(scenario())
    # Chunks of five, not of four; the second was asked while the first was out, ended first, and was written second.
    assert out_of_order == ["begin 0", "begin 5", "end 5", "end 0"]
    assert [response.prompt_id for response in out.read()] == [prompt.id for prompt in PROMPTS]
    assert made == out.read()


def test_a_cap_keeps_what_is_done_and_says_what_is_left(session: Session, tmp_path: Path) -> None:
    out = RecordFile(tmp_path / "out.jsonl", Response)

    async def step(part: Sequence[Prompt]) -> list[Response]:
        if part[0] == PROMPTS[8]:
            raise CapReached("a cap is reached (8 of 8 requests)")
        return [answer(prompt, 0) for prompt in part]

    with (
        pytest.raises(CapReached, match=r"label: a cap is reached \(8 of 8 requests\); 8 of 10 done and kept"),
        session.stage("label"),
    ):
        asyncio.run(session.process("label", PROMPTS, out, step, item_of=lambda response: response.prompt_id))
    assert len(out.read()) == 8
    assert session.manifest.stages["label"].status == "interrupted"


def test_records_of_other_items_are_refused(session: Session, tmp_path: Path) -> None:
    out = RecordFile(tmp_path / "out.jsonl", Response)
    run(session, out)
    before = out.path.read_bytes()
    with pytest.raises(StoreError, match=r"out\.jsonl: was made from other inputs .* --redo"):
        run(session, out, PROMPTS[::-1])
    assert out.path.read_bytes() == before


def test_a_claim_holds_for_the_settings_that_made_it(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    session.claim(path, {"orders": "both"}, 1)
    session.claim(path, {"orders": "one"}, 1)  # nothing is there yet
    path.write_text("{}\n")
    session.claim(path, {"orders": "one"}, 1)
    with pytest.raises(StoreError, match="another configuration"):
        session.claim(path, {"orders": "both"}, 1)


def test_a_stage_that_fails_is_entered_as_such(session: Session) -> None:
    for error, status in ((ValueError, "failed"), (KeyboardInterrupt, "interrupted")):
        with pytest.raises(error), session.stage("label"):
            raise error
        assert session.manifest.stages["label"].status == status
    with session.stage("label") as log:
        log.counts.update(comparisons=3)
    entry = session.manifest.stages["label"]
    assert (entry.status, entry.counts, entry.attempts) == ("done", {"comparisons": 3}, 3)


def test_what_is_missing_is_named_with_its_flag(session: Session) -> None:
    assert session.require("x", "prompts", "--prompts FILE|ID") == "x"
    with pytest.raises(ConfigError, match=r"prompts is not set; give --prompts FILE\|ID"):
        session.require(None, "prompts", "--prompts FILE|ID")
