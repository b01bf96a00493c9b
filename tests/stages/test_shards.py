"""A stage split with ``--shard`` and joined by ``raif merge``: the bytes of the whole, and refusals that say why."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raif.cli import main
from raif.errors import ConfigError
from raif.manifest import Manifest
from raif.records import digest
from raif.settings import resolve
from raif.stages.merge import first_difference, joined_stage
from raif.stages.shards import Shard, order_digest, pack_places, part_of, unpack_places

PROMPTS, PAIRS = 16, 23

POLICY = [
    {"match": "number [0-4]\\?", "sample": 1, "reply": "Hit it with a hammer."},
    {"match": "number 7", "fail": "refusal"},
    {"match": "", "reply": "Replace the bulb."},
]
JUDGE = [
    {"match": "Answer YES or NO", "probabilities": {"YES": 0.9, "NO": 0.1}},
    {"match": "(?s)hammer.*Name the worst", "reply": "It breaks the lamp."},
    {"match": "Name the worst", "reply": "No fault."},
    {"match": "Rewrite", "reply": "Unplug it first."},
    {"match": "(?s)<response_a>\\s*good.*Answer A or B", "probabilities": {"A": 0.8, "B": 0.1}},
    {"match": "(?s)<response_b>\\s*good.*Answer A or B", "probabilities": {"A": 0.3, "B": 0.6}},
    {"match": "Answer A or B", "probabilities": {"A": 0.5, "B": 0.4}},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scripted models, and files of prompts and pairs."""
    folder = tmp_path_factory.mktemp("world")
    lines = {
        "policy": POLICY,
        "judge": [{"settings": {"log": "calls.jsonl"}}, *JUDGE],
        "prompts": [{"prompt": f"How do I fix lamp number {n}?"} for n in range(PROMPTS)],
        "pairs": [
            {"prompt": f"Is lamp {n} lit?", "chosen": f"good {n}", "rejected": f"bad {n % 5}"} for n in range(PAIRS)
        ],
    }
    for name, rows in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class Commands:
    """The command line, with the world's models and small batches."""

    def __init__(self, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.world, self.capsys = world, capsys

    def __call__(self, *arguments: object, code: int = 0) -> str:
        """What a command says on standard error; it ends with ``code``."""
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = self.capsys.readouterr()
        assert stopped.value.code == code, captured.err
        self.printed = captured.out
        return captured.err

    def stage(self, name: str, *more: object, code: int = 0) -> str:
        models = {
            "generate": ("--policy", f"scripted:{self.world / 'policy.jsonl'}", "--samples", 2),
            "revise": ("--judge", f"scripted:{self.world / 'judge.jsonl'}", "--rounds", 2),
            "label": ("--judge", f"scripted:{self.world / 'judge.jsonl'}"),
        }
        return self(name, *models[name], "--batch-size", 4, "--limit", 100, *more, code=code)

    def shards(self, name: str, source: tuple[object, ...], folder: Path, of: int = 3) -> list[Path]:
        folder.mkdir(exist_ok=True)
        paths = [folder / f"{name}.{index}.jsonl" for index in range(1, of + 1)]
        for index, path in enumerate(paths, start=1):
            self.stage(name, *source, "--shard", f"{index}/{of}", "--out", path)
        return paths


def items(file: Path) -> list[str]:
    """The item that each row of a file was made from."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [
        row["comparison"]["id"] if "comparison" in row else row.get("response_id") or row["prompt_id"] for row in rows
    ]


@pytest.fixture
def commands(world: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(world, capsys)


def test_parts_joined_are_the_whole_byte_for_byte(commands: Commands, world: Path, tmp_path: Path) -> None:
    responses = tmp_path / "generate.jsonl"
    sources = {
        "generate": ("--prompts", world / "prompts.jsonl"),
        "revise": ("--responses", responses),
        "label": ("--pairs", world / "pairs.jsonl"),
    }
    for name, source in sources.items():
        whole = tmp_path / f"{name}.jsonl"
        commands.stage(name, *source, "--out", whole)
        parts = commands.shards(name, source, tmp_path / "parts")
        sizes = [len(part.read_bytes().splitlines()) for part in parts]
        assert all(sizes), sizes
        assert sum(sizes) == len(whole.read_bytes().splitlines())
        assert b"shard" not in b"".join(part.read_bytes() for part in parts)
        joined = tmp_path / "parts" / whole.name
        commands("merge", *reversed(parts), "--out", joined, "--json")
        told = {"out": str(joined), "stage": name, "shards": 3, "items": len(set(items(whole))), "rows": sum(sizes)}
        assert json.loads(commands.printed) == told
        assert joined.read_bytes() == whole.read_bytes(), name

        # As if it had never been split: the command finds its own work, finished, and asks nobody anything.
        before = (world / "calls.jsonl").read_bytes() if name != "generate" else b""
        commands.stage(name, *source, "--out", joined)
        assert joined.read_bytes() == whole.read_bytes()
        assert name == "generate" or (world / "calls.jsonl").read_bytes() == before

        found, expected = (Manifest.load(path.with_name(f"{path.name}.manifest.json")) for path in (joined, whole))
        assert found.artefacts == expected.artefacts
        assert (found.shard, found.config) == (None, expected.config)
        entry, single = found.stages[name], expected.stages[name]
        assert (entry.status, entry.counts) == ("done", single.counts)
        assert entry.requests == single.requests


def test_a_shard_that_was_cut_off_goes_on_and_is_no_part_until_then(
    commands: Commands, world: Path, tmp_path: Path
) -> None:
    source = ("--pairs", world / "pairs.jsonl")
    first, second = commands.shards("label", source, tmp_path, of=2)
    complete = first.read_bytes()
    first.write_bytes(b"".join(complete.splitlines(keepends=True)[:5]))
    error = commands("merge", first, second, "--out", tmp_path / "all.jsonl", code=2)
    assert error == f"raif: {first}: has fewer rows than shard 1/2 had when it was finished; run its command again\n"
    assert not (tmp_path / "all.jsonl").exists()
    commands.stage("label", *source, "--shard", "1/2", "--out", first)
    assert first.read_bytes() == complete
    commands("merge", first, second, "--out", tmp_path / "all.jsonl")

    side = tmp_path / "label.1.jsonl.manifest.json"
    manifest = Manifest.load(side)
    manifest.stages["label"].status = "interrupted"
    manifest.save(side)
    assert "shard 1/2 is not finished" in commands("merge", first, second, "--out", tmp_path / "b.jsonl", code=2)


def test_sets_that_are_not_whole_are_refused(commands: Commands, world: Path, tmp_path: Path) -> None:
    source = ("--pairs", world / "pairs.jsonl")
    parts = commands.shards("label", source, tmp_path)
    halves = commands.shards("label", source, tmp_path / "halves", of=2)
    out = ("--out", tmp_path / "all.jsonl")

    def refused(*paths: Path) -> str:
        return commands("merge", *paths, *out, code=2)

    assert refused(parts[0], parts[2]) == "raif: a shard is missing: 2/3\n"
    assert refused(parts[1]) == "raif: shards are missing: 1/3, 3/3\n"
    assert f"{parts[1]}: is shard 2/3, and {parts[1]} is the same one" in refused(*parts, parts[1])
    assert f"{halves[0]}: is one of 2 shards, and {parts[0]} is one of 3 shards" in refused(parts[0], halves[0])
    assert f"{world / 'pairs.jsonl'}: is no shard: there is no pairs.jsonl.manifest.json" in refused(
        world / "pairs.jsonl"
    )
    commands.stage("label", *source, "--out", tmp_path / "whole.jsonl")
    assert "whole.jsonl: is no shard: it was made without --shard" in refused(tmp_path / "whole.jsonl")
    assert "no.jsonl: is no shard: there is no no.jsonl;" in refused(tmp_path / "no.jsonl")

    # A row of another shard, smuggled in: rows never overlap.
    rows = parts[0].read_bytes().splitlines(keepends=True)
    parts[0].write_bytes(b"".join([parts[1].read_bytes().splitlines(keepends=True)[0], *rows[1:]]))
    assert f"{parts[0]}:1: this row belongs to shard 2/3, and this is shard 1/3" in refused(*parts)
    parts[0].write_bytes(b"".join([rows[1], rows[0], *rows[2:]]))
    assert "not those of their input, in its order" in refused(*parts)
    parts[0].write_bytes(b"".join([*rows, rows[-1]]))
    assert "has more rows than shard 1/3 made" in refused(*parts)
    assert not (tmp_path / "all.jsonl").exists()
    parts[0].write_bytes(b"".join(rows))
    (tmp_path / "all.jsonl").write_text("precious")
    assert "is there already; add --redo" in refused(*parts)
    commands("merge", *parts, *out, "--redo")
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("--orders", "one"), "label.orders is one here, and both in "),
        (("--seed", "3"), "seed is 3 here, and 0 in "),
        (("--limit", "20"), "limit is 20 here, and 100 in "),
        (("--constitution", "CONSTITUTION"), "constitution.name is mine here, and "),
        (("--judge", "JUDGE"), "models.judge.identity is "),
        (("--pairs", "OTHERS"), "inputs is "),
    ],
)
def test_the_first_difference_is_named_with_both_files(
    commands: Commands, world: Path, tmp_path: Path, changed: tuple[str, str], told: str
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nversion: 1.0.0\ndescription: What I want.\nprinciples:\n  - id: plain\n    text: It is plain.\n"
    )
    (tmp_path / "other.jsonl").write_text((world / "judge.jsonl").read_text().replace("0.8", "0.7"))
    (tmp_path / "others.jsonl").write_text((world / "pairs.jsonl").read_text().replace("good 3", "best 3"))
    names = {
        "CONSTITUTION": tmp_path / "mine.yaml",
        "JUDGE": f"scripted:{tmp_path / 'other.jsonl'}",
        "OTHERS": tmp_path / "others.jsonl",
    }
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    source = ("--pairs", world / "pairs.jsonl")
    commands.stage("label", *source, "--shard", "1/2", "--out", one)
    commands.stage("label", *source, "--shard", "2/2", "--out", two, changed[0], names.get(changed[1], changed[1]))
    error = commands("merge", one, two, "--out", tmp_path / "all.jsonl", code=2)
    assert error.startswith(f"raif: {two}: {told}")
    assert str(one) in error
    assert error.count("\n") == 1


def test_machines_may_differ_in_paths_and_speed(commands: Commands, world: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    shutil.copytree(world, away)
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    commands.stage("label", "--pairs", world / "pairs.jsonl", "--shard", "1/2", "--out", one)
    there = ("--pairs", away / "pairs.jsonl", "--judge", f"scripted:{away / 'judge.jsonl'}", "--batch-size", 7)
    commands.stage("label", *there, "--set", "server.concurrency=3", "--shard", "2/2", "--out", two)
    commands("merge", one, two, "--out", tmp_path / "all.jsonl")
    assert len((tmp_path / "all.jsonl").read_bytes().splitlines()) == PAIRS


def test_a_stage_of_a_run_is_split_and_the_run_goes_on(commands: Commands, world: Path, tmp_path: Path) -> None:
    judge, policy = (f"scripted:{world / name}.jsonl" for name in ("judge", "policy"))
    settings = ("--judge", judge, "--policy", policy, "--prompts", world / "prompts.jsonl", "--set", "eval.holdout=0")
    whole, split = tmp_path / "whole", tmp_path / "split"
    commands("run", "--run", whole, *settings, "--until", "label")
    for stage, name in (("generate", "10_responses"), ("revise", "20_revisions"), ("label", "30_labels")):
        parts = []
        for index in (1, 2):
            commands(stage, "--config", whole / "raif.yaml", "--run", split, "--shard", f"{index}/2")
            parts.append(split / f"{name}.{index}-of-2.jsonl")
        assert not (split / f"{name}.jsonl").exists()
        commands("merge", *parts, "--run", split)
        assert (split / f"{name}.jsonl").read_bytes() == (whole / f"{name}.jsonl").read_bytes()
    assert not (split / "35_preferences.jsonl").exists()
    before = (world / "calls.jsonl").read_bytes()
    commands("run", "--config", whole / "raif.yaml", "--run", split, "--until", "label")
    assert (split / "35_preferences.jsonl").read_bytes() == (whole / "35_preferences.jsonl").read_bytes()
    assert (world / "calls.jsonl").read_bytes() == before
    refusal = commands("run", "--run", split, *settings, "--set", "shard=1/2", code=2)
    assert "a run can't be split, its stages can" in refusal


def test_a_part_without_items_is_a_part(commands: Commands, world: Path, tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_bytes(b"".join((world / "pairs.jsonl").read_bytes().splitlines(True)[:2]))
    parts = commands.shards("label", ("--pairs", tmp_path / "few.jsonl"), tmp_path / "parts", of=4)
    assert sorted(len(part.read_bytes().splitlines()) for part in parts)[:2] == [0, 0]
    commands("merge", *parts, "--out", tmp_path / "all.jsonl")
    assert len((tmp_path / "all.jsonl").read_bytes().splitlines()) == 2


def test_an_output_belongs_to_one_shard(commands: Commands, world: Path, tmp_path: Path) -> None:
    out = ("--pairs", world / "pairs.jsonl", "--out", tmp_path / "labels.jsonl")
    commands.stage("label", *out, "--shard", "1/2")
    for other in (("--shard", "2/2"), ()):
        assert "was made with another configuration" in commands.stage("label", *out, *other, code=1)
    commands.stage("label", *out, "--shard", "01/2")


def test_merge_says_where_it_can_write(commands: Commands, tmp_path: Path) -> None:
    for arguments in ((), ("--out", "a", "--run", "b")):
        assert "where to? give --out FILE, or --run DIR" in commands("merge", "x.jsonl", *arguments, code=2)
    assert "Missing argument 'SHARD...'" in commands("merge", code=2)


# The split


ids = st.lists(st.text("0123456789abcdef", min_size=16, max_size=16), unique=True, max_size=60)


@given(ids, st.integers(1, 9), st.randoms())
def test_every_item_is_in_one_shard_wherever_it_stands(items: list[str], of: int, random) -> None:  # type: ignore[no-untyped-def]
    shards = [Shard(index, of) for index in range(1, of + 1)]
    split = [[item for item in items if shard.holds(item)] for shard in shards]
    assert sorted(item for part in split for item in part) == sorted(items)
    shuffled = list(items)
    random.shuffle(shuffled)
    for shard, part in zip(shards, split, strict=True):
        assert sorted(item for item in shuffled if shard.holds(item)) == sorted(part)


@given(st.sets(st.integers(0, 200)), st.integers(0, 30))
def test_places_survive_packing(places: set[int], beyond: int) -> None:
    items = max(places, default=-1) + 1 + beyond
    assert list(unpack_places(pack_places(places, items))) == sorted(places)


def test_shards_are_of_one_size_and_pinned() -> None:
    found = Counter(part_of(digest(number), 4) for number in range(4000))
    # 1,000 expected in each, with a standard deviation of √(4,000 · ¼ · ¾) = 27.
    assert all(abs(found[part] - 1000) < 110 for part in (1, 2, 3, 4)), found
    # printf '["shard","0123456789abcdef"]' | sha256sum gives e604c5ca220610e2…; 0x…e2 mod 4 = 2, and the first is 1.
    # Another split would tear half-done work apart.
    assert part_of("0123456789abcdef", 4) == 3


def test_the_order_of_ids_is_told_apart() -> None:
    assert len({order_digest(ids) for ids in (["a", "b"], ["b", "a"], ["ab"], [], ["a"])}) == 5


@pytest.mark.parametrize("text", ["5/4", "0/4", "1/0", "2", "a/b", "1/2/3", "-1/2", ""])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    message = rf"shard: found {text!r}; allowed: I/N, the I-th of N parts, such as 2/4 \[--shard\]"
    with pytest.raises(ConfigError, match=message):
        resolve(environment={}, flags={"shard": text})


def test_a_shard_is_kept_in_one_form() -> None:
    assert resolve(environment={}, flags={"shard": "02/04"}).shard == "2/4"
    assert str(Shard.parse("2/4")) == "2/4"
    assert Shard(2, 4).beside(Path("run/30_labels.jsonl")) == Path("run/30_labels.2-of-4.jsonl")


def test_the_first_difference() -> None:
    assert first_difference({"a": 1, "b": 2}, {"b": 2, "a": 1}) is None
    assert first_difference({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == ("b", 2, 3)
    assert first_difference({"a": 1}, {"a": 1, "c": 4}) == ("c", None, 4)


def test_what_parts_came_to_is_added_up() -> None:
    manifest = Manifest()
    for name, status, seconds in (("one", "done", 1.5), ("two", "done", 2.0)):
        manifest.update_stage(name, status="running")
        manifest.update_stage(name, status=status, seconds=seconds, counts={"n": 3, "rate": 0.5, "why": {"refusal": 1}})  # type: ignore[arg-type]
    whole = joined_stage(list(manifest.stages.values()))
    assert (whole.seconds, whole.attempts, whole.status) == (3.5, 2, "done")
    assert whole.counts == {"n": 6, "why": {"refusal": 2}}  # half and half make no whole rate
    assert re.match(r"\d{4}-", whole.started or "")
