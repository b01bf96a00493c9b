"""What happens at each optimiser step: check, log, report, and mark checkpoints as whole. Imports transformers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson
from transformers import TrainerCallback

from raif.errors import TrainingError
from raif.train.folder import TrainFolder

if TYPE_CHECKING:
    from raif.train.engine import Run

NOT_IN_LOG = {"num_tokens", "total_flos"}
"""Counters that TRL starts again from nothing when it resumes."""


class StepCallback(TrainerCallback):
    """Writes ``log.jsonl``, calls ``on_progress``, stops at a loss that is not finite."""

    def __init__(self, folder: TrainFolder, run: Run, *, writes: bool) -> None:
        self.folder, self.run, self.writes = folder, run, writes

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:  # the summary at the end, with its times
            return
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise TrainingError(
                    f"{name} is {logs[name]} at step {state.global_step} of {state.max_steps}: training diverged; "
                    "lower learning_rate or max_grad_norm, and look at the examples"
                )
        if not self.writes:
            return
        line = {"step": state.global_step} | {name: value for name, value in logs.items() if name not in NOT_IN_LOG}
        with self.folder.log.open("ab") as file:
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if self.run.on_progress:
            self.run.on_progress(state.global_step, state.max_steps, line)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps and not self.run.config.keep_checkpoints:
            control.should_save = False  # the final model is saved at once; a checkpoint of it would be in its way

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.writes:
            self.folder.completed(state.global_step)
