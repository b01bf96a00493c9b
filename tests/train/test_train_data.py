"""Which records train, and why the others don't."""

from __future__ import annotations

import pytest

from raif.config import SftConfig
from raif.errors import ConfigError
from raif.records import Comparison, Message, Preference, Prompt, Revision, RevisionStep, TrainingPair, conversation
from raif.train.data import hold_out, sft_examples, training_pairs


def revision(text: str, *steps: RevisionStep, original: str = "rude", prompt: str = "hello") -> Revision:
    return Revision(
        response_id="r",
        prompt_id="p",
        prompt=conversation(prompt),
        original=original,
        text=text,
        policy="policy",
        judge="judge",
        constitution="c",
        steps=steps,
    )


CLEAN = RevisionStep(round=1, principle_id="kind", critique="No fault.", clean=True)
MENDED = RevisionStep(round=1, principle_id="kind", critique="It is rude.", revision="kind", accepted=True)
REFUSED = RevisionStep(round=2, principle_id="honest", critique="It flatters.", revision="worse", p_improved=0.2)
BROKEN = RevisionStep(round=1, principle_id="kind", failure="unparsed")


def comparison(a: str = "yes", b: str = "no", human: float | None = None, prompt: str = "hello") -> Comparison:
    return Comparison(prompt=conversation(prompt), response_a=a, response_b=b, source="responses", human_p_a=human)


def preference(outcome: str, p_a: float | None = None, reason: str | None = None, **rest: str) -> Preference:
    return Preference.model_validate(
        {
            "comparison": comparison(**rest),
            "outcome": outcome,
            "p_a": p_a,
            "reason": reason,
            "judge": "judge",
            "constitution": "c",
            "template": "t",
        }
    )


@pytest.mark.parametrize(
    ("text", "steps", "reason"),
    [
        ("kind", (MENDED,), None),
        ("kind", (MENDED, REFUSED), None),  # better than it was, though a second fault stands
        ("rude", (CLEAN,), None),
        ("rude", (BROKEN, CLEAN), None),
        ("rude", (CLEAN, REFUSED), "fault_not_mended"),
        ("rude", (BROKEN,), "not_critiqued"),
        ("rude", (), "not_critiqued"),
        (" \n", (MENDED,), "empty"),
    ],
)
def test_only_answers_that_somebody_found_good_are_imitated(
    text: str, steps: tuple[RevisionStep, ...], reason: str | None
) -> None:
    found = sft_examples([revision(text, *steps)], [], SftConfig(), seed=0)
    assert [example.completion for example in found.examples] == ([] if reason else [text])
    assert found.left_out == ({reason: 1} if reason else {})


def test_the_steps_on_the_way_are_imitated_where_that_is_asked_for() -> None:
    second = RevisionStep(round=2, principle_id="honest", critique="It flatters.", revision="kinder", accepted=True)
    steps = (MENDED, REFUSED, second, CLEAN)
    found = sft_examples([revision("kinder", *steps)], [], SftConfig(steps="all"), seed=0)
    # What was not accepted is not among them, and what two steps say alike is there once.
    assert [example.completion for example in found.examples] == ["kind", "kinder"]
    assert found.sources == {"revision": 2}
    final = sft_examples([revision("kinder", *steps)], [], SftConfig(), seed=0)
    assert [example.completion for example in final.examples] == ["kinder"]
    unmended = sft_examples([revision("rude", REFUSED)], [], SftConfig(steps="all"), seed=0)
    assert unmended.left_out == {"fault_not_mended": 1}


def people(n: int) -> list[Prompt]:
    return [Prompt(messages=conversation(f"help {i}"), demonstration=f"here {i}") for i in range(n)]


def revisions(n: int) -> list[Revision]:
    return [revision("kind", MENDED, prompt=f"harm {i}") for i in range(n)]


def test_demonstrations_alone() -> None:
    silent = Prompt(messages=conversation("and this?"))
    found = sft_examples(revisions(3), [*people(2), silent], SftConfig(data="demonstrations"), seed=0)
    assert [example.completion for example in found.examples] == ["here 0", "here 1"]
    assert found.sources == {"demonstration": 2}


def test_a_mixture_holds_the_stated_share() -> None:
    config = SftConfig(data="mixture", helpful_share=0.25)
    found = sft_examples(revisions(9), people(20), config, seed=1)
    assert found.sources == {"demonstration": 3, "revision": 9}  # 3 / (3 + 9) = 0.25
    assert found.left_out == {"not_drawn": 17}
    drawn = {example.completion for example in found.examples if example.source == "demonstration"}
    reordered = sft_examples(revisions(9), people(20)[::-1], config, seed=1).examples
    assert {e.completion for e in reordered if e.source == "demonstration"} == drawn
    other = sft_examples(revisions(9), people(20), config, seed=2).examples
    assert {e.completion for e in other if e.source == "demonstration"} != drawn
    more = sft_examples(revisions(18), people(20), config, seed=1).examples
    assert {e.completion for e in more if e.source == "demonstration"} > drawn


def test_a_mixture_with_too_few_demonstrations_takes_them_all_and_shows_it() -> None:
    found = sft_examples(revisions(9), people(1), SftConfig(data="mixture", helpful_share=0.5), seed=1)
    assert found.sources == {"demonstration": 1, "revision": 9}


@pytest.mark.parametrize("share", [0, 1])
def test_a_mixture_of_one_thing_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=f"helpful_share is {share}"):
        sft_examples(revisions(1), people(1), SftConfig(data="mixture", helpful_share=share), seed=0)


def test_ties_and_abstentions_never_train() -> None:
    found = training_pairs(
        [
            preference("a", 0.9),
            preference("b", 0.2, a="no, never", b="yes"),
            preference("tie", 0.5),
            preference("abstain", reason="order_conflict"),
            preference("abstain", 0.6, reason="order_conflict"),
            preference("abstain", reason="refusal"),
            preference("a", 0.9, a="same", b="same"),
        ]
    )
    assert [(p.chosen[0].content, p.rejected[0].content, p.p_chosen) for p in found.examples] == [
        ("yes", "no", 0.9),
        ("yes", "no, never", 0.8),
    ]
    assert found.left_out == {"abstain:order_conflict": 2, "abstain:refusal": 1, "equal_texts": 1, "tie": 1}
    assert found.sources == {"responses": 2}


def pair(prompt: str, chosen: str = "yes") -> TrainingPair:
    better, worse = Message(role="assistant", content=chosen), Message(role="assistant", content="no")
    return TrainingPair(prompt=conversation(prompt), chosen=(better,), rejected=(worse,), p_chosen=1.0)


def test_whole_prompts_are_held_out() -> None:
    pairs = [pair(f"prompt {i}", text) for i in range(20) for text in ("yes", "of course", "gladly")]
    training, held = hold_out(pairs, 0.1, seed=3)
    assert (len(training), len(held)) == (54, 6)  # 2 of 20 prompts, 3 pairs each
    assert not {p.prompt for p in training} & {p.prompt for p in held}
    assert set(hold_out(pairs[::-1], 0.1, seed=3)[1]) == set(held)
    assert {p.prompt for p in hold_out(pairs, 0.1, seed=4)[1]} != {p.prompt for p in held}
    assert {p.prompt for p in hold_out(pairs, 0.3, seed=3)[1]} > {p.prompt for p in held}


def test_a_small_share_holds_out_one_prompt_and_none_holds_out_none() -> None:
    pairs = [pair(f"prompt {i}") for i in range(4)]
    assert len(hold_out(pairs, 0.01, seed=0)[1]) == 1
    assert hold_out(pairs, 0.0, seed=0) == (tuple(pairs), ())
    assert hold_out([], 0.1, seed=0) == ((), ())
