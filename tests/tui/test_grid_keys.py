"""The grid under real keys and clicks: cursor, marks, sorting, scrolling, opening."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot

from tests.tui.apps.pools import COLUMNS, Pools, PoolsApp
from widgets.grid import Column, Grid, ListRow, ListSource

FEW = [Column("name", "name", 10), Column("wait", "wait", 5, "right"), Column("state", "state", 8)]


def few(**waits: int | None) -> ListSource:
    return ListSource(
        [
            ListRow(name, [name, "n/a" if wait is None else str(wait), "up"], {"name": name, "wait": wait})
            for name, wait in waits.items()
        ]
    )


class FewApp(App[None]):
    """A short table; keeps the grid's messages."""

    def __init__(self, source: ListSource, columns: list[Column] | None = None, **options: Any) -> None:
        super().__init__()
        self.grid = Grid(FEW if columns is None else columns, **options)
        self.first = source
        self.seen: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self.grid

    def on_mount(self) -> None:
        self.grid.set_source(self.first)

    def on_event_seen(self, message: Message) -> None:
        self.seen.append(message)

    on_grid_activated = on_grid_cursor_lost = on_grid_marks_changed = on_grid_sort_changed = on_event_seen

    def of(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.seen if isinstance(message, kind)]


def screen_text(app: App[Any]) -> list[str]:
    """The screen as text, one string a line."""
    width, height = app.size
    lines = []
    for strips in app.screen._compositor.render_strips():  # what Textual would write
        lines.append("".join(segment.text for segment in strips).rstrip())
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    return lines


async def settle(pilot: Pilot[Any]) -> None:
    await pilot.pause()


async def test_the_cursor_stays_on_its_row_through_sorting_and_refresh() -> None:
    app = FewApp(few(a=1, b=2, c=3))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("down")
        assert app.grid.cursor_key == "b"
        app.grid.sort_by("wait", reverse=True)
        assert (app.grid.cursor_key, app.grid.keys) == ("b", ("c", "b", "a"))
        app.grid.set_source(few(a=9, b=1, c=3))
        await settle(pilot)
        assert (app.grid.cursor_key, app.grid.cursor_row) == ("b", 2)
        assert screen_text(app)[3].startswith("›  b")


async def test_when_the_cursors_row_goes_the_neighbour_gets_it_and_a_message_says_so() -> None:
    app = FewApp(few(a=1, b=2, c=3))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("j")
        app.grid.set_source(few(a=1, c=3))
        await settle(pilot)
        assert [(m.key, m.moved_to) for m in app.of(Grid.CursorLost)] == [("b", "c")]
        app.grid.set_source(few())
        await settle(pilot)
        assert [(m.key, m.moved_to) for m in app.of(Grid.CursorLost)][1:] == [("c", None)]
        assert "nothing to show" in screen_text(app)[1]


async def test_marks_are_set_by_space_extended_by_range_and_cleared() -> None:
    app = FewApp(few(a=1, b=2, c=3, d=4, e=5))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("down", "space")
        assert app.grid.marked == {"b"}
        assert app.grid.cursor_key == "c"
        await pilot.press("down", "ctrl+@")
        assert app.grid.marked == {"b", "c", "d"}
        assert app.grid.targets == ("b", "c", "d")
        assert [line[:4] for line in screen_text(app)[1:6]] == ["   a", " ● b", " ● c", "›● d", "   e"]
        app.grid.set_source(few(a=1, b=2, d=4, e=5))
        await settle(pilot)
        assert app.of(Grid.MarksChanged)[-1].lost == {"c"}
        await pilot.press("ctrl+backslash")
        assert app.grid.marked == frozenset()
        assert list(app.grid.targets) == ["d"]


async def test_ends_and_pages() -> None:
    app = PoolsApp(100)
    async with app.run_test(size=(80, 21)) as pilot:
        rows: list[int] = []
        for key in ("G", "pageup", "g", "pagedown", "end", "home", "k"):
            await pilot.press(key)
            rows.append(app.grid.cursor_row)
        assert rows == [99, 79, 0, 20, 99, 0, 0]


async def test_enter_and_double_click_open_the_row() -> None:
    app = FewApp(few(a=1, b=2))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("down", "enter")
        await pilot.click(Grid, offset=(5, 1))
        assert app.grid.cursor_key == "a"
        await pilot.click(Grid, offset=(5, 1), times=2)
        await settle(pilot)
        assert [m.key for m in app.of(Grid.Activated)] == ["b", "a"]


async def test_a_double_click_opens_nothing_when_rows_moved_between_the_clicks() -> None:
    app = FewApp(few(a=1, b=2))
    app.grid.set_reactive(Grid.highlight_changes, False)
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.click(Grid, offset=(5, 1))
        app.grid.sort_by("wait", reverse=True)
        await pilot.click(Grid, offset=(5, 1))
        await settle(pilot)
        assert app.of(Grid.Activated) == []
        assert app.grid.cursor_key == "b"


async def test_nothing_is_opened_or_marked_out_of_sight() -> None:
    app = PoolsApp(200)
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.press("down")
        app.grid.scroll_to(y=100, animate=False)
        await settle(pilot)
        assert screen_text(app)[0].startswith("↑")
        await pilot.press("space")
        assert app.grid.marked == frozenset()
        assert screen_text(app)[0].startswith(" ")
        await pilot.press("space")
        assert len(app.grid.marked) == 1


async def test_a_click_on_a_title_sorts_and_another_turns_it_round() -> None:
    app = FewApp(few(a=1, b=None, c=3))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.click(Grid, offset=(18, 0))
        assert (app.grid.sort_key, app.grid.sort_reverse, app.grid.keys) == ("wait", True, ("c", "a", "b"))
        assert "▼wait" in screen_text(app)[0]
        await pilot.click(Grid, offset=(18, 0))
        assert app.grid.keys == ("a", "c", "b")
        assert "▲wait" in screen_text(app)[0]
        await pilot.click(Grid, offset=(4, 0))
        assert (app.grid.sort_key, app.grid.sort_reverse) == ("name", False)
        assert [(m.column, m.reverse) for m in app.of(Grid.SortChanged)] == [
            ("wait", True),
            ("wait", False),
            ("name", False),
        ]


async def test_the_wheel_scrolls_and_leaves_the_cursor_on_its_row() -> None:
    app = PoolsApp(200)
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.press("down")
        key = app.grid.cursor_key
        for _ in range(20):
            app.grid._on_mouse_scroll_down(_wheel(app.grid))
        await settle(pilot)
        assert app.grid.scroll_offset.y >= 20
        assert app.grid.cursor_key == key
        await pilot.press("down")
        assert app.grid.cursor_visible


def _wheel(grid: Grid) -> Any:
    from textual import events

    return events.MouseScrollDown(grid, 5, 5, 0, 1, 0, False, False, False)


async def test_columns_scroll_whole_and_the_first_one_stays() -> None:
    app = PoolsApp(50)
    async with app.run_test(size=(80, 12)) as pilot:
        app.grid.show_all_columns = True
        await settle(pilot)
        before = screen_text(app)
        assert before[0].endswith("»")
        assert "«" not in before[0]
        await pilot.press("right", "right")
        after = screen_text(app)
        assert after[0].startswith("   pool")
        assert "«" in after[0]
        assert "cl act" not in after[0]
        assert [line[3:12] for line in after[1:]] == [line[3:12] for line in before[1:]]
        for _ in range(30):
            await pilot.press("right")
        assert screen_text(app)[0].endswith("state")
        for _ in range(30):
            await pilot.press("left")
        assert screen_text(app) == before


async def test_narrow_terminals_hide_columns_by_priority_and_tell_which() -> None:
    app = PoolsApp(50)
    async with app.run_test(size=(120, 12)) as pilot:
        hidden = app.grid.hidden_columns
        assert {"sv_tested", "sv_login"} <= set(hidden)
        assert not set(hidden) & {column.key for column in COLUMNS if column.priority == 0}
        await pilot.resize_terminal(260, 12)
        await settle(pilot)
        assert app.grid.hidden_columns == ()


async def test_a_placed_cursor_is_followed_and_kept_on_screen() -> None:
    app = PoolsApp(300)
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.press("down", "down", "pagedown")
        key = app.grid.cursor_key
        for seed in range(2, 12):
            app.grid.set_source(Pools(seed, 300))
            await settle(pilot)
            assert app.grid.cursor_key == key
            assert app.grid.cursor_visible
        await pilot.resize_terminal(80, 5)
        await settle(pilot)
        assert app.grid.cursor_visible


async def test_move_cursor_goes_to_a_key_and_says_when_it_is_not_there() -> None:
    app = PoolsApp(300)
    async with app.run_test(size=(80, 12)) as pilot:
        wanted: Hashable = app.grid.keys[250]
        assert app.grid.move_cursor(wanted)
        await settle(pilot)
        assert (app.grid.cursor_key, app.grid.cursor_visible) == (wanted, True)
        assert not app.grid.move_cursor("no such row")
        assert app.grid.cursor_key == wanted
