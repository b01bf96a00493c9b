"""Judges with one fault each miss the lines that speak of it, and no other; a judge without fault misses none."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

import pytest

from raif.cache import CompletionCache
from raif.config import LabelConfig
from raif.models.base import Failure, ModelInfo, Rating
from raif.models.middleware import CachedModel
from raif.models.scripted import ScriptedModel
from raif.qualify.canaries import battery
from raif.qualify.certificate import Certificate, Key
from support.toy import CALM, CONFIG, CONSTITUTION, LIBRARY, Shown, answers, examine, oracle, toy_gold


def line(checked, name: str):
    return next(line for line in checked.card.lines if line.name.strip() == name)


def missed(checked) -> set[str]:
    return {name.strip() for name in checked.card.missed}


def test_a_judge_without_fault_qualifies() -> None:
    checked = examine(answers(oracle))
    assert missed(checked) == set()
    assert checked.made == ("kind", "calm")
    assert (line(checked, "gold pairs").value, line(checked, "accuracy, both positions").n) == (40, 80)
    assert line(checked, "accuracy: calm").value == 1.0
    # 40 right labels with four injections each; ten gold pairs twice in both orders.
    assert line(checked, "injections: labels flipped").n == 160
    assert line(checked, "same when asked again").n == 20


def position_biased(shown: Shown) -> float:
    """Follows the position in three of five pairs."""
    return 0.97 if shown.number % 5 < 3 else oracle(shown)


def test_a_position_biased_judge_fails_for_its_position() -> None:
    checked = examine(answers(position_biased))
    assert missed(checked) == {"flip rate", "first shown wins"}
    # In 3 of 5 pairs both answers go to the first, one of them rightly; in 2 of 5 one answer each, both rightly.
    assert line(checked, "flip rate").value == pytest.approx(0.6)
    assert line(checked, "first shown wins").value == pytest.approx(0.6 * 1 + 0.4 * 0.5)
    assert line(checked, "accuracy, both positions").value == pytest.approx(0.6 * 0.5 + 0.4)
    assert line(checked, "the better one shown first").value == 1.0
    assert line(checked, "the better one shown second").value == pytest.approx(0.4)


def length_biased(shown: Shown) -> float:
    """Knows merit where there is a difference, and takes the longer of two equals."""
    if shown.merit != 0.5:
        return oracle(shown)
    return 0.8 if len(shown.first) > len(shown.second) else 0.2


def test_a_length_biased_judge_fails_for_length() -> None:
    checked = examine(answers(length_biased))
    assert missed(checked) == {"longer of two equals wins", "padded copy wins"}
    assert line(checked, "longer of two equals wins").value == 1.0
    assert (line(checked, "longer of two equals wins").n, line(checked, "padded copy wins").n) == (10, 20)


def test_a_judge_whose_merit_is_length_fails_for_that_too() -> None:
    def swayed(shown: Shown) -> float:
        longer = (len(shown.first) > len(shown.second)) - (len(shown.first) < len(shown.second))
        return min(0.97, max(0.03, 0.5 + 0.3 * (2 * shown.merit - 1) + 0.25 * longer))

    checked = examine(answers(swayed))
    assert "p for a doubled length" in missed(checked)
    # The better one gets .97 (capped from 1.05) where it is longer and .55 where it is shorter; lengths are 37 and 10
    # or 11 and 36 letters (good and bad differ by one): log2 of 38/10 and 11/37, 1.926 and -1.750.
    assert line(checked, "p for a doubled length").value == pytest.approx((0.97 - 0.55) / (1.926 + 1.750), abs=2e-4)


def test_a_refusing_judge_fails_for_its_refusals() -> None:
    checked = examine(answers(lambda shown: Failure("refusal") if shown.number % 5 == 0 else oracle(shown)))
    assert missed(checked) == {"refusals"}
    # 8 of 40 gold pairs, 2 of 10 ties and 4 of 20 padded copies (those of the first ten pairs of each principle).
    assert line(checked, "refusals").value == pytest.approx(28 / 140)
    assert line(checked, "labels decided").value == pytest.approx(32 / 40)


_LETTER = re.compile(r"\b([AB])\b")


def injectable(shown: Shown) -> float:
    """Does as the last letter says that stands alone in a response."""
    named = _LETTER.findall(f"{shown.first} {shown.second}")
    return oracle(shown) if not named else 0.9 if named[-1] == "A" else 0.1


def test_an_injectable_judge_fails_for_injections() -> None:
    checked = examine(answers(injectable))
    assert missed(checked) == {"injections: labels flipped", "of families held out"}
    struck = [one for section in checked.sections.values() for one in section.injected]
    # Obeyed, in both orders, are those that name their own side, and not the other one after it.
    last = [re.findall(r"\{(OWN|OTHER)\}", battery()[one.canary].text)[-1:] for one in struck]
    assert [one.flipped for one in struck] == [named == ["OWN"] for named in last]
    assert line(checked, "injections: labels flipped").value == last.count(["OWN"]) / len(last) > 0.4
    plain = next(family for family in checked.card.families if family.family == "plain verdict")
    assert (plain.flipped.value, plain.turned.value) == (1.0, 1.0)
    quiet = next(family for family in checked.card.families if family.family == "master key")
    assert quiet.flipped.value == 0.0


def test_a_judge_that_changes_its_mind_fails_for_that() -> None:
    tosses = count()
    # By more than rounding, and by less than what a tie allows.
    checked = examine(answers(lambda shown: abs(oracle(shown) - 0.015 * (next(tosses) % 3 == 0))))
    assert missed(checked) == {"same when asked again"}


def test_the_cache_does_not_answer_for_a_judge_that_changes_its_mind(tmp_path: Path) -> None:
    tosses = count()
    unstable = ScriptedModel(answers(lambda shown: abs(oracle(shown) - 0.015 * (next(tosses) % 3 == 0))))
    with CompletionCache(tmp_path / "cache.sqlite3") as cache:
        judge = CachedModel(unstable, cache)
        assert missed(examine(judge)) == {"same when asked again"}
        before = judge.usage.requests - judge.usage.cache_hits
        examine(judge)
        # A second check asks nothing but the repeats: ten gold pairs in both orders, twice, on the same meter.
        assert judge.usage.requests - judge.usage.cache_hits - before == 10 * 2 * 2


@pytest.mark.parametrize(
    ("judge", "name"),
    [
        (answers(oracle, mass=0.05), "too little on the answers offered"),
        (answers(lambda shown: Failure("unparsed")), "unreadable answers"),
        (answers(lambda shown: Failure("request_error")), "no answer"),
    ],
)
def test_a_judge_without_answers_has_nothing_to_show_for_itself(judge, name: str) -> None:
    checked = examine(judge)
    assert line(checked, name).value == 1.0
    nothing = {"accuracy, both positions", "accuracy: kind", "accuracy: calm", "flip rate", "first shown wins"}
    nothing |= {"calibration error beyond chance", "Brier score", "injections: labels flipped"}
    assert missed(checked) == {name, *nothing}
    assert line(checked, "flip rate").remark == "not measured"


def test_a_judge_that_is_too_sure_fails_for_calibration() -> None:
    def sure(shown: Shown) -> float:
        p = 0.01 + 0.98 * shown.merit
        return 1 - p if shown.number % 10 in (0, 1, 2) else p

    checked = examine(answers(sure))
    # 30 % wrong at .99: |.7 − .99| = .29 of which chance explains under .02; Brier .7 · .0001 + .3 · .9801 = .2941.
    assert missed(checked) == {"calibration error beyond chance", "Brier score"}
    assert line(checked, "calibration error beyond chance").value == pytest.approx(0.28, abs=0.015)
    assert line(checked, "Brier score").value == pytest.approx(0.2941)


def test_gold_on_the_whole_is_judged_by_all_principles() -> None:
    weighed = CONFIG.model_copy(update={"min_pairs": 20})
    checked = examine(answers(oracle), toy_gold(None), config=weighed)
    assert checked.made == ("all principles",)
    assert missed(checked) == set()
    (section,) = checked.sections.values()
    assert set(section.principles) == {"kind", "calm"}
    # 20 decided, 5 tied, 20 padded pairs, in both orders, under two principles.
    assert section.asked == 45 * 2 * 2


def test_too_little_gold_is_no_pass() -> None:
    checked = examine(answers(oracle), toy_gold("kind"))
    assert missed(checked) == {"gold pairs", "principles checked"}
    assert line(checked, "principles checked").remark == "no gold for calm"


def test_a_mode_without_an_order_has_no_position() -> None:
    def grade(request):
        good = "<response>\ngood" in request.messages[-1].content
        return {"8": 0.9, "7": 0.1} if good else {"2": 0.9, "3": 0.1}

    checked = examine(grade, label=LabelConfig(mode="score"))
    assert missed(checked) == set()
    assert line(checked, "flip rate").passed is None
    assert line(checked, "accuracy, both positions").n == 40


class Rewards:
    """A reward model that likes good responses, and those that are told to be liked."""

    info = ModelInfo("reward:x", "reward:x@1", rates=True)

    async def rate(self, requests, deliver=None):
        return [Rating(2.0 * ("good" in r.messages[-1].content), 1) for r in requests]


def test_a_reward_model_is_checked_without_principles_or_positions() -> None:
    checked = examine(Rewards(), toy_gold("kind", "calm"))
    assert missed(checked) == set()
    assert line(checked, "flip rate").passed is None
    assert line(checked, "injections: labels flipped").value == 0.0
    assert Key.of(Rewards.info, LIBRARY, LabelConfig()).template == ""


def test_reasoning_is_checked_as_it_is_read() -> None:
    def reason(request) -> str:
        return f"Verdict: {'A' if Shown.of(request).merit >= 0.5 else 'B'}"

    checked = examine(reason, label=LabelConfig(mode="cot"))
    assert missed(checked) == set()


def test_what_an_earlier_check_found_is_not_asked_again() -> None:
    first = examine(answers(oracle))
    model = ScriptedModel(answers(oracle))
    known = Certificate(key=Key.of(model.info, LIBRARY, LabelConfig()), sections=dict(first.sections))
    asked: list[str] = []

    def watched(request):
        asked.append(request.messages[-1].content)
        return answers(oracle)(request)

    again = examine(watched, certificate=known)
    assert (again.made, again.known, asked) == ((), ("kind", "calm"), [])
    assert again.card == first.card
    calmer = CALM.model_copy(update={"text": "The response is quite calm.", "comparison": "Choose the calmer one."})
    edited = CONSTITUTION.model_copy(update={"principles": (CONSTITUTION.principles[0], calmer)})
    third = examine(watched, certificate=known, constitution=edited)
    assert (third.made, third.known) == (("calm",), ("kind",))
    assert {text.rpartition("Principle: ")[2] for text in asked} == {"Choose the calmer one."}
    other_gold = [*toy_gold("kind", "calm")[1:]]
    fourth = examine(watched, other_gold, certificate=known)
    assert fourth.made == ("kind",)
