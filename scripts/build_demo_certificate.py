"""Writes ``raif/demo/certificate.json``: what a check finds of the demo judge under ``constitution/demo.yaml``.

    python scripts/build_demo_certificate.py

It belongs to the weights: whenever ``raif/demo/models/judge``, the gold, the battery of injections or the templates
change, it is made again; a test says so. Under a minute on one core.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from raif.cli import run_guarded  # noqa: E402
from raif.cli.judge import group  # noqa: E402
from raif.resources import folder  # noqa: E402

OUT = ROOT / "raif" / "demo" / "certificate.json"


def main() -> int:
    """Check the judge, and keep what was found; the exit code is the check's."""
    os.environ["RAIF_CACHE"] = "off"
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / OUT.name
        constitution = folder("constitution") / "demo.yaml"
        arguments = ["check", "--judge", "demo:judge", "--constitution", str(constitution), "--redo"]
        arguments += ["--certificate", str(made)]
        code = run_guarded(lambda: group.main(args=arguments, prog_name="raif judge", standalone_mode=False))
        if code == 0:
            shutil.copyfile(made, OUT)
            print(f"{OUT}: {OUT.stat().st_size:,} bytes")
        return code


if __name__ == "__main__":
    raise SystemExit(main())
