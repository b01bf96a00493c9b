"""Constitutions: what a judge is asked to judge by.

model       Principle, Constitution, few-shot examples; what makes their hash
source      a YAML file with the line and column of everything in it
load        a file → a Constitution, or errors that name file:line:column, field and remedy
schema      the JSON Schema that editors complete and check against
wording     what a statement says, and whether two of them repeat or contradict one another
lint        everything about a file that is worth a second look
"""

from raif.constitution.lint import Finding, lint
from raif.constitution.load import load_constitution
from raif.constitution.model import (
    STATEMENTS,
    ComparisonExample,
    Constitution,
    CritiqueExample,
    Example,
    Principle,
)
from raif.constitution.schema import constitution_schema, schema_text

__all__ = [
    "STATEMENTS",
    "ComparisonExample",
    "Constitution",
    "CritiqueExample",
    "Example",
    "Finding",
    "Principle",
    "constitution_schema",
    "lint",
    "load_constitution",
    "schema_text",
]
