"""The grid's arithmetic: cells, columns, order, and the promises of its memory under random updates."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from widgets.cells import Toned, clean, fit, plain, width_of
from widgets.grid_columns import GAP, GUTTER, TURN_GAP, Column, arrange
from widgets.grid_sort import sort_order
from widgets.grid_source import ListRow, ListSource
from widgets.grid_state import GridState

VALUES = st.one_of(st.none(), st.integers(-5, 5), st.floats(allow_nan=True), st.text(max_size=2))


# -- cells ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "width", "align", "expected"),
    [
        ("app", 5, "left", "app  "),
        ("12", 5, "right", "   12"),
        ("transaction", 6, "left", "trans…"),
        ("日本語", 5, "left", "日本…"),
        ("日本語", 4, "left", "日 …"),
        ("e\u0301a", 3, "left", "e\u0301a "),
        ("abc", 1, "left", "…"),
        ("abc", 0, "left", ""),
    ],
)
def test_a_cell_is_padded_or_cut_to_terminal_columns(
    text: str, width: int, align: Any, expected: str
) -> None:
    assert fit(text, width, align) == expected


@given(st.text(), st.integers(0, 30), st.sampled_from(["left", "right"]))
def test_a_fitted_cell_is_exactly_as_wide_as_asked(text: str, width: int, align: Any) -> None:
    assert width_of(fit(clean(text), width, align)) == width


@given(st.text())
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    assert all(character.isprintable() or character == "\u00a0" for character in clean(text))
    assert len(clean(text)) == len(text)


def test_text_after_a_number_keeps_its_distance() -> None:
    columns = [
        Column("k", "k"),
        Column("n", "number", 8, "right"),
        Column("t", "text", 8),
        Column("u", "u", 3),
    ]
    placed = arrange(columns, {}, 80).placed
    assert [place.gap for place in placed] == [1, 1, 2, 1]


def test_escape_sequences_in_a_database_name_are_shown_not_obeyed() -> None:
    assert plain("a\x1b[2Jb\nc") == "a?[2Jb?c"
    assert plain(Text("x\ty")) == "x?y"
    assert plain(Toned("x\u202ey", "error")) == "x?y"


# -- columns ----------------------------------------------------------------------------------


def columns() -> list[Column]:
    return [
        Column("name", "name", 20, min_width=10),
        Column("wait", "waiting", 8, "right"),
        Column("used", "used", 6, "right", priority=1),
        Column("tested", "test", 6, "right", priority=2),
        Column("mode", "mode", 12, flex=True),
    ]


def shown(available: int, **options: Any) -> dict[str, int]:
    return {p.column.key: p.width for p in arrange(columns(), {}, available, **options).placed}


def test_the_flexible_column_takes_what_is_left_over() -> None:
    assert shown(100)["mode"] == 12 + 100 - (GUTTER + 1 + 20 + 8 + 6 + 6 + 12 + 4 * GAP + TURN_GAP)
    assert arrange(columns(), {}, 100).content_width == 100


def test_text_shrinks_first_then_columns_go_by_priority() -> None:
    assert shown(57)["name"] == 16
    assert shown(51) == {"name": 10, "wait": 8, "used": 6, "tested": 6, "mode": 12}
    assert set(shown(50)) == {"name", "wait", "used", "mode"}
    assert arrange(columns(), {}, 42).hidden == ("used", "tested")


def test_hidden_columns_can_be_asked_for() -> None:
    every = arrange(columns(), {}, 42, hide=False)
    assert every.hidden == ()
    assert every.last_stop > 0


def test_a_number_too_wide_widens_its_column() -> None:
    placed = arrange(columns(), {"wait": 13}, 100).placed
    assert next(p.width for p in placed if p.column.key == "wait") == 13


@given(available=st.integers(0, 90), offset=st.integers(0, 90), fixed=st.integers(0, 3))
def test_columns_on_screen_are_whole_and_never_pass_the_edge(available: int, offset: int, fixed: int) -> None:
    arrangement = arrange(columns(), {}, available, fixed_count=fixed)
    visible, more = arrangement.shown_at(offset)
    used = sum(p.width + GAP for p in visible)
    assert used + (1 if more else 0) <= arrangement.room or not visible
    assert more or not arrangement.scrolling or visible[-1] == arrangement.scrolling[-1]


@given(available=st.integers(50, 120))
def test_scrolling_to_the_end_brings_the_last_column(available: int) -> None:
    arrangement = arrange(columns() * 3, {}, available, hide=False)
    visible, more = arrangement.shown_at(arrangement.last_stop)
    assert not more
    assert visible[-1] == arrangement.scrolling[-1]


# -- order ------------------------------------------------------------------------------------


def missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


@given(st.lists(VALUES), st.booleans())
def test_every_row_is_there_once_and_missing_values_are_last(values: list[Any], reverse: bool) -> None:
    order = sort_order(values, reverse=reverse)
    assert sorted(order) == list(range(len(values)))
    gaps = [missing(values[index]) for index in order]
    assert gaps == sorted(gaps)


@given(st.lists(st.one_of(st.none(), st.integers(0, 3))), st.booleans())
def test_ties_keep_the_order_of_the_source(values: list[int | None], reverse: bool) -> None:
    order = sort_order(values, reverse=reverse)
    for before, after in pairwise(order):
        first, second = values[before], values[after]
        if first == second:
            assert before < after
        elif first is not None and second is not None:
            assert (first > second) is reverse


def test_numbers_sort_by_value_not_by_their_text() -> None:
    assert sort_order([10, 9, 100]) == [1, 0, 2]
    assert sort_order([10, None, 9, 100], reverse=True) == [3, 0, 2, 1]


# -- memory -----------------------------------------------------------------------------------

PICTURE = st.dictionaries(st.integers(0, 12), st.one_of(st.none(), st.integers(0, 4)), max_size=10)


def source(picture: dict[int, int | None]) -> ListSource:
    return ListSource([ListRow(key, [str(key)], {"value": value}) for key, value in picture.items()])


@settings(max_examples=200)
@given(
    pictures=st.lists(PICTURE, min_size=2, max_size=6),
    moves=st.lists(st.integers(0, 11), min_size=6, max_size=6),
    sorts=st.lists(st.tuples(st.sampled_from([None, "value"]), st.booleans()), min_size=6, max_size=6),
)
def test_a_refresh_never_slides_another_row_under_the_cursor(
    pictures: list[dict[int, int | None]], moves: list[int], sorts: list[tuple[str | None, bool]]
) -> None:
    state = GridState()
    for picture, move, (column, reverse) in zip(pictures, moves, sorts, strict=False):
        old_key, old_keys = state.cursor_key, list(state.keys)
        change = state.replace(source(picture))
        assert set(state.keys) == set(picture)
        if old_key in picture:
            assert state.cursor_key == old_key
            assert not change.cursor_changed
        elif old_key is not None:
            assert change.lost_cursor == old_key
            assert state.cursor_key == neighbour(old_keys, old_key, state.keys)
        assert (state.cursor_key is None) is (not picture)
        state.move_to(move)
        state.toggle_mark()
        key, marked = state.cursor_key, state.marked
        state.sort(column, reverse)
        assert state.cursor_key == key
        assert state.marked == marked <= set(picture)


def neighbour(old_keys: list[Any], key: Any, left: list[Any]) -> Any:
    """The nearest surviving row below, else above, else whatever is first."""
    position = old_keys.index(key)
    for candidate in old_keys[position + 1 :] + old_keys[:position][::-1]:
        if candidate in left:
            return candidate
    return left[0] if left else None


def test_a_mark_goes_with_its_row_and_the_change_says_so() -> None:
    state = GridState()
    state.replace(source({1: 1, 2: 2, 3: 3}))
    state.mark([1, 3, 99])
    assert state.marked == {1, 3}
    assert state.replace(source({2: 2, 3: 3})).lost_marks == {1}
    assert state.marked == {3}


def test_a_range_is_marked_from_the_last_mark_in_display_order() -> None:
    state = GridState()
    state.replace(source({1: 4, 2: 3, 3: 2, 4: 1}))
    state.sort("value", False)
    state.move_to(1)
    state.toggle_mark()
    state.move_to(3)
    assert state.mark_range()
    assert state.marked == {3, 2, 1}


def test_two_rows_with_one_key_do_not_trap_the_cursor() -> None:
    state = GridState()
    state.replace(ListSource([ListRow("a", ["1"]), ListRow("a", ["2"]), ListRow("b", ["3"])]))
    assert [state.move_to(state.cursor + 1) for _ in range(2)] == [True, True]
    assert state.cursor_key == "b"
