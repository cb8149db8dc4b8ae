"""Columns of a grid and where they go on a screen of a given width.

Pure arithmetic in terminal cells; must not draw. Columns are always placed whole: half a number is
a wrong number, so a column that does not fit is left for scrolling, and the grid says that it is there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from widgets.cells import Align, width_of

GUTTER = 2
"""Cells at the left of every row: the cursor's mark and the selection's."""
GAP = 1
"""Cells before each column."""
TURN_GAP = 2
"""Cells before text that follows a number: the number ends where the text begins."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `width` is where it starts: the title, and numbers that need more, widen it."""

    key: str
    title: str
    width: int = 0
    """Cells; 0 takes the title's width."""
    align: Align = "left"
    help: str = ""
    """One sentence for the help screen: what is shown, its unit."""
    priority: int = 0
    """0 stays always. Above 0 the column is hidden while the grid is too narrow for all, highest first."""
    min_width: int | None = None
    """Text may be cut to this many cells, with an ellipsis, before any column is hidden; None: never."""
    flex: bool = False
    """Takes the cells that are left over. One column of a grid."""
    sortable: bool = True

    @property
    def natural_width(self) -> int:
        """The width asked for, with room for the title and its sort mark."""
        return max(self.width, width_of(self.title) + (1 if self.sortable else 0), 1)

    @property
    def least_width(self) -> int:
        """How narrow the column may get before others are hidden for it."""
        if self.min_width is None:
            return self.natural_width
        return max(1, min(self.min_width, self.natural_width))


@dataclass(frozen=True, slots=True)
class Placed:
    """A column that is shown."""

    index: int
    """Position among the grid's columns, which is that of its cell in a row."""
    column: Column
    width: int
    gap: int = GAP
    """Cells before it."""

    @property
    def span(self) -> int:
        """Cells with its gap."""
        return self.gap + self.width


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Which columns are shown, how wide, and where horizontal scrolling may stop."""

    fixed: tuple[Placed, ...]
    scrolling: tuple[Placed, ...]
    hidden: tuple[str, ...]
    """Keys of columns left out by priority."""
    fixed_width: int
    """Cells from the left edge to the first scrolling column's gap."""
    stops: tuple[int, ...]
    """For each scrolling column the horizontal offset that brings it first."""
    last_stop: int
    """The greatest useful offset: from it on, everything to the right fits."""
    room: int
    """Cells for scrolling columns; 0 when the terminal is narrower than the fixed part."""

    @property
    def placed(self) -> tuple[Placed, ...]:
        """All shown columns, on screen or reached by scrolling."""
        return self.fixed + self.scrolling

    @property
    def content_width(self) -> int:
        """Width of all shown columns side by side."""
        return self.fixed_width + sum(placed.span for placed in self.scrolling)

    def first_at(self, offset: int) -> int:
        """Which scrolling column comes first at a horizontal offset; len(scrolling) never."""
        if not self.stops:
            return 0
        return min(bisect_left(self.stops, min(offset, self.last_stop)), len(self.stops) - 1)

    def column_at(self, x: int, offset: int) -> Column | None:
        """The column at a cell of the screen, its gap included; None in the gutter or beyond the last."""
        edge = GUTTER
        for placed in self.fixed:
            edge += placed.span
            if GUTTER <= x < edge:
                return placed.column
        edge = self.fixed_width
        for placed in self.shown_at(offset)[0]:
            edge += placed.span
            if self.fixed_width <= x < edge:
                return placed.column
        return None

    def shown_at(self, offset: int) -> tuple[tuple[Placed, ...], bool]:
        """The scrolling columns that fit whole at an offset, and whether more follow to the right."""
        first = self.first_at(offset)
        left = self.room
        shown: list[Placed] = []
        for position in range(first, len(self.scrolling)):
            placed = self.scrolling[position]
            # The mark that says "more" takes one cell unless this is the last column.
            need = placed.span + (0 if position == len(self.scrolling) - 1 else 1)
            if need > left:
                return tuple(shown), True
            shown.append(placed)
            left -= placed.span
        return tuple(shown), False


def arrange(
    columns: Sequence[Column],
    widened: Mapping[str, int],
    available: int,
    *,
    fixed_count: int = 1,
    hide: bool = True,
) -> Arrangement:
    """Place `columns` on `available` cells.

    Args:
        columns: in display order; the first `fixed_count` never scroll nor hide.
        widened: least widths by column key, found while formatting.
        available: cells of a line; 0 is allowed and shows nothing.
        fixed_count: columns that stay at the left.
        hide: whether columns with a priority may be left out.
    """
    natural = [max(column.natural_width, widened.get(column.key, 0)) for column in columns]
    least = [
        natural[i] if column.min_width is None else min(natural[i], column.least_width)
        for i, column in enumerate(columns)
    ]
    gaps = [_gap(columns, i) for i in range(len(columns))]
    shown = list(range(len(columns)))
    spare_cells = GUTTER + (1 if len(columns) > fixed_count else 0)

    def excess() -> int:
        return spare_cells + sum(least[i] + gaps[i] for i in shown) - available

    if hide:
        optional = sorted(
            (i for i in shown if i >= fixed_count and columns[i].priority > 0),
            key=lambda i: (columns[i].priority, i),
        )
        while optional and excess() > 0:
            shown.remove(optional.pop())
    widths = _widths(columns, shown, natural, least, -excess(), fixed_count)
    _squeeze_fixed(widths, shown[:fixed_count], available - spare_cells - sum(gaps[:fixed_count]))
    kept = [Placed(i, columns[i], widths[i], gaps[i]) for i in shown]
    hidden = tuple(columns[i].key for i in range(len(columns)) if i not in widths)
    return _place(kept, hidden, available, fixed_count)


def _gap(columns: Sequence[Column], index: int) -> int:
    turns = index > 0 and columns[index - 1].align == "right" and columns[index].align == "left"
    return TURN_GAP if turns else GAP


def _widths(
    columns: Sequence[Column],
    shown: Sequence[int],
    natural: Sequence[int],
    least: Sequence[int],
    spare: int,
    fixed_count: int,
) -> dict[int, int]:
    """Widths by column: least ones grown to natural while cells are spare, the rest to the flexible one."""
    if spare < 0:
        # It has to scroll anyway: then nothing but the fixed part need be shortened.
        return {i: least[i] if i < fixed_count else natural[i] for i in shown}
    widths = {i: least[i] for i in shown}
    for i in shown:
        grow = min(spare, natural[i] - least[i])
        widths[i] += grow
        spare -= grow
    for i in shown:
        if columns[i].flex:
            widths[i] += spare
            break
    return widths


def _squeeze_fixed(widths: dict[int, int], fixed: Sequence[int], room: int) -> None:
    """Cut fixed columns, the last first, so that the fixed part fits a very narrow terminal."""
    for i in reversed(fixed):
        over = sum(widths[j] for j in fixed) - room
        if over <= 0:
            return
        widths[i] = max(1, widths[i] - over)


def _place(kept: Sequence[Placed], hidden: tuple[str, ...], available: int, fixed_count: int) -> Arrangement:
    fixed, scrolling = tuple(kept[:fixed_count]), tuple(kept[fixed_count:])
    fixed_width = GUTTER + sum(placed.span for placed in fixed) + (1 if scrolling else 0)
    room = max(0, available - fixed_width)
    stops: list[int] = []
    offset = 0
    for placed in scrolling:
        stops.append(offset)
        offset += placed.span
    last_stop = next((stop for stop in stops if offset - stop <= room), stops[-1] if stops else 0)
    return Arrangement(fixed, scrolling, hidden, fixed_width, tuple(stops), last_stop, room)
