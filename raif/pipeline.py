"""The table of stages: what each is called, what it reads and writes in a run folder, and the function that does it.

    generate ─► revise ─► label ─► reward
                  └─► sft ──┴─► dpo ─► eval ─► report

``run`` goes through the table from top to bottom. A stage that is done, with nothing changed, is passed over; one that
was stopped goes on where it was; a changed setting is refused, not mixed in, until ``--from`` says to begin there.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from raif.config import RunConfig
from raif.errors import CapReached, ConfigError, InputError, StoreError
from raif.feedback.draws import stream
from raif.feedback.pairs import to_label
from raif.inputs import read_pairs, read_prompts, read_training_pairs
from raif.manifest import InputEntry, file_hash
from raif.models.registry import model_path
from raif.records import Comparison, Preference, Prompt, Record, Response, Revision, TrainingPair
from raif.session import GO_ON, Session
from raif.stages import evaluation, feedback, training
from raif.stages.outcome import Outcome
from raif.stages.shards import Shard
from raif.store import RecordFile, RunFolder
from raif.train.data import Selection, training_pairs

Made = TypeVar("Made", bound=Record)


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of the table. ``reads`` and ``writes`` name files and folders of the run."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    function: Callable[[Session, RunFolder], Awaitable[Outcome]]
    help: str


def prompts_of(session: Session) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts to train on, and those held out: ``eval.prompts``, or a share drawn by each prompt's id."""
    config = session.config
    source = session.require(config.prompts, "prompts", "--prompts FILE|ID")
    prompts = read_prompts(source, config.input, limit=config.limit, on_note=session.note)
    describe_input(session, source, len(prompts))
    if config.eval.prompts is not None:
        held_out = read_prompts(config.eval.prompts, config.input, limit=config.eval.limit, on_note=session.note)
        describe_input(session, config.eval.prompts, len(held_out))
        known = {prompt.id for prompt in held_out}
        return [prompt for prompt in prompts if prompt.id not in known], held_out
    kept: list[Prompt] = []
    held_out = []
    for prompt in prompts:
        drawn = stream("holdout", config.seed, prompt.id).random() < config.eval.holdout
        (held_out if drawn else kept).append(prompt)
    return kept, held_out[: config.eval.limit]


def describe_input(session: Session, source: str, rows: int) -> None:
    """Enter an input in the manifest."""
    path = Path(source)
    # A pipe is read once; there is nothing left in it to hash.
    known = path.is_file() or path.is_dir()
    session.manifest.inputs[source] = InputEntry(sha256=file_hash(path) if known else None, rows=rows)


def demonstrations_of(session: Session) -> list[Prompt]:
    """The prompts with a human's answer that supervised fine-tuning is to use, if any."""
    config = session.config.train.sft
    if config.data == "revisions":
        return []
    source = session.require(config.demonstrations, "train.sft.demonstrations", "--set train.sft.demonstrations=FILE")
    prompts = read_prompts(str(source), session.config.input, on_note=session.note)
    describe_input(session, str(source), len(prompts))
    return prompts


def training_pairs_of(session: Session, source: str) -> Selection[TrainingPair]:
    """The pairs to train on that a file of labels, of preferences, or of human choices holds."""
    config = session.config
    pairs = read_training_pairs(source, config.input, limit=config.limit, on_note=session.note)
    describe_input(session, source, len(pairs))
    return training_pairs(pairs)


def made(path: Path, maker: str) -> Path:
    """``path``, which an earlier stage made.

    Raises:
        InputError: it has not; names the command that does.
    """
    if not path.exists():
        raise InputError(f"is missing; `raif {maker}` makes it", path=path)
    return path


def read_made(session: Session, path: Path, record: type[Made], maker: str) -> list[Made]:
    """The records that an earlier stage made.

    Raises:
        InputError: it has not; names the command that does.
    """
    found = RecordFile(made(path, maker), record, on_note=session.note).read()
    if not found:
        raise InputError(f"is empty; `raif {maker} --redo` makes it again", path=path)
    return found


def comparisons_of(session: Session, run: RunFolder) -> list[Comparison]:
    """What there is to label: the configured pairs, or what the run's own responses and revisions give."""
    config, seed = session.config, session.config.seed
    if config.pairs is not None:
        pairs = read_pairs(config.pairs, config.input, limit=config.limit, seed=seed, on_note=session.note)
        describe_input(session, config.pairs, len(pairs))
        return pairs
    revised, ranked = config.label.pairs != "responses", config.label.mode == "rank"
    answered = config.label.pairs != "revisions" or ranked
    responses = read_made(session, run.responses, Response, "generate") if answered else []
    revisions = read_made(session, run.revisions, Revision, "revise") if revised else []
    return to_label(responses, revisions, config.label, seed=seed)


def sharded(config: RunConfig, path: Path) -> Path:
    """Where a stage that can be split writes in a run: ``path``, or beside it the file of the configured shard."""
    return path if config.shard is None else Shard.parse(config.shard).beside(path)


def read_given(session: Session, path: Path, record: type[Made], flag: str, maker: str) -> list[Made]:
    """The records in a file that the user named with ``flag``.

    Raises:
        InputError: it is missing, empty, or not what ``raif MAKER`` writes.
    """
    try:
        return read_made(session, path, record, maker)
    except StoreError as error:
        raise InputError(f"{flag} takes what `raif {maker}` writes, and this is something else", path=path) from error


async def _generate(session: Session, run: RunFolder) -> Outcome:
    prompts, _ = prompts_of(session)
    return await feedback.generate(session, prompts, sharded(session.config, run.responses))


async def _revise(session: Session, run: RunFolder) -> Outcome:
    responses = read_made(session, run.responses, Response, "generate")
    return await feedback.revise(session, responses, sharded(session.config, run.revisions))


async def _label(session: Session, run: RunFolder) -> Outcome:
    # The decided labels of all shards are written once they are joined: `raif run` goes on from there.
    whole = session.config.shard is None
    if session.config.label.mode != "rank" and whole:
        run.rankings.unlink(missing_ok=True)
    return await feedback.label(
        session,
        comparisons_of(session, run),
        sharded(session.config, run.labels),
        run.preferences if whole else None,
        run.rankings if whole else None,
    )


def labelled(session: Session, run: RunFolder) -> Selection[TrainingPair]:
    """The pairs of a run to train on: what its labels decided, or, in mode rank, the best against the worst."""
    if session.config.label.mode == "rank":
        return training_pairs(read_made(session, run.preferences, TrainingPair, "label"))
    return training_pairs(read_made(session, run.labels, Preference, "label"))


async def _reward(session: Session, run: RunFolder) -> Outcome:
    base = session.config.train.reward.base or session.config.policy
    return training.reward(session, labelled(session, run), model_path(base), run.reward)


async def _sft(session: Session, run: RunFolder) -> Outcome:
    config = session.config.train.sft
    revisions = [] if config.data == "demonstrations" else read_made(session, run.revisions, Revision, "revise")
    base = model_path(session.config.policy)
    return training.sft(session, revisions, demonstrations_of(session), base, run.policy("sft"))


async def _dpo(session: Session, run: RunFolder) -> Outcome:
    start = run.policy("sft") if session.config.train.dpo.start == "sft" else None
    if start is not None and not (start / "train.json").is_file():
        raise InputError(
            "there is no SFT policy to start from; `raif train sft` makes it, or set train.dpo.start", path=start
        )
    base = str(start) if start is not None else model_path(session.config.policy)
    return training.dpo(session, labelled(session, run), base, run.policy("dpo"))


def held_out_of(session: Session) -> list[Prompt]:
    """The prompts to evaluate on.

    Raises:
        InputError: there are none.
    """
    _, held_out = prompts_of(session)
    if not held_out:
        raise InputError("no prompts are held out; set eval.prompts, or eval.holdout above 0")
    return held_out


async def _eval(session: Session, run: RunFolder) -> Outcome:
    policies, held_out = policies_of(session, run), held_out_of(session)
    return await evaluation.compare_policies(session, policies, held_out, run.eval_folder, run.eval)


def policies_of(session: Session, run: RunFolder) -> dict[str, str]:
    """The policies of a run, by name: the one it began with, and each that it trained."""
    trained = {name: run.policy(name) for name in ("sft", "dpo")}
    return {
        evaluation.BASELINE: session.config.policy,
        **{name: f"hf:{path}" for name, path in trained.items() if (path / "train.json").is_file()},
    }


async def _report(session: Session, run: RunFolder) -> Outcome:
    return evaluation.report(session, run)


STAGES: tuple[Stage, ...] = (
    Stage("generate", ("prompts",), ("10_responses.jsonl",), _generate, "answers of the policy"),
    Stage("revise", ("10_responses.jsonl",), ("20_revisions.jsonl",), _revise, "critiques and revisions"),
    Stage(
        "label",
        ("10_responses.jsonl", "20_revisions.jsonl"),
        ("30_labels.jsonl", "35_preferences.jsonl"),
        _label,
        "preference labels",
    ),
    Stage("reward", ("30_labels.jsonl",), ("50_reward",), _reward, "reward model"),
    Stage("sft", ("20_revisions.jsonl",), ("60_policy/sft",), _sft, "policy that imitates the revisions"),
    Stage("dpo", ("30_labels.jsonl", "60_policy/sft"), ("60_policy/dpo",), _dpo, "policy that follows the labels"),
    Stage("eval", ("60_policy", "prompts"), ("70_eval", "70_eval.json"), _eval, "policies side by side"),
    Stage("report", ("manifest.json",), ("80_report.html",), _report, "one HTML file"),
)
NAMES = tuple(stage.name for stage in STAGES)


def between(first: str | None, last: str | None) -> tuple[Stage, ...]:
    """The stages from ``first`` to ``last``, both included.

    Raises:
        InputError: ``first`` comes after ``last``.
    """
    start = NAMES.index(first) if first else 0
    end = NAMES.index(last) if last else len(STAGES) - 1
    if start > end:
        raise InputError(f"--from {first} comes after --until {last}; the order is {', '.join(NAMES)}")
    return STAGES[start : end + 1]


def discard(session: Session, run: RunFolder, wanted: Sequence[str]) -> None:
    """Remove what these stages wrote, and what the manifest says of it."""
    for stage in STAGES:
        if stage.name not in wanted:
            continue
        for name in stage.writes:
            path = run.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        session.manifest.stages.pop(stage.name, None)
    session.manifest.save(session.manifest_path)


def is_done(session: Session, run: RunFolder, stage: Stage) -> bool:
    """Whether a stage finished with the settings of today and its artefacts are still there."""
    entry = session.manifest.stages.get(stage.name)
    return (
        entry is not None
        and entry.status == "done"
        and entry.fingerprint == session.settings_key()
        and all((run.path / name).exists() for name in stage.writes)
    )


def refuse_shard(config: RunConfig) -> None:
    """Stop where the configuration names a shard: a stage can be split, and a run can't.

    Raises:
        ConfigError: it does.
    """
    if config.shard is not None:
        raise ConfigError(
            "shard: a run can't be split, its stages can; do `raif label --run DIR --shard I/N` for each I, then "
            "`raif merge --run DIR SHARD...`"
        )


async def run_stages(
    session: Session, run: RunFolder, chosen: Sequence[Stage], on_stage: Callable[[Stage, Outcome | None], None]
) -> Mapping[str, Outcome]:
    """Run ``chosen`` in order; ``on_stage`` hears of each when it ends, with None for one that was already done.

    Raises:
        ConfigError: the configuration names a shard; a stage can be split, and a run can't.
        CapReached: a cap stops one of the stages; names those that are left.
    """
    refuse_shard(session.config)
    outcomes: dict[str, Outcome] = {}
    for stage in chosen:
        if is_done(session, run, stage):
            on_stage(stage, None)
            continue
        try:
            outcomes[stage.name] = await stage.function(session, run)
        except CapReached as cap:
            left = ", ".join(later.name for later in chosen[chosen.index(stage) :])
            raise CapReached(f"{str(cap).removesuffix(GO_ON)}; stages left: {left}{GO_ON}") from None
        on_stage(stage, outcomes[stage.name])
    return outcomes
