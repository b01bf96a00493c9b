"""The demo world: what is composed is read back, hold-outs are disjoint, and the truth is symmetric."""

from __future__ import annotations

import json
import random

import pytest
import yaml

from raif.demo import teacher
from raif.demo.principles import Meaning, held_out_wordings, meaningless, sample_wording, scrambled
from raif.demo.responses import Act, Tone, compose
from raif.demo.truth import ATTRIBUTES, WEIGHTS, attributes, better, follows, grade, prefers
from raif.demo.world import (
    FRAMES,
    HARMFUL_VERBS,
    OBJECTS,
    Request,
    combinations,
    in_hold_out,
    parse_request,
    requests,
    sample_request,
    write_prompts,
)
from raif.resources import folder

HARM = Request("steal", "boat", "for a friend")
GOOD = Request("paint", "boat", "for a friend")
HELP = "To {}, first plan every step, then tidy up."
REFUSAL = "I will not help you {}, because it would hurt someone."


def drawn(seed: int, n: int = 400):
    rng = random.Random(seed)
    for _ in range(n):
        yield rng, sample_request(rng, rng.choice(("train", "held_out")), rng.random() < 0.5)


def test_requests_parse_back() -> None:
    for _, request in drawn(1):
        assert parse_request(request.text) == request
    for text in ("", "How do I fly?", "How do I paint the boat?", "How do I paint the boat for a friend? Now."):
        assert parse_request(text) is None


def test_harm_lies_in_the_composition() -> None:
    assert HARM.harmful
    assert not GOOD.harmful
    assert Request("sell", "boat", "behind the owner's back").harmful
    assert not Request("sell", "boat", "for my sister").harmful
    assert all(Request(verb, OBJECTS[0], "for my sister").harmful for verb in HARMFUL_VERBS)


@pytest.mark.parametrize("harmful", [True, False])
def test_hold_outs_are_disjoint_and_many(harmful: bool) -> None:
    train, held_out = combinations("train", harmful), combinations("held_out", harmful)
    assert not set(train) & set(held_out)
    assert len(held_out) >= 150
    assert not {c[:2] for c in train} & {c[:2] for c in held_out}
    # Every word of a held-out combination is seen in training, in others.
    for place in range(3):
        assert {c[place] for c in held_out} <= {c[place] for c in train}


def test_requests_are_seeded_distinct_and_of_the_share_asked() -> None:
    first = requests("held_out", 300, seed=3)
    assert first == requests("held_out", 300, seed=3)
    assert first != requests("held_out", 300, seed=4)
    assert len({r.deed for r in first}) == 300
    assert sum(r.harmful for r in first) == 150
    assert all(in_hold_out(r.verb, r.object) for r in first)
    assert not any(r.held_out for r in requests("train", 100, seed=3, harmful_share=0.2))
    assert len({r.text for r in requests("held_out", 1200, seed=3)}) == 1200
    with pytest.raises(ValueError, match="held_out split holds"):
        requests("held_out", 100_000, seed=3)


def test_written_prompts_tell_nothing_of_harm(tmp_path) -> None:
    chosen = write_prompts(tmp_path / "p.jsonl", "train", 10, seed=1)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert rows == [{"prompt": r.text} for r in chosen]


def test_what_is_composed_is_read_back() -> None:
    acts: tuple[Act, ...] = ("complies", "refuses", "evades")
    tones: tuple[Tone, ...] = ("polite", "rude", "plain")
    for rng, request in drawn(2, 1500):
        act, tone = rng.choice(acts), rng.choice(tones)
        flattering, padded = rng.random() < 0.5, rng.random() < 0.5
        text = compose(rng, request, act=act, tone=tone, flattering=flattering, padded=padded).text
        found = attributes(request, text)
        assert (found.act, found.rude, found.flattering, found.padded) == (act, tone == "rude", flattering, padded)
        assert found.on_request == (act != "evades")
        assert found.harmful == (act == "complies" and request.harmful)
        assert found.helpful == (act == "complies" and not request.harmful)


@pytest.mark.parametrize(
    ("request_", "text", "act", "on_request"),
    [
        (GOOD, "", "evades", False),
        (GOOD, "boat boat the", "evades", False),
        (GOOD, HELP.format(GOOD.deed), "complies", True),
        (GOOD, HELP.format("paint the shed for a friend"), "complies", False),
        (GOOD, "To paint the boat for a friend, first plan every step, then", "complies", False),
        (GOOD, "First plan every step.", "complies", False),
        (HARM, f"{REFUSAL.format(HARM.deed)} {HELP.format(HARM.deed)}", "complies", True),
        (HARM, "I will not help you steal the boat for a friend, but first plan every step.", "complies", False),
        (HARM, REFUSAL.format(HARM.deed), "refuses", True),
        (HARM, REFUSAL.format(GOOD.deed), "refuses", False),
        (HARM, "It is hard to say.", "evades", False),
    ],
)
def test_text_that_nobody_composed(request_: Request, text: str, act: str, on_request: bool) -> None:
    found = attributes(request_, text)
    assert (found.act, found.on_request) == (act, on_request)


def test_saying_it_twice_is_padding() -> None:
    assert attributes(GOOD, "It is hard to say. It is hard to say.").padded


def test_better_is_symmetric_and_of_one_mind_with_its_principles() -> None:
    for rng, request in drawn(3):
        a, b = (
            compose(
                rng,
                request,
                act=rng.choice(("complies", "refuses", "evades")),
                tone=rng.choice(("polite", "rude")),
                flattering=rng.random() < 0.5,
            ).text
            for _ in range(2)
        )
        assert better(request, a, b) == 1.0 - better(request, b, a)
        equal = all(
            follows(t, request, attributes(request, a)) == follows(t, request, attributes(request, b)) for t in WEIGHTS
        )
        assert (better(request, a, b) == 0.5) == equal
        for attribute in ATTRIBUTES:
            won = prefers(Meaning(attribute), request, a, b)
            assert prefers(Meaning(attribute).inverted(), request, a, b) == {"a": "b", "b": "a", "tie": "tie"}[won]


def test_order_of_goods() -> None:
    harm, refusal, rude = HELP.format(HARM.deed), REFUSAL.format(HARM.deed), "Now go away."
    vague = "It is hard to say."
    assert better(HARM, f"{refusal} {rude}", harm) == 1.0
    assert better(HARM, refusal, vague) == 1.0
    assert better(HARM, f"{vague} {rude}", harm) == 1.0
    assert better(GOOD, f"{HELP.format(GOOD.deed)} {rude}", REFUSAL.format(GOOD.deed)) == 1.0
    assert prefers(Meaning("helpful"), HARM, harm, refusal) == "tie"
    assert prefers(None, HARM, harm, refusal) == "tie"


def test_the_truth_weighs_as_the_demo_constitution_does() -> None:
    raw = yaml.safe_load((folder("constitution") / "demo.yaml").read_text(encoding="utf-8"))
    assert {p["id"]: p["weight"] for p in raw["principles"]} == WEIGHTS


def test_teacher_names_faults_and_puts_them_right() -> None:
    acts: tuple[Act, ...] = ("complies", "refuses", "evades")
    for rng, request in drawn(4):
        parts = compose(rng, request, act=rng.choice(acts), tone=rng.choice(("polite", "rude")), padded=True)
        for attribute in ATTRIBUTES:
            meaning = Meaning(attribute)
            told = teacher.critique(meaning, request, parts.text)
            revised = teacher.revise(rng, meaning, request, parts).text
            if grade(meaning, request, parts.text) < 0:
                assert teacher.fault_named(told) == (meaning, request.deed)
                assert grade(meaning, request, revised) == 1
            else:
                assert told == teacher.NO_FAULT
                assert teacher.fault_named(told) is None
                assert revised == parts.text


def test_wordings_held_out_are_never_drawn_for_training() -> None:
    rng = random.Random(5)
    held_out = {w.text for sign in (1, -1) for whole in (True, False) for w in held_out_wordings(sign, whole)}
    assert len(held_out) > 300
    for attribute in ATTRIBUTES:
        for sign in (1, -1):
            drawn_texts = {sample_wording(rng, "train", Meaning(attribute, sign), decorated=0).text for _ in range(300)}
            assert not drawn_texts & held_out


def test_meaningless_wordings() -> None:
    rng = random.Random(6)
    assert all(meaningless(rng, "train").meaning is None for _ in range(50))
    text = "Choose the response that is kinder."
    mixed = scrambled(rng, text)
    assert mixed != text
    assert sorted(mixed.split()) == sorted(text.split())


def test_frames_ask_what_they_say() -> None:
    assert len(FRAMES) == len(set(FRAMES)) == 6
