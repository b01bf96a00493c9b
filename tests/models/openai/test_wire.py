"""What is sent and how replies are read, against values worked out by hand."""

from __future__ import annotations

import json
import math

import orjson
import pytest

from raif.models.base import Completion, Failure, GenerateRequest, Sampling, ScoreRequest, Scores
from raif.models.openai.dialect import Dialect, adapted
from raif.models.openai.errors import complaint, course, failure_kind, one_line, scrub
from raif.models.openai.wire import (
    Target,
    UnusableReply,
    count_votes,
    generate_body,
    read_completion,
    read_scores,
    read_vote,
    score_body,
    stream_of,
    vote_body,
)
from raif.records import Message, conversation

TARGET = Target("judge", {})
ASKED = conversation("Which?")
TURNS = [{"role": "user", "content": "Which?"}]
AB = ("A", "B")


def reply(text: object = "A", finish: str = "stop", top: object = None, **choice: object) -> bytes:
    body: dict[str, object] = {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish, **choice}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    }
    if top is not None:
        body["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": top}]}  # type: ignore[index]
    return json.dumps(body).encode()


def top(**probabilities: float) -> list[dict[str, object]]:
    return [{"token": token, "logprob": math.log(p)} for token, p in probabilities.items()]


def test_a_request_for_a_completion() -> None:
    request = GenerateRequest(
        (Message(role="system", content="Be kind."), *ASKED), Sampling(0.7, 0.9, 40, 12, seed=3), sample=2
    )
    body = orjson.loads(generate_body(TARGET, request, Dialect()))
    seed = body.pop("seed")
    assert body == {
        "model": "judge",
        "messages": [{"role": "system", "content": "Be kind."}, *TURNS],
        "max_tokens": 12,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
    }
    assert 0 <= seed < 2**31


def test_what_cuts_nothing_is_left_out_but_for_top_p() -> None:
    body = orjson.loads(generate_body(TARGET, GenerateRequest(ASKED, Sampling(temperature=0)), Dialect()))
    # top_p stays: vLLM would take the model's own. Greedy needs no seed.
    assert body == {"model": "judge", "messages": TURNS, "max_tokens": 256, "temperature": 0, "top_p": 1.0}


def test_a_dialect_writes_it_otherwise() -> None:
    dialect = Dialect(limit_key="max_completion_tokens", top_logprobs=5, seed=False, whole=-1)
    body = orjson.loads(generate_body(TARGET, GenerateRequest(ASKED, Sampling()), dialect))
    assert body["max_completion_tokens"] == 256
    assert body["top_k"] == -1
    assert body.keys().isdisjoint({"max_tokens", "seed"})
    assert orjson.loads(score_body(TARGET, ScoreRequest(ASKED, AB), dialect))["top_logprobs"] == 5


def test_a_request_for_scores_asks_for_raw_log_probabilities_of_one_token() -> None:
    assert orjson.loads(score_body(TARGET, ScoreRequest(ASKED, AB), Dialect())) == {
        "model": "judge",
        "messages": TURNS,
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 20,
    }
    bare = orjson.loads(score_body(TARGET, ScoreRequest(ASKED, AB), Dialect(top_logprobs=0)))
    assert bare.keys().isdisjoint({"logprobs", "top_logprobs"})


def test_a_vote_is_drawn_at_temperature_1_with_a_seed_of_its_own() -> None:
    bodies = [orjson.loads(vote_body(TARGET, ScoreRequest(ASKED, AB), sample, 16, Dialect())) for sample in range(8)]
    assert {body["temperature"] for body in bodies} == {1.0}
    assert {body["max_tokens"] for body in bodies} == {16}
    assert len({body["seed"] for body in bodies}) == 8


def test_seed_sample_and_prompt_make_the_stream() -> None:
    streams = [stream_of(1, 2, b"x"), stream_of(2, 2, b"x"), stream_of(1, 3, b"x"), stream_of(1, 2, b"y")]
    assert len(set(streams)) == 4
    assert stream_of(1, 2, b"x") == streams[0]
    assert stream_of(12, 3, b"x") != stream_of(1, 23, b"x")


def test_what_the_user_adds_is_in_every_body() -> None:
    target = Target("judge", {"provider": {"order": ["a"]}, "top_k": -1})
    for body in (
        generate_body(target, GenerateRequest(ASKED, Sampling(top_k=3)), Dialect()),
        score_body(target, ScoreRequest(ASKED, AB), Dialect()),
    ):
        read = orjson.loads(body)
        assert read["provider"] == {"order": ["a"]}
        assert read["top_k"] == -1


def test_a_completion_is_read() -> None:
    assert read_completion(reply("yes")) == Completion("yes", "stop", 7, 2)
    assert read_completion(reply("cut", "length")) == Completion("cut", "length", 7, 2)
    parts = [{"type": "text", "text": "ye"}, {"type": "text", "text": "s"}]
    assert read_completion(reply(parts)) == Completion("yes", "stop", 7, 2)
    assert read_completion(b'{"choices":[{"message":{"content":"yes"}}]}') == Completion("yes", "stop", 0, 0)


def test_a_reply_that_is_no_answer_says_why() -> None:
    refused = reply(None).replace(b'"role"', b'"refusal": "I can\'t\\n do that.", "role"')
    assert read_completion(refused) == Failure("refusal", "I can't do that.", 7, 2)
    assert read_completion(reply("", "content_filter")).kind == "refusal"
    assert read_completion(reply("  \n")) == Failure("empty", "an empty reply", 7, 2)
    assert read_completion(reply(None)).kind == "empty"
    assert read_completion(reply("", "length")).kind == "truncated"  # reasoning used it all up
    assert read_scores(refused, AB).kind == "refusal"
    assert read_scores(reply(""), AB).kind == "empty"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"choices": [{"mess',
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [null]}',
        b'{"choices": [{"finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": "half"}, "finish_reason": "error"}]}',
        b'{"error": {"message": "upstream is gone", "code": 502}}',
        b"<html>502</html>",
    ],
)
def test_a_reply_without_a_choice_is_of_no_use(data: bytes) -> None:
    for read in (read_completion, lambda d: read_scores(d, AB)):
        with pytest.raises(UnusableReply):
            read(data)


def test_a_useless_reply_has_its_price() -> None:
    with pytest.raises(UnusableReply) as caught:
        read_completion(b'{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}')
    assert (caught.value.prompt_tokens, caught.value.completion_tokens, caught.value.bare) == (7, 1, False)


def test_scores_sum_the_tokens_that_begin_one_answer() -> None:
    # A: "A" .5 and " A" .1. B: "B" .2. "a" is another word, "\n" no word, "Both" no answer: .8 of mass in all.
    told = [*top(A=0.5, B=0.2, a=0.05, Both=0.05), {"token": " A", "logprob": math.log(0.1)}]
    told.append({"token": "\n", "logprob": math.log(0.05)})
    scores = read_scores(reply(top=told), AB)
    assert isinstance(scores, Scores)
    assert scores.probabilities == pytest.approx((0.6, 0.2), abs=1e-12)
    assert scores.mass == pytest.approx(0.8)
    assert (scores.prompt_tokens, scores.completion_tokens) == (7, 2)


def test_a_token_that_begins_two_answers_counts_for_neither() -> None:
    scores = read_scores(reply(top=top(T=0.3, TI=0.2, TA=0.1)), ("TIE", "TAIL"))
    assert scores == Scores((pytest.approx(0.2), pytest.approx(0.1)), 7, 2)  # type: ignore[arg-type]


def test_an_answer_that_is_not_told_has_no_probability() -> None:
    scores = read_scores(reply(top=top(A=0.9, the=0.05)), AB)
    assert isinstance(scores, Scores)
    assert scores.probabilities == (pytest.approx(0.9), 0.0)


def test_rounding_does_not_make_more_than_certainty() -> None:
    told = [{"token": "A", "logprob": 0.001}, {"token": " A", "logprob": -9999.0}, {"token": "B", "logprob": -7.0}]
    scores = read_scores(reply(top=told), AB)
    assert isinstance(scores, Scores)
    # The positive log-probability counts as 0; e^-7 = .000912 above 1 is scaled away: 1/1.000912.
    assert scores.probabilities[0] == pytest.approx(1 / (1 + math.exp(-7)), abs=1e-12)
    assert scores.mass == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": []}, {"content": [{"token": "A"}]}])
def test_missing_log_probabilities_are_told_apart(logprobs: object) -> None:
    with pytest.raises(UnusableReply) as caught:
        read_scores(reply(logprobs=logprobs), AB)
    assert caught.value.bare


@pytest.mark.parametrize(
    "entry", [{}, {"token": "A"}, {"token": None, "logprob": 0}, {"token": "A", "logprob": "x"}, 1]
)
def test_malformed_log_probabilities_are_of_no_use(entry: object) -> None:
    with pytest.raises(UnusableReply, match="malformed log-probabilities"):
        read_scores(reply(top=[entry]), AB)


@pytest.mark.parametrize(
    ("text", "vote"),
    [
        ("A", 0),
        (" B.", 1),
        ("**A**", 0),
        ('"B"', 1),
        ("(A)", 0),
        ("A, because it is kinder", 0),
        ("B\nbecause", 1),
        ("Both", None),
        ("a", None),
        ("The answer is A", None),
        ("AB", None),
        ("", None),
        ("**", None),
    ],
)
def test_a_vote_is_how_a_reply_begins(text: str, vote: int | None) -> None:
    assert read_vote(text, AB) == vote


def votes(*texts: str | Failure) -> list[Completion | Failure]:
    return [Completion(text, "stop", 10, 1) if isinstance(text, str) else text for text in texts]


def test_votes_are_counted_and_what_votes_for_nothing_lowers_the_mass() -> None:
    counted = count_votes(votes("A", "A", "B", "I think", Failure("refusal", "no", 10, 0, 2)), AB)
    # 2 and 1 of 5; a refusal among votes is a reply that votes for nothing. Tokens: 4·10 + 10, 4·1 + 0.
    assert counted == Scores((0.4, 0.2), 50, 4, retries=2)


def test_a_vote_that_is_lost_makes_the_question_fail() -> None:
    counted = count_votes(votes("A", Failure("request_error", "timed out", retries=3)), AB)
    assert counted == Failure("request_error", "timed out", 10, 1, 3)


def test_a_question_that_is_only_refused_is_refused() -> None:
    counted = count_votes(votes(*[Failure("refusal", "no", 10, 1)] * 3), AB)
    assert counted == Failure("refusal", "no", 30, 3)
    mixed = count_votes(votes(Failure("refusal", "no", 10, 1), Failure("empty", "", 10, 1)), AB)
    assert mixed == Scores((0.0, 0.0), 20, 2)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            Dialect(limit_key="max_completion_tokens"),
        ),
        ("Requested sample logprobs of 20, which is greater than max allowed: 5", Dialect(top_logprobs=5)),
        ("body.top_logprobs: Input should be less than or equal to 8", Dialect(top_logprobs=8)),
        ("Requested sample logprobs of 20, which is greater than max allowed: 0", Dialect(top_logprobs=0)),
        ("'logprobs' is not supported with this model", Dialect(top_logprobs=0)),
        ("You are not allowed to request logprobs from this model.", Dialect(top_logprobs=0)),
        ("seed: Extra inputs are not permitted", Dialect(seed=False)),
        ("Unsupported value: 'temperature' does not support 0.7 with this model", None),
        ("This model's maximum context length is 512 tokens", None),
        ("messages: too short", None),
    ],
)
def test_a_refusal_teaches_another_dialect(message: str, expected: Dialect | None) -> None:
    assert adapted(Dialect(), message) == expected
    if expected is not None:
        assert adapted(expected, message) is None  # and there is nothing more to learn from it


def test_how_answers_are_scored_has_a_name() -> None:
    assert Dialect().scoring(8, 16) == "logprobs"
    assert Dialect(top_logprobs=5).scoring(8, 16) == "logprobs:5"
    assert Dialect(top_logprobs=0).scoring(8, 16) == "votes:8"
    assert Dialect(top_logprobs=0).scoring(4, 400) == "votes:4x400"


@pytest.mark.parametrize(
    ("status", "said", "way"),
    [
        (429, "Rate limit reached", "busy"),
        (503, "", "busy"),
        (429, "You exceeded your current quota (insufficient_quota)", "unpaid"),
        (402, "Insufficient Balance", "unpaid"),
        (408, "", "later"),
        (409, "", "later"),
        (425, "", "later"),
        (500, "", "later"),
        (502, "", "later"),
        (529, "overloaded", "later"),
        (401, "", "locked"),
        (403, "", "locked"),
        (403, "Your input was flagged", "no"),
        (403, "You are not allowed to request logprobs from this model.", "no"),
        (400, "", "no"),
        (404, "", "no"),
        (422, "", "no"),
        (307, "", "no"),
    ],
)
def test_what_a_status_leaves_to_do(status: int, said: str, way: str) -> None:
    assert course(status, said) == way


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("This model's maximum context length is 512 tokens (context_length_exceeded)", "too_long"),
        ("the request exceeds the available context size", "too_long"),
        ("The prompt is too long", "too_long"),
        ("The response was filtered due to the content management policy", "refusal"),
        ("messages must not be empty", "request_error"),
    ],
)
def test_which_failure_a_complaint_is(said: str, kind: str) -> None:
    assert failure_kind(said) == kind


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"error": {"message": "too\\nbad", "code": "x1"}}', "too bad (x1)"),
        (b'{"error": "no"}', "no"),
        (b'{"object": "error", "message": "no", "code": 400}', "no"),
        (b'{"detail": [{"loc": ["body", "n"], "msg": "wrong"}, {"msg": "more"}]}', "body.n: wrong; more"),
        (b"<html><body>502 <b>Bad</b> Gateway</body></html>", "502 Bad Gateway"),
        (b"", ""),
        (b"{}", ""),
        (b'{"error": {"message": "bad key: s3cret-k3y"}}', "bad key: ***"),
        (b'{"error": {"message": "bad key: sk-ab****************cdef."}}', "bad key: ***"),
        (b"Authorization: Bearer abc.def", "Authorization: Bearer ***"),
    ],
)
def test_a_complaint_is_one_line_without_secrets(body: bytes, line: str) -> None:
    assert complaint(body, "s3cret-k3y") == line


def test_a_complaint_is_not_endless() -> None:
    assert len(one_line("x" * 1000)) == 300
    assert scrub("nothing to hide", None) == "nothing to hide"
