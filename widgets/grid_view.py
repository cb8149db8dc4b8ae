"""The grid without keys and mouse: takes pictures of the data, keeps its place in them, draws the screen.

`widgets.grid.Grid` is the widget to use. This half must not know bindings or events of the user, what
the rows are about, or the time; it starts no workers.

Textual facts relied on (8.2.8): `ScrollView` draws by `render_line`; every segment must carry its
background; `refresh(region)` takes regions relative to the widget; setting `virtual_size` lays out anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from widgets.cells import TONES, Cell, plain, width_of
from widgets.grid_columns import Arrangement, Column, arrange
from widgets.grid_render import ASCII_GLYPHS, UNICODE_GLYPHS, HeaderLook, Painter, Palette, RowLook
from widgets.grid_source import HasRowTones
from widgets.grid_state import GridState

HEADER_HEIGHT = 1
_UNCHANGED: frozenset[int] = frozenset()


class GridView(ScrollView, can_focus=True):
    """A virtual table with a header, fixed first columns, a cursor row and marks.

    Without rows it shows `empty_text`. Columns are shown whole or not at all; `»` and `«` in the
    header say that more are to the right or left. A row the data loses takes its mark along and
    hands the cursor to its neighbour, and a message says so.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "grid--header",
        "grid--sorted",
        "grid--fixed",
        "grid--cursor",
        "grid--marked",
        "grid--changed",
        "grid--hint",
        "grid--empty",
        *(f"grid--{tone}" for tone in TONES),
    }
    DEFAULT_CSS = """
    GridView {
        background: $surface;
        color: $foreground;
        scrollbar-size: 0 1;
        height: 1fr;
    }
    GridView.-ascii { scrollbar-size: 0 0; }
    GridView > .grid--header { background: $panel; color: $foreground; text-style: bold; }
    GridView > .grid--sorted { color: $text-accent; text-style: bold underline; }
    GridView > .grid--fixed { color: $foreground; background: $surface-lighten-1; }
    GridView > .grid--cursor { background: $block-cursor-blurred-background; color: $foreground; }
    GridView:focus > .grid--cursor { background: $primary-muted; color: $foreground; text-style: bold; }
    GridView > .grid--marked { color: $text-accent; text-style: bold; }
    GridView > .grid--changed { text-style: bold; }
    GridView > .grid--hint { color: $text-accent; text-style: bold; }
    GridView > .grid--empty { color: $text-muted; text-style: italic; }
    GridView > .grid--ok { color: $text-success; }
    GridView > .grid--warning { color: $text-warning; }
    GridView > .grid--error { color: $text-error; text-style: bold; }
    GridView > .grid--dim { color: $text-muted; text-style: italic; }
    GridView > .grid--accent { color: $text-accent; }
    """
    ALLOW_SELECT = False

    ascii_only: reactive[bool] = reactive(False)
    """Draw only ASCII signs (and no scroll bar, which has no ASCII form)."""
    highlight_changes: reactive[bool] = reactive(True)
    """Highlight, until the next source, the cells on screen that differ from the last source."""
    show_all_columns: reactive[bool] = reactive(False)
    """Never hide a column by its priority; what does not fit is reached by scrolling."""
    empty_text: reactive[str] = reactive("")
    """Shown in place of rows."""

    def __init__(
        self,
        columns: Iterable[Column] = (),
        *,
        fixed_columns: int = 1,
        empty_text: str = "nothing to show",
        ascii_only: bool = False,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
        disabled: bool = False,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes, disabled=disabled)
        self._state = GridState()
        self._columns: tuple[Column, ...] = tuple(columns)
        self._fixed_count = fixed_columns
        self._widened: dict[str, int] = {}
        self._arranged: Arrangement | None = None
        self._arranged_width = 0
        self._painter: Painter | None = None
        self._formatted: dict[int, Sequence[Cell]] = {}
        self._shown_before: dict[Hashable, Sequence[Cell]] = {}
        self._changed: dict[Hashable, frozenset[int]] = {}
        self._drawn: dict[int, object] = {}
        self._tones: HasRowTones | None = None
        self._placed_by_user = False
        self.set_reactive(GridView.empty_text, empty_text)
        self.set_reactive(GridView.ascii_only, ascii_only)
        self.set_class(ascii_only, "-ascii")

    # -- place ---------------------------------------------------------------------------------------

    @property
    def cursor_visible(self) -> bool:
        """Whether the cursor's row is on screen; nothing should be done to a row nobody sees."""
        return 0 <= self._state.cursor - self.scroll_offset.y < self.page_rows

    @property
    def page_rows(self) -> int:
        """Rows that fit on the screen; 0 on a terminal too low."""
        return max(0, self.size.height - self.scrollbar_size_horizontal - HEADER_HEIGHT)

    @property
    def _width(self) -> int:
        """Cells of a line. Textual's `size` has the scroll bar in it."""
        return max(0, self.size.width - self.scrollbar_size_vertical)

    def _reveal_cursor(self) -> None:
        top, rows, cursor = self.scroll_offset.y, self.page_rows, self._state.cursor
        if cursor < 0 or rows == 0:
            return
        if cursor < top:
            self._scroll_rows(cursor)
        elif cursor >= top + rows:
            self._scroll_rows(cursor - rows + 1)

    def _scroll_rows(self, top: int) -> None:
        self.scroll_to(y=top, animate=False, force=True)

    # -- formatting: only what is on screen ---------------------------------------------------

    def _forget_cells(self) -> None:
        self._formatted.clear()
        self._shown_before = {}
        self._changed = {}

    def _window(self) -> range:
        top = self.scroll_offset.y
        return range(min(top, len(self._state)), min(top + self.page_rows, len(self._state)))

    def _cells_at(self, position: int) -> Sequence[Cell]:
        index = self._state.order[position]
        cells = self._formatted.get(index)
        if cells is None:
            cells = self._formatted[index] = self._state.source.cells_at(index)
        return cells

    def _format_window(self) -> None:
        """Format the rows on screen; a number wider than its column widens it."""
        widened = False
        for index, column in enumerate(self._columns):
            if column.align != "right":
                continue
            # Hidden columns are measured too: they may be shown without another look at the cells.
            width = need = max(column.natural_width, self._widened.get(column.key, 0))
            for position in self._window():
                cells = self._cells_at(position)
                if index < len(cells):
                    need = max(need, width_of(plain(cells[index])))
            if need > width:
                self._widened[column.key] = need
                widened = True
        if widened:
            self._rearrange()

    def _note_changes(self) -> None:
        self._changed = {}
        if not self.highlight_changes:
            return
        for position in self._window():
            key = self._state.keys[position]
            old = self._shown_before.get(key)
            if old is None:
                continue
            new = self._cells_at(position)
            if old != new:
                self._changed[key] = frozenset(
                    i for i, cell in enumerate(new) if i >= len(old) or cell != old[i]
                )

    # -- geometry -----------------------------------------------------------------------------

    @property
    def _arrangement(self) -> Arrangement:
        """Where the columns are at the present width; Textual paints a new size before it reports it."""
        width = self._width
        if self._arranged is None or self._arranged_width != width:
            self._arranged_width = width
            self._arranged = arrange(
                self._columns,
                self._widened,
                width,
                fixed_count=self._fixed_count,
                hide=not self.show_all_columns,
            )
        return self._arranged

    def _rearrange(self) -> None:
        """Place the columns anew and repaint all."""
        self._arranged = None
        self._update_extent()
        self._repaint_all()

    def _update_extent(self) -> None:
        """Tell Textual how far there is to scroll."""
        arrangement = self._arrangement
        scrolls = arrangement.content_width > self._width
        width = self._width + arrangement.last_stop if scrolls else arrangement.content_width
        self.virtual_size = Size(width, len(self._state) + HEADER_HEIGHT)

    def watch_show_vertical_scrollbar(self) -> None:
        """Fit the columns beside the scroll bar that came or went."""
        self.call_next(self._rearrange)

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the columns to the new width and keep a visible cursor visible."""
        self._rearrange()
        if self._placed_by_user:
            self._reveal_cursor()
        self._format_window()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Format what came into view before it is drawn."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self._drawn.clear()
            self._format_window()

    # -- drawing ------------------------------------------------------------------------------

    def _header_look(self) -> HeaderLook:
        side = 0
        if self._state.cursor >= 0 and not self.cursor_visible:
            side = -1 if self._state.cursor < self.scroll_offset.y else 1
        return HeaderLook(self._state.sort_key, self._state.sort_reverse, side)

    def _row_look(self, position: int) -> RowLook:
        key = self._state.keys[position]
        tones = self._tones
        return RowLook(
            self._cells_at(position),
            None if tones is None else tones.style_at(self._state.order[position]),
            position == self._state.cursor,
            key in self._state.marked,
            self._changed.get(key, _UNCHANGED),
            self.has_focus,
        )

    def _look(self, line: int) -> object:
        """What decides a line's picture: header, row, or None for an empty line."""
        if line < HEADER_HEIGHT:
            return self._header_look()
        position = self.scroll_offset.y + line - HEADER_HEIGHT
        if position < len(self._state):
            return self._row_look(position)
        return self.empty_text if line == HEADER_HEIGHT and not len(self._state) else None

    def _repaint(self) -> None:
        """Ask for a repaint of exactly the lines that look different from what was drawn."""
        width, never = self._width, object()
        dirty = [
            Region(0, line, width, 1)
            for line in range(self.size.height)
            if self._look(line) != self._drawn.get(line, never)
        ]
        if dirty:
            self.refresh(*dirty)

    def _repaint_all(self) -> None:
        self._drawn.clear()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the widget; Textual calls it only for lines marked as changed."""
        width = self._width
        painter = self._painter
        if painter is None:
            glyphs = ASCII_GLYPHS if self.ascii_only else UNICODE_GLYPHS
            painter = self._painter = Painter(self._make_palette(), glyphs, lambda: self.app.console)
        look = self._drawn[y] = self._look(y)
        offset = self.scroll_offset.x
        if isinstance(look, HeaderLook):
            return painter.header(look, self._arrangement, offset, width)
        if isinstance(look, RowLook):
            return painter.row(look, self._arrangement, offset, width)
        return painter.empty(look, width) if isinstance(look, str) else painter.blank(width)

    def _make_palette(self) -> Palette:
        def whole(name: str) -> Style:
            return self.get_component_styles(f"grid--{name}").rich_style

        def part(name: str) -> Style:
            return self.get_component_styles(f"grid--{name}").partial_rich_style

        return Palette(
            base=self.rich_style,
            fixed=whole("fixed"),
            header=whole("header"),
            sorted_header=part("sorted"),
            cursor=whole("cursor"),
            marked=part("marked"),
            changed=part("changed"),
            hint=part("hint"),
            empty=part("empty"),
            tones={tone: part(tone) for tone in TONES},
        )

    def notify_style_update(self) -> None:
        """Theme, focus or style sheet changed: colours are worked out anew."""
        super().notify_style_update()
        self._painter = None
        self._drawn.clear()

    def watch_ascii_only(self, ascii_only: bool) -> None:
        """Change the signs."""
        self.set_class(ascii_only, "-ascii")
        self._painter = None
        self._repaint_all()

    def watch_show_all_columns(self) -> None:
        """Show or hide columns."""
        self._rearrange()

    def watch_highlight_changes(self, highlight: bool) -> None:
        """Stop highlighting at once; start with the next source."""
        if not highlight:
            self._changed = {}
            self._repaint()
