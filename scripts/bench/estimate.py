#!/usr/bin/env python3
"""How near `--estimate` comes: estimate a demo run, run it, and print both.

    python scripts/bench/estimate.py [--quick] [--seed 1] [--sample 48] [--out DIR] [--set KEY=VALUE ...]

The estimate's own answers are kept, so both columns are what the run pays for after it. Seconds are those that the
stages took; both processes start from nothing, with a completion cache that is new. Give the machine nothing else to
do meanwhile. The targets for the whole: tokens within 10 %, time within 30 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.table import installed, machine, table  # noqa: E402

COUNTS = ("requests", "cache_hits", "prompt_tokens", "completion_tokens", "seconds")


def main() -> None:
    """Estimate, run, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the demo's quick setting")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=48, help="prompts in the estimate's sample")
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one otherwise")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the configuration")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        estimated, ran = measure(folder, arguments.seed, arguments.quick, arguments.sample, arguments.set)
    print("\n".join(report(estimated, ran)))
    print(f"{machine()}; {installed('torch', 'transformers', 'trl')}")


def measure(
    folder: Path, seed: int, quick: bool, sample: int, sets: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``--estimate`` printed of a demo run in ``folder``, and the manifest's stages once it ran."""
    from raif.demo.project import write_project

    config = write_project(folder, seed=seed, quick=quick, sets=sets, run=Path("run"))
    environment = os.environ | {"RAIF_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from raif.cli import main; main()", "run", str(config), "--json"]
    told = subprocess.run(
        [*command, "--estimate", "--estimate-sample", str(sample)], env=environment, check=True, stdout=subprocess.PIPE
    )
    subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(told.stdout), json.loads((folder / "run" / "manifest.json").read_bytes())["stages"]


def report(estimated: Mapping[str, Any], ran: Mapping[str, Any]) -> list[str]:
    """Both side by side, stage by stage, as ``estimate / run``; the whole with its ratios."""
    head = ("stage", "requests", "from the cache", "prompt tokens", "completion tokens", "seconds")
    rows = []
    for name, stage in estimated["stages"].items():
        rows.append([name, *(f"{stage[key] or 0:,.0f} / {ran[name][key]:,.0f}" for key in COUNTS)])
    whole = {key: (estimated["total"][key] or 0, sum(stage[key] for stage in ran.values())) for key in COUNTS}
    rows.append(["total", *(f"{guess:,.0f} / {fact:,.0f}" for guess, fact in whole.values())])
    rows.append(["ratio", *(f"{guess / fact:.3f}" if fact else "" for guess, fact in whole.values())])
    tokens = [whole["prompt_tokens"][at] + whole["completion_tokens"][at] for at in (0, 1)]
    spent = estimated["spent"]
    asked = spent["requests"] - spent["cache_hits"]
    return [
        table(head, rows),
        *estimated["notes"],
        f"tokens: {tokens[0] / tokens[1] - 1:+.1%} (target ±10 %)   "
        f"time: {whole['seconds'][0] / whole['seconds'][1] - 1:+.1%} (target ±30 %)",
        f"the estimate asked {asked:,} requests and took {spent['seconds']:.0f} s",
    ]


if __name__ == "__main__":
    main()
