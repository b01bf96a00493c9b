"""scripts/bench/score.py runs, all its ways agree, and raif's counts as few tokens as there can be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "bench" / "score.py"


def test_the_quick_benchmark(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::UserWarning", str(SCRIPT), "--quick", "--principles", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"python 3\.\d+\.\d+, .*torch 2\.\d+.*, transformers 5\.", done.stdout)
    assert "2 comparisons × 2 orders × 2 principles = 8 prompts" in done.stdout
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in done.stdout.splitlines() if "|" in line]
    head, _, *ways = rows
    assert head == ["way", "seconds", "range", "CPU seconds", "speed-up", "tokens", "of the fewest"]
    assert [way[0].split()[0] for way in ways] == ["generate,", "pipeline,", "sorted", "64", "raif"]
    assert ways[-1][0] == "raif (tree)"
    assert float(ways[-1][-1]) <= 1.02
    assert all(float(way[-1]) > 2 for way in ways[:-1])
    agreed = re.search(r"P\(A\) agrees within (\S+\d)", done.stdout)
    assert agreed is not None
    assert 0 < float(agreed[1]) < 1e-5
