"""What the grid draws, and what it costs: only rows on screen, only lines that changed, no signs lost."""

from __future__ import annotations

from typing import Any

import pytest
from rich.text import Text
from textual.strip import Strip

from tests.tui.apps.pools import Pools, PoolsApp
from tests.tui.test_grid_keys import FEW, FewApp, few, screen_text, settle
from widgets.grid import Column, Grid, ListRow, ListSource, Toned


class Watched(Grid):
    """A grid that notes which lines Textual has it draw."""

    drawn: list[int]

    def render_line(self, y: int) -> Strip:
        self.drawn.append(y)
        return super().render_line(y)


class WatchedApp(PoolsApp):
    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.grid = self.watched = Watched(self.grid.columns)
        self.watched.drawn = []
        self.displays = 0

    def post_display_hook(self) -> None:
        self.displays += 1


async def test_only_rows_on_screen_are_formatted() -> None:
    app = PoolsApp(2_000)
    async with app.run_test(size=(80, 24)) as pilot:
        source = Pools(5, 2_000)
        app.grid.set_source(source)
        await settle(pilot)
        assert source.formatted == 23
        await pilot.press("pagedown")
        assert source.formatted == 46
        await pilot.press("pageup")
        assert source.formatted == 46


async def test_a_cursor_move_draws_two_lines() -> None:
    app = WatchedApp(100)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.watched.drawn.clear()
        await pilot.press("down")
        await settle(pilot)
        assert sorted(app.watched.drawn) == [1, 2]


async def test_a_new_source_is_one_repaint_of_the_lines_that_differ() -> None:
    app = FewApp(few(a=1, b=2, c=3, d=4))
    watched = Watched(FEW)
    watched.drawn = []
    app.grid = watched
    async with app.run_test(size=(40, 10)) as pilot:
        await settle(pilot)
        watched.drawn.clear()
        watched.set_source(few(a=1, b=2, c=33, d=4))
        await settle(pilot)
        assert watched.drawn == [3]
        watched.drawn.clear()
        # Nothing moves, but the highlight of the last change ends.
        watched.set_source(few(a=1, b=2, c=33, d=4))
        await settle(pilot)
        assert watched.drawn == [3]
        watched.drawn.clear()
        watched.set_source(few(a=1, b=2, c=33, d=4))
        await settle(pilot)
        assert watched.drawn == []


async def test_two_thousand_moving_rows_are_one_display() -> None:
    app = WatchedApp(2_000)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.displays = 0
        app.watched.drawn.clear()
        app.grid.set_source(Pools(2, 2_000))
        await settle(pilot)
        await settle(pilot)
        assert app.displays == 1
        assert len(app.watched.drawn) <= 40


async def test_changed_cells_are_highlighted_for_one_source_only() -> None:
    app = FewApp(few(a=1, b=2))
    async with app.run_test(size=(40, 10)) as pilot:
        app.grid.set_source(few(a=1, b=7))
        await settle(pilot)
        assert bold_words(app, 2) == ["7"]
        assert bold_words(app, 1) == bold_words(app, 1)
        app.grid.set_source(few(a=1, b=7))
        await settle(pilot)
        assert bold_words(app, 2) == []
        app.grid.highlight_changes = False
        app.grid.set_source(few(a=1, b=8))
        await settle(pilot)
        assert bold_words(app, 2) == []


def bold_words(app: FewApp, line: int) -> list[str]:
    strip = app.screen._compositor.render_strips()[line]
    return [segment.text.strip() for segment in strip if segment.style is not None and segment.style.bold]


async def test_a_number_is_never_cut() -> None:
    app = FewApp(few(a=1, b=123_456_789))
    async with app.run_test(size=(40, 10)) as pilot:
        await settle(pilot)
        assert "123456789" in screen_text(app)[2]
        app.grid.set_source(few(a=1, b=123_456_789_012))
        await settle(pilot)
        assert "123456789012" in screen_text(app)[2]


async def test_a_number_in_a_hidden_column_is_whole_once_the_column_is_shown() -> None:
    columns = [Column("name", "name", 10), Column("wait", "wait", 5, "right", priority=1)]
    app = FewApp(few(a=123_456_789_012), columns=columns)
    async with app.run_test(size=(20, 10)) as pilot:
        await settle(pilot)
        assert app.grid.hidden_columns == ("wait",)
        await pilot.resize_terminal(40, 10)
        await settle(pilot)
        assert "123456789012" in screen_text(app)[1]


async def test_a_column_that_does_not_fit_whole_is_left_for_scrolling() -> None:
    app = FewApp(few(a=1, b=12345))
    async with app.run_test(size=(19, 10)) as pilot:
        await settle(pilot)
        lines = screen_text(app)
        assert lines[0].endswith("»")
        assert not any(part in lines[2] for part in ("1", "12", "12345"))
        await pilot.press("right")
        assert "«" in screen_text(app)[0]


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 5), (3, 2), (5, 3), (10, 2), (80, 1)])
async def test_tiny_terminals_do_no_harm(size: tuple[int, int]) -> None:
    app = PoolsApp(50)
    async with app.run_test(size=size) as pilot:
        for key in ("down", "right", "space", "pagedown", "G", "left", "enter", "g"):
            await pilot.press(key)
        app.grid.set_source(Pools(3, 20))
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        assert "pool" in screen_text(app)[0]


async def test_no_columns_and_no_rows_are_fine() -> None:
    app = FewApp(few(a=1), columns=[])
    async with app.run_test(size=(40, 5)) as pilot:
        await pilot.press("right", "down", "space", "enter")
        app.grid.set_source(few())
        await pilot.press("down", "space", "G", "pagedown", "enter", "ctrl+@")
        app.grid.empty_text = "no pools match"
        await settle(pilot)
        assert "no pools match" in screen_text(app)[1]


async def test_rows_with_too_few_cells_are_blank_there() -> None:
    app = FewApp(ListSource([ListRow("a", ["a"])]))
    async with app.run_test(size=(40, 5)) as pilot:
        await settle(pilot)
        assert screen_text(app)[1] == "›  a"


async def test_ascii_only_uses_no_other_sign() -> None:
    app = PoolsApp(50, ascii_only=True)
    app.grid.show_all_columns = True
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.press("space", "right")
        lines = screen_text(app)
        # The sparkline belongs to the data; everything the grid itself draws is ASCII.
        assert all(line.isascii() for line in lines)
        assert lines[2].startswith(">")
        assert lines[1].startswith(" *")
        assert lines[0].endswith(">")
        assert "<" in lines[0]
        await pilot.press("left")
        assert "v" in screen_text(app)[0]


async def test_cursor_and_marks_can_be_read_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = FewApp(few(a=1, b=2))
    async with app.run_test(size=(40, 5)) as pilot:
        await pilot.press("space")
        assert [line[:4] for line in screen_text(app)[1:3]] == [" ● a", "›  b"]


async def test_wide_characters_keep_the_columns_in_line() -> None:
    rows = [
        ListRow(i, [name, "7", "up"])
        for i, name in enumerate(["plain", "データ", "e\u0301te\u0301", "a\x1b]0;x"])
    ]
    app = FewApp(ListSource(rows))
    async with app.run_test(size=(40, 6)) as pilot:
        await settle(pilot)
        strips = app.screen._compositor.render_strips()
        assert {strip.cell_length for strip in strips} == {40}
        ends = {Text("".join(s.text for s in strip).split("7")[0]).cell_len for strip in strips[1:5]}
        assert len(ends) == 1


async def test_toned_and_styled_cells_keep_their_text_and_alignment() -> None:
    rows = [
        ListRow("a", ["a", Toned("12", "error"), Text.assemble("u", ("p", "bold"))], tone="warning"),
        ListRow("b", ["b", Text("345"), Text("a rather long text", "red")], tone="no such tone"),
    ]
    app = FewApp(ListSource(rows))
    async with app.run_test(size=(40, 5)) as pilot:
        await settle(pilot)
        assert screen_text(app)[1:3] == ["›  a              12  up", "   b             345  a rathe…"]


async def test_themes_are_followed_at_once() -> None:
    app = FewApp(few(a=1, b=2))
    async with app.run_test(size=(40, 5)) as pilot:
        await settle(pilot)
        dark = backgrounds(app)
        app.theme = "textual-light"
        await settle(pilot)
        assert not dark & backgrounds(app)


def backgrounds(app: Any) -> set[str]:
    strips = app.screen._compositor.render_strips()
    return {str(segment.style.bgcolor) for strip in strips for segment in strip if segment.style}


async def test_columns_can_be_replaced_and_a_lost_sort_is_told() -> None:
    app = FewApp(few(a=2, b=1))
    async with app.run_test(size=(40, 5)) as pilot:
        app.grid.sort_by("wait")
        app.grid.set_columns([Column("name", "who", 12)])
        app.grid.set_source(ListSource([ListRow("z", ["zed"])]))
        await settle(pilot)
        assert [line for line in screen_text(app) if line] == ["   who", "›  zed"]
        assert [m.column for m in app.of(Grid.SortChanged)] == ["wait", None]
        with pytest.raises(ValueError, match="no column 'wait'"):
            app.grid.sort_by("wait")


async def test_the_sign_of_the_cursor_says_which_table_has_the_focus() -> None:
    app = FewApp(few(a=1))
    async with app.run_test(size=(40, 5)) as pilot:
        await settle(pilot)
        assert screen_text(app)[1].startswith("›")
        app.set_focus(None)
        await settle(pilot)
        assert screen_text(app)[1].startswith("·")
