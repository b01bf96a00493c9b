"""The wording of every question that raif asks a model: Jinja templates, rendered strictly, in one pass, as data.

Three rules hold for every template, shipped or overridden:

* a name that is missing raises (``StrictUndefined``); nothing renders blank by accident;
* what a user or a model wrote is inserted as data: it is never rendered again, and a tag in it that the template uses
  as a delimiter is broken, so that no response can close its own frame and speak as the judge's instructions;
* templates run in Jinja's sandbox: a template from elsewhere can word a prompt, not reach Python.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeVar

from jinja2 import BaseLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from raif.errors import PromptError
from raif.resources import folder

T = TypeVar("T")

_TAG = re.compile(r"</?([A-Za-z_][\w-]*)")
_TAG_OF_DATA = re.compile(r"<\s*/?[\w-]*\{[{%]")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_OPENING = re.compile("[<\uff1c\ufe64]")
_SLASHES = frozenset("/\\\u2044\u2215\u29f8\uff0f\uff3c")
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")
_REFUSED = (nodes.Macro, nodes.CallBlock, nodes.AssignBlock, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)


def neutralise(text: str, tags: Iterable[str]) -> str:
    """``text`` with the ``<`` of every delimiter that names one of ``tags`` turned into ``‹``; all else stays.

    A delimiter is recognised as a tokenizer might normalise it: in any case, spaced out, full-width, or with invisible
    characters in it.
    """
    if not _OPENING.search(text):
        return text
    folded = frozenset(_fold(tag) for tag in tags)
    longest = max(map(len, folded), default=0)
    return _OPENING.sub(lambda found: "‹" if _names_one(text, found.end(), folded, longest) else found.group(), text)


def _names_one(text: str, start: int, tags: frozenset[str], longest: int) -> bool:
    """Whether one of ``tags``, and not a longer word, follows the bracket before ``start``.

    What the end of the text cuts short counts too: the next text to be inserted could complete it.
    """
    word = ""
    for index in range(start, len(text)):
        character = text[index]
        if _invisible(character) or (not word and (character.isspace() or character in _SLASHES)):
            continue
        letters = _fold(character)
        if not all(letter.isalnum() or letter in "_-" for letter in letters):
            break
        word += letters
        if len(word) > longest or not any(tag.startswith(word) or word.startswith(tag) for tag in tags):
            break
    else:
        if any(tag.startswith(word) for tag in tags):
            return True
    return word in tags or any(word.startswith(tag) and not _in_a_word(word[len(tag)]) for tag in tags if tag != word)


def _in_a_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _invisible(character: str) -> bool:
    if character.isspace():
        return False
    return unicodedata.category(character) in ("Cf", "Cc", "Cn", "Mn", "Me") or character in _BLANK_LETTERS


class _Loader(BaseLoader):
    def __init__(self, library: PromptLibrary) -> None:
        self.library = library

    def get_source(self, environment: object, template: str) -> tuple[str, str | None, None]:
        path = self.library.path(template.removesuffix(".jinja"))
        return self.library.source(template.removesuffix(".jinja")), str(path), None


class PromptLibrary:
    """The shipped templates, with any of them replaced by a file of the user's.

    Args:
        overrides: template name (``compare``) to the path of the file that replaces it.
        directory: where the other templates lie; the shipped ``prompts/`` unless given.
        neutralised: False leaves forged delimiters as they are. For measuring what the defence is worth, alone.
    """

    def __init__(
        self,
        overrides: Mapping[str, Path | str] | None = None,
        directory: Path | None = None,
        *,
        neutralised: bool = True,
    ) -> None:
        self.neutralised = neutralised
        self.directory = directory or folder("prompts")
        self.overrides = {name: Path(path) for name, path in (overrides or {}).items()}
        known = self.names()
        for name, path in self.overrides.items():
            if name not in known:
                raise PromptError(f"there is no prompt {name!r} to override; there are {', '.join(known)}", path=path)
        self._environment = ImmutableSandboxedEnvironment(
            loader=_Loader(self),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._sources: dict[str, str] = {}
        for name in self.overrides:
            self.source(name)  # an override that can't be read is said at once, not in the middle of a run
        self._closures: dict[str, dict[str, str]] = {}
        self._tags_of: dict[str, frozenset[str]] = {}
        self._tags: frozenset[str] = frozenset()
        self._environment.finalize = self._insert

    def _insert(self, value: object) -> str:
        if isinstance(value, StrictUndefined):
            return str(value)  # raises, naming what is missing
        if value is None:
            raise TypeError("a value to insert is None")
        return neutralise(str(value), self._tags) if self.neutralised else str(value)

    def without_defence(self) -> PromptLibrary:
        """The same templates, inserting forged delimiters as they are."""
        return PromptLibrary(self.overrides, self.directory, neutralised=False)

    def names(self) -> list[str]:
        """The prompts that can be asked for; files that begin with ``_`` are parts of others."""
        return sorted(p.stem for p in self.directory.glob("*.jinja") if not p.stem.startswith("_"))

    def path(self, name: str) -> Path:
        return self.overrides.get(name, self.directory / f"{name}.jinja")

    def source(self, name: str) -> str:
        """The text of a template's file, read once.

        Raises:
            PromptError: the file that overrides it can't be read.
            TemplateNotFound: there is no such template.
        """
        if name not in self._sources:
            if not _NAME.fullmatch(name):
                raise TemplateNotFound(name)
            path = self.path(name)
            try:
                self._sources[name] = path.read_text(encoding="utf-8-sig")
            except FileNotFoundError as error:
                if name in self.overrides:
                    raise PromptError(f"there is no such file to replace the prompt {name!r}", path=path) from error
                raise TemplateNotFound(name) from error
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise PromptError(f"this template can't be read ({reason})", path=path) from error
        return self._sources[name]

    def _closure(self, name: str) -> dict[str, str]:
        """The sources of a template and of all that it includes, by name; refuses what could not be kept safe."""
        if name in self._closures:
            return self._closures[name]
        found: dict[str, str] = {}
        includes: dict[str, list[str]] = {}
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current in found:
                continue
            found[current] = self.source(current)
            includes[current] = self._parts(current, found[current])
            waiting += includes[current]
        try:
            TopologicalSorter(includes).prepare()
        except CycleError as error:
            cycle = " → ".join(reversed(error.args[1]))
            raise PromptError(f"the template includes itself ({cycle})", path=self.path(name)) from error
        self._closures[name] = found
        return found

    def _parts(self, name: str, source: str) -> list[str]:
        """The names of the templates that one includes."""
        path = self.path(name)
        tree = self._environment.parse(source, filename=str(path))
        for node in tree.find_all(_REFUSED):
            message = (
                "a template has no macros, blocks, captured text or imports (their tags would pass for forged ones)"
            )
            raise PromptError(f"{message}; write it out, or include a part", path=path, line=node.lineno)
        if forged := _TAG_OF_DATA.search(source):
            line = source.count("\n", 0, forged.start()) + 1
            message = "a tag whose name is inserted can't be told from a forged one; write the tag out"
            raise PromptError(message, path=path, line=line)
        parts = list(meta.find_referenced_templates(tree))
        if None in parts:
            raise PromptError("a template can include a part by its plain name only", path=path)
        return [part.removesuffix(".jinja") for part in parts if part]

    def hash(self, name: str) -> str:
        """SHA-256 (hex) over a template and its parts: equal hashes word a prompt equally."""
        return self._guarded(name, lambda: _digest(self._closure(name)))

    def hashes(self) -> dict[str, str]:
        """The hash of every template, by name."""
        return {name: self.hash(name) for name in self.names()}

    def uses(self, name: str, value: str) -> bool:
        """Whether a template or one of its parts makes use of ``value``: a user's own may leave some out."""

        def used() -> bool:
            trees = map(self._environment.parse, self._closure(name).values())
            return any(value in meta.find_undeclared_variables(tree) for tree in trees)

        return self._guarded(name, used)

    def render(self, name: str, /, **values: object) -> str:
        """The prompt's text, with ``values`` inserted as data.

        Raises:
            PromptError: the template is missing, malformed, unsafe, or uses a name that ``values`` lacks.
        """

        def rendered() -> str:
            if name not in self._tags_of:
                self._tags_of[name] = frozenset(t for text in self._closure(name).values() for t in _TAG.findall(text))
            self._tags = self._tags_of[name]
            return self._environment.get_template(f"{name}.jinja").render(values).strip()

        return self._guarded(name, rendered)

    def _guarded(self, name: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except PromptError:
            raise
        except TemplateNotFound as error:
            missing = (error.name or name).removesuffix(".jinja")
            known = "" if missing != name else f"; there are {', '.join(self.names())}"
            raise PromptError(f"there is no template {missing!r} in {self.directory}{known}") from error
        except TemplateSyntaxError as error:
            path = error.filename or self.path(name)
            raise PromptError(f"malformed template: {error.message}", path=path, line=error.lineno) from error
        except UndefinedError as error:
            path, line = self._where(error, name)
            message = f"the template uses a name that this prompt does not have: {error}"
            raise PromptError(message, path=path, line=line) from error
        except Exception as error:  # A template is somebody's code: whatever it raises is the template's fault.
            path, line = self._where(error, name)
            message = f"the template can't be rendered: {error or type(error).__name__}"
            raise PromptError(message, path=path, line=line) from error

    def _where(self, error: Exception, name: str) -> tuple[Path, int | None]:
        """The template and its line in which an error arose. Jinja puts both into the traceback."""
        paths = {str(self.path(part)): self.path(part) for part in self._closures.get(name, {name: ""})}
        place: tuple[Path, int | None] = (self.path(name), None)
        frame = error.__traceback__
        while frame is not None:
            path = paths.get(frame.tb_frame.f_code.co_filename)
            if path is not None:
                place = (path, frame.tb_lineno)
            frame = frame.tb_next
        return place


def _digest(sources: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name].encode() + b"\0")
    return digest.hexdigest()
