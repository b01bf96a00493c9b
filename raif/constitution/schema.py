"""The JSON Schema of constitution files, generated from the models."""

from __future__ import annotations

import json
from typing import Any

from raif.constitution.model import Constitution

FILE = "constitution.schema.json"


def constitution_schema() -> dict[str, Any]:
    """The schema that ``constitution/constitution.schema.json`` holds; a YAML file names it in its first line."""
    schema = Constitution.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "raif constitution",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def schema_text() -> str:
    """The schema as its file holds it, with the line end."""
    return json.dumps(constitution_schema(), indent=2, ensure_ascii=False) + "\n"
