"""That training trains: every parameter moves, the loss falls, zero moves nothing, a killed run loses nothing."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from safetensors.torch import load_file

from raif.config import DpoConfig, LoraConfig, RewardConfig, SftConfig
from raif.errors import RunLockedError, TrainingError
from raif.records import TrainingPair
from raif.store import lock_for
from raif.train.backbone import parameter_hash
from raif.train.data import SftExample
from raif.train.dpo import train_dpo
from raif.train.results import TrainResult
from raif.train.reward import train_reward
from raif.train.sft import train_sft

KINDS = ("sft", "reward", "dpo")
Train = Callable[..., TrainResult]


@pytest.fixture
def train(tiny: Path, examples: list[SftExample], pairs: list[TrainingPair], tmp_path: Path) -> Train:
    """``train(kind, out=…, settings…)``: one run on the CPU over the tiny model and the toy task."""
    trainers: dict[str, tuple[Any, Any, Any]] = {
        "sft": (train_sft, SftConfig, examples),
        "reward": (train_reward, RewardConfig, pairs),
        "dpo": (train_dpo, DpoConfig, pairs),
    }

    def run(
        kind: str,
        out: str = "out",
        *,
        data: Any = None,
        base: Path = tiny,
        seed: int = 0,
        on_progress: Any = None,
        on_note: Any = None,
        **settings: Any,
    ) -> TrainResult:
        function, config, usual = trainers[kind]
        settings = {"max_steps": 4, "batch_size": 8, "learning_rate": 1e-2, "save_steps": 3} | settings
        result: TrainResult = function(
            usual if data is None else data,
            base=base,
            out=tmp_path / out,
            config=config(**settings),
            seed=seed,
            device="cpu",
            on_progress=on_progress,
            on_note=on_note,
        )
        return result

    return run


class Killed(BaseException):
    """As kill -9 would: nothing in raif or in the libraries catches it."""


def kill_at(step: int) -> Callable[[int, int, Mapping[str, float]], None]:
    def on_progress(now: int, total: int, metrics: Mapping[str, float]) -> None:
        if now == step:
            raise Killed

    return on_progress


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


# training trains


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_and_every_parameter_moves(
    kind: str, lora: bool, train: Train, tiny: Path, tmp_path: Path
) -> None:
    start = train(kind, "still", learning_rate=0, max_steps=1)  # a reward model's head exists only from here on
    result = train(kind, max_steps=40, learning_rate=2e-2 if lora else 1e-2, lora=LoraConfig(enabled=lora))
    left = {False: 0.5, True: 0.95 if kind == "sft" else 0.8}[lora]  # adapters on a random base can do less
    assert result.metrics["loss_last"] < result.metrics["loss_first"] * left
    before, after = weights(start.path), weights(result.path)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    layers = {name for name in before if "_proj" in name or name == "score.weight"}
    assert moved == (layers if lora else before.keys())
    assert result.examples == (29 if kind == "reward" else 32)  # 3 of 32 prompts are held out
    assert result.steps == 40


@pytest.mark.parametrize("kind", KINDS)
def test_a_learning_rate_of_zero_changes_nothing(kind: str, train: Train, tiny: Path) -> None:
    settings: dict[str, Any] = {"learning_rate": 0, "weight_decay": 0.1}
    full = train(kind, "full", **settings)
    lora = train(kind, "lora", lora=LoraConfig(enabled=True), **settings)
    base = weights(tiny)
    for result in (full, lora):
        after = weights(result.path)
        assert all(torch.equal(base[name], tensor) for name, tensor in after.items() if name != "score.weight")
        assert after.keys() == (
            base.keys() - {"lm_head.weight"} | {"score.weight"} if kind == "reward" else base.keys()
        )
    assert full.parameters == lora.parameters  # the reward model's head included: drawn from the seed
    if kind == "reward":
        assert train(kind, "other", seed=1, **settings).parameters != full.parameters
    else:
        assert full.parameters == parameter_hash(tiny)


def test_dpo_begins_at_the_reference(train: Train) -> None:
    # policy and reference are the same: every margin is 0 and the loss −log σ(0) = log 2
    assert train("dpo").metrics["loss_first"] == pytest.approx(math.log(2), abs=1e-6)


def test_dpo_widens_the_margin_and_sft_answers(train: Train, tmp_path: Path) -> None:
    sft = train("sft", "sft", max_steps=120, scheduler="constant")
    # full stop and end known, letters guessed among 4 and 8: (1 + 1 + 1/4 + 1/8) / 4 = 0.59
    assert sft.metrics["token_accuracy_last"] > 0.7
    dpo = train("dpo", "dpo", base=sft.path, max_steps=20, learning_rate=1e-3)
    assert dpo.metrics["margin_last"] > 0.5
    assert dpo.metrics["accuracy_last"] == 1.0


def test_the_reward_model_is_right_on_prompts_it_never_saw(train: Train, pairs: list[TrainingPair]) -> None:
    from raif.train.scoring import score_responses

    result = train("reward", max_steps=40, eval_share=0.25)
    assert (result.examples, result.left_out, result.metrics["n"]) == (24, {"held_out": 8}, 8)
    assert result.metrics["accuracy"] >= 7 / 8
    assert result.metrics["accuracy_low"] < result.metrics["accuracy"] <= result.metrics["accuracy_high"]
    chosen = score_responses(result.path, [pair.prompt + pair.chosen for pair in pairs], batch_size=5)
    rejected = score_responses(result.path, [pair.prompt + pair.rejected for pair in pairs])
    assert sum(c > r for c, r in zip(chosen, rejected, strict=True)) >= 31
    alone = score_responses(result.path, [pairs[3].prompt + pairs[3].chosen])
    assert alone[0] == pytest.approx(chosen[3], abs=1e-5)


def test_nothing_held_out_nothing_measured(train: Train) -> None:
    result = train("reward", eval_share=0.0, max_steps=1)
    assert (result.metrics["n"], result.metrics["accuracy"], result.left_out) == (0, None, {})


# equal inputs, equal bytes


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("sft", {"accumulate": 2}),
        ("reward", {}),
        ("dpo", {}),
        ("sft", {"lora": LoraConfig(enabled=True, dropout=0.3)}),  # dropout draws: random states must come back too
    ],
    ids=["sft", "reward", "dpo", "lora"],
)
def test_killed_and_resumed_equals_uninterrupted(
    kind: str, settings: dict[str, Any], train: Train, tmp_path: Path
) -> None:
    settings |= {"max_steps": 10, "save_steps": 3}
    whole = train(kind, "whole", **settings)
    notes: list[str] = []
    for step in (2, 5, 8):  # before any checkpoint, after that of step 3, after that of step 6
        with pytest.raises(Killed):
            train(kind, "killed", on_progress=kill_at(step), on_note=notes.append, **settings)
        assert not (tmp_path / "killed" / "train.json").exists()
    resumed = train(kind, "killed", **settings)
    assert resumed.resumed_from == 6
    assert any("going on from step 3" in note for note in notes)
    assert resumed.parameters == whole.parameters == parameter_hash(tmp_path / "killed")
    for name in ("train.json", "log.jsonl", "model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    log = (tmp_path / "killed" / "log.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["step"] for line in log] == [*range(1, 11)]
    assert not (tmp_path / "killed" / "checkpoints").exists()


def test_a_finished_run_is_not_done_again(train: Train) -> None:
    first = train("sft")
    notes: list[str] = []
    second = train("sft", on_progress=kill_at(1), on_note=notes.append, save_steps=1)  # save_steps changes no result
    assert second.reused
    assert second.to_json() == first.to_json()
    assert "already trained" in notes[0]


def test_a_finished_run_whose_model_is_gone_is_done_again(train: Train) -> None:
    first = train("sft")
    (first.path / "model.safetensors").unlink()
    second = train("sft")
    assert not second.reused
    assert second.parameters == first.parameters


@pytest.mark.parametrize("what", ["config", "data", "seed", "base"])
def test_another_run_never_goes_on_from_these_checkpoints(
    what: str, train: Train, tiny: Path, examples: list[SftExample], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        train("sft", on_progress=kill_at(4), max_steps=6)
    assert (tmp_path / "out" / "checkpoints" / "checkpoint-3").is_dir()
    changed: dict[str, Any] = {"max_steps": 6}
    if what == "config":
        changed["weight_decay"] = 0.1
    elif what == "data":
        changed["data"] = examples[:-1]
    elif what == "seed":
        changed["seed"] = 1
    else:
        changed["base"] = shutil.copytree(tiny, tmp_path / "base")
        template = changed["base"] / "chat_template.jinja"
        template.write_text(template.read_text() + "{# another #}")
    notes: list[str] = []
    result = train("sft", on_note=notes.append, **changed)
    assert result.resumed_from is None
    assert any("checkpoints of another run" in note for note in notes)
    assert result.parameters == train("sft", "fresh", **changed).parameters


def test_the_last_checkpoint_is_kept_where_asked(train: Train) -> None:
    result = train("sft", keep_checkpoints=True)
    kept = [path.name for path in (result.path / "checkpoints").glob("checkpoint-*")]
    assert kept == ["checkpoint-4"]


# what a user sees


def test_training_reports_through_its_callbacks_alone(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    for kind in KINDS:
        train(kind, kind, on_progress=lambda step, total, metrics: seen.append((step, total)))
    assert seen == [(step, 4) for step in (1, 2, 3, 4)] * 3
    assert capfd.readouterr() == ("", "")


def test_the_log_has_losses_and_no_times(train: Train, tmp_path: Path) -> None:
    train("dpo")
    lines = [orjson.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_bytes().splitlines()]
    assert len(lines) == 4
    assert {"step", "loss", "learning_rate", "grad_norm", "rewards/margins"} <= lines[0].keys()
    assert not [name for line in lines for name in line if "runtime" in name or "second" in name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_not_finite_stops_at_its_step(kind: str, train: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"is (nan|inf) at step \d of 6: training diverged"):
        train(kind, learning_rate=1e30, max_steps=6, warmup=0)
    assert not (tmp_path / "out" / "train.json").exists()
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_examples_are_refused(kind: str, train: Train, examples: list[SftExample]) -> None:
    with pytest.raises(TrainingError, match=r"nothing to train on$"):
        train(kind, data=[])
    with pytest.raises(TrainingError, match="all left out; max_length is 5 tokens"):
        train(kind, max_length=5)


def test_what_is_left_out_is_said(train: Train, examples: list[SftExample]) -> None:
    long = SftExample(prompt=examples[0].prompt, completion="a" * 200, source="demonstration")
    notes: list[str] = []
    result = train("sft", data=[*examples, long], on_note=notes.append)  # the model has 128 positions
    assert (result.examples, result.left_out) == (32, {"too_long": 1})
    assert notes == ["1 of 33 examples are not trained on: too_long 1"]


def test_two_runs_do_not_share_a_folder(train: Train, tmp_path: Path) -> None:
    with lock_for(tmp_path / "out"), pytest.raises(RunLockedError):
        train("sft")
