"""The backend against a server in another process: all that can go wrong, one fault at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from raif.cache import CompletionCache
from raif.config import ServerConfig
from raif.errors import ConfigError, ModelError, ModelSpecError
from raif.models.base import ChatModel, Completion, Failure, GenerateRequest, Sampling, ScoreRequest, Scores
from raif.models.middleware import CachedModel
from raif.models.openai.dialect import Dialect
from raif.models.openai.model import OpenAIModel
from raif.records import conversation
from support.fault_server import MASS, TRANSIENT, Served, p_first, serving

AB = ("A", "B")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without faults other than those that a prompt asks for."""
    with serving(tmp_path_factory.mktemp("sound"), "--retry-after", "0.05", "--slow", "3") as served:
        yield served


def questions(count: int, text: str = "quality 1 and quality {}: A or B?") -> list[ScoreRequest]:
    return [ScoreRequest(conversation(text.format(index)), AB) for index in range(count)]


def use(
    served: Served | str,
    action: Callable[[OpenAIModel], Awaitable[Any]],
    *,
    notes: list[str] | None = None,
    **config: Any,
) -> Any:
    """What ``action`` makes of a model that is opened and closed around it."""
    url = served if isinstance(served, str) else served.url

    async def work() -> Any:
        model = OpenAIModel.open("judge", url, ServerConfig(**config), notes.append if notes is not None else None)
        try:
            return await action(model)
        finally:
            await model.close()
            assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()

    return asyncio.run(work())


def score(served: Served, asked: Sequence[ScoreRequest], **config: Any) -> list[Scores | Failure]:
    result: list[Scores | Failure] = use(served, lambda model: model.score(asked), **config)
    return result


def reconcile(results: Sequence[Scores | Failure | Completion], entries: Sequence[dict[str, Any]]) -> None:
    """Every request and every attempt is in the server's log, and none came after a good answer."""
    assert len(entries) == len(results) + sum(result.retries for result in results)
    attempts: dict[str, list[str]] = {}
    for entry in entries:
        attempts.setdefault(entry["digest"], []).append(entry["answered"])
    assert len(attempts) == len(results)
    for answered in attempts.values():
        assert "ok" not in answered[:-1]


def test_scores_and_completions_come_back_in_order(sound: Served) -> None:
    asked = questions(20)
    delivered: dict[int, object] = {}

    async def both(model: OpenAIModel) -> tuple[Any, Any]:
        assert isinstance(model, ChatModel)
        scores = await model.score(asked, delivered.__setitem__)
        drawn = [GenerateRequest(conversation("hello"), Sampling(max_tokens=limit)) for limit in (2, 99)]
        return scores, await model.generate(drawn)

    scores, completions = use(sound, both)
    for index, result in enumerate(scores):
        p = p_first(asked[index].messages[0].content)
        assert result.probabilities == pytest.approx((MASS * p, MASS * (1 - p)), abs=1e-12)
        assert (result.prompt_tokens, result.completion_tokens, result.retries) == (8, 1, 0)
    assert delivered == dict(enumerate(scores))
    assert [completion.finish for completion in completions] == ["length", "stop"]


def test_what_the_model_is_called(sound: Served) -> None:
    async def info(model: OpenAIModel) -> Any:
        return model.info

    place = f"127.0.0.1:{sound.port}/v1"
    plain = use(sound, info)
    assert plain.spec == f"openai:judge@http://{place}"
    assert plain.identity == f"openai:judge@{place}"
    # The server says that the name stands for the weights in "weights"; other weights are another judge.
    assert plain.details == {"server": place, "scoring": "logprobs", "usage": "reported", "revision": "weights"}
    assert plain.in_flight == 64
    other = use(sound, info, extra={"reasoning_effort": "low"}, concurrency=3)
    assert other.identity.startswith(f"{plain.identity}#")
    assert other.in_flight == 3


@pytest.mark.parametrize("kind", TRANSIENT)
def test_a_fault_that_passes_costs_another_attempt_and_nothing_else(kind: str, sound: Served) -> None:
    before = len(sound.entries())
    results = score(sound, questions(8, f"quality 1 and quality {{}} [{kind}]: A or B?"), timeout=0.5)
    entries = sound.entries()[before:]
    assert [result.retries for result in results] == [1] * 8
    for index, result in enumerate(results):
        p = p_first(f"quality 1 quality {index}")
        assert isinstance(result, Scores)
        assert result.probabilities == pytest.approx((MASS * p, MASS * (1 - p)))
        # What a useless reply cost is counted, where it could be read: 9 + 1 tokens.
        wasted = 2 if kind in ("nochoices", "nologprobs") else 1
        assert (result.prompt_tokens, result.completion_tokens) == (9 * wasted, wasted)
    assert Counter(entry["answered"] for entry in entries) == {kind: 8, "ok": 8}
    reconcile(results, entries)


@pytest.mark.parametrize(
    ("kind", "failure"), [("refuse", "refusal"), ("filter", "refusal"), ("empty", "empty"), ("toolong", "too_long")]
)
def test_an_answer_that_is_none_is_a_failure_at_once(kind: str, failure: str, sound: Served) -> None:
    async def both(model: OpenAIModel) -> list[Any]:
        drawn = [GenerateRequest(conversation(f"hello {index} [{kind}]"), Sampling()) for index in range(3)]
        return [*await model.score(questions(3, f"{{}} [{kind}]: A or B?")), *await model.generate(drawn)]

    before = len(sound.entries())
    results = use(sound, both)
    assert [result.kind for result in results] == [failure] * 6
    assert all(result.detail and "\n" not in result.detail for result in results)
    assert len(sound.entries()) - before == 6


def test_retry_after_holds_everybody_back(tmp_path: Path) -> None:
    asked = [*questions(20), *questions(1, "[429] {}: A or B?"), *questions(60, "{}: A or B?")]
    with serving(tmp_path, "--retry-after", "1.5", "--latency", "0.02") as served:
        results = score(served, asked, start=4, concurrency=4)
        entries = served.entries()
    reconcile(results, entries)
    (then,) = [entry["then"] for entry in entries if entry["answered"] == "429"]
    # A while for the news to travel; then silence, for what is left of the 1.5 s; then all the rest.
    assert [entry["at"] for entry in entries if then + 0.7 < entry["at"] < then + 1.48] == []
    assert len([entry for entry in entries if entry["at"] >= then + 1.48]) > 20


def test_as_many_as_allowed_are_in_flight_and_not_all_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, "--latency", "0.02") as served:

        async def two_calls(model: OpenAIModel) -> None:
            await asyncio.gather(model.score(questions(60)), model.score(questions(60, "{}: A or B?")))

        use(served, two_calls, start=2, concurrency=10)
        at_once = [entry["at_once"] for entry in served.entries()]
    assert max(at_once) == 10
    assert max(at_once[:2]) <= 2


def test_pushed_back_it_asks_less_at_once(tmp_path: Path) -> None:
    asked = [*questions(20, "[429] {}: A or B?"), *questions(60)]
    with serving(tmp_path, "--retry-after", "0", "--latency", "0.05") as served:
        results = score(served, asked, start=20, concurrency=20)
        entries = served.entries()
    reconcile(results, entries)
    last = max(entry["then"] for entry in entries if entry["answered"] == "429")
    # 20 · 0.7 = 14, and one more for each round of good replies: 80 of them are under 5 rounds.
    later = [entry["at_once"] for entry in entries if entry["at"] > last + 0.05]
    assert len(later) > 20
    assert max(later) < 19


def test_a_request_that_keeps_failing_is_given_up_and_the_others_are_not(tmp_path: Path) -> None:
    with serving(tmp_path, "--faults", "0.3", "--kinds", "500", "--times", "1000000", "--spare") as served:
        begun = time.monotonic()
        results = score(served, questions(60), deadline=3.0)
        elapsed = time.monotonic() - begun
        reconcile(results, served.entries())
    failed = [result for result in results if isinstance(result, Failure)]
    # More than HOPELESS one after another, at the end of the run: it is they who fail, the server still answers.
    assert 8 < len(failed) < 30
    assert {result.kind for result in failed} == {"request_error"}
    assert all("500: The engine is overloaded; given up after" in result.detail for result in failed)
    assert 2 < elapsed < 20


def test_a_server_that_stops_answering_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raif.models.openai.pool._SOON", 0.05)
    with serving(tmp_path, "--latency", "0.02") as served:
        made: list[int] = []

        def delivered(index: int, result: object) -> None:
            made.append(index)
            if len(made) == 20:
                served.process.kill()

        with pytest.raises(ModelError, match=r"has answered nothing for 1 s .*what was answered is kept") as caught:
            use(served, lambda model: model.score(questions(200), delivered), deadline=1.0, concurrency=16)
    assert "\n" not in str(caught.value)
    assert 20 <= len(made) < 60


def test_a_long_wait_is_not_waited_for(tmp_path: Path) -> None:
    arguments = ("--faults", "1", "--kinds", "429", "--retry-after", "86400", "--spare")
    with serving(tmp_path, *arguments) as served, pytest.raises(ModelError, match=r"asks to wait for 86,400 s \(429"):
        score(served, questions(3))


def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_server_that_is_not_there_is_named_after_a_short_patience() -> None:
    url, notes = f"http://127.0.0.1:{unused_port()}/v1", []
    begun = time.monotonic()
    with pytest.raises(ModelError, match=rf"{url} \(connection refused\); start it, or correct the address"):
        use(url, lambda model: model.score(questions(3)), notes=notes, patience=0.5)
    assert 0.4 < time.monotonic() - begun < 5
    assert len(notes) == 1
    assert notes[0].endswith("until then there is what the cache holds")


def test_what_the_cache_holds_needs_no_server(tmp_path: Path) -> None:
    async def work(model: OpenAIModel) -> Any:
        with CompletionCache(tmp_path / "cache.sqlite3") as cache:
            return await CachedModel(model, cache).score(questions(3))

    with serving(tmp_path, "--root", "judge") as served:
        known = use(served, work)
    assert use(served, work, notes=[], patience=0) == known


def test_a_server_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    port = unused_port()
    with ExitStack() as stack:
        later = threading.Timer(0.5, lambda: stack.enter_context(serving(tmp_path, "--port", str(port))))
        later.start()
        results = use(f"http://127.0.0.1:{port}/v1", lambda model: model.score(questions(3)), patience=30)
        later.join()
    assert [type(result) for result in results] == [Scores] * 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--top", "0"), "scores by votes:8, with the weights judge"), (("--root", "mine"), "with the weights mine")],
)
def test_a_server_that_comes_too_late_and_judges_otherwise(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    port = unused_port()

    async def later(model: OpenAIModel) -> Any:
        with serving(tmp_path, "--port", str(port), "--root", "judge", *arguments):
            return await model.score(questions(3))

    with pytest.raises(ModelError, match=said):
        use(f"http://127.0.0.1:{port}/v1", later, notes=[], patience=0)


def test_how_answers_are_scored_is_settled_once(sound: Served) -> None:
    async def work(model: OpenAIModel) -> None:
        assert model._adapt(Dialect(), "seed: extra inputs are not permitted") == Dialect(seed=False)
        with pytest.raises(ModelError, match="no longer tells the log-probabilities that it told at first"):
            model._adapt(Dialect(), "logprobs are not supported")

    use(sound, work)


def test_a_wrong_key_names_its_variable_and_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, "--key", "right-key") as served:
        for key, wants in ((None, "wants a key"), ("wr0ng-secret", "refuses the key")):
            if key is not None:
                monkeypatch.setenv("JUDGE_KEY", key)
            with pytest.raises(ModelError, match=f"{wants} .*the environment variable JUDGE_KEY") as caught:
                score(served, questions(1), key_env="JUDGE_KEY")
            # The server quotes the key that it refuses.
            assert "wr0ng" not in str(caught.value)
        monkeypatch.setenv("JUDGE_KEY", "right-key")
        assert isinstance(score(served, questions(1), key_env="JUDGE_KEY")[0], Scores)
        path = tmp_path / "key"
        path.write_text("right-key\n")
        assert isinstance(score(served, questions(1), key_file=path)[0], Scores)


def test_a_key_is_in_no_repr(monkeypatch: pytest.MonkeyPatch, sound: Served) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")

    async def shown(model: OpenAIModel) -> str:
        await model.score(questions(1))
        return repr(model) + repr(vars(model)) + repr(model.info) + repr(vars(model._pool.transport))  # type: ignore[union-attr]

    assert "s3cret" not in use(sound, shown)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "can't be read"), ("", "is empty"), ("two words\n", "one word of ASCII")]
)
def test_a_key_file_that_holds_no_key(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        OpenAIModel.open("judge", "http://127.0.0.1:1/v1", ServerConfig(key_file=path))
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://user:pass@host/v1", "http://host/v1?key=x", "http://", "http://host:port/v1"])
def test_an_address_with_credentials_or_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(ModelSpecError) as caught:
        OpenAIModel.open("judge", url, ServerConfig())
    assert "pass@" not in str(caught.value)


def test_a_model_that_is_not_served_is_named_with_those_that_are(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "--listed", "alpha,beta,judge-v2,c,d,e,f") as served,
        pytest.raises(ModelSpecError, match="does not serve 'judge'; it serves judge-v2, alpha, beta, c, d and 2 more"),
    ):
        score(served, [])


@pytest.mark.parametrize("listed", ["", "judge:latest", "models/judge", "jud*"])
def test_no_list_and_other_spellings_in_it_are_fine(listed: str, tmp_path: Path) -> None:
    with serving(tmp_path, "--listed", listed) as served:
        assert isinstance(score(served, questions(1))[0], Scores)


def test_vllm_is_told_to_cut_nothing_where_nothing_is_to_be_cut(tmp_path: Path) -> None:
    async def work(model: OpenAIModel) -> None:
        await model.generate([GenerateRequest(conversation("hello"), Sampling(top_k=top_k)) for top_k in (0, 5)])

    with serving(tmp_path, "--owner", "vllm") as served:
        use(served, work)
        # Left out, it would be the default of the model's own generation_config.json.
        assert {entry["top_k"] for entry in served.entries()} == {-1, 5}


def test_a_server_may_insist_on_its_own_dialect(tmp_path: Path) -> None:
    async def info(model: OpenAIModel) -> Any:
        return await model.score(questions(2)), model.info

    with serving(tmp_path, "--completion-limit", "--top", "5", "--no-usage") as served:
        notes: list[str] = []
        results, found = use(served, info, notes=notes)
        # Two refusals teach it, before anything that counts; nothing after.
        assert [entry["answered"] for entry in served.all_entries()] == ["400", "400", "ok", "ok", "ok"]
    assert [type(result) for result in results] == [Scores, Scores]
    assert found.details["scoring"] == "logprobs:5"
    assert found.details["usage"] == "unknown"
    assert results[0].prompt_tokens == 0
    assert len(notes) == 1
    assert "they count as 0" in notes[0]


@pytest.mark.parametrize("arguments", [("--top", "0"), ("--bare",)])
def test_without_log_probabilities_votes_are_counted(arguments: tuple[str, ...], tmp_path: Path) -> None:
    async def work(model: OpenAIModel) -> Any:
        delivered: dict[int, object] = {}
        results = await model.score(questions(2, "quality 3 and quality {}: A or B?"), delivered.__setitem__)
        assert delivered == dict(enumerate(results))
        return results, model.info, CachedModel(model).key("score", questions(1)[0])

    with serving(tmp_path, *arguments) as served:
        notes: list[str] = []
        results, info, key = use(served, work, notes=notes, votes=40)
        assert info.details["scoring"] == "votes:40"
        assert len(served.entries()) == 80
        assert use(served, work, notes=[], votes=20)[2] != key  # another number of votes is another way of scoring
        with pytest.raises(ModelSpecError, match=r"set server\.logprobs to auto or off"):
            score(served, [], logprobs="on")
    # P(A) = 1/(1 + e^-3) = .953 and 1/(1 + e^-2) = .881: of 40 votes, 4 standard deviations are .14 and .21.
    for result, p in zip(results, (0.953, 0.881), strict=True):
        assert result.mass == pytest.approx(1)
        assert result.probabilities[0] == pytest.approx(p, abs=4 * (p * (1 - p) / 40) ** 0.5)
        assert result.completion_tokens == 40
    assert len(notes) == 1
    assert "40 sampled votes" in notes[0]


def test_votes_can_be_had_for_the_asking(sound: Served) -> None:
    results = score(sound, questions(1), logprobs="off", votes=4)
    assert sum(results[0].probabilities) == 1  # type: ignore[union-attr]


def test_scores_by_votes_and_by_log_probabilities_have_different_keys(sound: Served) -> None:
    async def key(model: OpenAIModel) -> bytes:
        return CachedModel(model).key("score", questions(1)[0])

    keys = [use(sound, key, **config) for config in ({}, {"logprobs": "on"}, {"logprobs": "off"}, {"extra": {"x": 1}})]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_listener_that_fails_ends_the_call(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def deliver(index: int, result: object) -> None:
        raise StopError

    with serving(tmp_path, "--latency", "0.05") as served:

        async def work(model: OpenAIModel) -> None:
            with pytest.raises(StopError):
                await model.score(questions(100), deliver)
            assert len(served.entries()) <= 4
            assert len(await model.score(questions(3))) == 3  # and the model goes on

        use(served, work, concurrency=4)


def test_a_cancelled_call_stops_asking(tmp_path: Path) -> None:
    with serving(tmp_path, "--latency", "0.05") as served:

        async def work(model: OpenAIModel) -> None:
            task = asyncio.ensure_future(model.score(questions(100)))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            asked = len(served.entries())
            await asyncio.sleep(0.2)
            assert len(served.entries()) - asked <= 4  # what was in flight

        use(served, work, concurrency=4)


def test_a_cancelled_call_does_not_wait_for_slow_answers(sound: Served) -> None:
    async def work(model: OpenAIModel) -> float:
        task = asyncio.ensure_future(model.score(questions(2, "[slow] cancelled {}: A or B?")))
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return time.monotonic() - begun

    assert use(sound, work) < 1.5  # they take 3 s


def test_answers_that_begin_alike_are_refused(sound: Served) -> None:
    with pytest.raises(ModelSpecError, match="can't be told apart"):
        score(sound, [ScoreRequest(conversation("?"), ("A", "AB"))])


def test_nothing_asked_is_nothing_answered(sound: Served) -> None:
    assert score(sound, []) == []
