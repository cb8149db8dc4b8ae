"""A virtual table: thousands of rows that change every second, of which only those on screen cost anything.

Give it columns, then a new `RowSource` for every new picture of the data:

    grid = Grid([Column("name", "name", 20), Column("waiting", "waiting", 7, "right")])
    grid.set_source(source)
    grid.sort_by("waiting", reverse=True)

The cursor and the marks belong to rows, not to lines: sorting and refreshing never slides another row
under them. This module is what the program, the keys and the mouse may ask; drawing is in `grid_view`,
memory in `grid_state`.
It must not know what the rows are about, read the clock, or start workers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType

from widgets import grid_messages
from widgets.cells import Cell, Tone, Toned
from widgets.grid_columns import Column
from widgets.grid_source import HasRowTones, ListRow, ListSource, RowSource
from widgets.grid_view import HEADER_HEIGHT, GridView

LEFT_BUTTON = 1

__all__ = ["Cell", "Column", "Grid", "ListRow", "ListSource", "RowSource", "Tone", "Toned"]


class Grid(GridView, inherit_bindings=False):
    """The grid as people use it; see `GridView` for what it shows and `BINDINGS` for its keys.

    An action on the cursor's row does nothing but bring that row into view while it is off screen:
    nothing is opened or marked unseen. A click on a title sorts by it, numbers greatest first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "cursor_by(1)", "Down", show=False, id="grid.down"),
        Binding("up,k", "cursor_by(-1)", "Up", show=False, id="grid.up"),
        Binding("pagedown", "page_by(1)", "Page down", show=False, id="grid.page-down"),
        Binding("pageup", "page_by(-1)", "Page up", show=False, id="grid.page-up"),
        Binding("home,g", "cursor_first", "First row", show=False, id="grid.first"),
        Binding("end,G", "cursor_last", "Last row", show=False, id="grid.last"),
        Binding("right", "columns_by(1)", "Columns right", show=False, id="grid.right"),
        Binding("left", "columns_by(-1)", "Columns left", show=False, id="grid.left"),
        Binding("enter", "activate", "Open", id="grid.open"),
        Binding("space", "toggle_mark", "Mark", id="grid.mark"),
        Binding("ctrl+@,ctrl+space", "mark_range", "Mark range", show=False, id="grid.mark-range"),
        Binding("ctrl+backslash", "clear_marks", "Clear marks", show=False, id="grid.clear-marks"),
    ]

    Activated = grid_messages.Activated
    CursorMoved = grid_messages.CursorMoved
    CursorLost = grid_messages.CursorLost
    MarksChanged = grid_messages.MarksChanged
    SortChanged = grid_messages.SortChanged

    # -- what the rest of the program asks and tells ------------------------------------------

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns, also those hidden now."""
        return self._columns

    @property
    def hidden_columns(self) -> tuple[str, ...]:
        """Keys of the columns that the terminal is too narrow for and scrolling does not reach."""
        return self._arrangement.hidden

    @property
    def source(self) -> RowSource:
        """The picture shown."""
        return self._state.source

    @property
    def row_count(self) -> int:
        """Number of rows, on and off the screen."""
        return len(self._state)

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """All row keys in display order."""
        return tuple(self._state.keys)

    @property
    def cursor_key(self) -> Hashable | None:
        """Key of the row under the cursor; None without rows."""
        return self._state.cursor_key

    @property
    def cursor_row(self) -> int:
        """Display position of the cursor, from 0; -1 without rows."""
        return self._state.cursor

    @property
    def marked(self) -> frozenset[Hashable]:
        """Keys of the marked rows."""
        return self._state.marked

    @property
    def targets(self) -> tuple[Hashable, ...]:
        """What an action is about: the marked rows in display order, else the cursor's row, else nothing."""
        if self._state.marked:
            return tuple(key for key in self._state.keys if key in self._state.marked)
        key = self.cursor_key
        return () if key is None else (key,)

    @property
    def sort_key(self) -> str | None:
        """Column sorted by; None is the source's own order."""
        return self._state.sort_key

    @property
    def sort_reverse(self) -> bool:
        """Greatest first. Missing values come last either way."""
        return self._state.sort_reverse

    def set_columns(self, columns: Iterable[Column]) -> None:
        """Replace the columns. Call `set_source` with cells that fit them right after, without awaiting."""
        self._columns = tuple(columns)
        self._widened.clear()
        self._forget_cells()
        if self.sort_key is not None and self.sort_key not in {column.key for column in self._columns}:
            self._state.sort(None, False)
            self.post_message(self.SortChanged(self, None, False))
        self._rearrange()

    def set_source(self, source: RowSource) -> None:
        """Show a new picture; one repaint, of the lines that differ.

        Cursor, marks and order are kept by row key. The view stays where it is, and moves only to keep
        a cursor on screen that the user has placed.
        """
        was_visible = self.cursor_visible
        before = {self._state.keys[position]: self._cells_at(position) for position in self._window()}
        change = self._state.replace(source)
        self._tones = source if isinstance(source, HasRowTones) else None
        self._formatted.clear()
        self._shown_before = before
        self._update_extent()
        if self._placed_by_user and was_visible:
            self._reveal_cursor()
        self._format_window()
        self._note_changes()
        self._repaint()
        if change.lost_cursor is not None:
            self.post_message(self.CursorLost(self, change.lost_cursor, self.cursor_key))
        if change.cursor_changed:
            self.post_message(self.CursorMoved(self, self.cursor_key))
        if change.lost_marks:
            self.post_message(self.MarksChanged(self, self.marked, change.lost_marks))

    def sort_by(self, column_key: str | None, reverse: bool = False) -> None:
        """Sort by a column, or with None as the source has it; the cursor stays on its row.

        Raises:
            ValueError: there is no such column.
        """
        if column_key is not None and column_key not in {column.key for column in self._columns}:
            raise ValueError(f"no column {column_key!r} in this grid")
        if (column_key, reverse) != (self.sort_key, self.sort_reverse):
            self._sort(column_key, reverse)

    def move_cursor(self, key: Hashable) -> bool:
        """Put the cursor on a row and show it; False when the row is not there."""
        position = self._state.position_of(key)
        if position is None:
            return False
        self._move_to(position)
        return True

    def set_marked(self, keys: Iterable[Hashable]) -> None:
        """Make exactly these rows the marked ones; keys that are not there are left out."""
        if self._state.mark(keys):
            self._marks_changed()

    # -- changing -----------------------------------------------------------------------------

    def _sort(self, column_key: str | None, reverse: bool) -> None:
        was_visible, key = self.cursor_visible, self.cursor_key
        self._state.sort(column_key, reverse)
        if not self._placed_by_user:
            self._state.move_to(0)
        elif was_visible:
            self._reveal_cursor()
        # Cells are remembered by source index, so they outlive a change of order.
        self._format_window()
        self._repaint()
        self.post_message(self.SortChanged(self, column_key, reverse))
        if self.cursor_key != key:
            self.post_message(self.CursorMoved(self, self.cursor_key))

    def _move_to(self, position: int) -> None:
        self._placed_by_user = True
        moved = self._state.move_to(position)
        self._reveal_cursor()
        self._repaint()
        if moved:
            self.post_message(self.CursorMoved(self, self.cursor_key))

    def _marks_changed(self) -> None:
        self._repaint()
        self.post_message(self.MarksChanged(self, self.marked, frozenset()))

    # -- keys and mouse ------------------------------------------------------------------------------

    def action_cursor_by(self, rows: int) -> None:
        """Move the cursor by rows."""
        self._move_to(self.cursor_row + rows)

    def action_page_by(self, pages: int) -> None:
        """Move cursor and view by screenfuls."""
        step = pages * max(1, self.page_rows)
        self._scroll_rows(self.scroll_offset.y + step)
        self._move_to(self.cursor_row + step)

    def action_cursor_first(self) -> None:
        """Go to the first row."""
        self._move_to(0)

    def action_cursor_last(self) -> None:
        """Go to the last row."""
        self._move_to(self.row_count - 1)

    def action_columns_by(self, columns: int) -> None:
        """Scroll by whole columns."""
        arrangement = self._arrangement
        if arrangement.stops:
            first = arrangement.first_at(self.scroll_offset.x) + columns
            first = max(0, min(first, len(arrangement.stops) - 1))
            self.scroll_to(x=min(arrangement.stops[first], arrangement.last_stop), animate=False, force=True)

    def action_activate(self) -> None:
        """Open the cursor's row."""
        key = self.cursor_key
        if key is not None and self._cursor_seen():
            self.post_message(self.Activated(self, key))

    def action_toggle_mark(self) -> None:
        """Mark or unmark the cursor's row and go one down."""
        if self._cursor_seen() and self._state.toggle_mark():
            self._marks_changed()
            self._move_to(self.cursor_row + 1)

    def action_mark_range(self) -> None:
        """Mark everything from the last row marked to the cursor."""
        if self._cursor_seen() and self._state.mark_range():
            self._marks_changed()

    def action_clear_marks(self) -> None:
        """Unmark everything."""
        self.set_marked(())

    def toggle_sort(self, column_key: str) -> None:
        """Sort by a column; by the same again turns the order round.

        Numbers, which stand at the right, begin with the greatest, texts with the least.

        Raises:
            ValueError: there is no such column.
        """
        if column_key == self.sort_key:
            self.sort_by(column_key, not self.sort_reverse)
            return
        right = any(column.key == column_key and column.align == "right" for column in self.columns)
        self.sort_by(column_key, right)

    def _cursor_seen(self) -> bool:
        """Whether the cursor's row was on screen; if not, it is brought there."""
        if self.cursor_row < 0 or self.cursor_visible:
            return self.cursor_row >= 0
        self._move_to(self.cursor_row)
        return False

    def on_click(self, event: events.Click) -> None:
        """Place the cursor; sort by a title; open with a double click."""
        offset = event.get_content_offset(self)
        if offset is None or event.button != LEFT_BUTTON:
            return
        event.stop()
        if offset.y < HEADER_HEIGHT:
            column = self._arrangement.column_at(offset.x, self.scroll_offset.x)
            if column is not None and column.sortable:
                self.toggle_sort(column.key)
            return
        position = self.scroll_offset.y + offset.y - HEADER_HEIGHT
        if position >= self.row_count:
            return
        # The second click of a double click opens only what the first one chose: the rows may have moved.
        same = position == self.cursor_row
        self._move_to(position)
        if event.chain == 2 and same:
            self.action_activate()
