"""Rows of the view as row sources of the grid: cells are made only for the rows on screen.

It must not know a screen or decide what a cell says; `console.view` does.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from console.tui.theme import TONE_NAMES
from console.view.cells import Ageing, Cell, ViewColumn
from widgets.cells import Cell as GridCell
from widgets.cells import Toned
from widgets.grid_columns import Column
from widgets.sparkline import sparkline


class Row(Ageing, Protocol):
    """A row of any table of the view."""

    @property
    def key(self) -> Hashable: ...


R = TypeVar("R", bound=Row)

_ASCII = str.maketrans(
    {
        "µ": "u",
        "●": "+",
        "○": "o",
        "‖": "#",
        "■": "#",
        "✗": "x",
        "…": ".",
        "·": "-",
        "→": ">",
        "↓": "v",
        "—": "-",
        "␣": "_",
        "≥": ">",
        "≤": "<",
    }
)


def to_ascii(text: str) -> str:
    """Replace our own signs by ASCII; anything else outside ASCII becomes `?`, one for one."""
    translated = text.translate(_ASCII)
    if translated.isascii():
        return translated
    return "".join(character if character.isascii() else "?" for character in translated)


def grid_column(column: ViewColumn[R], width: int | None = None) -> Column:
    """Return the grid's column for a column of the view; `width` replaces the view's own."""
    return Column(
        key=column.key,
        title=column.title,
        width=column.width if width is None else width,
        align=column.align,
        help=column.help,
        sortable=True,
    )


class ViewSource(Generic[R]):
    """A picture of rows; frozen once made."""

    def __init__(self, rows: Sequence[R], columns: Sequence[ViewColumn[R]], *, ascii_only: bool) -> None:
        self.rows = rows
        self._columns = columns
        self._by_key = {column.key: column for column in columns}
        self._ascii_only = ascii_only

    def __len__(self) -> int:
        return len(self.rows)

    def key_at(self, index: int, /) -> Hashable:
        """See `widgets.grid_source.RowSource`."""
        return self.rows[index].key

    def keys(self) -> Sequence[Hashable]:
        """See `widgets.grid_source.HasKeys`."""
        return [row.key for row in self.rows]

    def cells_at(self, index: int, /) -> Sequence[GridCell]:
        """See `widgets.grid_source.RowSource`."""
        row = self.rows[index]
        return [self._cell(column.cell_of(row), column.width) for column in self._columns]

    def sort_value(self, index: int, column_key: str, /) -> Any:
        """See `widgets.grid_source.RowSource`."""
        value = self._by_key[column_key].value(self.rows[index])
        return value.casefold() if isinstance(value, str) else value

    def _cell(self, cell: Cell, width: int) -> GridCell:
        if cell.trend is not None:
            text = sparkline(cell.trend, width, ascii_only=self._ascii_only)
        else:
            text = to_ascii(cell.text) if self._ascii_only else cell.text
        tone = TONE_NAMES.get(cell.tone)
        return text if tone is None else Toned(text, tone)
