"""Constitution files: every mistake has its file:line:column, names the field, and says what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from raif.constitution import Constitution, load_constitution
from raif.errors import ConstitutionError
from raif.resources import folder

SHIPPED = sorted(folder("constitution").glob("*.yaml"))


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def load(tmp_path: Path, text: str | bytes) -> Constitution:
    return load_constitution(write(tmp_path, text))


def failure(tmp_path: Path, text: str | bytes) -> str:
    """What is said about a file, without the folder that it lies in."""
    with pytest.raises(ConstitutionError) as caught:
        load(tmp_path, text)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{tmp_path}/")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_load_and_point_to_their_schema(path: Path) -> None:
    constitution = load_constitution(path)
    assert constitution.name == path.stem
    assert constitution.version
    assert constitution.description
    assert path.read_text("utf-8").startswith("# yaml-language-server: $schema=constitution.schema.json\n")


def test_there_are_the_two_that_must_be_there_and_one_is_the_default() -> None:
    assert {"default.yaml", "demo.yaml"} <= {path.name for path in SHIPPED}
    assert load_constitution() == load_constitution(folder("constitution") / "default.yaml")


def test_the_smallest_file(tmp_path: Path) -> None:
    constitution = load(tmp_path, "principles: [{id: kind, comparison: Choose the kinder response.}]")
    assert (constitution.name, constitution.version) == ("mine", "")
    assert constitution.principle("kind").text == "Choose the kinder response."


def test_formatting_and_comments_do_not_change_the_hash(tmp_path: Path) -> None:
    plain = load(tmp_path, "name: a\nprinciples:\n  - id: kind\n    text: Be kind to all.\n    weight: 2\n")
    other = load(
        tmp_path,
        '\ufeff# why\n---\n{"principles": [{"weight": 2.0, # two\n "text": "Be kind\n to all.", "id": kind}],\n'
        " name: b}\n",
    )
    folded = load(tmp_path, "principles:\r\n- id: kind\r\n  weight: 2\r\n  text: >\r\n    Be kind\r\n    to all.\r\n")
    assert plain.hash == other.hash == folded.hash


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = "principles:\n  - &x {id: x, text: Be kind., weight: 2}\n  - {<<: *x, id: y}\n"
    assert load(tmp_path, text).principle("y").weight == 2


START = "principles:\n  - id: kind\n"  # what follows is line 3, with four spaces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            START + "    text: 3\n",
            "mine.yaml:3:11: `principles[0].text` (kind) must be text; found 3 (a number); put it in",
        ),
        (
            START + "    text: no\n",
            "3:11: `principles[0].text` (kind) must be text; found no (true or false); put it in",
        ),
        (START + "    text: ''\n", "3:11: `principles[0].text` (kind) is empty; write it, or leave the field out"),
        (START + "    text:\n", "3:10: `principles[0].text` (kind) must be text; found nothing"),
        (START + "    text: [a]\n", "3:11: `principles[0].text` (kind) must be text; found a list"),
        (START, "mine.yaml:2:5: `principles[0]` (kind) has no statement; give it at least one of text, critique,"),
        (
            START + "    text: x\n    weight: 0\n",
            "4:13: `principles[0].weight` (kind) must be greater than 0; found 0 (a",
        ),
        (
            START + "    text: x\n    weight: heavy\n",
            "4:13: `principles[0].weight` (kind) must be a number greater than 0; f",
        ),
        (
            START + "    text: x\n    weight: .inf\n",
            "4:13: `principles[0].weight` (kind) must be a number greater than 0; f",
        ),
        (
            START + "    text: x\n    wieght: 1\n",
            "4:5: `principles[0]` (kind) has no field `wieght`; did you mean `weight`?",
        ),
        (
            START + "    text: x\n    hue: 1\n",
            "4:5: `principles[0]` (kind) has no field `hue`; its fields are id, text, c",
        ),
        (START + "    text: x\n    7: 1\n", "4:5: `principles[0]` (kind) has no field `7`; its fields are id, text, c"),
        (START + "    text: x\n    tags: safety\n", "4:11: `principles[0].tags` (kind) must be a list; found 'safety'"),
        (START + '    text: "x\\e"\n', "3:11: `principles[0].text` (kind) contains the control character '\\x1b'"),
        ("principles:\n  - text: x\n", "mine.yaml:2:5: `principles[0]` lacks `id`"),
        (
            "principles:\n  - id: 7\n    text: x\n",
            "2:9: `principles[0].id` must be text; found 7 (a number); put it in quot",
        ),
        ("principles:\n  - kind\n", "2:5: `principles[0]` must be a mapping of fields such as `id: …`; found 'kind'"),
        ("principles: []\n", "1:13: `principles` is empty; a constitution has at least one principle"),
        ("principles:\n", "1:12: `principles` must be a list; found nothing"),
        ("principles: {id: x}\n", "1:13: `principles` must be a list; found a mapping"),
        ("name: x\n", "mine.yaml:1:1: the constitution lacks `principles`"),
        (
            "name: x\nprinciple: []\n",
            "mine.yaml:1:1: the constitution lacks `principles` (and 1 more: `raif constitution",
        ),
        ("version: 1.10\n" + START + "    text: x\n", "1:10: `version` must be text; found 1.10 (a number); put it in"),
        (
            "version: 2026-11-20\n" + START + "    text: x\n",
            "1:10: `version` must be text; found 2026-11-20 (a date); p",
        ),
        (
            "version: 2026-13-45\n" + START + "    text: x\n",
            "1:10: malformed YAML: the value can't be read (month must",
        ),
        ("", "mine.yaml:1:1: the file is empty; a constitution has at least `principles:`"),
        ("# only a comment\n", "mine.yaml:1:1: the file is empty"),
        ("- id: x\n", "mine.yaml:1:1: a constitution is a mapping with `principles:`; found a list at the top"),
        ("hello\n", "mine.yaml:1:1: a constitution is a mapping with `principles:`; found 'hello' at the top"),
    ],
)
def test_a_wrong_value_is_placed_and_explained(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in failure(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            START + "    text: a: b\n",
            "mine.yaml:3:12: malformed YAML: mapping values are not allowed here; put a text that",
        ),
        (START + "\ttext: x\n", "mine.yaml:3:1: a tab stands where YAML wants spaces"),
        (START + "    text: [x\n", "mine.yaml:4:1: malformed YAML: while parsing a flow sequence"),
        (START + "    text: 'x\n", "malformed YAML: while scanning a quoted scalar"),
        (START + "    text: *nowhere\n", "mine.yaml:3:11: malformed YAML: found undefined alias"),
        (
            START + "    text: x\n    id: kinder\n",
            "mine.yaml:4:5: the key 'id' is written twice, first in line 2; remove one",
        ),
        ("name: a\n'name': b\n", "mine.yaml:2:1: the key 'name' is written twice, first in line 1"),
        (
            START + "    text: !!python/object/apply:os.system [ls]\n",
            "mine.yaml:3:11: malformed YAML: could not determine a c",
        ),
        (
            START + "    ? [a]\n    : x\n",
            "mine.yaml:3:7: malformed YAML: while constructing a mapping, found unhashable key",
        ),
        ("name: a\n---\nname: b\n", "mine.yaml:2:1: the file holds more than one YAML document (---); keep one"),
        ("name: a\nversion: x\x07y\n", "mine.yaml:2:11: the character '\\x07' is not allowed in YAML; take it out"),
        (b"name: a\nversion: gr\xf6\xdfer\n", "mine.yaml:2:12: the byte 0xf6 is not UTF-8; save the file as UTF-8"),
        (b"\xff\xfen\x00", "mine.yaml:1:1: the byte 0xff is not UTF-8"),
        ("[" * 600, "the YAML is nested too deeply"),
    ],
)
def test_malformed_yaml_is_placed_and_explained(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in failure(tmp_path, text)


def test_examples_are_checked_by_their_kind(tmp_path: Path) -> None:
    start = START + "    text: x\n    examples:\n"
    assert "5:59: `principles[0].examples[0].better` (kind) must be 'a', 'b' or 'tie'; found 'A'" in failure(
        tmp_path, start + "      - {prompt: p, response_a: a, response_b: b, better: A}\n"
    )
    assert "5:9: `principles[0].examples[0]` (kind) lacks `critique`" in failure(
        tmp_path, start + "      - {prompt: p, response: r}\n"
    )
    assert "5:21: `principles[0].examples[0]` (kind) has no field `respond`; did you mean `response`?" in failure(
        tmp_path, start + "      - {prompt: p, respond: r, response: r, critique: c}\n"
    )


def test_a_repeated_id_is_placed_where_it_is_repeated(tmp_path: Path) -> None:
    text = "principles:\n  - {id: a, text: x}\n  - {id: b, text: x}\n  - {id: a, text: y}\n"
    assert failure(tmp_path, text) == "mine.yaml:4:10: the id 'a' is taken (line 2); give each principle its own"


def test_of_several_errors_the_first_in_the_file_is_told_with_a_count(tmp_path: Path) -> None:
    text = "principles:\n  - {id: a, text: 1}\n  - {id: b, weight: 0, text: x}\n  - {id: a, text: y}\nversion: 1\n"
    assert failure(tmp_path, text) == (
        "mine.yaml:2:19: `principles[0].text` (a) must be text; found 1 (a number); put it in quotes"
        " (and 3 more: `raif constitution lint` lists them)"
    )


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConstitutionError, match=r"nowhere\.yaml: there is no such file"):
        load_constitution(tmp_path / "nowhere.yaml")
    with pytest.raises(ConstitutionError, match="this is a folder; name a constitution file"):
        load_constitution(tmp_path)


def test_an_alias_bomb_does_not_go_off(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 9) + "]" for i in range(1, 40)]
    assert "has no field `a0`" in failure(tmp_path, "\n".join([*lines, "principles: *a39"]))
    assert "must be a list; found" in failure(tmp_path, START + "    text: x\n    tags: &t {t: *t}\n")
