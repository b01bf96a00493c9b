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
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from jinja2 import BaseLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from raif.errors import PromptError
from raif.resources import folder

_TAG = re.compile(r"</?([A-Za-z_][\w-]*)")
_INVISIBLE = "\u00ad\u200b-\u200f\u2060-\u2064\ufeff"


@lru_cache
def _forgery(tags: frozenset[str]) -> re.Pattern[str]:
    """Matches the opening bracket of anything that could pass for one of ``tags``: spaced, invisible or full-width."""
    names = "|".join(sorted(map(re.escape, tags), key=len, reverse=True))
    return re.compile(rf"[<\uff1c\ufe64](?=[\s/\uff0f{_INVISIBLE}]*(?:{names})\b)", re.IGNORECASE)


def neutralise(text: str, tags: Iterable[str]) -> str:
    """``text`` with the ``<`` of every delimiter that names one of ``tags`` turned into ``‹``; all else stays."""
    tags = frozenset(tags)
    return _forgery(tags).sub("‹", text) if tags else text


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
    """

    def __init__(self, overrides: Mapping[str, Path | str] | None = None, directory: Path | None = None) -> None:
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
        self._closures: dict[str, dict[str, str]] = {}
        self._tags: frozenset[str] = frozenset()
        self._environment.finalize = self._insert

    def _insert(self, value: object) -> str:
        if isinstance(value, StrictUndefined):
            return str(value)  # raises, naming what is missing
        return neutralise(str(value), self._tags)

    def names(self) -> list[str]:
        """The prompts that can be asked for; files that begin with ``_`` are parts of others."""
        return sorted(p.stem for p in self.directory.glob("*.jinja") if not p.stem.startswith("_"))

    def path(self, name: str) -> Path:
        return self.overrides.get(name, self.directory / f"{name}.jinja")

    def source(self, name: str) -> str:
        path = self.path(name)
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            if name in self.overrides:
                raise PromptError(f"this template can't be read ({error})", path=path) from error
            raise TemplateNotFound(name) from error

    def _closure(self, name: str) -> dict[str, str]:
        """The sources of a template and of all that it includes, by name."""
        if name in self._closures:
            return self._closures[name]
        found: dict[str, str] = {}
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current in found:
                continue
            found[current] = self.source(current)
            parsed = self._environment.parse(found[current], filename=str(self.path(current)))
            waiting += [ref.removesuffix(".jinja") for ref in meta.find_referenced_templates(parsed) if ref]
        self._closures[name] = found
        return found

    def hash(self, name: str) -> str:
        """SHA-256 (hex) over a template and its parts: equal hashes word a prompt equally."""
        return self._guarded(name, lambda: _digest(self._closure(name)))

    def render(self, name: str, **values: object) -> str:
        """The prompt's text, with ``values`` inserted as data.

        Raises:
            PromptError: the template is missing, malformed, unsafe, or uses a name that ``values`` lacks.
        """

        def rendered() -> str:
            self._tags = frozenset(tag for text in self._closure(name).values() for tag in _TAG.findall(text))
            return self._environment.get_template(f"{name}.jinja").render(values).strip()

        return self._guarded(name, rendered)

    def _guarded(self, name: str, action: Callable[[], str]) -> str:
        path = self.path(name)
        try:
            return action()
        except TemplateNotFound as error:
            raise PromptError(f"there is no template {error.name!r} in {self.directory}") from error
        except TemplateSyntaxError as error:
            raise PromptError(
                f"malformed template: {error.message}", path=error.filename or path, line=error.lineno
            ) from error
        except UndefinedError as error:
            raise PromptError(f"the template uses a name that this prompt does not have: {error}", path=path) from error
        except (SecurityError, TemplateRuntimeError, TypeError, ValueError) as error:
            raise PromptError(f"the template can't be rendered: {error}", path=path) from error


def _digest(sources: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name].encode() + b"\0")
    return digest.hexdigest()
