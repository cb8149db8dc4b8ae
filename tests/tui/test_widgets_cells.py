"""Sparklines and gauges: what a cell says about 0, nothing and too much."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widgets.gauge import gauge
from widgets.sparkline import ASCII_BARS, BARS, sparkline


def test_newest_at_the_right_and_history_missing_at_the_left() -> None:
    assert sparkline([0, 5, 10], 5) == "  ▁▅█"
    assert sparkline([9, 9, 0, 5, 10], 3) == "▁▅█"


def test_a_gap_is_not_a_zero_and_a_little_is_not_nothing() -> None:
    assert sparkline([0, None, 1, math.nan, 1000], 5) == "▁ ▂ █"
    assert sparkline([0, None, 1, 1000], 4, ascii_only=True) == "_ .#"


def test_a_given_maximum_is_the_highest_bar_and_more_is_drawn_as_it() -> None:
    assert sparkline([5, 10, 99, math.inf], 4, maximum=10) == "▅███"


def test_nothing_to_draw() -> None:
    assert sparkline([], 3) == "   "
    assert sparkline([1], 0) == ""
    assert sparkline([0, 0], 2) == "▁▁"
    assert sparkline([-3, None], 2) == "▁ "


@given(st.lists(st.one_of(st.none(), st.floats())), st.integers(0, 20), st.booleans())
def test_a_sparkline_is_as_wide_as_asked_and_keeps_order(
    values: list[float | None], width: int, ascii_only: bool
) -> None:
    drawn = sparkline(values, width, ascii_only=ascii_only)
    assert len(drawn) == width
    bars = " " + (ASCII_BARS if ascii_only else BARS)
    shown = values[-width:] if width else []
    pairs = [
        (value, bars.index(bar))
        for value, bar in zip(shown, drawn[width - len(shown) :], strict=True)
        if value is not None and not math.isnan(value)
    ]
    assert [level for _, level in sorted(pairs)] == sorted(level for _, level in pairs)


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (None, "n/a"),
        (math.nan, "n/a"),
        (0.0, "▯▯▯▯   0%"),
        (0.004, "▮▯▯▯  <1%"),
        (0.29, "▮▯▯▯  29%"),
        (0.5, "▮▮▯▯  50%"),
        (0.75, "▮▮▮▯  75%"),
        (0.996, "▮▮▮▯  99%"),
        (1.0, "▮▮▮▮ 100%"),
        (1.25, "▮▮▮▮ 125%"),
    ],
)
def test_a_gauge_never_rounds_to_full_or_empty(share: float | None, drawn: str) -> None:
    assert gauge(share) == drawn


def test_gauges_in_ascii_and_without_boxes() -> None:
    assert gauge(0.5, ascii_only=True) == "##..  50%"
    assert gauge(0.5, 0) == "50%"
    assert gauge(math.inf, 2) == "▮▮ >999%"
