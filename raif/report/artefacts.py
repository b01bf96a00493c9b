"""What lies in a run folder, read as far as it goes: a report of a half-finished or damaged run is still a report."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from raif.constitution import Constitution, load_constitution
from raif.errors import InputError, RaifError
from raif.evaluate.winrate import EvalResult
from raif.records import Preference, Response, Revision
from raif.resources import folder
from raif.store import RecordFile, RunFolder, validation_summary

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Trained:
    """One trained model: its ``train.json``, and the loss of each logged step."""

    name: str
    result: dict[str, Any]
    losses: list[tuple[float, float]]

    def metric(self, name: str) -> float | None:
        """A finite figure among its metrics, or None."""
        found = dictionary(self.result.get("metrics")).get(name)
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            return None
        return float(found)


@dataclass
class Artefacts:
    """All that a run has so far. ``problems`` says of each file that can't be read why."""

    path: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    constitution: Constitution | None = None
    """The constitution of the run, where a file with the recorded hash is still there."""
    responses: list[Response] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    labels: list[Preference] = field(default_factory=list)
    reward: Trained | None = None
    policies: list[Trained] = field(default_factory=list)
    evaluation: EvalResult | None = None
    answers: dict[str, list[Response]] = field(default_factory=dict)
    """Each policy's answers to the held-out prompts."""
    demo: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def final_policy(self) -> str | None:
        """The last policy of the evaluation that is not the baseline."""
        names = (
            [name for name in self.evaluation.policies if name != self.evaluation.baseline] if self.evaluation else []
        )
        return names[-1] if names else None

    def command(self, stage: str) -> str:
        """What a user types to have a stage of this run done."""
        return f"raif {stage} --run {shlex.quote(str(self.path))}"


def dictionary(value: Any) -> dict[str, Any]:
    """``value`` if it is a dictionary, else an empty one."""
    return value if isinstance(value, dict) else {}


def read_artefacts(path: Path) -> Artefacts:
    """Everything that the run folder ``path`` holds.

    Raises:
        InputError: there is no such folder, or nothing of a run in it.
    """
    run = RunFolder(path, create=False)
    found = Artefacts(path=path)
    found.manifest = _json(found, run.manifest)
    found.responses = _records(found, run.responses, Response)
    found.revisions = _records(found, run.revisions, Revision)
    found.labels = _records(found, run.labels, Preference)
    found.reward = _trained(found, run.reward)
    policies = [_trained(found, child) for child in _folders(path / "60_policy")]
    found.policies = sorted((policy for policy in policies if policy), key=lambda policy: _order(policy.name))
    found.evaluation = _evaluation(found, run.eval)
    for file in sorted((path / "70_eval").glob("*.responses.jsonl")):
        found.answers[file.name.removesuffix(".responses.jsonl")] = _records(found, file, Response)
    found.demo = _json(found, path / "summary.json")
    found.constitution = _constitution(found)
    made = (found.manifest, found.responses, found.revisions, found.labels, found.reward, found.policies)
    if not any(made) and not found.evaluation and not found.problems:
        raise InputError("there is nothing of a run here to report on; raif run fills a run folder", path=path)
    return found


def _order(name: str) -> tuple[int, str]:
    known = ("sft", "dpo", "grpo", "ppo")
    return (known.index(name) if name in known else len(known), name)


def _folders(path: Path) -> list[Path]:
    return [child for child in sorted(path.iterdir()) if child.is_dir()] if path.is_dir() else []


def _name(found: Artefacts, path: Path) -> str:
    return path.relative_to(found.path).as_posix()


def _json(found: Artefacts, path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        found.problems[_name(found, path)] = f"can't be read: {error}"
        return {}
    if not isinstance(content, dict):
        found.problems[_name(found, path)] = "is not a JSON object"
    return dictionary(content)


def _records(found: Artefacts, path: Path, record: type[R]) -> list[R]:
    name = _name(found, path)

    def note(text: str) -> None:
        found.problems.setdefault(name, text.removeprefix(f"{path}: "))

    try:
        return RecordFile(path, record, on_note=note).read()
    except RaifError as error:
        found.problems[name] = str(error).removeprefix(f"{path}: ")
        return []


def _trained(found: Artefacts, path: Path) -> Trained | None:
    result = _json(found, path / "train.json")
    losses = []
    log = path / "log.jsonl"
    if log.is_file():
        try:
            for line in log.read_bytes().splitlines():
                entry = dictionary(orjson.loads(line))
                step, loss = entry.get("step"), entry.get("loss")
                if isinstance(step, int | float) and isinstance(loss, int | float) and math.isfinite(loss):
                    losses.append((float(step), float(loss)))
        except (OSError, orjson.JSONDecodeError) as error:  # an unfinished last line of a run still going on
            found.problems.setdefault(_name(found, log), f"read up to an unfinished line ({error})")
    return Trained(path.name, result, losses) if result or losses else None


def _evaluation(found: Artefacts, path: Path) -> EvalResult | None:
    if not path.is_file():
        return None
    try:
        return EvalResult.model_validate_json(path.read_bytes())
    except OSError as error:
        found.problems[_name(found, path)] = f"can't be read: {error}"
    except ValidationError as error:
        found.problems[_name(found, path)] = f"is not an evaluation of this raif ({validation_summary(error)})"
    return None


def _constitution(found: Artefacts) -> Constitution | None:
    recorded = dictionary(found.manifest.get("constitution")).get("hash")
    if not recorded:
        return None
    given = dictionary(found.manifest.get("config")).get("constitution")
    candidates = [Path(given)] if isinstance(given, str) else []
    for candidate in [*candidates, *sorted(folder("constitution").glob("*.yaml"))]:
        try:
            constitution = load_constitution(candidate)
        except RaifError:
            continue
        if constitution.hash == recorded:
            return constitution
    return None
