"""The order of a grid's rows: stable, by value, missing values last whichever the direction.

Pure; must not know of rows or columns.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any


def sort_order(values: Sequence[Any], *, reverse: bool = False) -> list[int]:
    """Indices of `values` in sorted order.

    Ties keep their order in both directions. None and NaN come last in both directions. Values that
    cannot be compared with each other (a number and a string) are ordered numbers first, then
    strings, then the rest by their text.
    """
    present: list[int] = []
    missing: list[int] = []
    for index, value in enumerate(values):
        # NaN is the one value that differs from itself; it would break any order it took part in.
        (missing if value is None or value != value else present).append(index)
    try:
        ordered = sorted(present, key=values.__getitem__, reverse=reverse)
    except TypeError:
        ordered = sorted(present, key=lambda index: _mixed_key(values[index]), reverse=reverse)
    return ordered + missing


def _mixed_key(value: object) -> tuple[int, float, str]:
    if isinstance(value, numbers.Real):
        return (0, float(value), "")
    if isinstance(value, str):
        return (1, 0.0, value)
    return (2, 0.0, repr(value))
