"""Rows made in bulk are what their constructor makes."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, fields
from itertools import count, repeat
from typing import Any

import pytest

from console.poolers import columns
from console.poolers.columns import Show
from console.poolers.construct import row_maker


@pytest.mark.parametrize("show", columns.ALL, ids=lambda show: show.what)
def test_every_row_class_is_made_as_its_constructor_would(show: Show) -> None:
    width = len(fields(show.row))
    values = [[f"{column}/{row}" for row in range(3)] for column in range(width)]
    made: tuple[Any, ...] = row_maker(show.row)(values)
    assert list(made) == [show.row(*cells) for cells in zip(*values, strict=True)]
    assert {type(row) for row in made} == {show.row}
    assert copy.copy(made[0]) == made[0]
    assert pickle.loads(pickle.dumps(made[0])) == made[0]


def test_the_shortest_column_counts() -> None:
    numbers = count()
    rows = row_maker(Small)([["a", "b"], repeat(None)])
    assert rows == (Small("a", None), Small("b", None))
    assert next(numbers) == 0


@dataclass(frozen=True, slots=True)
class Small:
    one: str
    two: str | None


@dataclass(frozen=True)
class WithDict:
    """No slots: its layout is another, so the constructor is used."""

    one: str
    two: str


def test_a_class_of_another_layout_is_made_by_its_constructor() -> None:
    assert row_maker(WithDict)([["a"], ["b"]]) == (WithDict("a", "b"),)
