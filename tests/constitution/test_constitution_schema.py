"""The JSON Schema is generated, complete, and agrees with the loader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from raif.constitution import constitution_schema, load_constitution, schema_text
from raif.errors import ConstitutionError
from raif.resources import folder

SHIPPED = sorted(folder("constitution").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(constitution_schema())


def test_the_file_is_what_the_models_give() -> None:
    written = (folder("constitution") / "constitution.schema.json").read_text("utf-8")
    assert written == schema_text(), "run: raif constitution schema > constitution/constitution.schema.json"
    assert json.loads(written) == constitution_schema()


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(constitution_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_are_valid(path: Path) -> None:
    assert list(VALIDATOR.iter_errors(yaml.safe_load(path.read_text("utf-8")))) == []


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)


def test_editors_have_a_description_for_everything_and_complete_fields() -> None:
    found = list(objects(constitution_schema()))
    assert len(found) == 4  # the constitution, principles, two kinds of example
    for schema in found:
        assert schema["additionalProperties"] is False
        assert schema["description"]
        for name, field in schema["properties"].items():
            assert field.get("description"), name


PRINCIPLE = {"id": "x", "text": "T"}
PAIR = {"prompt": "p", "response_a": "a", "response_b": "b", "better": "a"}


@pytest.mark.parametrize(
    ("principle", "valid"),
    [
        (PRINCIPLE, True),
        ({"id": "x", "comparison": "P", "weight": 0.5, "tags": ["t"], "examples": [PAIR]}, True),
        (
            {"id": "x", "text": "T", "examples": [{"prompt": "p", "response": "r", "critique": "c", "revision": "v"}]},
            True,
        ),
        ({"id": "x"}, False),
        ({"text": "T"}, False),
        ({"id": "x", "text": ""}, False),
        ({"id": "x", "text": 3}, False),
        (PRINCIPLE | {"weight": 0}, False),
        (PRINCIPLE | {"weight": "1"}, False),
        (PRINCIPLE | {"tags": "t"}, False),
        (PRINCIPLE | {"wieght": 1}, False),
        (PRINCIPLE | {"examples": [PAIR | {"better": "A"}]}, False),
        (PRINCIPLE | {"examples": [{"prompt": "p"}]}, False),
    ],
)
def test_schema_and_loader_agree(tmp_path: Path, principle: dict[str, Any], valid: bool) -> None:
    data = {"principles": [principle]}
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(data))
    try:
        load_constitution(path)
        loads = True
    except ConstitutionError:
        loads = False
    assert (VALIDATOR.is_valid(data), loads) == (valid, valid)


def test_an_editor_marks_an_id_that_is_no_plain_name() -> None:
    assert not VALIDATOR.is_valid({"principles": [{"id": "Be Kind", "text": "T"}]})
    assert VALIDATOR.is_valid({"principles": [{"id": "be-kind_2", "text": "T"}]})
