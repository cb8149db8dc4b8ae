"""What a grid shows: the `RowSource` protocol, its optional faster halves, and a list-backed source.

A source is one frozen picture of the data. The grid never changes it and asks only for the rows it
draws; a new picture comes as a new source. This module must not draw, sort or remember anything.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from widgets.cells import Cell, Tone


class RowSource(Protocol):
    """Rows 0 … len-1 in the source's own order, which the grid keeps among rows that sort as equal."""

    def __len__(self) -> int: ...

    def key_at(self, index: int, /) -> Hashable:
        """The row's identity, the same in every later source; unique and never None."""
        ...

    def cells_at(self, index: int, /) -> Sequence[Cell]:
        """The formatted cells in column order. Called only for rows on screen, at most once a source."""
        ...

    def sort_value(self, index: int, column_key: str, /) -> Any:
        """What the row sorts by in that column: a number, a string … None for a missing value."""
        ...


@runtime_checkable
class HasKeys(Protocol):
    """A source that can give all its keys at once."""

    def keys(self) -> Sequence[Hashable]:
        """All keys in source order."""
        ...


@runtime_checkable
class HasSortValues(Protocol):
    """A source that can give one column's sort values at once."""

    def sort_values(self, column_key: str, /) -> Sequence[Any]:
        """The values of `sort_value` for every row, in source order."""
        ...


@runtime_checkable
class HasRowTones(Protocol):
    """A source whose rows may be toned as a whole."""

    def style_at(self, index: int, /) -> Tone | None:
        """The row's tone (`widgets.cells.TONES`), or None for an ordinary row."""
        ...


def all_keys(source: RowSource) -> list[Hashable]:
    """Every key in source order."""
    if isinstance(source, HasKeys):
        return list(source.keys())
    return [source.key_at(index) for index in range(len(source))]


def all_sort_values(source: RowSource, column_key: str) -> Sequence[Any]:
    """Every row's sort value of a column, in source order."""
    if isinstance(source, HasSortValues):
        return source.sort_values(column_key)
    return [source.sort_value(index, column_key) for index in range(len(source))]


@dataclass(frozen=True, slots=True)
class ListRow:
    """One row of a `ListSource`."""

    key: Hashable
    cells: Sequence[Cell]
    sort_values: Mapping[str, Any] = field(default_factory=dict)
    """By column key; a missing entry sorts as a missing value."""
    tone: Tone | None = None


class ListSource:
    """A source over rows made beforehand: for short tables."""

    def __init__(self, rows: Sequence[ListRow] = ()) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def key_at(self, index: int, /) -> Hashable:
        """See `RowSource.key_at`."""
        return self._rows[index].key

    def cells_at(self, index: int, /) -> Sequence[Cell]:
        """See `RowSource.cells_at`."""
        return self._rows[index].cells

    def sort_value(self, index: int, column_key: str, /) -> Any:
        """See `RowSource.sort_value`."""
        return self._rows[index].sort_values.get(column_key)

    def style_at(self, index: int, /) -> Tone | None:
        """See `HasRowTones.style_at`."""
        return self._rows[index].tone
