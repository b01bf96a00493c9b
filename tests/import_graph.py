"""The imports of raif's modules, read from their syntax trees: what test_architecture and test_docs both look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "raif"


@dataclass(frozen=True, slots=True)
class Import:
    """``importer`` imports ``imported`` on ``line``; ``eager`` where merely importing the importer does it."""

    importer: str
    imported: str
    line: int
    eager: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def component(module: str) -> str:
    """The part of raif that a module belongs to: ``models`` of ``raif.models.base``; ``raif`` of the package itself."""
    return module.split(".")[1] if "." in module else module


@cache
def modules() -> dict[str, Path]:
    """Every module of raif by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("raif", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    path = modules()[module]
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(source: ast.Module, importer: str, known: frozenset[str] = frozenset()) -> Iterator[Import]:
    """The imports in ``source``, in functions and under TYPE_CHECKING too.

    ``from raif.models import base`` imports the module ``raif.models.base`` where that is ``known`` to be one.
    """

    def visit(node: ast.AST, eager: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, node.lineno, eager)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                raise AssertionError(f"{importer}:{node.lineno} imports relatively; raif's imports are absolute")
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield Import(importer, whole if whole in known else base, node.lineno, eager)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                yield from visit(child, False)
            for child in node.orelse:
                yield from visit(child, eager)
        else:
            inside = eager and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inside)

    yield from visit(source, True)


@cache
def all_imports() -> tuple[Import, ...]:
    known = frozenset(modules())
    return tuple(found for module in modules() for found in imports_of(tree(module), module, known))


def internal() -> list[Import]:
    """The imports of raif's modules by raif's modules."""
    return [found for found in all_imports() if found.imported.split(".")[0] == "raif"]
