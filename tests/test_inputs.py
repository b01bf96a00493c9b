"""Inputs: every format and layout that people have, and no way for the chosen response to show itself."""

import csv
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raif.config import InputConfig
from raif.errors import InputError
from raif.inputs import read_pairs, read_prompts, read_training_pairs, source_name, with_neutral_sides
from raif.inputs.turns import is_transcript, transcript_turns
from raif.records import Comparison, Judgement, Message, Preference, TrainingPair, conversation

CONFIG = InputConfig()
SHARED = Path(os.environ.get("RAIF_SHARED") or Path(__file__).resolve().parents[2] / "shared")
HH = SHARED / "data" / "hh_harmless_dev.jsonl.gz"
needs_hh = pytest.mark.skipif(not HH.is_file(), reason=f"the real pairs are not here: {HH} (set RAIF_SHARED)")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def lines(path: Path, *rows: Any) -> str:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return str(path)


def table(path: Path, *rows: dict[str, str]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def texts(source: str, **config: Any) -> list[str]:
    return [prompt.messages[-1].content for prompt in read_prompts(source, InputConfig(**config))]


# Formats -----------------------------------------------------------------------------------------------------------

ROWS = [{"id": "1", "prompt": "How?\nSay."}, {"id": "2", "prompt": "Why, “x”?"}]


def as_parquet(path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


def as_saved_dataset(path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(str(path))


def as_saved_splits(path: Path) -> None:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(str(path))


def as_data_folder(path: Path) -> None:
    path.mkdir()
    lines(path / "train.jsonl", *ROWS)


def gzipped(write: Callable[[Path], Any]) -> Callable[[Path], None]:
    def as_gzip(path: Path) -> None:
        plain = path.with_suffix("")
        write(plain)
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()

    return as_gzip


FORMATS: dict[str, Callable[[Path], Any]] = {
    "p.jsonl": lambda path: lines(path, *ROWS),
    "p.ndjson": lambda path: lines(path, ROWS[0], "", "  ", ROWS[1]),
    "bom.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, ROWS)).encode()),
    "p.json": lambda path: path.write_text(json.dumps(ROWS, indent=1)),
    "lines.json": lambda path: lines(path, *ROWS),
    "extensionless": lambda path: path.write_text("\n" + json.dumps(ROWS)),
    "p.csv": lambda path: table(path, *ROWS),
    "p.tsv": lambda path: table(path, *ROWS),
    "p.jsonl.gz": gzipped(lambda path: lines(path, *ROWS)),
    "p.json.gz": gzipped(lambda path: path.write_text(json.dumps(ROWS))),
    "p.csv.gz": gzipped(lambda path: table(path, *ROWS)),
    "p.parquet": as_parquet,
    "saved": as_saved_dataset,
    "splits": as_saved_splits,
    "folder": as_data_folder,
}


@pytest.fixture
def own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.usefixtures("own_datasets_cache")
def test_every_format_gives_the_same_prompts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    FORMATS[name](path)
    prompts = read_prompts(str(path), CONFIG)
    assert [prompt.messages[0].content for prompt in prompts] == [row["prompt"] for row in ROWS]
    assert {prompt.source for prompt in prompts} == {name}


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"\n" + b"".join(json.dumps(row).encode() + b"\n" for row in ROWS))
    os.close(write)
    try:
        assert len(texts(f"/dev/fd/{read}")) == 2
    finally:
        os.close(read)


def test_a_saved_split_is_chosen_by_name(tmp_path: Path) -> None:
    as_saved_splits(tmp_path / "splits")
    with pytest.raises(InputError, match=r"no split 'test'; input\.split may be train"):
        texts(str(tmp_path / "splits"), split="test")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.jsonl", b"", "there are no rows"),
        ("p.jsonl", b"\n\n", "there are no rows"),
        ("p.json", b"", "there are no rows"),
        ("p.json", b"[]", "there are no rows"),
        ("p.csv", b"", "there are no rows"),
        ("p.csv", b"prompt\n", "there are no rows"),
        ("p.json", b'[{"prompt": "x"}\n {}]', "p.json:2:2: not JSON"),
        ("p.json", b'{\n"prompt": "x"\n}', "JSON array of rows, or one JSON object a line"),
        ("p.jsonl", b"nonsense\n", "p.jsonl:1: not JSON"),
        ("p.jsonl", b"[1]\n", "p.jsonl:1: a list where an object"),
        ("p.jsonl.gz", b"not gzip", "damaged gzip"),
        ("p.jsonl.gz", gzip.compress(b'{"prompt": "x"}\n' * 9999, mtime=0)[:50], "damaged gzip"),
        ("p.parquet", b"not parquet", "not a readable Parquet"),
        ("p.xlsx", b"PK", "raif reads .jsonl, .json, .csv"),
        ("notes", b"words", "raif reads .jsonl"),
        ("p.csv", b"prompt,prompt\na,b\n", "names a column twice"),
    ],
)
def test_an_unreadable_source_is_one_clear_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_prompts(str(path), CONFIG)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (str(tmp_path / "absent.jsonl"), "absent.jsonl", "./absent", "a/b/c", str(tmp_path / "absent")):
        with pytest.raises(InputError, match="there is no such file"):
            read_prompts(source, CONFIG)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="this folder is empty"):
        read_prompts(str(tmp_path / "empty"), CONFIG)


@pytest.mark.usefixtures("own_datasets_cache")
def test_a_hub_id_without_a_network_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="nobody/nothing: there is no such file or folder, and no data set") as caught:
        read_prompts("nobody/nothing", CONFIG)
    assert "\n" not in str(caught.value)


def test_a_hub_id_names_itself_and_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load(*arguments: Any, **options: Any) -> list[dict[str, str]]:
        asked.append((arguments, options))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load)
    prompts = read_prompts("some/data:small", InputConfig(split="test"), limit=1)
    assert asked == [(("some/data", "small"), {"split": "test"})]
    assert [prompt.source for prompt in prompts] == ["some/data:small"]


def test_records_hold_no_machine_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lines(tmp_path / "p.jsonl", *ROWS)
    monkeypatch.chdir(tmp_path)
    assert source_name(path) == source_name("p.jsonl") == source_name("./p.jsonl") == "p.jsonl"
    assert source_name(".") == tmp_path.name
    assert source_name("org/name") == "org/name"


# Prompts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "messages", "demonstration"),
    [
        ({"prompt": "q"}, [user("q")], None),
        ({"question": "q", "answer": "a"}, [user("q")], "a"),
        ({"question": "q", "answer": ""}, [user("q")], None),
        ({"instruction": "Add", "input": "1 2", "output": "3"}, [user("Add\n\n1 2")], "3"),
        ({"instruction": "Add", "input": ""}, [user("Add")], None),
        ({"prompt": [user("q")], "completion": [assistant("a")]}, [user("q")], "a"),
        ({"messages": [user("q"), assistant("a")]}, [user("q")], "a"),
        ({"messages": [user("q"), assistant("a"), user("r")]}, [user("q"), assistant("a"), user("r")], None),
        (
            {"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "q", "name": None}]},
            [{"role": "system", "content": "s"}, user("q")],
            None,
        ),
        ({"messages": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, [user("q")], "a"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]}, [user("q")], None),
        ({"prompt": "\n\nHuman: q\n\nAssistant:"}, [user("q")], None),
        ({"prompt": "\n\nHuman: q\n\nAssistant: a"}, [user("q")], "a"),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "…"}, [user("q")], None),
        ({"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]}, [user("q")], None),
        ({"prompt": "Human: is a word"}, [user("Human: is a word")], None),
    ],
)
def test_layouts_of_prompts(
    tmp_path: Path, row: Any, messages: list[dict[str, str]], demonstration: str | None
) -> None:
    (prompt,) = read_prompts(lines(tmp_path / "p.jsonl", row), CONFIG)
    assert [turn.model_dump() for turn in prompt.messages] == messages
    assert prompt.demonstration == demonstration


def test_flags_override_what_is_detected(tmp_path: Path) -> None:
    row = {"prompt": "wrong", "ask": "right", "output": "no", "chosen": "\n\nHuman: q\n\nAssistant: yes"}
    path = lines(tmp_path / "p.jsonl", row)
    (prompt,) = read_prompts(path, InputConfig(prompt_column="ask", response_column="chosen"))
    assert (prompt.messages[0].content, prompt.demonstration) == ("right", "yes")


def test_a_message_list_in_a_table(tmp_path: Path) -> None:
    path = table(tmp_path / "p.csv", {"messages": json.dumps([user("q"), assistant("a")])}, {"messages": "[{}]"})
    prompts = read_prompts(path, CONFIG)
    assert [(prompt.messages[-1].content, prompt.demonstration) for prompt in prompts] == [("q", "a"), ("[{}]", None)]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "no column of prompts among text, id; looked for prompt, messages, question, instruction: name it with"),
        ({"prompt_column": "query"}, "there is no column 'query' (--prompt-column); there are text, id"),
        ({"prompt_column": "text", "response_column": "y"}, "there is no column 'y' (--response-column); there are"),
    ],
)
def test_missing_columns_are_named_with_the_flags(tmp_path: Path, config: dict[str, str], words: str) -> None:
    path = lines(tmp_path / "p.jsonl", {"text": "q"}, {"text": "r", "id": 1})
    with pytest.raises(InputError) as caught:
        read_prompts(path, InputConfig(**config))
    assert words in str(caught.value)
    assert path in str(caught.value)
    assert "--" in str(caught.value)


BAD_PROMPTS: list[tuple[Any, str]] = [
    ({"prompt": ""}, "column 'prompt' is empty"),
    ({"prompt": " \n"}, "column 'prompt' is empty"),
    ({"prompt": None}, "column 'prompt' is empty"),
    ({"other": "x"}, "column 'prompt' is empty"),
    ({"prompt": []}, "column 'prompt' is empty"),
    ({"prompt": 7}, "column 'prompt' holds int where text or messages"),
    ({"prompt": ["q"]}, "entry 1 is no message"),
    ({"prompt": [{"role": "tool", "content": "q"}]}, "message 1 has the role 'tool'"),
    ({"prompt": [{"role": "user", "content": None}]}, "message 1 holds no text"),
    ({"prompt": [{"role": "user", "content": [{"type": "image"}]}]}, "message 1 holds no text"),
    ({"prompt": [{"role": "system", "content": "s"}]}, "does not end with a user's turn"),
    ({"prompt": [user("q"), assistant("a"), assistant("b")]}, "does not end with a user's turn"),
    ({"prompt": [user(" ")]}, "has an empty turn"),
    ('{"prompt": "x"', "not JSON"),
    ("[]", "a list where an object"),
    ('"text"', "text where an object"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_PROMPTS)
def test_a_bad_row_is_reported_with_its_line(tmp_path: Path, row: Any, reason: str) -> None:
    path = lines(tmp_path / "p.jsonl", {"prompt": "one"}, "", row, {"prompt": "two"})
    notes: list[str] = []
    assert [prompt.messages[0].content for prompt in read_prompts(path, CONFIG, on_note=notes.append)] == ["one", "two"]
    assert len(notes) == 1
    assert notes[0].startswith(f"{path}:3: skipped: ")
    assert reason in notes[0]
    with pytest.raises(InputError, match=r"p\.jsonl:3: ") as caught:
        read_prompts(path, InputConfig(on_bad_row="fail"))
    assert reason in str(caught.value)


def test_what_is_not_utf_8_costs_its_row_alone(tmp_path: Path) -> None:
    notes: list[str] = []
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"prompt": "a"}\n{"prompt": "\xff"}\n{"prompt": "b"}\n')
    assert len(read_prompts(str(path), CONFIG, on_note=notes.append)) == 2
    path = tmp_path / "p.csv"
    path.write_bytes(b'prompt,n\n"a\nb",1\n\xff,2\nshort\nc,3\n')
    assert texts(str(path)) == ["a\nb", "c"]
    read_prompts(str(path), CONFIG, on_note=notes.append)
    # the cell of the first row spans lines 2 and 3
    assert [note.split(str(tmp_path))[1] for note in notes] == [
        "/p.jsonl:2: skipped: not UTF-8 (byte 13 of the line)",
        "/p.csv:4: skipped: not UTF-8",
        "/p.csv:5: skipped: 1 cells where the header has 2 columns",
    ]


def test_the_first_bad_rows_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    rows = [{"prompt": ""}] * 7 + [{"prompt": "q"}, {"prompt": "q"}]
    path = tmp_path / "p.json"
    path.write_text(json.dumps(rows))
    notes: list[str] = []
    assert len(read_prompts(str(path), CONFIG, on_note=notes.append)) == 1
    assert notes == [
        *(f"{path}: row {n}: skipped: column 'prompt' is empty" for n in range(1, 6)),
        f"{path}: skipped 7 bad rows in all, 2 of them not shown",
        f"{path}: dropped 1 duplicate prompts",
    ]
    with pytest.raises(InputError, match="row 1: column 'prompt' is empty"):
        read_prompts(str(path), InputConfig(on_bad_row="fail"))


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", {"prompt": ""}, {"prompt": None})
    with pytest.raises(InputError, match="no usable prompts here \\(2 bad rows\\)"):
        read_prompts(path, CONFIG)


def test_the_limit_counts_usable_rows_and_reads_no_further(tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": ""}, *({"prompt": f"{n}"} for n in range(150)), "broken"]
    path = lines(tmp_path / "p.jsonl", *rows)
    notes: list[str] = []
    assert len(read_prompts(path, CONFIG, limit=120, on_note=notes.append)) == 120
    assert len(notes) == 1
    assert len(read_prompts(path, CONFIG, limit=None)) == 150


# Pairs -------------------------------------------------------------------------------------------------------------

GOOD_PAIRS: list[tuple[Any, list[dict[str, str]]]] = [
    ({"prompt": "q", "chosen": "good", "rejected": "bad"}, [user("q")]),
    ({"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"}, [user("q")]),
    (
        {
            "chosen": "\n\nHuman: q\n\nAssistant: a\n\nAssistant: b\n\nHuman: r\n\nAssistant: good",
            "rejected": "\n\nHuman: q\n\nAssistant: a\n\nAssistant: b\n\nHuman: r\n\nAssistant: bad",
        },
        [user("q"), assistant("a\n\nb"), user("r")],
    ),
    ({"chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]}, [user("q")]),
    ({"prompt": [user("q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]}, [user("q")]),
    ({"prompt": "q", "chosen": assistant("good"), "rejected": assistant("bad")}, [user("q")]),
    (
        {
            "prompt": "q",
            "messages": [user("q"), assistant("good")],
            "chosen": [user("q"), assistant("good")],
            "rejected": [user("q"), assistant("bad")],
        },
        [user("q")],
    ),
    (
        {
            "prompt": "\n\nHuman: q\n\nAssistant:",
            "chosen": "\n\nHuman: q\n\nAssistant: good",
            "rejected": "\n\nHuman: q\n\nAssistant: bad",
        },
        [user("q")],
    ),
    ({"question": "q", "response_a": "good", "response_b": "bad", "label": "A"}, [user("q")]),
    ({"question": "q", "response_a": "bad", "response_b": "good", "label": 1}, [user("q")]),
    ({"question": "q", "response_a": "good", "response_b": "bad", "winner": "response_a"}, [user("q")]),
    ({"question": "q", "response_a": "bad", "response_b": "good", "p_a": 0.0}, [user("q")]),
]


@pytest.mark.parametrize(("row", "prompt"), GOOD_PAIRS)
def test_layouts_of_pairs(tmp_path: Path, row: Any, prompt: list[dict[str, str]]) -> None:
    path = lines(tmp_path / "pairs.jsonl", row)
    (comparison,) = read_pairs(path, CONFIG)
    assert [turn.model_dump() for turn in comparison.prompt] == prompt
    assert {comparison.response_a, comparison.response_b} == {"good", "bad"}
    assert comparison.human_p_a == (1.0 if comparison.response_a == "good" else 0.0)
    assert (comparison.source, comparison.origin_a, comparison.origin_b) == ("pairs.jsonl", "file", "file")
    (pair,) = read_training_pairs(path, CONFIG)
    assert [turn.model_dump() for turn in pair.prompt] == prompt
    assert (pair.chosen[0].content, pair.rejected[0].content, pair.p_chosen) == ("good", "bad", 1.0)
    assert (pair.chosen[0].role, pair.source, pair.comparison_id) == ("assistant", "pairs.jsonl", "")


@pytest.mark.parametrize(
    ("label", "p_a"),
    [({"label": "tie"}, 0.5), ({"label": None}, None), ({"label": ""}, None), ({}, None), ({"p_a": 0.3}, 0.3)],
)
def test_soft_tied_and_missing_labels(tmp_path: Path, label: dict[str, Any], p_a: float | None) -> None:
    row = {"prompt": "q", "response_a": "first", "response_b": "second", **label}
    path = lines(tmp_path / "pairs.jsonl", row)
    (comparison,) = read_pairs(path, CONFIG)
    first = comparison if comparison.response_a == "first" else comparison.swap()
    assert first.human_p_a == p_a
    if p_a == 0.3:
        (pair,) = read_training_pairs(path, CONFIG)
        assert (pair.chosen[0].content, pair.p_chosen) == ("second", 0.7)
    else:
        with pytest.raises(InputError, match=r"no usable pairs here \(1 undecided pairs"):
            read_training_pairs(path, CONFIG)


def test_numbered_labels_are_explained(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}", "response_a": "x", "response_b": "y", "label": n} for n in (0, 1)]
    notes: list[str] = []
    read_pairs(lines(tmp_path / "p.jsonl", *rows), CONFIG, on_note=notes.append)
    assert notes == [f"{tmp_path / 'p.jsonl'}: column 'label': 0 is read as response_a, 1 as response_b"]


BAD_PAIRS: list[tuple[Any, str]] = [
    ({"prompt": "q", "chosen": "x", "rejected": " "}, "the response in rejected is empty"),
    ({"prompt": "q", "chosen": [assistant(" ")], "rejected": "x"}, "the response in chosen is empty"),
    ({"prompt": "q", "chosen": "x", "rejected": None}, "column 'rejected' is empty"),
    ({"prompt": "q", "chosen": "x", "rejected": 3}, "column 'rejected' holds int"),
    ({"prompt": "q", "chosen": "x", "rejected": "x"}, "both responses are the same"),
    ({"prompt": None, "chosen": "x", "rejected": "y"}, "column 'prompt' is empty"),
    ({"prompt": "q", "chosen": [user("q")], "rejected": "y"}, "column 'chosen' does not end with an assistant's turn"),
    (
        {"prompt": "q", "chosen": [user("q"), assistant("x")], "rejected": [user("r"), assistant("y")]},
        "chosen and rejected share no prompt",
    ),
    ({"prompt": "q", "chosen": "x", "rejected": "y", "p_chosen": 1.2}, "which is no probability"),
    ({"prompt": "q", "chosen": "x", "rejected": "y", "p_chosen": "high"}, "which is no probability"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_PAIRS)
def test_a_bad_pair_is_reported_with_its_line(tmp_path: Path, row: Any, reason: str) -> None:
    path = lines(tmp_path / "p.jsonl", {"prompt": "q", "chosen": "x", "rejected": "y"}, row)
    for read in (read_pairs, read_training_pairs):
        notes: list[str] = []
        assert len(read(path, CONFIG, on_note=notes.append)) == 1
        assert len(notes) == 1
        assert notes[0].startswith(f"{path}:2: skipped: ")
        assert reason in notes[0]
        with pytest.raises(InputError, match=r"p\.jsonl:2: "):
            read(path, InputConfig(on_bad_row="fail"))


@pytest.mark.parametrize("label", ["c", 0.7, True, 2])
def test_a_label_that_says_nothing_is_a_bad_row(tmp_path: Path, label: Any) -> None:
    path = lines(tmp_path / "p.jsonl", {"prompt": "q", "response_a": "x", "response_b": "y", "label": label})
    with pytest.raises(InputError, match=r"column 'label' holds .*; a, b, tie"):
        read_pairs(path, InputConfig(on_bad_row="fail"))


def test_columns_of_pairs_can_be_named(tmp_path: Path) -> None:
    row = {"ask": "q", "better": "good", "worse": "bad", "response_a": "no", "response_b": "neither"}
    config = InputConfig(prompt_column="ask", chosen_column="better", rejected_column="worse")
    (pair,) = read_training_pairs(lines(tmp_path / "p.jsonl", row), config)
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("good", "bad")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "q", "text": "x"}, "no pairs of responses among the columns prompt, text"),
        ({"prompt": "q", "chosen": "x"}, "there is no rejected"),
        ({"prompt": "q", "response_a": "x"}, "there is no chosen and no rejected"),
        ({"chosen": "x", "rejected": "y"}, "name the prompts with --prompt-column"),
        ({"text": "q", "response_a": "x", "response_b": "y"}, "name the prompts with --prompt-column"),
    ],
)
def test_missing_columns_of_pairs(tmp_path: Path, row: Any, words: str) -> None:
    path = lines(tmp_path / "p.jsonl", row)
    with pytest.raises(InputError) as caught:
        read_pairs(path, CONFIG)
    assert words in str(caught.value)
    assert "--prompt-column" in str(caught.value)


def preference(number: int, outcome: str, p_a: float | None) -> Preference:
    comparison = Comparison(
        prompt=conversation(f"q{number}"),
        response_a="first",
        response_b="second",
        source="responses",
        origin_a="policy",
        origin_b="revision",
    )
    return Preference(
        comparison=comparison,
        outcome=outcome,
        reason="refusal" if outcome == "abstain" else None,
        p_a=p_a,
        judge="j",
        constitution="c",
        template="t",
        judgements=(Judgement(order="ab", principle_id="kind", weight=1, p_a=p_a),),
    )


def test_raifs_own_files_can_be_labelled_and_trained_on(tmp_path: Path) -> None:
    preferences = [
        preference(0, "a", 0.9),
        preference(1, "b", 0.2),
        preference(2, "tie", 0.5),
        preference(3, "abstain", None),
    ]
    decided = [TrainingPair.from_preference(found) for found in preferences[:2]]
    labels, pairs = tmp_path / "30_labels.jsonl", tmp_path / "35_preferences.jsonl"
    labels.write_bytes(b"".join(record.to_json() + b"\n" for record in preferences))
    pairs.write_bytes(b"".join(record.to_json() + b"\n" for record in decided))

    assert read_pairs(str(labels), CONFIG) == [found.comparison for found in preferences]
    again = read_pairs(str(pairs), CONFIG)
    assert [{c.response_a, c.response_b} for c in again] == [{"first", "second"}] * 2
    assert [c.human_p_a for c in again] == [None, None]  # a judge's label is no human's

    notes: list[str] = []
    assert read_training_pairs(str(labels), CONFIG, on_note=notes.append) == decided
    assert notes == [f"{labels}: left out 2 undecided pairs (tie, abstention, or no label)"]
    trained = read_training_pairs(str(pairs), CONFIG)
    assert [pair.model_dump(exclude={"source"}) for pair in trained] == [
        p.model_dump(exclude={"source"}) for p in decided
    ]


def test_duplicate_pairs_are_dropped_for_judging_and_kept_for_training(tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": "x", "rejected": "y"}
    path = lines(tmp_path / "p.jsonl", row, {**row, "chosen": "y", "rejected": "x"}, row)
    notes: list[str] = []
    assert len(read_pairs(path, CONFIG, on_note=notes.append)) == 1
    assert notes == [f"{path}: dropped 2 duplicate pairs"]
    assert len(read_training_pairs(path, CONFIG)) == 3


# Which one was chosen ----------------------------------------------------------------------------------------------

words = st.text(min_size=1, max_size=8)


def shown(comparison: Comparison) -> dict[str, Any]:
    """All that a judge, or anything that shows it pairs, could see."""
    return comparison.model_dump(exclude={"human_p_a"})


@settings(max_examples=50)
@given(words, words, st.integers(0, 2**31 - 1), st.sampled_from([None, 0.0, 0.3, 1.0]))
def test_sides_do_not_depend_on_which_is_first(first: str, second: str, seed: int, p: float | None) -> None:
    one = with_neutral_sides(conversation("q"), first, second, p, seed=seed, source="s")
    flipped = None if p is None else 1 - p
    other = with_neutral_sides(conversation("q"), second, first, flipped, seed=seed, source="s")
    assert shown(one) == shown(other)
    if first != second:
        assert one == other
        assert one.human_p_a == (p if one.response_a == first else other.human_p_a)


def test_origins_stay_with_their_responses() -> None:
    found = [
        with_neutral_sides(conversation(f"{n}"), "x", "y", seed=0, source="s", origins=("of x", "of y"))
        for n in range(20)
    ]
    assert {(c.response_a, c.origin_a, c.response_b, c.origin_b) for c in found} == {
        ("x", "of x", "y", "of y"),
        ("y", "of y", "x", "of x"),
    }


def test_neither_side_nor_order_tells_which_was_chosen(tmp_path: Path) -> None:
    """The same pairs with the labels turned round look the same; sides come out even; and the seed moves them."""
    rows = [{"prompt": f"q{n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(400)]
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    (tmp_path / "turned").mkdir()
    pairs = read_pairs(lines(tmp_path / "p.jsonl", *rows), CONFIG)
    others = read_pairs(lines(tmp_path / "turned" / "p.jsonl", *turned), CONFIG)
    assert [shown(c) for c in pairs] == [shown(c) for c in others]
    assert all(c.human_p_a == 1 - o.human_p_a for c, o in zip(pairs, others, strict=True) if c.human_p_a is not None)
    # 400 fair coins: 200 ± 5 standard deviations of 10
    assert 150 < sum(c.human_p_a == 1 for c in pairs) < 250
    moved = read_pairs(str(tmp_path / "p.jsonl"), CONFIG, seed=1)
    assert 150 < sum(c.human_p_a != m.human_p_a for c, m in zip(pairs, moved, strict=True)) < 250
    assert pairs == read_pairs(str(tmp_path / "p.jsonl"), CONFIG)


# Real transcripts --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(["Human", "Assistant"]), st.text(max_size=9)), min_size=1, max_size=5))
def test_a_transcript_is_split_where_its_turns_begin(turns: list[tuple[str, str]]) -> None:
    turns = [("Human", "q"), *((speaker, content.strip()) for speaker, content in turns)]
    text = "".join(f"\n\n{speaker}: {content}" for speaker, content in turns)
    roles = {"Human": "user", "Assistant": "assistant"}
    assert transcript_turns(text) == [Message(role=roles[speaker], content=content) for speaker, content in turns]
    assert is_transcript(text) == any(speaker == "Assistant" for speaker, _ in turns)


@needs_hh
def test_the_real_pairs() -> None:
    """1,600 rows, of which one shares no prompt and four have an empty response (README of the data)."""
    notes: list[str] = []
    pairs = read_pairs(str(HH), CONFIG, on_note=notes.append)
    assert len(pairs) == 1595
    assert [note.removeprefix(f"{HH}:").split(": skipped: ")[0] for note in notes] == [
        "87",
        "517",
        "926",
        "1104",
        "1255",
    ]
    assert [note.rpartition(": ")[2] for note in notes] == [
        *["the response in chosen is empty"] * 4,
        "chosen and rejected share no prompt",
    ]
    # 1,595 fair coins: 797.5 ± 4 standard deviations of 20
    assert 718 < sum(c.human_p_a or 0 for c in pairs) < 877
    for pair in pairs:
        roles = [turn.role for turn in pair.prompt]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        assert not any(
            mark in text for text in (pair.response_a, pair.response_b) for mark in ("\n\nHuman:", "\n\nAssistant:")
        )
    trained = read_training_pairs(str(HH), CONFIG)
    assert [{p.chosen[0].content, p.rejected[0].content} for p in trained] == [
        {c.response_a, c.response_b} for c in pairs
    ]
    assert all((p.chosen[0].content == c.response_a) == (c.human_p_a == 1) for p, c in zip(trained, pairs, strict=True))


@needs_hh
def test_the_real_prompts() -> None:
    notes: list[str] = []
    prompts = read_prompts(str(HH), CONFIG, limit=300, on_note=notes.append)
    assert (len(prompts), notes) == (300, [])
    assert len({prompt.id for prompt in prompts}) == 300
    assert {prompt.demonstration for prompt in prompts} == {None}
    assert {prompt.messages[-1].role for prompt in prompts} == {"user"}


@needs_hh
def test_a_bad_real_row_can_be_fatal() -> None:
    with pytest.raises(InputError, match=r"hh_harmless_dev\.jsonl\.gz:87: the response in chosen is empty"):
        read_pairs(str(HH), InputConfig(on_bad_row="fail"))
