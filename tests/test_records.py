"""Records: symmetry under swap, ids that belong to the content, and round trips through files."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raif.records import (
    Comparison,
    Judgement,
    Message,
    Preference,
    Prompt,
    Response,
    Revision,
    RevisionStep,
    TrainingPair,
    complement,
    conversation,
    digest,
)

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
probability = st.floats(0, 1) | st.sampled_from([0.0, -0.0, 0.5, 1.0, 1e-7, 0.9999999])
maybe = st.none() | probability
turns = st.lists(st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=text), min_size=1)
conversations = turns.map(tuple)
comparisons = st.builds(
    Comparison,
    id=st.just(""),
    prompt=conversations,
    response_a=text,
    response_b=text,
    source=text,
    origin_a=text,
    origin_b=text,
    human_p_a=maybe,
)
judgements = st.builds(
    Judgement,
    order=st.sampled_from(["ab", "ba"]),
    principle_id=text,
    weight=st.floats(0, 100),
    p_a=maybe,
    p_tie=maybe,
    mass=maybe,
    failure=st.sampled_from([None, "unparsed", "low_mass"]),
)
preferences = st.builds(
    Preference,
    id=st.just(""),
    comparison=comparisons,
    outcome=st.sampled_from(["a", "b", "tie", "abstain"]),
    reason=st.sampled_from([None, "order_conflict"]),
    p_a=maybe,
    p_a_by_order=st.tuples(maybe, maybe),
    judge=text,
    constitution=text,
    template=text,
    judgements=st.lists(judgements, max_size=3).map(tuple),
)
responses = st.builds(Response, id=st.just(""), prompt_id=text, prompt=conversations, model=text, text=text)
revisions = st.builds(
    Revision,
    id=st.just(""),
    response_id=text,
    prompt_id=text,
    prompt=conversations,
    original=text,
    text=text,
    policy=text,
    judge=text,
    constitution=text,
    steps=st.lists(st.builds(RevisionStep, round=st.just(1), principle_id=text, p_improved=maybe), max_size=2).map(
        tuple
    ),
)
prompts = st.builds(Prompt, id=st.just(""), messages=conversations, source=text, demonstration=st.none() | text)
pairs = st.builds(
    TrainingPair,
    id=st.just(""),
    prompt=conversations,
    chosen=conversations,
    rejected=conversations,
    p_chosen=st.floats(0.5, 1),
    comparison_id=text,
    source=text,
)


@given(comparisons)
def test_swapping_twice_changes_nothing(comparison: Comparison) -> None:
    swapped = comparison.swap()
    assert swapped.swap() == comparison
    assert swapped.swap().to_json() == comparison.to_json()
    assert (swapped.response_a, swapped.origin_a) == (comparison.response_b, comparison.origin_b)


@given(judgements)
def test_swapping_a_judgement_twice_changes_nothing(judgement: Judgement) -> None:
    swapped = judgement.swap()
    assert swapped.swap() == judgement
    assert swapped.order != judgement.order
    assert (swapped.p_a is None) == (judgement.p_a is None)


@given(probability)
def test_the_complement_of_the_complement_is_the_probability_itself(p: float) -> None:
    kept = Judgement(order="ab", principle_id="x", weight=1, p_a=p).p_a
    assert complement(complement(kept)) == kept
    assert math.copysign(1, kept or 0.0) == 1  # a -0.0 would equal 0.0 and digest differently


@given(comparisons | preferences | responses | revisions | prompts | pairs)
def test_a_record_survives_its_json(record: Comparison) -> None:
    read = type(record).model_validate_json(record.to_json())
    assert read == record
    assert read.to_json() == record.to_json()


def test_an_id_depends_on_identity_alone() -> None:
    one = Comparison(prompt=conversation("q"), response_a="x", response_b="y", source="s")
    labelled = Comparison(
        prompt=conversation("q"), response_a="x", response_b="y", source="s", origin_a="m", human_p_a=1.0
    )
    assert one.id == labelled.id
    assert one.id != one.swap().id
    assert len(one.id) == 16


def test_ids_are_pinned() -> None:
    # printf '["Prompt",[{"content":"q","role":"user"}]]' | sha256sum | cut -c1-16
    # An id that moved would make every run folder in the world unreadable.
    assert Prompt(messages=conversation("q")).id == "78640cce4fc9c612"
    assert digest("Prompt", [{"role": "user", "content": "q"}], length=8) == "78640cce"


def test_an_id_of_other_content_is_refused() -> None:
    row = Prompt(messages=conversation("q")).model_dump()
    row["messages"][0]["content"] = "another"
    with pytest.raises(ValidationError, match="does not belong to this content"):
        Prompt.model_validate(row)


def test_a_changed_copy_gets_its_own_id() -> None:
    one = Prompt(messages=conversation("q"))
    other = one.model_copy(update={"messages": conversation("r")})
    assert other == Prompt(messages=conversation("r"))
    assert one.model_copy() == one
    with pytest.raises(ValidationError):
        one.model_copy(update={"messages": ()})


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1, math.inf])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        Judgement(order="ab", principle_id="x", weight=1, p_a=value)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_weight_that_json_cannot_hold_is_refused(weight: float) -> None:
    with pytest.raises(ValidationError):
        Judgement(order="ab", principle_id="x", weight=weight)


def test_text_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(ValidationError, match="UTF-8"):
        Prompt(messages=conversation("\ud800"))


def preference(outcome: str, p_a: float | None) -> Preference:
    comparison = Comparison(prompt=conversation("q"), response_a="x", response_b="y", source="s", origin_a="m")
    return Preference(
        comparison=comparison,
        outcome=outcome,
        reason="order_conflict" if outcome == "abstain" else None,
        p_a=p_a,
        p_a_by_order=(p_a, None),
        judge="j",
        constitution="c",
        template="t",
        judgements=(Judgement(order="ab", principle_id="kind", weight=1, p_a=p_a, mass=0.9),),
    )


def test_the_training_pair_of_a_preference() -> None:
    won = TrainingPair.from_preference(preference("a", 0.8))
    assert (won.chosen[0].content, won.rejected[0].content, won.p_chosen) == ("x", "y", 0.8)
    lost = TrainingPair.from_preference(preference("b", 0.2))
    assert (lost.chosen[0].content, lost.rejected[0].content, lost.p_chosen) == ("y", "x", 0.8)
    for outcome, p_a in (("tie", 0.5), ("abstain", None)):
        with pytest.raises(ValueError, match="no chosen response"):
            TrainingPair.from_preference(preference(outcome, p_a))


@pytest.mark.parametrize(
    ("orders", "flipped"), [((0.9, 0.2), True), ((0.9, 0.6), False), ((0.9, 0.5), False), ((0.9, None), None)]
)
def test_flipped(orders: tuple[float | None, float | None], flipped: bool | None) -> None:
    assert preference("a", 0.8).model_copy(update={"p_a_by_order": orders}).flipped is flipped


def test_records_survive_the_datasets_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the issue promises of run folders: any tool that reads JSON through datasets reads them, losing nothing."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    for records in (
        [preference("a", 0.8), preference("abstain", None), preference("tie", 0.5)],
        [TrainingPair.from_preference(preference("a", 0.8)), TrainingPair.from_preference(preference("b", 0.0))],
    ):
        kind = type(records[0])
        path = tmp_path / f"{kind.__name__}.jsonl"
        path.write_bytes(b"".join(record.to_json() + b"\n" for record in records))
        rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
        assert [kind.model_validate(row) for row in rows] == records


@settings(max_examples=25)
@given(st.lists(pairs, min_size=1, max_size=3))
def test_training_pairs_are_what_trl_calls_conversational(records: list[TrainingPair]) -> None:
    for record in records:
        row = record.model_dump(mode="json")
        for column in ("prompt", "chosen", "rejected"):
            assert row[column]
            assert all(set(turn) == {"role", "content"} for turn in row[column])
