"""Scripted models: what a rule answers, what a malformed one says, and what is logged."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from raif.errors import ModelSpecError
from raif.models.base import ChatModel, Completion, Failure, GenerateRequest, Sampling, ScoreRequest, Scores
from raif.models.registry import open_model
from raif.models.scripted import ScriptedModel
from raif.records import Message, conversation


def script(path: Path, *lines: object) -> ScriptedModel:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return ScriptedModel.from_file(path)


def generate(model: ScriptedModel, text: str, sample: int = 0) -> Completion | Failure:
    (result,) = asyncio.run(model.generate([GenerateRequest(conversation(text), Sampling(), sample)]))
    return result


def score(model: ScriptedModel, text: str, *choices: str) -> Scores | Failure:
    (result,) = asyncio.run(model.score([ScoreRequest(conversation(text), choices)]))
    return result


RULES = [
    {"match": "burglar", "sample": 1, "reply": "Try the window", "finish": "length"},
    {"match": "burglar", "reply": "I won't help."},
    {"match": "(?i)KINDER", "probabilities": {"B": 0.2, "A": 0.7}},
    {"match": "^long$", "fail": "too_long"},
]


def test_the_first_rule_that_matches_answers() -> None:
    model = ScriptedModel(RULES)
    assert isinstance(model, ChatModel)
    # Words are tokens: "a burglar asks" has three.
    assert generate(model, "a burglar asks") == Completion("I won't help.", "stop", 3, 3)
    assert generate(model, "a burglar asks", sample=1) == Completion("Try the window", "length", 3, 3)
    assert generate(model, "a burglar asks", sample=2).text == "I won't help."
    assert generate(model, "long").kind == "too_long"
    assert generate(model, "longer") == Failure("request_error", "no rule of the script matches this prompt")


def test_probabilities_come_in_the_order_that_was_offered() -> None:
    model = ScriptedModel(RULES)
    assert score(model, "the kinder?", "A", "B").probabilities == (0.7, 0.2)
    assert score(model, "the kinder?", "B", "TIE", "A").probabilities == (0.2, 0.0, 0.7)
    assert score(model, "long", "A", "B").kind == "too_long"
    assert generate(model, "the kinder?").text == "A"  # the likeliest


@pytest.mark.parametrize(("reply", "expected"), [("A", (1.0, 0.0)), (" B\n", (0.0, 1.0)), ("I can't say", (0.0, 0.0))])
def test_a_reply_is_certain_of_the_answer_that_it_equals(reply: str, expected: tuple[float, float]) -> None:
    assert score(ScriptedModel([{"match": "", "reply": reply}]), "?", "A", "B").probabilities == expected


def test_a_rule_may_reply_and_score() -> None:
    model = ScriptedModel([{"match": "", "reply": "Because of that, B.", "probabilities": {"B": 0.9}}])
    assert generate(model, "?").text == "Because of that, B."
    assert score(model, "?", "A", "B").probabilities == (0.0, 0.9)


def test_all_messages_are_searched() -> None:
    model = ScriptedModel([{"match": "^Be kind\\.\n\nHi$", "reply": "Hello"}])
    messages = (Message(role="system", content="Be kind."), Message(role="user", content="Hi"))
    (result,) = asyncio.run(model.generate([GenerateRequest(messages, Sampling())]))
    assert result.text == "Hello"


def test_a_rule_of_one_sample_never_scores() -> None:
    assert score(ScriptedModel(RULES), "a burglar", "I won't help.").probabilities == (1.0,)


def test_a_function_answers_with_texts_probabilities_or_results() -> None:
    def judge(request: GenerateRequest | ScoreRequest) -> object:
        if isinstance(request, ScoreRequest):
            return {"A": 0.25}
        return Failure("refusal") if "burglar" in request.messages[-1].content else f"sample {request.sample}"

    model = ScriptedModel(judge, name="mine")
    assert model.info.identity == "scripted:mine"
    assert generate(model, "Hi", sample=2).text == "sample 2"
    assert generate(model, "a burglar").kind == "refusal"
    assert score(model, "?", "B", "A").probabilities == (0.0, 0.25)


def test_results_come_in_the_order_of_the_requests() -> None:
    model = ScriptedModel(lambda request: request.messages[-1].content)
    requests = [GenerateRequest(conversation(text), Sampling()) for text in ("c", "a", "b", "a")]
    assert [result.text for result in asyncio.run(model.generate(requests))] == ["c", "a", "b", "a"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "rules.jsonl:2: is not JSON"),
        ("[]", "rules.jsonl:2: a rule is a JSON object"),
        ({"reply": "x"}, "rules.jsonl:2: match: Field required"),
        ({"match": "("}, "rules.jsonl:2: match: is not a regular expression"),
        ({"match": ""}, "rules.jsonl:2: needs one of reply, probabilities, fail"),
        ({"match": "", "replay": "x"}, "rules.jsonl:2: replay: Extra inputs are not permitted"),
        ({"match": "", "fail": "boredom"}, "rules.jsonl:2: fail: Input should be 'request_error'"),
        ({"match": "", "fail": "refusal", "reply": "x"}, "rules.jsonl:2: a rule that fails can't also reply"),
        ({"match": "", "probabilities": {"A": 1.5}}, "rules.jsonl:2: probabilities.A: Input should be less than"),
        ({"match": "", "probabilities": {"A": 0.7, "B": 0.7}}, "rules.jsonl:2: the probabilities add up to more"),
        ({"settings": {}}, "rules.jsonl:2: settings come before all rules"),
    ],
)
def test_a_malformed_rule_is_named_by_its_line(tmp_path: Path, line: object, said: str) -> None:
    with pytest.raises(ModelSpecError) as caught:
        script(tmp_path / "rules.jsonl", {"match": "", "reply": "x"}, line)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_malformed_settings_are_named_too(tmp_path: Path) -> None:
    with pytest.raises(ModelSpecError, match=r"rules\.jsonl:1: settings\.delay: Input should be greater"):
        script(tmp_path / "rules.jsonl", {"settings": {"delay": -1}}, {"match": "", "reply": "x"})


def test_files_that_are_no_script(tmp_path: Path) -> None:
    with pytest.raises(ModelSpecError, match=r"none\.jsonl: can't be read \(No such file"):
        open_model(f"scripted:{tmp_path}/none.jsonl")
    with pytest.raises(ModelSpecError, match="holds no rules"):
        script(tmp_path / "empty.jsonl", "", {"settings": {"delay": 0}})


def test_malformed_rules_in_code_raise_at_once() -> None:
    with pytest.raises(ValidationError, match="needs one of reply"):
        ScriptedModel([{"match": ""}])


def test_the_identity_follows_the_rules_and_not_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    rule = {"match": "", "reply": "x"}
    first = script(tmp_path / "rules.jsonl", rule).info
    moved = script(tmp_path / "other" / "rules.jsonl", {"settings": {"log": "calls"}}, "", rule).info
    changed = script(tmp_path / "other" / "rules.jsonl", rule | {"reply": "y"}).info
    assert first.spec == f"scripted:{tmp_path}/rules.jsonl"
    assert first.identity == moved.identity == f"scripted:rules@{first.details['fingerprint'][:8]}"
    assert changed.identity != first.identity


def test_every_request_is_logged_beside_the_script(tmp_path: Path) -> None:
    model = script(tmp_path / "rules.jsonl", {"settings": {"log": "calls.jsonl"}}, {"match": "", "reply": "A"})
    request = GenerateRequest(conversation("Hi"), Sampling())
    asyncio.run(model.generate([request, GenerateRequest(conversation("Hi"), Sampling(), 1)]))
    asyncio.run(model.score([ScoreRequest(conversation("Hi"), ("A",))]))
    asyncio.run(model.generate([request]))
    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["generate", "generate", "score", "generate"]
    assert [line["call"] for line in lines] == [1, 1, 2, 3]
    assert lines[0]["request"] == lines[3]["request"]
    assert len({line["request"] for line in lines}) == 3


def test_a_log_that_can_t_be_written_is_named(tmp_path: Path) -> None:
    model = script(tmp_path / "rules.jsonl", {"settings": {"log": "no/calls.jsonl"}}, {"match": "", "reply": "A"})
    with pytest.raises(ModelSpecError, match=r"calls\.jsonl: the script's log can't be written"):
        generate(model, "Hi")


def test_a_call_takes_as_long_as_it_is_told(tmp_path: Path) -> None:
    model = script(tmp_path / "rules.jsonl", {"settings": {"delay": 0.05}}, {"match": "", "reply": "A"})
    begun = time.perf_counter()
    generate(model, "Hi")
    assert time.perf_counter() - begun >= 0.05
