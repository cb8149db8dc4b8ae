"""Reads an answer by a `Show`'s table of columns: by name, column by column.

Consoles differ by version, so each distinct header gets its own plan, made once. Values are converted a
whole column at a time: a fleet of 100 bouncers answers some 4,000 rows a second.
Unknown columns go to `extra`, optional ones that are absent are None, required ones are an error.
It does no IO and knows no product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from console.errors import NodeError, Phase
from console.model.rows import NO_EXTRA
from console.model.table import ResultTable
from console.poolers.columns import Column, Kind, Show
from console.poolers.construct import Columns, row_maker

T = TypeVar("T")
Cells = Sequence[str | None]
_FLAGS: Final[Mapping[str | None, bool]] = {"0": False, "1": True}
_US_A_SECOND: Final = 1_000_000


class TableReader(Generic[T]):
    """Turns answers of one SHOW into rows of type T. Keeps a plan for each header it has met."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._make: Callable[[Columns], tuple[T, ...]] = row_maker(show.row)

    def rows(self, table: ResultTable) -> tuple[T, ...]:
        """Return the rows of `table`.

        Raises:
            NodeError: phase `parse`, naming the SHOW and the column.
        """
        plan = self._plans.get(table.names)
        if plan is None:
            plan = self._plans[table.names] = _Plan(self._show, table.names)
        if not table.rows:
            return ()
        return self._make(plan.columns(table))


class _Plan:
    """Where each field of the row class comes from, for one header."""

    def __init__(self, show: Show, names: tuple[str, ...]) -> None:
        self._what = show.what
        self._width = len(names)
        self._unknown = tuple(
            (name, index)
            for index, name in enumerate(names)
            if not any(name == column.name or name in column.older for column in show.columns)
        )
        filled = {column.field: column for column in show.columns if column.kind is not Kind.SECONDS_PART}
        added = {column.field: column for column in show.columns if column.kind is Kind.SECONDS_PART}
        for column in show.columns:
            if column.since is None and _index(column, names) is None:
                raise NodeError(
                    Phase.PARSE,
                    f'SHOW {show.what} has no column "{column.name}"',
                    hint="it may be a PgBouncer older than 1.16, or another product",
                )
        self._steps = [
            (
                filled[field],
                _index(filled[field], names),
                _index(added[field], names) if field in added else None,
            )
            for field in show.row.__dataclass_fields__
            if field != "extra"
        ]

    def columns(self, table: ResultTable) -> list[Iterable[Any]]:
        """Return one iterable for each field of the row class, in its order."""
        try:
            by_column: list[Cells] = list(zip(*table.rows, strict=True))
        except ValueError:
            by_column = []
        if len(by_column) != self._width:
            raise NodeError(Phase.PARSE, f"SHOW {self._what} has rows of another length than its header")
        values: list[Iterable[Any]] = []
        for column, index, seconds in self._steps:
            if index is None:
                values.append(repeat(None))
                continue
            converted = self._convert(column, by_column[index])
            if seconds is not None:
                whole = self._integers(column.name, by_column[seconds])
                converted = [s * _US_A_SECOND + us for s, us in zip(whole, converted, strict=True)]
            values.append(converted)
        values.append(self._extra(by_column))
        return values

    def _extra(self, by_column: list[Cells]) -> Iterable[Mapping[str, str | None]]:
        if not self._unknown:
            return repeat(NO_EXTRA)
        names = [name for name, _ in self._unknown]
        cells = [by_column[index] for _, index in self._unknown]
        return [MappingProxyType(dict(zip(names, row, strict=True))) for row in zip(*cells, strict=True)]

    def _convert(self, column: Column, cells: Cells) -> Sequence[Any]:
        match column.kind:
            case Kind.INT | Kind.SECONDS_PART:
                return self._integers(column.name, cells)
            case Kind.INT_OR_NULL:
                return self._integers_or_none(column.name, cells)
            case Kind.FLAG:
                try:
                    return list(map(_FLAGS.__getitem__, cells))
                except KeyError as odd:
                    raise self._odd(column.name, odd.args[0], "0 or 1") from None
            case Kind.TEXT:
                return [cell or "" for cell in cells] if None in cells else cells
            case Kind.TEXT_OR_NULL | Kind.IGNORED:
                return cells

    def _integers(self, name: str, cells: Cells) -> list[int]:
        try:
            return list(map(int, cells))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return [self._integer(name, cell) for cell in cells]

    def _integers_or_none(self, name: str, cells: Cells) -> list[int | None]:
        try:
            return list(map(int, cells))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return [None if cell is None or not cell.strip() else self._integer(name, cell) for cell in cells]

    def _integer(self, name: str, cell: str | None) -> int:
        """Read one number; STATS totals are `numeric` and may come as `12.0`."""
        try:
            number = Decimal((cell or "").strip())
            whole = int(number)
        except (InvalidOperation, ValueError, OverflowError):
            raise self._odd(name, cell, "a whole number") from None
        if whole != number:
            raise self._odd(name, cell, "a whole number")
        return whole

    def _odd(self, name: str, cell: str | None, wanted: str) -> NodeError:
        shown = "NULL" if cell is None else repr(cell[:40])
        return NodeError(Phase.PARSE, f'SHOW {self._what}, column "{name}": {shown} is not {wanted}')


def _index(column: Column, names: tuple[str, ...]) -> int | None:
    for name in (column.name, *column.older):
        if name in names:
            return names.index(name)
    return None
