"""Turns rows of cells into styled lines, one terminal line a row.

Knows styles and widths, but must not know data sources, cursors' whereabouts or scrolling: it is told
all of it per line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from widgets.cells import ASCII_ELLIPSIS, ELLIPSIS, Cell, Tone, Toned, clean, fit, plain, width_of
from widgets.grid_columns import Arrangement, Placed


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The grid's own signs; every state that has a colour has one of them too."""

    cursor: str
    resting_cursor: str
    mark: str
    ascending: str
    descending: str
    more_left: str
    more_right: str
    cursor_above: str
    cursor_below: str
    ellipsis: str


UNICODE_GLYPHS = Glyphs("›", "·", "●", "▲", "▼", "«", "»", "↑", "↓", ELLIPSIS)
ASCII_GLYPHS = Glyphs(">", ".", "*", "^", "v", "<", ">", "^", "v", ASCII_ELLIPSIS)


@dataclass(frozen=True, slots=True)
class Palette:
    """Styles of one theme. Whole ones carry a background; partial ones are laid over them."""

    base: Style
    fixed: Style
    header: Style
    sorted_header: Style
    """Partial, over `header`."""
    cursor: Style
    marked: Style
    """Partial."""
    changed: Style
    """Partial."""
    hint: Style
    """Partial: signs that say where more is."""
    empty: Style
    """Partial."""
    tones: dict[Tone, Style]
    """Partial, by tone."""


@dataclass(frozen=True, slots=True)
class RowLook:
    """Everything a row's line depends on besides widths; equal looks draw equal lines."""

    cells: Sequence[Cell]
    tone: Tone | None
    cursor: bool
    marked: bool
    changed: frozenset[int]
    """Indices of cells that differ from the last picture."""
    focused: bool
    """Keys go to this table: of two on one screen only one shows the full cursor."""


@dataclass(frozen=True, slots=True)
class HeaderLook:
    """Everything the header line depends on besides widths."""

    sort_key: str | None
    sort_reverse: bool
    cursor_side: int
    """-1 the cursor's row is above the screen, 1 below it, 0 on it or nowhere."""


class _Line:
    """Collects pieces of text, joining neighbours of the same style into one segment."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._pending: list[str] = []
        self._style: Style | None = None

    def add(self, text: str, style: Style) -> None:
        if style is not self._style:
            self._flush()
            self._style = style
        self._pending.append(text)

    def _flush(self) -> None:
        if self._pending:
            self._segments.append(Segment("".join(self._pending), self._style))
            self._pending = []

    def strip(self, width: int, style: Style) -> Strip:
        self._flush()
        return Strip(self._segments).adjust_cell_length(width, style)


class Painter:
    """Draws lines for one arrangement of columns, one theme and one set of glyphs."""

    def __init__(self, palette: Palette, glyphs: Glyphs, console: Callable[[], Console]) -> None:
        self._palette = palette
        self._glyphs = glyphs
        self._console = console
        self._styles: dict[tuple[Style, Style], Style] = {}

    def header(self, look: HeaderLook, arrangement: Arrangement, offset: int, width: int) -> Strip:
        """The title line."""
        glyphs, style = self._glyphs, self._palette.header
        hint = self._over(style, self._palette.hint)
        side = {-1: glyphs.cursor_above, 0: " ", 1: glyphs.cursor_below}[look.cursor_side]
        line = _Line()
        line.add(side, hint)
        line.add(" ", style)
        shown, more = arrangement.shown_at(offset)
        self._titles(line, arrangement.fixed, look)
        if arrangement.scrolling:
            line.add(glyphs.more_left if arrangement.first_at(offset) else " ", hint)
        self._titles(line, shown, look)
        filled = arrangement.fixed_width + sum(placed.span for placed in shown)
        if more and filled < width:
            line.add(" " * (width - filled - 1), style)
            line.add(glyphs.more_right, hint)
        return line.strip(width, style)

    def _titles(self, line: _Line, columns: Iterable[Placed], look: HeaderLook) -> None:
        style = self._palette.header
        sorted_style = self._over(style, self._palette.sorted_header)
        mark = self._glyphs.descending if look.sort_reverse else self._glyphs.ascending
        for placed in columns:
            column, title = placed.column, clean(placed.column.title)
            line.add(" " * placed.gap, style)
            if column.key != look.sort_key:
                line.add(fit(title, placed.width, column.align, ellipsis=self._glyphs.ellipsis), style)
                continue
            room = placed.width - 1
            if width_of(title) > room:
                title = fit(title, room, ellipsis=self._glyphs.ellipsis)
            text = mark + title if column.align == "right" else title + mark
            line.add(fit(text, placed.width, column.align), sorted_style)

    def row(self, look: RowLook, arrangement: Arrangement, offset: int, width: int) -> Strip:
        """A row's line."""
        palette, glyphs = self._palette, self._glyphs
        body, fixed = palette.base, palette.fixed
        if look.cursor:
            body = fixed = palette.cursor
        if look.tone is not None and (tone := palette.tones.get(look.tone)) is not None:
            body, fixed = self._over(body, tone), self._over(fixed, tone)
        if look.marked:
            body, fixed = self._over(body, palette.marked), self._over(fixed, palette.marked)
        line = _Line()
        sign = glyphs.cursor if look.focused else glyphs.resting_cursor
        line.add(sign if look.cursor else " ", fixed)
        line.add(glyphs.mark if look.marked else " ", fixed)
        self._cells(line, arrangement.fixed, look, fixed)
        shown, _ = arrangement.shown_at(offset)
        if arrangement.scrolling:
            line.add(" ", fixed)
        self._cells(line, shown, look, body)
        return line.strip(width, body)

    def _cells(self, line: _Line, columns: Iterable[Placed], look: RowLook, style: Style) -> None:
        cells, changed = look.cells, look.changed
        for placed in columns:
            # The gap goes with its cell, so that neighbours that both changed are one segment.
            cell_style = self._over(style, self._palette.changed) if placed.index in changed else style
            line.add(" " * placed.gap, cell_style)
            if placed.index >= len(cells):
                line.add(" " * placed.width, style)
                continue
            cell = cells[placed.index]
            if isinstance(cell, Text):
                self._rich_text(line, cell, placed, cell_style)
                continue
            if isinstance(cell, Toned):
                tone = self._palette.tones.get(cell.tone)
                cell_style = cell_style if tone is None else self._over(cell_style, tone)
            text = fit(plain(cell), placed.width, placed.column.align, ellipsis=self._glyphs.ellipsis)
            line.add(text, cell_style)

    def _rich_text(self, line: _Line, cell: Text, placed: Placed, style: Style) -> None:
        text = plain(cell)
        if not cell.spans or width_of(text) > placed.width:
            line.add(fit(text, placed.width, placed.column.align, ellipsis=self._glyphs.ellipsis), style)
            return
        padding = " " * (placed.width - width_of(text))
        if placed.column.align == "right":
            line.add(padding, style)
        for segment in cell.render(self._console(), end=""):
            over = style if segment.style is None else self._over(style, segment.style)
            line.add(clean(segment.text), over)
        if placed.column.align == "left":
            line.add(padding, style)

    def empty(self, text: str, width: int) -> Strip:
        """The line shown in place of rows."""
        style = self._over(self._palette.base, self._palette.empty)
        line = _Line()
        line.add(fit("  " + clean(text), width, ellipsis=self._glyphs.ellipsis), style)
        return line.strip(width, style)

    def blank(self, width: int) -> Strip:
        """A line below the last row."""
        return Strip.blank(width, self._palette.base)

    def _over(self, under: Style, over: Style) -> Style:
        """`over` laid on `under`; the same object every time, so that neighbours join."""
        key = (under, over)
        if (style := self._styles.get(key)) is None:
            style = self._styles[key] = under + over
        return style
