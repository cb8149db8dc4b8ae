"""A table of the view inside its panel: grid, filter line, and the picture made from each snapshot.

It must not make rows or cells by itself (`console.view`), nor know which screen it is on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical

from console.model.fleet import FleetSnapshot
from console.tui.parts import Line
from console.tui.sources import ViewSource, grid_column
from console.view.cells import Cell, Tone, ViewColumn, column_named
from console.view.filters import Filter, Filterable, parse_filter
from console.view.pauses import NOTHING_KNOWN, Known
from widgets.grid import Grid

KEY_WIDTH_MAX = 24
KEY_WIDTH_NARROW = 12
"""A key column may be shortened to this where not all columns fit."""


class TableRow(Filterable, Protocol):
    """A row of any table."""

    @property
    def key(self) -> Hashable: ...


R = TypeVar("R", bound=TableRow)


@dataclass(frozen=True, slots=True)
class TableView(Generic[R]):
    """What a panel shows and how."""

    name: str
    """`bouncers`, `pools`, `Postgres nodes`: what is counted in the filter line."""
    columns: tuple[ViewColumn[R], ...]
    rows: Callable[[FleetSnapshot, Known], list[R]]
    note: Callable[[R], Cell]
    fixed: int = 1
    """Columns that stay at the left."""
    empty: str = "nothing here"


class TablePanel(Vertical, Generic[R]):
    """Grid and filter line of one table."""

    DEFAULT_CSS = """
    TablePanel { height: 1fr; }
    TablePanel > .filter { display: none; background: $panel; padding: 0 1; }
    TablePanel.-filtered > .filter { display: block; }
    """

    def __init__(self, view: TableView[R], *, ascii_only: bool, id: str) -> None:
        super().__init__(id=id)
        self.view = view
        self.filter: Filter[R] = Filter("", ())
        self.faults_only = False
        self._filter_error: str | None = None
        self._ascii_only = ascii_only
        self.all_rows: Sequence[R] = ()
        """Rows of the picture shown, those the filter hides included."""
        self._rows: Sequence[R] = ()
        self._by_key: dict[Hashable, R] | None = None
        self._total = 0
        self._widths: tuple[int, ...] = ()
        self._snapshot: FleetSnapshot | None = None
        self._known = NOTHING_KNOWN

    def compose(self) -> ComposeResult:
        """Filter line above the grid."""
        yield Line(ascii_only=self._ascii_only, classes="filter")
        yield Grid(
            [grid_column(column) for column in self.view.columns],
            fixed_columns=self.view.fixed,
            empty_text="waiting for the first answers",
            ascii_only=self._ascii_only,
        )

    @property
    def grid(self) -> Grid:
        """The table."""
        return self.query_one(Grid)

    @property
    def is_filtered(self) -> bool:
        """True when rows may be hidden."""
        return bool(self.filter) or self.faults_only

    def show(self, snapshot: FleetSnapshot, known: Known) -> None:
        """Show a snapshot's rows, those that pass the filter."""
        self._snapshot, self._known = snapshot, known
        rows = self.view.rows(snapshot, known)
        self.all_rows = rows
        self._total = len(rows)
        self._fit(rows)
        if self.filter:
            rows = [row for row in rows if self.filter(row)]
        if self.faults_only:
            rows = [row for row in rows if row.faulty]
        self._rows, self._by_key = rows, None
        self.grid.empty_text = self.view.empty if not self._total else "no row passes the filter"
        self.grid.set_source(ViewSource(rows, self.view.columns, ascii_only=self._ascii_only))
        self._show_filter()

    def _fit(self, rows: Sequence[R]) -> None:
        """Give the fixed columns the room their longest text needs, within bounds."""
        fixed = self.view.columns[: self.view.fixed]
        limit = KEY_WIDTH_MAX if len(fixed) == 1 else 16
        widths = tuple(
            min(limit, max([len(column.title) + 1, *(len(str(column.value(row) or "")) for row in rows)]))
            for column in fixed
        )
        if widths != self._widths:
            self._widths = widths
            columns = [
                replace(grid_column(column, width), min_width=KEY_WIDTH_NARROW)
                for column, width in zip(fixed, widths, strict=True)
            ]
            rest = [grid_column(column) for column in self.view.columns[self.view.fixed :]]
            self.grid.set_columns([*columns, *rest])

    def row_at(self, key: Hashable | None) -> R | None:
        """Return the row with this key in the picture shown; None when it is not there."""
        if self._by_key is None:
            self._by_key = {row.key: row for row in self._rows}
        return None if key is None else self._by_key.get(key)

    @property
    def cursor_row(self) -> R | None:
        """The row under the cursor."""
        return self.row_at(self.grid.cursor_key)

    def target_rows(self) -> list[R]:
        """Return the marked rows, else the row under the cursor."""
        rows = (self.row_at(key) for key in self.grid.targets)
        return [row for row in rows if row is not None]

    def set_filter(self, text: str) -> None:
        """Filter by `text`; "" shows all.

        Raises:
            FilterError: it cannot be read; the old filter stays.
        """
        self.filter = parse_filter(text, self.view.columns)
        self._refilter()

    def toggle_faults(self) -> None:
        """Show only rows that need a look, or all again."""
        self.faults_only = not self.faults_only
        self._refilter()

    def clear_filter(self) -> None:
        """Show all rows."""
        self.filter, self.faults_only = Filter("", ()), False
        self._refilter()

    def _refilter(self) -> None:
        self.set_class(self.is_filtered, "-filtered")
        if self._snapshot is not None:
            self.show(self._snapshot, self._known)

    def _show_filter(self) -> None:
        if not self.is_filtered:
            return
        words = " and ".join(filter(None, (self.filter.text, "faults only" if self.faults_only else "")))
        shown = len(self._rows)
        self.query_one(".filter", Line).show(
            [
                Cell(f"filter {words}", Tone.INFO),
                Cell(f"{shown} of {self._total} {self.view.name}, {self._total - shown} hidden", Tone.STRONG),
                Cell("Esc shows all", Tone.DIM),
            ]
        )

    def note_of_cursor(self) -> Cell | None:
        """Return the line that explains the row under the cursor, with the marks counted before it."""
        row = self.cursor_row
        return None if row is None else self.view.note(row)

    def sort_by_letter(self, letter: str) -> bool:
        """Sort by the column that has this capital; False when there is none."""
        for column in self.view.columns:
            if column.letter == letter:
                self.grid.toggle_sort(column.key)
                return True
        return False

    def sort_by_name(self, name: str) -> bool:
        """Sort by a column; False when there is none of that name. "" is the view's own order."""
        if not name:
            self.grid.sort_by(None)
            return True
        column = column_named(self.view.columns, name)
        if column is None:
            return False
        self.grid.toggle_sort(column.key)
        return True

    def sort_by_neighbour(self, step: int) -> None:
        """Sort by the column `step` to the right of the one sorted by."""
        keys = [column.key for column in self.view.columns]
        at = keys.index(self.grid.sort_key) if self.grid.sort_key in keys else (-1 if step > 0 else 0)
        column = self.view.columns[(at + step) % len(keys)]
        self.grid.sort_by(column.key, column.align == "right")

    def copy_text(self) -> str:
        """Return the marked rows, or the one under the cursor, as tab-separated text under its titles."""
        lines = ["\t".join(column.title for column in self.view.columns if column.trend is None)]
        for row in self.target_rows():
            cells = (column.cell_of(row).text for column in self.view.columns if column.trend is None)
            lines.append("\t".join(cells))
        return "\n".join(lines)
