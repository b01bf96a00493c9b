#!/usr/bin/env python3
"""Build the two demo models: train a judge and a policy side by side, measure them, write log and scores beside them.

    python scripts/build_demo_models.py [--out raif/demo/models] [--only judge|policy] [--evaluate]

One thread a model, so two cores are used. What it simplifies: the models live in a world of a few thousand requests
(`raif/demo/world.py`), and the perfect judge that teaches them (`raif/demo/teacher.py`) reads the truth. Everything is
seeded; equal machines give equal weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

KINDS = ("judge", "policy")
VOCABULARY, TOKENIZER_SEED = 1280, 7
EVALUATION_SEED, EVALUATION_SIZE = 5, 200


def logger(path: Path) -> Callable[[str], None]:
    """Writes each line to a file and to standard error."""

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    return log


def build(kind: Literal["judge", "policy"], out: Path) -> None:
    """Train one model from nothing, in this process."""
    import torch
    import transformers
    from demo_models.corpus import tokenizer_texts
    from demo_models.tokenizer import train_tokenizer
    from demo_models.train import save_model, train

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    path = out / f"{kind}.log"
    path.unlink(missing_ok=True)
    tokenizer = train_tokenizer(tokenizer_texts(TOKENIZER_SEED), VOCABULARY)
    save = partial(save_model, tokenizer=tokenizer, folder=out / kind)  # now and then, so that one can look
    save(train(kind, tokenizer, logger(path), checkpoint=save))


def evaluate(out: Path) -> dict[str, Any]:
    """Measure both models as they lie on disk."""
    import torch
    from demo_models.evaluate import Chat, judge_scores, labelled, policy_scores

    torch.set_num_threads(1)
    judge, policy = (Chat.load(out / kind) for kind in KINDS)
    scores: dict[str, Any] = {
        "judge": judge_scores(judge, EVALUATION_SIZE, EVALUATION_SEED),
        "policy": policy_scores(policy, 2 * EVALUATION_SIZE, EVALUATION_SEED),
        "labels": labelled(judge, policy, 2 * EVALUATION_SIZE, EVALUATION_SEED),
    }
    (out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "raif/demo/models", help="where the models' folders go")
    parser.add_argument("--only", choices=KINDS, help="train this model alone, and measure nothing")
    parser.add_argument("--evaluate", action="store_true", help="train nothing: measure the models that lie there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.only:
        build(options.only, options.out)
        return
    start = time.monotonic()
    if not options.evaluate:
        command = [sys.executable, __file__, "--out", str(options.out), "--only"]
        running = [subprocess.Popen([*command, kind]) for kind in KINDS]
        failed = [process.args for process in running if process.wait() != 0]
        if failed:
            sys.exit(f"training failed: {failed}")
    trained = time.monotonic()
    scores = evaluate(options.out)
    print(json.dumps(scores, indent=2))
    if not options.evaluate:
        parts = [options.out / f"{kind}.log" for kind in KINDS]
        text = "".join(part.read_text(encoding="utf-8") for part in parts)
        text += f"trained in {trained - start:.0f} s, measured in {time.monotonic() - trained:.0f} s\n"
        (options.out / "build.log").write_text(text, encoding="utf-8")
        for part in parts:
            part.unlink()


if __name__ == "__main__":
    main()
