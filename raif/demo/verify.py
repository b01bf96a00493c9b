"""What a demo run came to, against the truth of its world: ``summary.json``.

This is the one place outside the tests and the script that builds the models where the truth is read, and it reads
finished artefacts alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raif.config import RunConfig
from raif.demo.truth import attributes, better
from raif.demo.world import Request, parse_request
from raif.manifest import Manifest
from raif.records import Comparison, Conversation, Preference, Response, Revision
from raif.store import RecordFile, RunFolder
from raif.train.data import hold_out, training_pairs
from raif.train.scoring import score_responses

POLICIES = ("base", "sft", "dpo")
"""The policies of a demo run, in the order in which they are made."""


def request_of(record: Response | Revision | Comparison) -> Request:
    """The request that a record answers.

    Raises:
        ValueError: the record is not of the demo world.
    """
    return parsed(record.prompt)


def parsed(prompt: Conversation) -> Request:
    """The request that a prompt puts.

    Raises:
        ValueError: it is none of the demo world's.
    """
    text = prompt[-1].content
    request = parse_request(text)
    if request is None:
        raise ValueError(f"not a request of the demo world: {text!r}")
    return request


def behaviour(answers: Iterable[tuple[Request, str]]) -> dict[str, float]:
    """Shares: ``harmful`` of harmful requests complied with, ``helpful`` of benign ones on the request, ``rude``."""
    found = [(request, attributes(request, text)) for request, text in answers]
    return {
        "harmful": _share(one.complied for request, one in found if request.harmful),
        "helpful": _share(one.helpful for request, one in found if not request.harmful),
        "rude": _share(one.rude for _, one in found),
    }


def _share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return round(sum(values) / len(values), 4) if values else 0.0


def of_responses(responses: Iterable[Response]) -> dict[str, float]:
    """How a policy behaves."""
    return behaviour((request_of(response), response.text) for response in responses)


def label_accuracy(preferences: Sequence[Preference]) -> dict[str, float | int]:
    """Labels against the truth: ``accuracy`` over decided comparisons, ``flip_rate`` over those asked in both orders.

    A comparison that the truth finds tied has no right answer, and no answer to flip: it counts in ``n`` and
    ``abstained`` alone.
    """
    right, flips = [], []
    for preference in preferences:
        comparison = preference.comparison
        truth = better(request_of(comparison), comparison.response_a, comparison.response_b)
        if truth == 0.5:
            continue
        if preference.flipped is not None:
            flips.append(preference.flipped)
        if preference.decided:
            right.append((preference.outcome == "a") == (truth == 1.0))
    return {
        "n": len(preferences),
        "accuracy": _share(right),
        "flip_rate": _share(flips),
        "abstained": _share(preference.outcome == "abstain" for preference in preferences),
    }


def reward_accuracy(run: RunFolder, labels: Sequence[Preference]) -> dict[str, float | int]:
    """How often the reward model ranks two responses as the truth does, over the pairs that it was not trained on."""
    config = RunConfig.model_validate(Manifest.load(run.manifest).config)
    _, held_out = hold_out(training_pairs(labels).examples, config.train.reward.eval_share, config.seed)
    truths = [better(parsed(pair.prompt), pair.chosen[0].content, pair.rejected[0].content) for pair in held_out]
    pairs = [(pair, truth) for pair, truth in zip(held_out, truths, strict=True) if truth != 0.5]
    chosen = score_responses(run.reward, [pair.prompt + pair.chosen for pair, _ in pairs])
    rejected = score_responses(run.reward, [pair.prompt + pair.rejected for pair, _ in pairs])
    right = [(a > b) == (truth == 1.0) for a, b, (_, truth) in zip(chosen, rejected, pairs, strict=True)]
    return {"n": len(right), "accuracy": _share(right)}


def before_and_after(revisions: Sequence[Revision]) -> dict[str, float]:
    """Harm in what the policy said, and in what the revisions made of it."""
    return {
        "harmful_before": behaviour((request_of(r), r.original) for r in revisions)["harmful"],
        "harmful_after": behaviour((request_of(r), r.text) for r in revisions)["harmful"],
    }


def summarise(run: RunFolder, self_revisions: Path, total_seconds: float) -> dict[str, Any]:
    """The summary of a finished demo run."""
    labels = RecordFile(run.labels, Preference).read()
    judged = [p for name in POLICIES[1:] for p in RecordFile(run.eval_folder / f"{name}.labels.jsonl", Preference)]
    revisions = RecordFile(run.revisions, Revision).read()
    by_itself = RecordFile(self_revisions, Revision).read()
    answers = {name: RecordFile(run.eval_folder / f"{name}.responses.jsonl", Response).read() for name in POLICIES}
    harmful = sum(request_of(response).harmful for response in answers["base"])
    made = label_accuracy(labels)
    return {
        "requests": {"harmful": harmful, "benign": len(answers["base"]) - harmful},
        "judge": label_accuracy(judged),
        "revision": {
            "n": len(revisions),
            **before_and_after(revisions),
            "self": {"n": len(by_itself), "harmful_after": before_and_after(by_itself)["harmful_after"]},
        },
        "labels": {key: made[key] for key in ("n", "accuracy", "abstained")},
        "reward": reward_accuracy(run, labels),
        "policy": {name: of_responses(found) for name, found in answers.items()},
        "seconds": {
            "total": round(total_seconds, 1),
            **{name: round(entry.seconds, 1) for name, entry in Manifest.load(run.manifest).stages.items()},
        },
    }


def examples(run: RunFolder, count: int = 3) -> list[Mapping[str, str]]:
    """Held-out requests with the answers before and after, those first where the most changed for the better."""
    folder = run.eval_folder
    before = RecordFile(folder / "base.responses.jsonl", Response).read()
    after = RecordFile(folder / "dpo.responses.jsonl", Response).read()
    chosen: dict[str, Mapping[str, str]] = {}
    for old, new in zip(before, after, strict=True):
        request = request_of(old)
        was, now = attributes(request, old.text), attributes(request, new.text)
        kind = (
            "harm" if was.harmful and not now.harmful else "rude" if was.rude and not now.rude
            else "help" if now.helpful and not was.helpful else ""
        )  # fmt: skip
        if kind and kind not in chosen:
            chosen[kind] = {"prompt": request.text, "before": old.text, "after": new.text}
    return list(chosen.values())[:count]
