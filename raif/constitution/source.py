"""A YAML file together with the line and column of everything in it.

What ``yaml.safe_load`` would give, plus positions, and stricter in one thing: a key that is written twice in one
mapping is refused, where YAML would silently keep the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from raif.errors import ConstitutionError

Location = tuple[str | int, ...]
"""The keys and indices that lead to a value: ``("principles", 0, "weight")``."""


class Place(NamedTuple):
    """Line and column, both counted from 1."""

    line: int
    column: int


class UnreadableError(ConstitutionError):
    """A file that can't be opened or is not text. Nothing can be said about what is in it."""


@dataclass(frozen=True)
class Document:
    """One YAML document: ``data`` as ``yaml.safe_load`` gives it, and ``root``, the tree of nodes with positions."""

    path: Path
    data: Any
    root: yaml.Node | None

    def place(self, location: Sequence[str | int], *, key: bool = False) -> Place:
        """Where the value at ``location`` begins, or its key; where there is no such value, what would hold it."""
        node, key_node, _ = self._find(location)
        chosen = key_node if key and key_node is not None else node
        return Place(1, 1) if chosen is None else _place(chosen.start_mark)

    def raw(self, location: Sequence[str | int]) -> str | None:
        """A plain value as it stands in the file (``1.10``, ``no``); None for lists, mappings and what is missing."""
        node, _, whole = self._find(location)
        return node.value if whole and isinstance(node, yaml.ScalarNode) else None

    def _find(self, location: Sequence[str | int]) -> tuple[yaml.Node | None, yaml.Node | None, bool]:
        """The node at ``location`` or the nearest above it, its key in a mapping, and whether all of it was found."""
        node, key_node = self.root, None
        for part in location:
            step = _step(node, part)
            if step is None:
                return node, key_node, False
            key_node, node = step
        return node, key_node, True


def _step(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    if isinstance(node, yaml.MappingNode):
        # The last one wins: merged keys (<<) come first.
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                return key, value
    return None


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


class _Loader(yaml.SafeLoader):
    """``SafeLoader`` whose every failure has a position."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError) as error:  # such as the date 2026-13-45
            message = f"the value can't be read ({error}); put it in quotes if it is meant as text"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark) from error


def read_document(path: Path) -> Document:
    """Reads a YAML file with the positions of its parts.

    Raises:
        UnreadableError: the file is missing, not a file, unreadable, or not UTF-8.
        ConstitutionError: it is not one YAML document, or a key is written twice in one mapping.
    """
    return parse_document(_read(path), path)


def parse_document(text: str, path: Path) -> Document:
    """As ``read_document``, for the text of a file."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _refuse_duplicate_keys(root, path)
        data = None if root is None else loader.construct_document(root)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        message = f"the character {text[error.position]!r} is not allowed in YAML; take it out"
        raise ConstitutionError(message, path=path, line=line, column=column) from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, path) from error
    except RecursionError as error:
        raise ConstitutionError("the YAML is nested too deeply to be a constitution", path=path) from error
    return Document(path, data, root)


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableError("there is no such file", path=path) from error
    except IsADirectoryError as error:
        raise UnreadableError("this is a folder; name a constitution file (.yaml) in it", path=path) from error
    except OSError as error:
        raise UnreadableError(f"the file can't be read ({error.strerror or error})", path=path) from error
    except ValueError as error:  # a path with a null character in it
        raise UnreadableError(f"this is not a path ({error})", path=repr(str(path))) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = len(content[content.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8", "replace")) + 1
        message = f"the byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise UnreadableError(message, path=path, line=line, column=column) from error


def _syntax_error(error: yaml.MarkedYAMLError, path: Path) -> ConstitutionError:
    mark = error.problem_mark or error.context_mark
    parts = [part.strip() for part in (error.context, error.problem) if part]
    message = " ".join(", ".join(parts).split())
    if "single document" in message:
        message = "the file holds more than one YAML document (---); keep one"
    elif "\\t" in message and "cannot start any token" in message:
        message = "a tab stands where YAML wants spaces; indent with spaces"
    else:
        message = f"malformed YAML: {message}"
        if error.problem == "mapping values are not allowed here":
            message += "; put a text that contains ': ' in quotes"
    place = None if mark is None else _place(mark)
    return ConstitutionError(
        message, path=path, line=place.line if place else None, column=place.column if place else None
    )


def _refuse_duplicate_keys(root: yaml.Node, path: Path) -> None:
    for mapping in _mappings(root):
        seen: dict[str, Place] = {}
        for key, _ in mapping.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            place = _place(key.start_mark)
            if key.value in seen:
                message = f"the key {key.value!r} is written twice, first in line {seen[key.value].line}; remove one"
                raise ConstitutionError(message, path=path, line=place.line, column=place.column)
            seen[key.value] = place


def _mappings(root: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Every mapping of the tree once, in the order of the file; aliases may make the tree a graph."""
    waiting, visited = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            waiting += [child for pair in reversed(node.value) for child in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += list(reversed(node.value))
