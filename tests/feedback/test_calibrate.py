"""A calibration applied: symmetric, rising, and for the judge alone that it was made for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from raif.config import LabelConfig
from raif.errors import InputError
from raif.feedback.calibrate import Calibrator, Curve, way_of_asking

CURVES = [
    Curve(temperature=2.0),
    Curve(temperature=0.05),
    Curve(knots=((0.5, 0.5), (0.7, 0.6), (0.9, 0.6), (1.0, 0.95))),
    Curve(knots=((0.8, 0.7),)),
]


def made_for(config: LabelConfig, **changes: object) -> Calibrator:
    fields = {"raif": "1", "curve": CURVES[0], "judge": "j", "constitution": "c", "template": "t", "gold": None}
    return Calibrator.model_validate(
        fields | {"n": 30, "prompts": 20, "asked": way_of_asking(config)} | changes,
    )


def test_a_temperature_divides_the_log_odds() -> None:
    # logit(.8) = ln 4; ln 4/2 = ln 2: 2/3. And ln 4/.5 = ln 16: 16/17.
    assert Curve(temperature=2.0)(0.8) == 0.666667
    assert Curve(temperature=0.5)(0.8) == round(16 / 17, 6)


def test_knots_are_joined_by_straight_lines() -> None:
    curve = CURVES[2]
    # Half way from .5 to .7 is half way from .5 to .6; three quarters from .9 to 1 of .35 above .6.
    assert [curve(p) for p in (0.6, 0.7, 0.8, 0.9, 0.975, 1.0)] == [0.55, 0.6, 0.6, 0.6, 0.8625, 0.95]
    assert Curve(knots=((0.8, 0.7),))(0.99) == Curve(knots=((0.8, 0.7),))(0.51) == 0.7


@pytest.mark.parametrize("curve", CURVES)
@given(p=st.integers(0, 10**6), q=st.integers(0, 10**6))
def test_a_calibration_is_symmetric_and_rising_and_turns_nothing_round(curve: Curve, p: int, q: int) -> None:
    a, b = p / 10**6, q / 10**6
    assert curve(round(1 - a, 6)) == round(1 - curve(a), 6)
    if a <= b:
        assert curve(a) <= curve(b)
    assert (curve(a) - 0.5) * (a - 0.5) >= 0
    assert 0 <= curve(a) <= 1
    assert curve(0.5) == 0.5


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 1.0, "knots": ((0.5, 0.5),)},
        {"temperature": 0.0},
        {"knots": ((0.4, 0.5),)},
        {"knots": ((0.7, 0.6), (0.6, 0.7))},
        {"knots": ((0.6, 0.7), (0.7, 0.6))},
        {"knots": ((0.6, 0.7), (0.6, 0.8))},
    ],
)
def test_a_curve_that_is_none_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Curve.model_validate(fields)


def test_only_what_shapes_a_judge_s_probabilities_is_compared() -> None:
    assert way_of_asking(LabelConfig()) == way_of_asking(LabelConfig(max_tokens=9, tie_margin=0.1, votes=2, scale=10))
    assert way_of_asking(LabelConfig(mode="rank")) == way_of_asking(LabelConfig())
    assert way_of_asking(LabelConfig(orders="one")) != way_of_asking(LabelConfig())
    assert way_of_asking(LabelConfig(mode="votes", votes=2)) != way_of_asking(LabelConfig(mode="votes"))
    assert way_of_asking(LabelConfig(mode="cot"), reward=True) == {"mode": "reward"}


@pytest.mark.parametrize(
    ("judge", "constitution", "template", "config", "named"),
    [
        ("k", "c", "t", LabelConfig(), "another judge (j, not k)"),
        ("j", "d", "t", LabelConfig(), "another constitution (c, not d)"),
        ("j", "c", "u", LabelConfig(), "another wording (t, not u)"),
        ("j", "c", "t", LabelConfig(orders="one"), "orders 'both', not 'one'"),
        ("j", "c", "t", LabelConfig(mode="votes"), "mode 'logprob', not 'votes':"),
    ],
)
def test_a_calibration_for_another_is_refused_by_name(
    judge: str, constitution: str, template: str, config: LabelConfig, named: str
) -> None:
    with pytest.raises(InputError, match="raif judge calibrate, or apply it all the same with --foreign") as caught:
        made_for(LabelConfig()).check(Path("x.json"), judge, constitution, template, way_of_asking(config))
    assert f"x.json: was made for {named}" in str(caught.value)
    made_for(config).check(Path("x.json"), "j", "c", "t", way_of_asking(config))


def test_its_hash_is_what_it_does() -> None:
    assert made_for(LabelConfig()).hash == made_for(LabelConfig(), n=31, judge="k").hash
    assert made_for(LabelConfig()).hash != made_for(LabelConfig(), curve=CURVES[1]).hash


def test_it_is_read_as_it_was_written_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(made_for(LabelConfig(mode="cot")).model_dump_json())
    assert Calibrator.load(path) == made_for(LabelConfig(mode="cot"))
    path.write_text('{"temperature": 2}')
    with pytest.raises(InputError, match=r"calibration\.json: is no calibration of raif"):
        Calibrator.load(path)
    with pytest.raises(InputError, match="can't read"):
        Calibrator.load(tmp_path / "nowhere.json")
