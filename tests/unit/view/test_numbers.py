"""Numbers on screen: a doctest per format, and what must hold for every number."""

from __future__ import annotations

import doctest
import re

from hypothesis import given
from hypothesis import strategies as st

from console.view import numbers


def test_every_example_in_the_docstrings_holds() -> None:
    result = doctest.testmod(numbers)
    assert result.attempted >= 8
    assert result.failed == 0


@given(st.floats(min_value=0, max_value=1e15))
def test_no_number_is_wider_than_its_column(value: float) -> None:
    assert len(numbers.count(value)) <= 6
    assert len(numbers.rate(value)) <= 6
    assert len(numbers.byte_rate(value)) <= 10


@given(st.floats(min_value=0, max_value=100 * 86_400))
def test_a_duration_always_names_its_unit_and_stays_short(seconds: float) -> None:
    text = numbers.duration_s(seconds)
    assert text == "0" or re.search(r"(µs|ms|s|m|h|d)", text)
    assert len(text) <= 8


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_something_never_looks_like_nothing(value: float) -> None:
    assert numbers.rate(value) != "0"
    assert numbers.share(value) != "0 %"
    assert numbers.duration_us(value) != "0"


@given(st.floats(min_value=1, max_value=1e12), st.floats(min_value=1, max_value=1e12))
def test_a_larger_count_never_reads_smaller(left: float, right: float) -> None:
    low, high = sorted((left, right))
    assert _read(numbers.count(low)) <= _read(numbers.count(high))


def _read(text: str) -> float:
    scale = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}.get(text[-1], 1.0)
    return float(text.rstrip("kMGTP").replace(",", "")) * scale
