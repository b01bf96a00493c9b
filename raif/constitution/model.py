"""Principles and constitutions: frozen, strict about their fields, and hashed by what reaches a judge."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from raif.errors import ConstitutionError
from raif.records import digest

STATEMENTS = ("text", "critique", "revision", "comparison")
"""The fields of a principle that word it; at least one is given."""

SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
"""What an id should look like (``raif constitution lint`` says so); it enters records, flags and reports."""


def _without_control_characters(text: str) -> str:
    for character in text:
        if unicodedata.category(character) == "Cc" and character not in "\n\t":
            raise PydanticCustomError(
                "control_character", "contains the control character {character}", {"character": repr(character)}
            )
    return text


def _kind_of_example(value: Any) -> str:
    """Which kind of example ``value`` is meant to be, by the fields it has."""
    names = value if isinstance(value, dict) else getattr(value, "model_fields_set", ())
    return "comparison" if {"response_a", "response_b", "better"} & set(names) else "critique"


def _listed(value: Any) -> Any:
    # pydantic would take a mapping's keys, a set or a string's letters for a tuple's items.
    if not isinstance(value, list | tuple):
        raise PydanticCustomError("tuple_type", "must be a list")
    return value


def _on_one_line(text: str) -> str:
    if "\n" in text or "\t" in text:
        raise PydanticCustomError("several_lines", "must be on one line")
    return text


Note = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_without_control_characters)]
"""Text that may be empty."""
Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_without_control_characters)
]
Label = Annotated[Words, AfterValidator(_on_one_line)]
"""Words on one line."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ComparisonExample(_Strict):
    """A worked comparison: two responses to one prompt, and which of them the principle prefers."""

    prompt: Words = Field(description="What the user asked.")
    response_a: Words = Field(description="The first response.")
    response_b: Words = Field(description="The second response.")
    better: Literal["a", "b", "tie"] = Field(description="Which response the principle prefers: a, b or tie.")
    reason: Words | None = Field(None, description="Why, in a few sentences: shown where a judge reasons first.")


class CritiqueExample(_Strict):
    """A worked critique: a response, the fault that the principle finds in it, and a revision without it."""

    prompt: Words = Field(description="What the user asked.")
    response: Words = Field(description="The response that is criticised.")
    critique: Words = Field(description="The fault, in one or two sentences; 'No fault.' where there is none.")
    revision: Words | None = Field(None, description="The response rewritten so that the fault is gone.")


Example = Annotated[
    Annotated[ComparisonExample, Tag("comparison")] | Annotated[CritiqueExample, Tag("critique")],
    Discriminator(_kind_of_example),
]


def _principle_schema(schema: dict[str, Any]) -> None:
    for field in STATEMENTS:
        del schema["properties"][field]["default"]
    schema["properties"]["id"]["pattern"] = f"^{SLUG.pattern}$"
    schema["anyOf"] = [{"required": [field]} for field in STATEMENTS]


class Principle(_Strict):
    """One thing to judge by. Only an id and one statement are required; the other statements are derived from it."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_principle_schema)

    id: Label = Field(
        description="A short, lasting name in lower case, such as non-evasive. Records and reports refer to it."
    )
    text: Words = Field(
        "",
        description="The principle as a statement about a response. Derived from the first given of comparison, "
        "critique and revision where left out.",
    )
    critique: Words = Field(
        "", description="The principle as a critic of a response reads it. The text where left out."
    )
    revision: Words = Field(
        "", description="The principle as an instruction for rewriting a response. The text where left out."
    )
    comparison: Words = Field(
        "", description="The principle as the rule for choosing between two responses. The text where left out."
    )
    weight: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = Field(
        1.0, description="How much the principle counts when a label is made of all of them; greater than 0."
    )
    tags: Annotated[tuple[Label, ...], BeforeValidator(_listed)] = Field(
        (), description="Groups that the principle belongs to, such as safety. A judge does not see them."
    )
    examples: Annotated[tuple[Example, ...], BeforeValidator(_listed)] = Field(
        (), description="Worked comparisons and critiques that a judge may be shown."
    )

    @model_validator(mode="after")
    def _derive_statements(self) -> Self:
        text = self.text or self.comparison or self.critique or self.revision
        if not text:
            raise PydanticCustomError("no_statement", "has no statement")
        for field in STATEMENTS:
            if not getattr(self, field):
                object.__setattr__(self, field, text)
        return self

    @property
    def given(self) -> tuple[str, ...]:
        """The statements that the author wrote, in the order of ``STATEMENTS``; the others are derived."""
        return tuple(field for field in STATEMENTS if field in self.model_fields_set)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over what the principle does: its id, resolved statements, weight and examples."""
        return digest("principle", self.model_dump(mode="json", exclude={"tags"}), length=64)


class Constitution(_Strict):
    """A named list of principles."""

    name: Annotated[Note, AfterValidator(_on_one_line)] = Field(
        "", description="What the constitution is called. The file's name where left out."
    )
    version: Annotated[Note, AfterValidator(_on_one_line)] = Field(
        "", description='The version of the text, as text: "1.0.0".'
    )
    description: Note = Field("", description="What the constitution is for, in a sentence or two.")
    principles: Annotated[tuple[Principle, ...], BeforeValidator(_listed)] = Field(
        min_length=1, description="What to judge by. The order matters to seeded draws only."
    )

    @model_validator(mode="after")
    def _unique_ids(self) -> Self:
        for identity, count in Counter(principle.id for principle in self.principles).items():
            if count > 1:
                raise PydanticCustomError("duplicate_id", "has more than one principle {id}", {"id": repr(identity)})
        return self

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over what reaches a judge or decides what its answers add up to.

        That is each principle's id, resolved statements, weight and examples, in order. The name, the version, the
        description, tags, comments and YAML formatting leave it as it is.
        """
        return digest("constitution", [principle.hash for principle in self.principles], length=64)

    def principle(self, id: str) -> Principle:
        """The principle with this id.

        Raises:
            ConstitutionError: there is none.
        """
        for principle in self.principles:
            if principle.id == id:
                return principle
        known = ", ".join(principle.id for principle in self.principles)
        raise ConstitutionError(f"the constitution {self.name!r} has no principle {id!r}; it has {known}")
