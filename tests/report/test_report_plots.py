"""Drawings: the right place for every figure, and nothing that a label could break."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from raif.report.plots import Bar, counted, curve, histogram, intervals, panels, reliability, smoothed, stack, ticks

HOSTILE = "</text><script>alert(1)</script>"
DRAWINGS = {
    "intervals": intervals([Bar(HOSTILE, 0.7, 0.6, 0.8), Bar("x", 0.5)], HOSTILE),
    "panels": panels({HOSTILE: [Bar(HOSTILE, 0.7, 0.6, 0.8), Bar("b", 0.0), Bar("c", 1.0)], "two": []}, HOSTILE),
    "stack": stack({HOSTILE: 3, "nothing": 0, **{f"part {i}": 40 for i in range(9)}}, HOSTILE),
    "histogram": histogram([0, 0.2, 0.2, 1], HOSTILE, x_label=HOSTILE),
    "curve": curve([(1, 0.9), (2, 0.7), (3, -0.4)], HOSTILE, x_label=HOSTILE, y_label=HOSTILE),
    "one point": curve([(1, 0.0)], "one", x_label="x", y_label="y"),
    "reliability": reliability([(0.9, 0.8, 10), (0.6, 0.5, 3)], HOSTILE),
    "empty": reliability([], "none"),
    "nothing": stack({}, "none"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_drawing_is_well_formed_and_named(name: str) -> None:
    root = ElementTree.fromstring(DRAWINGS[name])
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert not [element for element in root.iter() if element.tag == "script"]


def numbers(svg: Markup, shape: str, attribute: str) -> list[float]:
    return [float(value) for value in re.findall(rf'<{shape}[^>]* {attribute}="([-\d.]+)"', svg)]


def test_dots_lie_where_their_figures_are() -> None:
    zero, quarter, one = numbers(intervals([Bar("a", 0), Bar("b", 0.25), Bar("c", 1)], "t"), "circle", "cx")
    assert quarter == pytest.approx(zero + (one - zero) / 4, abs=0.1)


def test_columns_are_as_tall_as_their_figures() -> None:
    half, full = numbers(panels({"g": [Bar("a", 0.5), Bar("b", 1)]}, "t"), "rect", "height")
    assert full == pytest.approx(2 * half)


def test_counts_by_hand() -> None:
    # the ends belong to the outer bins; .5 begins the upper half
    assert counted([0, 0.24, 0.5, 0.75, 1, 1], 4) == [2, 0, 1, 3]


def test_smoothing_by_hand() -> None:
    assert smoothed([(1, 0.0), (2, 3.0), (3, 6.0)], 3) == [(1, 1.5), (2, 3.0), (3, 4.5)]


def test_ticks_by_hand() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(0.13, 0.61) == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert ticks(5, 5) == [5]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_round_and_few(low: float, span: float, about: int) -> None:
    found = ticks(low, low + span, about)
    assert len(found) <= about + 2
    assert all(low - 1e-6 * span - 1e-9 <= tick <= low + span + 1e-6 * span + 1e-9 for tick in found)
