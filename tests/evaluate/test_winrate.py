"""Policies against a baseline: the right side wins, whichever side that is."""

from __future__ import annotations

import pytest

from raif.errors import InputError
from raif.evaluate.winrate import EvalResult, evaluate
from raif.records import Comparison, Judgement, Preference, Prompt, Response, conversation


def response(prompt: str, text: str, model: str, sample: int = 0) -> Response:
    turns = conversation(prompt)
    return Response(
        prompt_id=Prompt(messages=turns).id, prompt=turns, model=model, text=text, finish="stop", sample=sample
    )


def preference(
    prompt: str, a: tuple[str, str], b: tuple[str, str], outcome: str, kind: float | None, true: float | None
) -> Preference:
    """``a`` and ``b`` are (text, origin); ``kind`` and ``true`` the p_a of two principles, asked in one order."""
    return Preference.model_validate(
        {
            "comparison": Comparison(
                prompt=conversation(prompt),
                response_a=a[0],
                origin_a=a[1],
                response_b=b[0],
                origin_b=b[1],
                source="responses",
            ),
            "outcome": outcome,
            "reason": "order_conflict" if outcome == "abstain" else None,
            "p_a": 0.5,
            "judge": "j",
            "constitution": "c",
            "template": "t",
            "judgements": tuple(
                Judgement(order="ab", principle_id=name, weight=1, p_a=p, failure=None if p is not None else "refusal")
                for name, p in (("kind", kind), ("true", true))
            ),
        }
    )


BASE = [response(str(i), f"base {i}", "base-model") for i in range(5)]
TUNED = [response(str(i), "base 4" if i == 4 else f"tuned {i}", "tuned-model") for i in range(5)]


def judged(base: str, tuned: str) -> list[Preference]:
    """Tuned wins prompts 0 and 1, once on either side; prompt 2 is a tie, 3 abstains, 4 has equal answers."""
    return [
        preference("0", ("tuned 0", tuned), ("base 0", base), "a", 0.9, 0.1),
        preference("1", ("base 1", base), ("tuned 1", tuned), "b", 0.3, 0.51),
        preference("2", ("base 2", base), ("tuned 2", tuned), "tie", 0.4, None),
        preference("3", ("tuned 3", tuned), ("base 3", base), "abstain", 0.5, 0.2),
    ]


@pytest.mark.parametrize("origins", [("base", "tuned"), ("base-model", "tuned-model"), ("", "")])
def test_win_rates_by_hand(origins: tuple[str, str]) -> None:
    result = evaluate({"base": BASE, "tuned": TUNED}, {"tuned": judged(*origins)}, "base")
    assert (result.baseline, result.prompts, list(result.policies)) == ("base", 5, ["base", "tuned"])
    assert result.policies["base"].overall is None
    overall = result.policies["tuned"].overall
    assert overall is not None
    assert (overall.n, overall.wins, overall.ties, overall.identical, overall.losses) == (5, 2, 2, 1, 0)
    assert overall.abstained == {"order_conflict": 1}
    assert overall.coverage == pytest.approx(4 / 5)
    assert overall.win_rate is not None
    assert overall.win_rate.value == pytest.approx((2 + 0.5 + 0.5) / 4)
    # kind: tuned gets .9, .7, .6, .5 and a tie; true: .1, .49 (a tie), none, .2 and a tie
    kind, true = (result.policies["tuned"].by_principle[name] for name in ("kind", "true"))
    assert (kind.wins, kind.ties, kind.losses, kind.abstained) == (3, 2, 0, {})
    assert (true.wins, true.ties, true.losses, true.abstained) == (0, 2, 2, {"refusal": 1})
    assert true.win_rate is not None
    assert true.win_rate.value == pytest.approx(1 / 4)


def test_a_policy_that_is_the_baseline_wins_half() -> None:
    again = [response(str(i), f"base {i}", "base-model") for i in range(5)]
    overall = evaluate({"base": BASE, "same": again}, {"same": []}, "base").policies["same"].overall
    assert overall is not None
    assert overall.win_rate is not None
    assert (overall.ties, overall.win_rate.value) == (5, 0.5)


def test_the_same_model_with_other_answers_is_told_by_them() -> None:
    again = [response(str(i), f"again {i}", "base-model") for i in range(5)]
    labels = [preference("0", ("base 0", "base-model"), ("again 0", "base-model"), "b", 0.1, 0.1)]
    overall = evaluate({"base": BASE, "same": again}, {"same": labels}, "base").policies["same"].overall
    assert overall is not None
    assert (overall.wins, overall.losses) == (1, 0)


def test_origins_tell_where_answers_can_not() -> None:
    labels = [
        preference("0", ("older 0", "base"), ("newer 0", "tuned-model"), "b", 0.1, 0.1),
        preference("1", ("newer 1", "tuned"), ("older 1", "base-model"), "b", 0.1, 0.1),
    ]
    overall = evaluate({"base": BASE, "tuned": TUNED}, {"tuned": labels}, "base").policies["tuned"].overall
    assert overall is not None
    assert (overall.wins, overall.losses) == (1, 1)


def test_equal_answers_that_were_judged_count_once() -> None:
    labels = [preference("4", ("base 4", "base"), ("base 4", "tuned"), "tie", 0.5, 0.5)]
    overall = evaluate({"base": BASE, "tuned": TUNED}, {"tuned": labels}, "base").policies["tuned"].overall
    assert overall is not None
    assert (overall.n, overall.ties, overall.identical) == (1, 1, 0)


def test_a_policy_without_labels_has_no_win_rate() -> None:
    result = evaluate({"base": BASE, "tuned": TUNED}, {}, "base")
    assert result.policies["tuned"].overall is None
    assert result.policies["tuned"].responses.n == 5


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="no policy 'other' to compare with; there are base"):
        evaluate({"base": BASE}, {}, "other")
    with pytest.raises(InputError, match="answered different prompts"):
        evaluate({"base": BASE, "tuned": TUNED[:3]}, {}, "base")
    labels = [preference("0", ("x", "who"), ("y", "whom"), "a", 0.9, 0.9)]
    with pytest.raises(InputError, match="is not between the policies 'tuned' and 'base'"):
        evaluate({"base": BASE, "tuned": TUNED}, {"tuned": labels}, "base")


def test_it_survives_its_file() -> None:
    result = evaluate({"base": BASE, "tuned": TUNED}, {"tuned": judged("base", "tuned")}, "base")
    assert EvalResult.model_validate_json(result.model_dump_json()) == result
