"""The arithmetic of an estimate, on numbers that can be checked by hand."""

from __future__ import annotations

import pytest

from raif.config import DpoConfig, RewardConfig, SftConfig
from raif.models.middleware import Usage
from raif.stages.forecast import Forecast, Pace, Part, Sample, forecast, total, training
from raif.stages.trial import learnt_from, only_read


def test_a_sample_stands_for_what_is_open_and_for_what_is_extra() -> None:
    # 4 sampled items made 40 requests: 8 were known before, 4 were asked twice, 28 reached the model.
    usage = Usage(requests=40, cache_hits=12, prompt_tokens=2800, completion_tokens=280, seconds=14.0, cost=0.28)
    part = Part(
        settled=100, open=10, open_hits=20, extra=5, sample=Sample(4, usage, known=8, elsewhere=2.0), opening=3.0
    )
    found = forecast(part)
    # Requests: 100 + 10 each for 15 items. Hits: 100 + 20 + 1 again for each of the open 10 + 3 for each of the extra
    # 5, and the 28 that are known now. Of the 250, 250 - 173 = 77 are left to pay for.
    assert (found.requests, found.cache_hits, found.paid) == (250, 173, 77)
    assert (found.prompt_tokens, found.completion_tokens) == (7700, 770)  # 100 and 10 for each paid request
    assert found.cost == pytest.approx(0.77)
    # 0.5 s for each paid request, 0.05 s elsewhere for every request, 3 s to open.
    assert found.seconds == pytest.approx(38.5 + 12.5 + 3.0)


def test_a_cache_that_keeps_nothing_has_no_use_for_the_sample() -> None:
    usage = Usage(requests=20, prompt_tokens=200, seconds=2.0)
    part = Part(open=10, sample=Sample(2, usage))
    assert (forecast(part).paid, forecast(part).prompt_tokens) == (80, 800)
    kept_nothing = Part(open=10, sample=Sample(2, usage), kept=False)
    assert (forecast(kept_nothing).paid, forecast(kept_nothing).prompt_tokens) == (100, 1000)


def test_where_all_is_known_only_the_opening_and_the_look_take_time() -> None:
    assert forecast(Part(settled=70, opening=2.0, look=0.5)) == Forecast(70, 70, seconds=2.5)


def test_one_that_stands_for_two_counts_twice() -> None:
    part = Part(open=4, sample=Sample(2, Usage(requests=6, prompt_tokens=60, seconds=3.0)), opening=1.0, kept=False)
    assert forecast(part) == Forecast(12, 0, 120, 0, 0.0, 7.0)
    twice = Part(open=4, sample=part.sample, opening=1.0, kept=False, times=2)
    assert forecast(twice) == Forecast(24, 0, 240, 0, 0.0, 14.0)


def test_an_unknown_price_is_unknown_only_where_something_is_to_be_paid() -> None:
    sample = Sample(1, Usage(requests=1, prompt_tokens=10))
    assert forecast(Part(open=2, sample=sample, priced=False)).cost is None
    assert forecast(Part(open=1, sample=sample, priced=False)).cost == 0
    assert forecast(Part(settled=3, priced=False)).cost == 0
    assert total([Forecast(cost=1.5, seconds=2.0), Forecast(cost=None, seconds=1.0)]) == Forecast(cost=None, seconds=3)
    assert total([Forecast(seconds=None), Forecast(seconds=1.0)]).seconds is None
    assert total([]) == Forecast()


def test_training_takes_its_examples_times_its_epochs() -> None:
    pace = Pace(before=5.0, example=0.1)
    # 100 examples, 3 epochs: 5 + 300 x 0.1.
    assert training(pace, SftConfig(epochs=3), 100, 0) == pytest.approx(35.0)
    # 20 steps of 2 x 4 examples, however many there are.
    assert training(pace, SftConfig(max_steps=20, batch_size=4, accumulate=2), 100, 0) == pytest.approx(21.0)
    # A step has no more examples than there are.
    assert training(pace, SftConfig(max_steps=20, batch_size=4, accumulate=2), 5, 0) == pytest.approx(15.0)
    # Reading 60 is worth 20 with a backward pass.
    assert training(pace, SftConfig(), 100, 60) == pytest.approx(17.0)


def test_what_trainers_read_without_learning() -> None:
    reward = RewardConfig(eval_share=0.2)
    assert (learnt_from(reward, 50), only_read(reward, 50)) == pytest.approx((40, 10))
    assert (learnt_from(DpoConfig(), 50), only_read(DpoConfig(), 50)) == (50, 50)
    assert (learnt_from(SftConfig(), 50), only_read(SftConfig(), 50)) == (50, 0)
