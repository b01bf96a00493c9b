"""Principles and constitutions: what is derived, what is refused, what the hash follows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from raif.constitution import ComparisonExample, Constitution, CritiqueExample, Principle
from raif.errors import ConstitutionError


def statements(**given: str) -> tuple[str, str, str, str]:
    principle = Principle(id="x", **given)  # type: ignore[arg-type]
    return principle.text, principle.critique, principle.revision, principle.comparison


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # text, critique, revision, comparison
        ({"text": "T"}, ("T", "T", "T", "T")),
        ({"comparison": "P"}, ("P", "P", "P", "P")),
        ({"revision": "R"}, ("R", "R", "R", "R")),
        ({"critique": "C", "revision": "R"}, ("C", "C", "R", "C")),
        ({"comparison": "P", "critique": "C"}, ("P", "C", "P", "P")),
        ({"text": "T", "comparison": "P"}, ("T", "T", "T", "P")),
        ({"text": "T", "critique": "C", "revision": "R", "comparison": "P"}, ("T", "C", "R", "P")),
    ],
)
def test_what_is_left_out_is_derived(given: dict[str, str], expected: tuple[str, ...]) -> None:
    assert statements(**given) == expected
    assert set(Principle(id="x", **given).given) == set(given)  # type: ignore[arg-type]


def test_the_rest_has_defaults() -> None:
    principle = Principle(id="x", text="T")
    assert (principle.weight, principle.tags, principle.examples) == (1.0, (), ())


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "T"},
        {"id": "x"},
        {"id": "x", "text": ""},
        {"id": "x", "text": "  \n"},
        {"id": "", "text": "T"},
        {"id": "x\ny", "text": "T"},
        {"id": "x", "text": "a\x1b[31mb"},
        {"id": "x", "text": "T", "weight": 0},
        {"id": "x", "text": "T", "weight": -1},
        {"id": "x", "text": "T", "weight": float("inf")},
        {"id": "x", "text": "T", "weight": float("nan")},
        {"id": "x", "text": "T", "weight": "2"},
        {"id": "x", "text": "T", "weight": True},
        {"id": "x", "text": "T", "tags": "safety"},
        {"id": "x", "text": "T", "tags": {"safety": 1}},
        {"id": "x", "text": "T", "colour": "red"},
    ],
)
def test_what_is_not_a_principle(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Principle.model_validate(fields)


def test_a_principle_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Principle(id="x", text="T").weight = 2  # type: ignore[misc]


def test_examples_are_typed_by_what_they_hold() -> None:
    principle = Principle.model_validate(
        {
            "id": "x",
            "text": "T",
            "examples": [
                {"prompt": "p", "response_a": "a", "response_b": "b", "better": "tie"},
                {"prompt": "p", "response": "r", "critique": "c"},
            ],
        }
    )
    assert principle.examples == (
        ComparisonExample(prompt="p", response_a="a", response_b="b", better="tie"),
        CritiqueExample(prompt="p", response="r", critique="c"),
    )


def test_ids_are_unique() -> None:
    with pytest.raises(ValidationError, match="more than one principle 'x'"):
        Constitution(principles=(Principle(id="x", text="T"), Principle(id="x", text="U")))


def test_a_constitution_has_a_principle() -> None:
    with pytest.raises(ValidationError):
        Constitution(principles=())


def test_a_principle_is_found_by_its_id() -> None:
    constitution = Constitution(name="n", principles=(Principle(id="x", text="T"), Principle(id="y", text="U")))
    assert constitution.principle("y").text == "U"
    with pytest.raises(ConstitutionError, match=re.escape("'n' has no principle 'z'; it has x, y")):
        constitution.principle("z")


def test_a_constitution_survives_being_written_and_read() -> None:
    constitution = Constitution(principles=(Principle(id="x", critique="C", tags=("t",)), Principle(id="y", text="U")))
    again = Constitution.model_validate_json(constitution.model_dump_json())
    assert (again, again.hash) == (constitution, constitution.hash)


def make(**changes: Any) -> Constitution:
    """A constitution of ``x`` and ``y``, with ``x`` or the whole changed."""
    whole = {"name", "version", "description"} & changes.keys()
    x = {"id": "x", "text": "T", "weight": 2, "tags": ["t"]} | {k: v for k, v in changes.items() if k not in whole}
    fields = {"name": "n", "principles": [x, {"id": "y", "text": "U"}]} | {k: changes[k] for k in whole}
    return Constitution.model_validate(fields)


def test_the_hash_is_a_sha256_digest() -> None:
    assert re.fullmatch("[0-9a-f]{64}", make().hash)
    assert re.fullmatch("[0-9a-f]{64}", make().principle("x").hash)


EXAMPLE = {"prompt": "p", "response": "r", "critique": "c"}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "z"},
        {"text": "T."},
        {"critique": "C"},
        {"revision": "R"},
        {"comparison": "P"},
        {"weight": 2.5},
        {"examples": [EXAMPLE]},
    ],
)
def test_the_hash_follows_what_reaches_a_judge(changes: dict[str, Any]) -> None:
    assert make(**changes).hash != make().hash
    assert make(**changes).principles[0].hash != make().principles[0].hash
    assert make(**changes).principles[1].hash == make().principles[1].hash


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "m"},
        {"version": "2"},
        {"description": "d"},
        {"tags": []},
        {"weight": 2.0},
        {"text": " T\n"},
        {"critique": "T"},  # what would have been derived
    ],
)
def test_the_hash_follows_nothing_else(changes: dict[str, Any]) -> None:
    assert make(**changes).hash == make().hash


def test_the_hash_follows_the_order() -> None:
    x, y = make().principles
    assert Constitution(principles=(y, x)).hash != make().hash
