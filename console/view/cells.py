"""What a table shows, without saying how it is drawn: cells, tones, columns.

A column is the one place that knows a value's text, its order and its name in a filter.
It must not know a colour, a widget or a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Literal, Protocol, TypeVar

from console.model.sample import DatabaseRates
from console.view import numbers


class Ageing(Protocol):
    """A row of any table."""

    @property
    def old(self) -> bool:
        """True when its numbers are not of this moment and must look so."""
        ...


class Moving(Protocol):
    """A row that has rates."""

    @property
    def rates(self) -> DatabaseRates | None:
        """Movement, None where it is not known."""
        ...


def rate_of(field: str) -> Callable[[Moving], float | None]:
    """Return what reads one field of a row's rates; None where there are none."""

    def read(row: Moving) -> float | None:
        value: float | None = None if row.rates is None else getattr(row.rates, field)
        return value

    return read


R = TypeVar("R", bound=Ageing)
Trend = tuple[float | None, ...]
Value = float | str | None


class Tone(StrEnum):
    """How a cell should feel; the screen gives each a colour, and never colour alone."""

    PLAIN = "plain"
    DIM = "dim"
    """Old, or not worth a look: 0, n/a, a stale number."""
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    INFO = "info"
    STRONG = "strong"


class Kind(StrEnum):
    """What a value is, which decides how a filter reads the number it is compared with."""

    TEXT = "text"
    COUNT = "count"
    RATE = "rate"
    BYTE_RATE = "byte rate"
    DURATION_US = "duration"
    """The value is in microseconds; a filter's number without a unit is in seconds."""
    SHARE = "share"
    """The value is 0.0–1.0; a filter's number is in percent."""
    TREND = "trend"


@dataclass(frozen=True, slots=True)
class Cell:
    """Text and tone; `trend` instead of text where a sparkline is meant."""

    text: str
    tone: Tone = Tone.PLAIN
    trend: Trend | None = None


FORMATS: dict[Kind, Callable[[float | None], str]] = {
    Kind.COUNT: numbers.count,
    Kind.RATE: numbers.rate,
    Kind.BYTE_RATE: numbers.byte_rate,
    Kind.DURATION_US: numbers.duration_us,
    Kind.SHARE: numbers.share,
}


@dataclass(frozen=True, slots=True)
class ViewColumn(Generic[R]):
    """One column of a table of `R`."""

    key: str
    title: str
    width: int
    kind: Kind
    value: Callable[[R], Value]
    """For order and filters: a number in the unit of `kind`, or text; None sorts last."""
    help: str
    cell: Callable[[R], Cell] | None = None
    """None: format `value` by `kind`."""
    tone: Callable[[float], Tone] | None = None
    """For numbers: the tone of a known value above 0."""
    names: tuple[str, ...] = ()
    """Further names in filters and `:sort`."""
    letter: str | None = None
    """The capital that sorts by this column; never P, R, L or M (they open plans) nor G (the last row)."""
    trend: Callable[[R], Trend] | None = None

    @property
    def align(self) -> Literal["left", "right"]:
        """Numbers to the right, text to the left."""
        return "left" if self.kind in (Kind.TEXT, Kind.TREND) else "right"

    def cell_of(self, row: R) -> Cell:
        """Return what the table shows for `row`."""
        if self.trend is not None:
            last = self.value(row)
            busy = isinstance(last, int | float) and last > 0
            tone = self.tone(float(last)) if busy and self.tone and last is not None else Tone.DIM
            return Cell("", self._faded(row, tone), self.trend(row))
        if self.cell is not None:
            return self.cell(row)
        value = self.value(row)
        if value is None:
            return Cell(numbers.NOT_AVAILABLE, Tone.DIM)
        if isinstance(value, str):
            return Cell(value, self._faded(row, Tone.PLAIN))
        text = FORMATS[self.kind](value)
        if value == 0:
            return Cell(text, Tone.DIM)
        return Cell(text, self._faded(row, self.tone(value) if self.tone else Tone.PLAIN))

    def _faded(self, row: R, tone: Tone) -> Tone:
        return Tone.DIM if row.old else tone


def column_named(columns: Sequence[ViewColumn[R]], name: str) -> ViewColumn[R] | None:
    """Find a column by key, title or further name; None when there is no such column."""
    wanted = name.casefold()
    for column in columns:
        if wanted in (column.key, column.title.casefold(), *column.names):
            return column
    return None


def waiting_tone(_waiting: float) -> Tone:
    """Somebody waits: worth a look."""
    return Tone.WARN


def maxwait_tone(wait_us: float) -> Tone:
    """Over 1 s warns, over 5 s is bad (field notes, section 4)."""
    return Tone.BAD if wait_us > 5_000_000 else Tone.WARN if wait_us > 1_000_000 else Tone.PLAIN


def use_tone(use: float) -> Tone:
    """80 % of a pool warns, a full one is bad (field notes, section 4)."""
    return Tone.BAD if use >= 1 else Tone.WARN if use >= 0.8 else Tone.PLAIN
