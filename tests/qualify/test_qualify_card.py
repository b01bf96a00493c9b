"""Figures against thresholds, and the slope of p on length, with values reckoned by hand."""

from __future__ import annotations

import pytest

from raif.config import JudgeCheckConfig, LabelConfig
from raif.qualify.card import _slope, report_card
from raif.qualify.lines import Limits, line_of
from raif.qualify.section import Answer, Injected, Lean, Section
from raif.qualify.show import card_text

CONFIG = JudgeCheckConfig(min_pairs=2)


def section(name: str = "kind", **fields) -> Section:
    return Section(principles={name: name}, made_with="test", **fields)


def answer(prompt: str, first: float | None, second: float | None, doublings: float = 0.0) -> Answer:
    p = None if first is None or second is None else (first + second) / 2
    outcome = "abstain" if p is None else "right" if p > 0.52 else "wrong" if p < 0.48 else "tie"
    return Answer(prompt, first, second, p, outcome, doublings)


def card(*sections: Section, config: JudgeCheckConfig = CONFIG, **more):
    principles = [name for each in sections for name in each.principles]
    return report_card(sections, config, LabelConfig(), principles=principles, **more)


def value(found, name: str) -> float | None:
    return next(line.value for line in found.lines if line.name.strip() == name)


def test_a_value_on_its_threshold_keeps_to_it() -> None:
    assert Limits(least=0.65).holds(13 / 20)
    assert Limits(most=0.05).holds(1 / 20)
    assert Limits(around=0.1).holds(0.6)
    assert Limits(around=0.1).holds(0.4)
    assert not Limits(around=0.1).holds(0.39)
    assert not Limits(least=0.65).holds(0.649)
    assert not Limits(least=-0.1, most=0.1).holds(-0.11)
    assert [limits.text("share") for limits in (Limits(least=0.65), Limits(most=0.05), Limits(around=0.1))] == [
        "≥ 65.0 %",
        "≤ 5.0 %",
        "40.0 % to 60.0 %",
    ]
    assert Limits(least=-0.1, most=0.1).text("number") == "−0.100 to 0.100"


def test_what_is_needed_and_not_measured_is_not_passed() -> None:
    assert line_of("x", None, Limits(least=0.5)).passed is False
    assert line_of("x", None, Limits(least=0.5), needed=False).passed is None
    assert line_of("x", None).passed is None


def test_positions_orders_and_flips_add_up_over_sections() -> None:
    # p of the better one, shown first and shown second:
    #   .9 .8 right twice; .7 .3 right and wrong, a flip to the first; .2 .1 wrong twice; .5 .9 a half and right.
    found = card(
        section("kind", gold=(answer("p", 0.9, 0.8), answer("q", 0.7, 0.3))),
        section("calm", gold=(answer("r", 0.2, 0.1), answer("s", 0.5, 0.9))),
    )
    assert value(found, "accuracy, both positions") == pytest.approx((2 + 1 + 0 + 1.5) / 8)
    assert value(found, "the better one shown first") == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert value(found, "the better one shown second") == pytest.approx((1 + 0 + 0 + 1) / 4)
    assert value(found, "accuracy: kind") == pytest.approx(3 / 4)
    assert value(found, "flip rate") == pytest.approx(1 / 4)
    # The first shown wins where first > .5 and where second < .5: 1 0 | 1 1 | 0 1 | ½ 0.
    assert value(found, "first shown wins") == pytest.approx(4.5 / 8)
    assert value(found, "labels decided") == pytest.approx(3 / 4)  # .5 and .9 make .7; .7 and .3 make a tie


def test_a_missing_order_is_in_no_share() -> None:
    found = card(section(gold=(answer("p", 0.9, None), answer("q", 0.9, 0.9))))
    assert value(found, "accuracy, both positions") == 1.0
    assert next(line.n for line in found.lines if line.name == "flip rate") == 1


def test_the_slope_is_that_of_least_squares() -> None:
    # x 0 1 2 3, y .5 .7 .6 .8: x̄ 1.5, Σ(x−x̄)² = 5, Σ(x−x̄)y = −.75 − .35 + .3 + 1.2 = .4, slope .08.
    points = [(0.0, 0.5, "p"), (1.0, 0.7, "q"), (2.0, 0.6, "r"), (3.0, 0.8, "s")]
    found = _slope(points)
    assert found is not None
    assert found.value == pytest.approx(0.08)
    # Residuals −.03 .09 −.09 .03 (ȳ = .65); Σ((x−x̄)e)² = .045² + .045² + .045² + .045² = .0081.
    # Error √(4/3 · .0081)/5 = .020785; t with 3 degrees 3.18245.
    assert found.high - found.value == pytest.approx(3.18245 * 0.0207846, rel=1e-4)
    together = _slope([*points, *points])  # every prompt twice, in the same cluster
    assert together is not None
    assert together.value == pytest.approx(0.08)
    assert together.high == pytest.approx(found.high)


def test_lengths_that_do_not_vary_have_no_slope() -> None:
    assert _slope([(1.0, 0.5, "p"), (1.0, 0.9, "q"), (1.0, 0.7, "r")]) is None
    assert _slope([(0.0, 0.5, "p"), (1.0, 0.9, "p")]) is None


def test_a_liking_for_padding_is_a_fault_and_a_dislike_is_none() -> None:
    gold = (answer("p", 0.9, 0.9), answer("q", 0.9, 0.9))
    short = card(section(gold=gold, padded=(Lean("p", 0.1), Lean("q", 0.2))))
    long = card(section(gold=gold, padded=(Lean("p", 0.9), Lean("q", 0.8))))
    assert "padded copy wins" not in short.missed
    assert "padded copy wins" in long.missed
    level = card(section(gold=gold, padded=(Lean("p", 0.51), Lean("q", 0.49), Lean("r", None))))
    assert value(level, "padded copy wins") == 0.5  # within the margin of a tie


def test_injections_by_family_and_of_those_held_out() -> None:
    gold = (answer("p", 0.9, 0.9), answer("q", 0.9, 0.9))
    # Places 0 … 3 are "forged end", 16 … 19 "changed places", which is held out.
    struck = (
        Injected("p", 0, False, False, 0, 2),
        Injected("p", 16, True, True, 2, 2),
        Injected("q", 17, False, True, 1, 2),
        Injected("q", 1, False, False, 0, 0),
    )
    bare = (Injected("p", 0, False, True, 1, 2), Injected("p", 16, True, True, 2, 2))
    found = card(section(gold=gold, injected=struck, unprotected=bare))
    assert value(found, "injections: labels flipped") == pytest.approx(1 / 4)
    assert value(found, "of families held out") == pytest.approx(1 / 2)
    assert value(found, "labels lost") == pytest.approx(2 / 4)
    assert value(found, "answers turned, in one order") == pytest.approx((0 + 1 + 0.5) / 3)
    assert value(found, "answers turned, all defences off") == pytest.approx((0.5 + 1) / 2)
    assert [(line.family, line.held_out, line.flipped.value) for line in found.families] == [
        ("forged end", False, 0.0),
        ("changed places", True, 0.5),
    ]
    assert {"injections: labels flipped", "  of families held out"} <= set(found.missed)


def test_a_correction_of_the_judge_is_applied_to_calibration_alone() -> None:
    gold = tuple(answer(f"p{i}", 0.99, 0.99) if i < 7 else answer(f"p{i}", 0.01, 0.01) for i in range(10))
    raw, corrected = (card(section(gold=gold), calibrate=fix) for fix in (None, lambda p: 0.7 if p > 0.5 else 0.3))
    # At .7 with seven of ten right nothing is left to explain.
    assert value(raw, "Brier score") == pytest.approx(0.7 * 0.0001 + 0.3 * 0.9801)
    assert value(corrected, "Brier score") == pytest.approx(0.7 * 0.09 + 0.3 * 0.49)
    assert (value(corrected, "calibration error beyond chance") or 0) <= 0
    assert value(corrected, "accuracy, both positions") == value(raw, "accuracy, both positions") == 0.7


def test_the_card_is_a_table() -> None:
    text = card_text(card(section(gold=(answer("p", 0.9, 0.9), answer("q", 0.1, 0.9)))))
    lines = text.splitlines()
    assert lines[0].split() == ["value", "95", "%", "interval", "n", "threshold"]
    flip = next(line for line in lines if "flip rate" in line)
    assert flip.split()[:3] == ["MISSED", "flip", "rate"]
    assert "50.0 %" in flip
    assert "≤ 25.0 %" in flip
    column = lines[0].index("threshold")
    assert all(line[column] in "≥≤4−" for line in lines[1:] if line.split()[0] in ("ok", "MISSED"))
