"""Foreign text shows what is hidden in it, and figures show their uncertainty."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raif.evaluate.statistics import Estimate, Mean
from raif.report.text import LONGEST, duration, number, percent, quantity, quoted, share, visible


def test_markup_is_escaped() -> None:
    assert visible("<script>alert('x')</script> & \"y\"") == (
        "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;y&#34;"
    )


@pytest.mark.parametrize(
    ("character", "name"),
    [("\u202e", "U+202E"), ("\u2066", "U+2066"), ("\u200b", "U+200B"), ("\x00", "U+0000"), ("\U000e0041", "U+E0041")],
)
def test_what_is_invisible_is_shown(character: str, name: str) -> None:
    shown = visible(f"a{character}b")
    assert character not in shown
    assert f">{name}</span>b" in shown


def test_joiners_stay_where_a_script_needs_them() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert visible(family) == family
    assert "U+200D" in visible("pass\u200dword")


@given(st.text())
def test_no_text_breaks_out(text: str) -> None:
    shown = str(visible(text))
    for tag in ('<span class="hidden"', "</span>"):
        shown = shown.replace(tag, "")
    assert "<" not in shown
    assert "\u202e" not in shown
    shown.encode()  # a lone surrogate would not be UTF-8


def test_long_text_says_how_much_is_missing() -> None:
    assert "… 1,000 more characters" in quoted("x" * (LONGEST + 1000))
    assert quoted("x" * LONGEST) == "x" * LONGEST


def test_figures() -> None:
    estimate = Estimate(value=0.8123, low=0.741, high=0.867, n=1312)
    assert share(estimate) == "81.2\u00a0% (74.1–86.7; n\u00a0=\u00a01,312)"
    assert share(estimate, n=False) == "81.2\u00a0% (74.1–86.7)"
    assert share(None) == percent(None) == quantity(None) == number(None) == duration("soon") == "not recorded"
    assert quantity(Mean(value=412.4, low=398, high=426, n=9, clusters=9)) == "412 (398–426)"
    assert quantity(Mean(value=412.4, n=9, clusters=1)) == "412"
    assert (number(12345), number(0.12345), number("odd")) == ("12,345", "0.123", "odd")


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.14, "3.1\u00a0s"), (294, "4\u00a0min 54\u00a0s"), (7500, "2\u00a0h 05\u00a0min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
