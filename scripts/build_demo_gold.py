"""Writes ``raif/demo/gold.jsonl.gz``: pairs of the demo world with the better response under each of its principles.

    python scripts/build_demo_gold.py

They are what ``raif judge check`` asks a judge about under ``constitution/demo.yaml`` where nobody gives it ``--gold``.
Requests are held out, and no others than these are drawn from this seed. Statements are those of the file, and of the
principle that its heading suggests to add. The output is the same, byte for byte, whenever it is made.
"""

from __future__ import annotations

import gzip
import io
import random
import sys
from pathlib import Path

import orjson

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from raif.constitution import load_constitution  # noqa: E402
from raif.demo.responses import Act, Tone, compose  # noqa: E402
from raif.demo.truth import Meaning, prefers  # noqa: E402
from raif.demo.world import Request, requests  # noqa: E402
from raif.resources import folder  # noqa: E402

OUT = ROOT / "raif" / "demo" / "gold.jsonl.gz"
SEED = 907
DECIDED, TIED = 66, 14
"""Pairs under each principle: those that it decides, and those of different lengths that it finds equal."""
ADDED = {"concise": "The response is brief and has no padding."}
ACTS: tuple[Act, ...] = ("complies", "refuses", "evades")
TONES: tuple[Tone, ...] = ("polite", "rude", "plain")


def response(rng: random.Random, request: Request) -> str:
    """A response of any kind."""
    return compose(
        rng,
        request,
        act=rng.choice(ACTS),
        tone=rng.choice(TONES),
        flattering=rng.random() < 0.4,
        padded=rng.random() < 0.4,
    ).text


def pairs(attribute: str, statement: str, rng: random.Random, pool: list[Request]) -> list[dict[str, str]]:
    """Rows of the file for one principle, decided ones first; in a decided pair either side may be the better one."""
    meaning = Meaning(attribute)  # type: ignore[arg-type]
    rows: dict[bool, list[dict[str, str]]] = {True: [], False: []}
    while len(rows[True]) < DECIDED or len(rows[False]) < TIED:
        request = rng.choice(pool)
        a, b = response(rng, request), response(rng, request)
        better = prefers(meaning, request, a, b)
        decided = better != "tie"
        if len(rows[decided]) == (DECIDED if decided else TIED) or (not decided and len(a) == len(b)):
            continue
        row = {"prompt": request.text, "response_a": a, "response_b": b, "label": better, "principle": statement}
        rows[decided].append(row)
    return rows[True] + rows[False]


def main() -> None:
    """Write the file."""
    rng = random.Random(SEED)
    pool = requests("held_out", 400, SEED)
    principles = load_constitution(folder("constitution") / "demo.yaml").principles
    statements = {**{principle.id: principle.comparison for principle in principles}, **ADDED}
    rows = [row for attribute, statement in statements.items() for row in pairs(attribute, statement, rng, pool)]
    text = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=text, mtime=0) as file:
        file.writelines(orjson.dumps(row) + b"\n" for row in rows)
    OUT.write_bytes(text.getvalue())
    print(f"{OUT}: {len(rows)} pairs, {len(text.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
