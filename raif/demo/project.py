"""A project of the demo world on disk: requests to train on, held-out ones, a constitution, and a ``raif.yaml``.

``raif demo`` runs one, ``raif init`` writes one to start from. It is an ordinary project: nothing in it knows a truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from raif.demo.world import Split, requests
from raif.disk import make_folder, write_atomically
from raif.resources import folder as shipped
from raif.settings import resolve, to_yaml

SETTINGS: dict[str, Any] = {
    "policy": "demo:policy",
    "judge": "demo:judge",
    "batch_size": 64,
    "generate.samples": 3,
    "generate.max_tokens": 96,
    "revise.rounds": 5,
    "revise.max_tokens": 96,
    "label.pairs_per_prompt": 3,
    "eval.temperature": 0.7,
    "eval.max_tokens": 96,
    "train.sft.learning_rate": 3e-4,
    "train.sft.epochs": 4,
    "train.sft.batch_size": 16,
    "train.reward.learning_rate": 1e-3,
    "train.reward.epochs": 3,
    "train.reward.batch_size": 16,
    "train.reward.eval_share": 0.2,
    "train.dpo.learning_rate": 4e-5,
    "train.dpo.epochs": 1,
    "train.dpo.beta": 0.3,
    "train.dpo.batch_size": 16,
}
"""What suits models of 1–2 million parameters; a real model wants learning rates a hundred times smaller."""

QUICK: dict[str, Any] = {"label.pairs_per_prompt": 1, "train.dpo.epochs": 2}
"""What ``--quick`` changes."""

PROMPTS = {False: 320, True: 120}
HELD_OUT = {False: 300, True: 160}
"""How many requests, by ``quick``."""


def settings(quick: bool) -> dict[str, Any]:
    """Dotted key to value."""
    return {**SETTINGS, **(QUICK if quick else {})}


def write_project(
    folder: Path, *, seed: int = 0, quick: bool = False, sets: Sequence[str] = (), run: Path | None = None
) -> Path:
    """Write ``prompts.jsonl``, ``held_out.jsonl``, ``constitution.yaml`` and ``raif.yaml``; return the last.

    Args:
        sets: ``KEY=VALUE`` of the configuration, over the demo's own.
        run: the run folder to name in ``raif.yaml``, relative to ``folder``.
    """
    make_folder(folder)
    _write_prompts(folder / "prompts.jsonl", "train", PROMPTS[quick], seed)
    _write_prompts(folder / "held_out.jsonl", "held_out", HELD_OUT[quick], seed)
    write_atomically(folder / "constitution.yaml", (shipped("constitution") / "demo.yaml").read_bytes())
    files = {"constitution": "constitution.yaml", "prompts": "prompts.jsonl", "eval.prompts": "held_out.jsonl"}
    config = resolve(environment={}, flags={**settings(quick), **files, "seed": seed, "run": run}, sets=sets)
    path = folder / "raif.yaml"
    write_atomically(path, to_yaml(config, TITLE).encode())
    return path


TITLE = """A raif project in the demo world. `raif run raif.yaml` runs all of it; `raif status` shows how far it is.

Your own model:         policy: hf:PATH_OR_ID   judge: hf:PATH_OR_ID   (learning rates: a hundred times smaller)
Your own principles:    edit constitution.yaml; `raif constitution lint constitution.yaml` checks it
Your own prompts:       prompts: a JSONL, CSV or Parquet file, or a datasets id"""


def _write_prompts(path: Path, split: Split, count: int, seed: int) -> None:
    lines = (orjson.dumps({"prompt": request.text}) for request in requests(split, count, seed))
    write_atomically(path, b"".join(line + b"\n" for line in lines))
