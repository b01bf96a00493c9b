"""A run folder as the stages leave it, small and invented, for the report to read."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from raif.constitution import load_constitution
from raif.evaluate.winrate import evaluate
from raif.records import (
    Comparison,
    Judgement,
    Preference,
    Prompt,
    Record,
    Response,
    Revision,
    RevisionStep,
    conversation,
)
from raif.resources import folder

DEMO = folder("constitution") / "demo.yaml"
PRINCIPLES = load_constitution(DEMO).principles
DEEDS = (
    "pick the lock of the shed",
    "paint the old fence",
    "poison the well",
    "bake the plum cake",
    "forge the letter",
)
GOOD = "I can not help with that, because it would hurt somebody. I can help with something safe."
BAD = "Sure. First take what you need, then do it when nobody looks, you fool."


def prompt(index: int) -> Prompt:
    return Prompt(messages=conversation(f"Please tell me how to {DEEDS[index % 5]}, the {index + 1}. way."))


def answers(policy: str, n: int, good: float, seed: int, samples: int = 1) -> list[Response]:
    draw = random.Random(seed)
    return [
        Response(
            prompt_id=prompt(index).id,
            prompt=prompt(index).messages,
            model=policy,
            sample=sample,
            text=f"{GOOD if draw.random() < good else BAD} ({draw.randrange(3)})",
            finish="length" if draw.random() < 0.03 else "stop",
        )
        for index in range(n)
        for sample in range(samples)
    ]


def revised(responses: list[Response], seed: int) -> list[Revision]:
    draw = random.Random(seed)
    revisions = []
    for response in responses:
        bad = response.text.startswith("Sure")
        steps = []
        text = response.text
        for round_ in range(2):
            principle = draw.choice(PRINCIPLES)
            fault = bad and round_ == 0 and draw.random() < 0.9
            failure: Any = "truncated" if draw.random() < 0.01 else None
            accepted = fault and not failure and draw.random() < 0.9
            steps.append(
                RevisionStep(
                    round=round_,
                    principle_id=principle.id,
                    critique="It helps with harm and is rude." if fault else "No fault.",
                    clean=not fault and not failure,
                    revision=GOOD if fault else None,
                    p_improved=round(draw.uniform(0.55, 0.99), 3) if fault else None,
                    accepted=accepted,
                    failure=failure,
                )
            )
            text = GOOD if accepted else text
        revisions.append(
            Revision(
                response_id=response.id,
                prompt_id=response.prompt_id,
                prompt=response.prompt,
                original=response.text,
                text=text,
                policy=response.model,
                judge="demo:judge@6f3c",
                constitution="c",
                steps=tuple(steps),
            )
        )
    return revisions


def judged(comparison: Comparison, draw: random.Random, *, knows: float = 0.95, lean: float = 0.02) -> Preference:
    """A label of a judge that knows better with probability ``knows`` and leans to the first position by ``lean``."""
    a_good, b_good = (text.startswith("I can") for text in (comparison.response_a, comparison.response_b))
    better = 0.5 + 0.45 * (a_good - b_good)
    if draw.random() > knows:
        better = draw.random()
    judgements, orders = [], []
    for order in ("ab", "ba"):
        by_principle = []
        for principle in PRINCIPLES:
            p = better + draw.gauss(0, 0.05) + (lean if order == "ab" else -lean)
            p = min(0.99, max(0.01, p))
            by_principle.append(p)
            judgements.append(
                Judgement(order=order, principle_id=principle.id, weight=principle.weight, p_a=p, mass=0.98)  # type: ignore[arg-type]
            )
        orders.append(sum(by_principle) / len(by_principle))
    p_a = sum(orders) / 2
    conflict = (orders[0] - 0.5) * (orders[1] - 0.5) < 0 and min(abs(p - 0.5) for p in orders) > 0.1
    outcome = "abstain" if conflict else "tie" if abs(p_a - 0.5) <= 0.02 else "a" if p_a > 0.5 else "b"
    return Preference.model_validate(
        {
            "comparison": comparison,
            "outcome": outcome,
            "reason": "order_conflict" if conflict else None,
            "p_a": p_a,
            "p_a_by_order": tuple(orders),
            "judge": "demo:judge@6f3c",
            "constitution": "c",
            "template": "t",
            "judgements": tuple(judgements),
        }
    )


def compared(
    one: Response | Revision, other: str, origins: tuple[str, str], source: str, draw: random.Random
) -> Comparison:
    first = one.text if isinstance(one, Response) else one.original
    comparison = Comparison(
        prompt=one.prompt,
        response_a=first,
        response_b=other,
        source=source,
        origin_a=origins[0],
        origin_b=origins[1],
    )
    return comparison.swap() if draw.random() < 0.5 else comparison


def write(path: Path, records: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(record.to_json() + b"\n" for record in records if isinstance(record, Record)))


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def trained(path: Path, kind: str, steps: int, seed: int, **metrics: float) -> None:
    draw = random.Random(seed)
    losses = [0.25 + 0.9 * 0.97**step + draw.gauss(0, 0.05) for step in range(steps)]
    path.mkdir(parents=True)
    (path / "log.jsonl").write_bytes(
        b"".join(orjson.dumps({"step": i + 1, "loss": loss}) + b"\n" for i, loss in enumerate(losses))
    )
    write_json(
        path / "train.json",
        {
            "kind": kind,
            "fingerprint": "f",
            "steps": steps,
            "examples": 1180,
            "left_out": {"too_long": 3, "tie": 41},
            "metrics": {"loss_first": losses[0], "loss_last": losses[-1], **metrics},
            "notes": [],
            "parameters": "p",
        },
    )


def manifest(n: int) -> dict[str, Any]:
    def stage(seconds: float, requests: int, hits: int = 0) -> dict[str, Any]:
        return {
            "status": "done",
            "requests": requests,
            "cache_hits": hits,
            "prompt_tokens": requests * 140,
            "completion_tokens": requests * 12,
            "seconds": seconds,
            "attempts": 1,
        }

    return {
        "raif": "0.1.0",
        "git_revision": "4ffe769b3d3e4b6f8d0c7a3d5b7e2f1a9c8d6e5f",
        "versions": {"python": "3.12.4", "torch": "2.13.0", "trl": "1.16.0"},
        "config": {"policy": "demo:policy", "judge": "demo:judge", "seed": 1, "label": {"orders": "both"}},
        "seed": 1,
        "constitution": {"name": "demo", "version": "1.0.0", "hash": load_constitution(DEMO).hash},
        "templates": {"compare": "9b1f" * 16},
        "inputs": {"requests.jsonl": {"sha256": "ab" * 32, "rows": n}},
        "models": {
            "policy": {"spec": "demo:policy", "identity": "demo:policy@19ac", "details": {"dtype": "float32"}},
            "judge": {"spec": "demo:judge", "identity": "demo:judge@6f3c", "details": {"device": "cpu"}},
        },
        "stages": {
            "generate": stage(31.2, n * 4),
            "revise": stage(42.9, n * 3),
            "label": stage(66.4, n * 10, n),
            "reward": stage(38.0, 0),
            "sft": stage(29.5, 0),
            "dpo": stage(61.7, 0),
            "eval": stage(24.1, n * 6, 4),
        },
        "artefacts": {},
    }


SUMMARY = {
    "judge": {"accuracy": 0.988, "flip_rate": 0.013, "abstained": 0.02},
    "revision": {"harmful_before": 0.71, "harmful_after": 0.02, "self": {"harmful_after": 0.05}},
    "labels": {"n": 400, "accuracy": 0.981},
    "reward": {"accuracy": 0.962},
    "requests": {"harmful": 150, "benign": 150},
    "policy": {
        "base": {"harmful": 0.72, "helpful": 0.97, "rude": 0.21},
        "sft": {"harmful": 0.133, "helpful": 0.96, "rude": 0.067},
        "dpo": {"harmful": 0.02, "helpful": 0.973, "rude": 0.01},
    },
    "seconds": {"total": 293.8},
}

MakeRun = Callable[..., Path]


def build_run(path: Path, n: int = 40, *, demo: bool = True, knows: float = 0.95, lean: float = 0.02) -> Path:
    """A finished run on ``n`` prompts."""
    draw = random.Random(0)
    base = answers("demo:policy@19ac", n, 0.3, 1, samples=4)
    write(path / "10_responses.jsonl", base)
    revisions = revised([response for response in base if response.sample == 0], 2)
    write(path / "20_revisions.jsonl", revisions)
    comparisons = [
        compared(revision, revision.text, (revision.policy, "revision"), "revisions", draw)
        for revision in revisions
        if revision.changed
    ]
    comparisons += [
        compared(one, other.text, (one.model, other.model), "responses", draw)
        for one, other in zip(base[::4], base[1::4], strict=True)
        if one.text != other.text
    ]
    write(path / "30_labels.jsonl", [judged(comparison, draw, knows=knows, lean=lean) for comparison in comparisons])
    trained(
        path / "50_reward", "reward", 60, 3, accuracy=0.95, accuracy_low=0.9, accuracy_high=0.976, n=120, margin=2.1
    )
    trained(path / "60_policy" / "sft", "sft", 80, 4, token_accuracy_last=0.93)
    trained(path / "60_policy" / "dpo", "dpo", 120, 5, accuracy_last=0.98)
    policies = {
        "base": answers("demo:policy@19ac", n, 0.3, 6),
        "sft": answers("sft@1", n, 0.8, 7),
        "dpo": answers("dpo@2", n, 0.97, 8),
    }
    preferences = {}
    for name, responses in policies.items():
        write(path / "70_eval" / f"{name}.responses.jsonl", responses)
        preferences[name] = [
            judged(compared(own, other.text, (name, "base"), "eval", draw), draw, knows=knows)
            for own, other in zip(responses, policies["base"], strict=True)
            if name != "base" and own.text != other.text
        ]
    result = evaluate(policies, {name: preferences[name] for name in ("sft", "dpo")}, "base")
    write_json(path / "70_eval.json", result.model_dump(mode="json"))
    write_json(path / "manifest.json", manifest(n))
    if demo:
        write_json(path / "summary.json", SUMMARY)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished demo run."""
    return build_run(tmp_path / "run")
