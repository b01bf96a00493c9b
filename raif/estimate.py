"""What a command would ask, cost and take: its stages rehearsed in a folder of their own (``raif.stages.rehearsal``).

Nothing is written to the run folder or to ``--out``. Of a stage that trains, a few steps are timed. A policy that is
yet to be trained is stood in for by the one that it begins from.
"""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from raif.config import RunConfig
from raif.errors import RaifError, TrainingError
from raif.manifest import SIDE_MANIFEST, Manifest
from raif.models.middleware import Usage
from raif.models.registry import model_path
from raif.pipeline import (
    Stage,
    between,
    demonstrations_of,
    discard,
    held_out_of,
    is_done,
    labelled,
    policies_of,
    read_made,
    refuse_shard,
    sharded,
)
from raif.records import Revision
from raif.reporting import Reporter
from raif.session import Session
from raif.stages import shards
from raif.stages.evaluation import compare_policies
from raif.stages.forecast import Forecast, total, training
from raif.stages.rehearsal import STAND_IN, Rehearsal
from raif.stages.trial import TRAINERS, learnt_from, only_read, try_training
from raif.store import RunFolder
from raif.train.data import Selection, sft_examples

JUDGED_AS = 2**0.5
"""Two policies, of which one begins from the other, count as this many when they are judged. They may answer all alike,
which is judged once, or nothing; no one knows before they are trained, and this is off by the same factor either way.
"""


@dataclass(frozen=True)
class Estimate:
    """Stage by stage what is to be expected, None for one that is done; and what it cost to find out."""

    stages: dict[str, Forecast | None]
    spent: Usage
    priced: bool
    """Whether ``spent.cost`` is all of the cost."""
    seconds: float
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> Forecast:
        return total(stage for stage in self.stages.values() if stage is not None)


@contextmanager
def _scratch(real: Path, copy: str) -> Iterator[Path]:
    """A folder of our own (``TMPDIR`` says where). Errors name what is ``real``, not its ``copy`` in here."""
    with TemporaryDirectory(prefix="raif-estimate-") as folder:
        try:
            yield Path(folder)
        except RaifError as error:
            error.args = (str(error).replace(str(Path(folder) / copy), str(real)),)
            raise


async def estimate_output(
    config: RunConfig,
    reporter: Reporter,
    out: Path,
    stage: str,
    size: int,
    redo: bool,
    alone: Callable[[Session, Path], Awaitable[object]],
) -> Estimate:
    """Estimate one stage that ``alone`` runs at ``out``."""
    with _scratch(out, out.name) as folder:
        there = folder / out.name
        if not redo:
            beside = {out.with_suffix("")} if stage == "eval" else set()
            for path in beside | {out, out.with_name(out.name + SIDE_MANIFEST)}:
                _copy(path, folder / path.name)
        session = Rehearsal(
            config, reporter, there.with_name(there.name + SIDE_MANIFEST), _made(folder / "sample"), size
        )
        begun = time.perf_counter()
        await alone(session, there)
        return _estimate(session, {stage: session.forecast(stage)}, begun)


async def estimate_stage(
    config: RunConfig, reporter: Reporter, run: Path, stage: str, size: int, redo: bool
) -> Estimate:
    """Estimate one stage of a run folder, or a shard of it."""
    row = between(stage, stage)[0]
    with _scratch(run, "run") as folder:
        place = _copy_run(run, folder)
        manifest = place.manifest
        if config.shard is not None and stage in shards.STAGES:
            out = sharded(config, place.path / row.writes[0])
            manifest = out.with_name(out.name + SIDE_MANIFEST)
            if redo:
                out.unlink(missing_ok=True)
                manifest.unlink(missing_ok=True)
        session = Rehearsal(config, reporter, manifest, _made(folder / "sample"), size)
        if redo and manifest == place.manifest:
            discard(session, place, [stage])
        begun = time.perf_counter()
        return _estimate(session, {stage: await _rehearse(session, place, row)}, begun)


async def estimate_run(
    config: RunConfig, reporter: Reporter, run: Path, chosen: Sequence[Stage], size: int, again: Sequence[str] = ()
) -> Estimate:
    """Estimate the stages ``chosen`` of a run, those named in ``again`` as though they had never been made."""
    refuse_shard(config)
    with _scratch(run, "run") as folder:
        place = _copy_run(run, folder)
        before = Manifest.load(place.manifest).config if place.manifest.exists() else {}
        session = Rehearsal(config, reporter, place.manifest, _made(folder / "sample"), size)
        discard(session, place, again)
        begun = time.perf_counter()
        stages: dict[str, Forecast | None] = {}
        waiting: list[str] = []
        for stage in chosen:
            if is_done(session, place, stage) or _trained(session, place, stage, before, stages):
                stages[stage.name] = None
                continue
            if stage.name in TRAINERS:
                waiting.append(stage.name)
            stages[stage.name] = await _rehearse(session, place, stage, waiting)
        return _estimate(session, stages, begun)


def _estimate(session: Rehearsal, stages: dict[str, Forecast | None], begun: float) -> Estimate:
    spent = Usage()
    for usage in session.spent.values():
        spent.add(usage)
    estimate = Estimate(stages, spent, not session.unpriced, time.perf_counter() - begun, session.remarks)
    whole, budget = estimate.total, session.config.budget
    for key, cap, expected in (
        ("max_requests", budget.max_requests, whole.paid),
        ("max_tokens", budget.max_tokens, whole.prompt_tokens + whole.completion_tokens),
        ("max_cost", budget.max_cost, whole.cost),
    ):
        if cap is not None and expected is not None and expected > cap:
            estimate.notes.append(f"budget.{key} is {cap:,}: the command will stop there, and go on when typed again")
    return estimate


async def _rehearse(session: Rehearsal, run: RunFolder, stage: Stage, waiting: Sequence[str] = ()) -> Forecast:
    if stage.name in TRAINERS:
        return _try(session, run, stage.name)
    if stage.name == "eval":
        await _evaluate(session, run, [name for name in waiting if name != "reward"])
    elif stage.name != "report":  # which takes a second
        await stage.function(session, run)
    return session.forecast(stage.name)


async def _evaluate(session: Rehearsal, run: RunFolder, waiting: Sequence[str]) -> None:
    """The evaluation, with one policy in the place of all those that wait to be trained."""
    policies = {name: spec for name, spec in policies_of(session, run).items() if name not in waiting}
    if waiting:
        policies[STAND_IN] = session.config.policy
        related = len(waiting) > 1 and session.config.train.dpo.start == "sft"
        session.absent = len(waiting), JUDGED_AS if related else len(waiting)
        session.remarks.append(
            f"eval: {' and '.join(waiting)} not trained yet; answers taken to be as long as the policy's"
            + (", and judging may be 0.7 to 1.4 times this, by how many of them are the same" if related else "")
        )
    await compare_policies(session, policies, held_out_of(session), run.eval_folder, run.eval)


def _try(session: Rehearsal, run: RunFolder, name: str) -> Forecast:
    """What a trainer takes, by its first steps on what is known of its examples."""
    config = getattr(session.config.train, name)
    base = session.config.train.reward.base if name == "reward" else None
    selection = _examples(session, run, name)
    if not selection.examples:
        session.remarks.append(f"{name}: the sample gave nothing to train on, so its time is not known")
        return Forecast(seconds=None)
    try:
        pace = try_training(
            session, name, selection.examples, model_path(base or session.config.policy), config, session.scratch / name
        )
    except TrainingError as error:
        session.remarks.append(f"{name}: its time is not known ({error})")
        return Forecast(seconds=None)
    gc.collect()  # the trainer's model makes way for the next one
    known = session.known.get("revise" if name == "sft" else "label", 1.0)
    if getattr(config, "data", None) == "demonstrations":
        known = 1.0
    examples = len(selection.examples) / known
    return Forecast(seconds=training(pace, config, learnt_from(config, examples), only_read(config, examples)))


def _examples(session: Rehearsal, run: RunFolder, name: str) -> Selection[Any]:
    if name != "sft":
        return labelled(session, run)
    config = session.config.train.sft
    revisions = [] if config.data == "demonstrations" else read_made(session, run.revisions, Revision, "revise")
    return sft_examples(revisions, demonstrations_of(session), config, session.config.seed)


def _trained(
    session: Rehearsal, run: RunFolder, stage: Stage, before: Mapping[str, Any], stages: Mapping[str, Forecast | None]
) -> bool:
    """Whether a trainer has done this already: it is so told, with the same settings, and nothing it reads will change.

    Other settings than a trainer's make a stage look undone, but it will find its model there.
    """
    entry = session.manifest.stages.get(stage.name)
    now = session.manifest.config
    return (
        stage.name in TRAINERS
        and entry is not None
        and entry.status == "done"
        and all((run.path / name).exists() for name in stage.writes)
        and not (stage.name == "dpo" and stages.get("sft") is not None)
        and all(forecast is None or not forecast.paid for forecast in stages.values())
        and before.get("train", {}).get(stage.name) == now["train"][stage.name]
        and all(before.get(key) == now[key] for key in ("policy", "seed", "device", "dtype"))
    )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _copy_run(run: Path, folder: Path) -> RunFolder:
    """The run's artefacts in a folder of our own."""
    if run.exists():
        RunFolder(run, create=False)  # says what is wrong with a file in its place
        _copy(run, folder / "run")
    return RunFolder(folder / "run")


def _copy(path: Path, target: Path) -> None:
    """A copy of records and what is said of them, and links to what is large and will not be changed."""
    if path.is_dir():
        target.mkdir()
        for below in path.iterdir():
            if not below.name.startswith(".") and below.name != "checkpoints":
                _copy(below, target / below.name)
    elif path.exists() and path.suffix in (".json", ".jsonl"):
        shutil.copyfile(path, target)
    elif path.exists():
        target.symlink_to(path.resolve())
