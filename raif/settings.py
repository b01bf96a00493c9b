"""Where a ``RunConfig`` comes from: defaults < configuration file < ``RAIF_…`` environment < flags < ``--set``.

A preset lies just beneath the last layer that names one: beneath the file that says ``preset:``, or beneath the flags
where ``--preset`` was given (so that it changes even a file that sets every key).

Every error names the key's path, what was found, what is allowed, and which of these layers said it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from raif.config import RunConfig, Section
from raif.errors import ConfigError
from raif.presets import PRESETS

ENVIRONMENT = {
    "RAIF_POLICY": "policy",
    "RAIF_JUDGE": "judge",
    "RAIF_CONSTITUTION": "constitution",
    "RAIF_LIMIT": "limit",
    "RAIF_SEED": "seed",
    "RAIF_DEVICE": "device",
    "RAIF_DTYPE": "dtype",
    "RAIF_BATCH_SIZE": "batch_size",
}
"""Environment variables and the keys they set."""

FILE_KEYS = (
    "constitution",
    "prompts",
    "pairs",
    "run",
    "eval.prompts",
    "train.sft.demonstrations",
    "server.key_file",
    "label.calibration",
    "judge_check.certificate",
)
MODEL_KEYS = ("policy", "judge", "train.reward.base")
OTHER_NAMES = {"judge.spec": "judge", "judge.require_qualified": "judge_check.require_qualified"}
"""What may be written instead of a key: a file that says more of its judge than which model it is."""
_MODEL_FILES = ("hf:", "vllm:", "scripted:", "reward:")
_CREDENTIALS = re.compile(r"^openai:.*@https?://\S*[@?#]")
_VARIABLE = re.compile(r"[A-Za-z_]\w*")


def resolve(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
) -> RunConfig:
    """The configuration that these layers make together.

    Args:
        path: a ``raif.yaml``; relative paths in it are relative to its folder.
        environment: ``os.environ`` unless given.
        flags: dotted key to value; ``None`` values were not given and count for nothing.
        sets: ``KEY=VALUE`` strings, values read as YAML.

    Raises:
        ConfigError: a file that can't be read, an unknown key, a wrong value.
    """
    environment = os.environ if environment is None else environment
    layers: list[list[tuple[Sequence[str], Any, str]]] = [[], [], [], []]
    if path is not None:
        leaves = _leaves(_anchored(_read(path), path.resolve().parent))
        layers[0] = [(keys, value, str(path)) for keys, value in leaves if not (value is None and _is_section(keys))]
    for variable, key in ENVIRONMENT.items():
        if environment.get(variable):
            layers[1].append((key.split("."), _scalar(environment[variable]), variable))
    for key, value in (flags or {}).items():
        if value is not None:
            layers[2].append((key.split("."), value, f"--{key.rsplit('.', 1)[-1].replace('_', '-')}"))
    for text in sets:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {text}: expected KEY=VALUE, such as --set train.dpo.beta=0.2")
        layers[3].append((key.strip().split("."), _scalar(value), "--set"))
    tree: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for keys, value, source in _with_preset(layers):
        dotted = ".".join(keys)
        _put(tree, origin, OTHER_NAMES[dotted].split(".") if dotted in OTHER_NAMES else keys, value, source)
    _refuse_secrets(tree, origin)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, origin)) from None


def _with_preset(layers: Sequence[Sequence[tuple[Sequence[str], Any, str]]]) -> list[tuple[Sequence[str], Any, str]]:
    """All settings, the weakest first, with those of the preset before the last layer that names one."""
    naming = [at for at, layer in enumerate(layers) if any(list(keys) == ["preset"] for keys, _, _ in layer)]
    found: list[tuple[Sequence[str], Any, str]] = []
    for at, layer in enumerate(layers):
        if naming and at == naming[-1]:
            name = [value for keys, value, _ in layer if list(keys) == ["preset"]][-1]
            settings = PRESETS.get(name, ()) if isinstance(name, str) else ()
            found += [(key.split("."), value, f"preset {name}") for key, value, _ in settings]
        found += layer
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}; `raif init DIR` writes one", path=path) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", path=path) from None
    try:
        loaded = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = {"line": mark.line + 1, "column": mark.column + 1} if mark else {}
        raise ConfigError(f"is not YAML: {error.problem}", path=path, **place) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML: {' '.join(str(error).split())}", path=path) from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"should hold keys and values, but holds a {type(loaded).__name__}", path=path)
    return loaded


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _leaves(tree: Mapping[Any, Any], above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """The values of a tree with the keys that lead to each; a key may hold dots, as a model's name in ``prices``."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in tree.items():
        keys = (*above, str(key))
        found += _leaves(value, keys) if isinstance(value, dict) and value else [(keys, value)]
    return found


def _put(tree: dict[str, Any], origin: dict[str, str], keys: Sequence[str], value: Any, source: str) -> None:
    *parents, last = keys
    dotted = ".".join(keys)
    for depth, parent in enumerate(parents):
        below = tree.setdefault(parent, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{'.'.join(parents[: depth + 1])}: holds a value, so it has no key {dotted} ({source})")
        tree = below
    tree[last] = value
    origin[dotted] = source


def _anchored(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``tree`` with the relative paths that exist under ``folder`` made absolute; others may be ids of a hub."""

    def file(value: Any) -> Any:
        anchored = folder / str(value)
        return str(anchored) if isinstance(value, str) and anchored.exists() else value

    def visit(node: dict[str, Any], prefix: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in node.items():
            dotted = OTHER_NAMES.get(f"{prefix}{key}", f"{prefix}{key}")
            if isinstance(value, dict):
                result[key] = visit(value, f"{dotted}.")
            elif dotted == "run" and isinstance(value, str):
                result[key] = str(folder / value)
            elif dotted in FILE_KEYS or prefix == "templates.":
                result[key] = file(value)
            elif dotted in MODEL_KEYS and isinstance(value, str) and value.startswith(_MODEL_FILES):
                scheme, _, target = value.partition(":")
                result[key] = f"{scheme}:{file(target)}"
            else:
                result[key] = value
        return result

    return visit(tree, "")


def _refuse_secrets(tree: Mapping[str, Any], origin: Mapping[str, str]) -> None:
    """Refuse a secret where the manifest would keep it, in words that don't repeat it.

    Raises:
        ConfigError: credentials in a server's address, or a key where the name of its variable belongs.
    """
    for key, value in ((".".join(keys), value) for keys, value in _leaves(tree)):
        source = f" [{origin[key]}]" if key in origin else ""
        if key in MODEL_KEYS and isinstance(value, str) and _CREDENTIALS.search(value):
            raise ConfigError(
                f"{key}: leave name, password and query out of the server's address; raif reads the key from the "
                f"environment variable server.key_env, or the file server.key_file{source}"
            )
        if key == "server.key_env" and not (isinstance(value, str) and _VARIABLE.fullmatch(value)):
            raise ConfigError(
                f"{key}: should name an environment variable that holds the key, such as OPENAI_API_KEY{source}"
            )


def _explain(error: ValidationError, origin: Mapping[str, str]) -> str:
    """One line for the first error: key path, what was found, what is allowed, and who said it."""
    first, *others = error.errors(include_url=False)
    # Pydantic adds the branch of a union to the path; only names of keys and indices are ours to show.
    path = [str(part) for part in first["loc"] if not _is_branch(str(part))]
    dotted = ".".join(path)
    source = next((origin[key] for key in (dotted, *_parents(path)) if key in origin), None)
    source = source or next((origin[key] for key in origin if key.startswith(f"{dotted}.")), "")
    if first["type"] == "extra_forbidden":
        allowed = list(_section(path[:-1]).model_fields)
        near = difflib.get_close_matches(path[-1], allowed, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        message = f"unknown key; {hint}allowed here: {', '.join(allowed)}"
    else:
        same = [e for e in error.errors(include_url=False) if e["loc"][: len(path)] == first["loc"][: len(path)]]
        wanted = " or ".join(dict.fromkeys(_plainly(e["msg"]) for e in same))
        message = f"found {first['input']!r}; allowed: {wanted}"
        others = [e for e in others if e not in same]
    more = f" (and {len(others)} more)" if others else ""
    return f"{dotted}: {message}{f' [{source}]' if source else ''}{more}"


def _is_section(keys: Sequence[str]) -> bool:
    """Whether these keys lead to a section; with nothing under it in a file, it is as if it were not there."""
    return len(keys) > 0 and keys[0] in RunConfig.model_fields and _section(keys) is not _section(keys[:-1])


def _plainly(message: str) -> str:
    """What pydantic wants, without Python's names for it."""
    message = message.removeprefix("Input should be ").split(", unable to parse")[0]
    if "valid dictionary or instance of" in message:
        return "keys and values"
    return "a path" if "pathlib.Path" in message else message


def _is_branch(part: str) -> bool:
    return part in ("int", "str", "literal['all']", "literal['all-linear']", "constrained-int") or "[" in part


def _parents(path: Sequence[str]) -> list[str]:
    return [".".join(path[:end]) for end in range(len(path) - 1, 0, -1)]


def _section(path: Sequence[str]) -> type[BaseModel]:
    """The model that holds the keys under ``path``."""
    model: type[BaseModel] = RunConfig
    for name in path:
        annotation = model.model_fields[name].annotation
        candidates = (annotation, *get_args(annotation))
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return model


def to_yaml(config: RunConfig, title: str) -> str:
    """``config`` as a commented ``raif.yaml``: every key with its description, and the values that ``config`` has.

    Where a value is the preset's, the section of the paper stands beside it.
    """
    lines = [f"# {line}" for line in title.splitlines()]
    lines.append("")
    plain = config.model_dump()
    cited = {key: source for key, value, source in PRESETS.get(config.preset or "", ()) if _at(plain, key) == value}
    _write(config, 0, lines, "", cited)
    return "\n".join(lines).rstrip() + "\n"


def _at(tree: Mapping[str, Any], dotted: str) -> Any:
    value: Any = tree
    for key in dotted.split("."):
        value = value[key]
    return value


def _write(section: Section, depth: int, lines: list[str], above: str, cited: Mapping[str, str]) -> None:
    indent = "  " * depth
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            if depth == 0:
                lines.append("")
            lines.append(f"{indent}{name}:  # {(type(value).__doc__ or '').strip().splitlines()[0]}")
            _write(value, depth + 1, lines, f"{above}{name}.", cited)
            continue
        plain = section.model_dump(mode="json", include={name})[name]
        text = yaml.safe_dump(plain, default_flow_style=True, width=10**6, allow_unicode=True).strip()
        text = text.removesuffix("...").strip()
        source = cited.get(f"{above}{name}")
        lines.append(f"{indent}{name}: {text}  # {info.description}{f' [{source}]' if source else ''}")
