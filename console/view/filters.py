"""The filter language: typed terms and regular expressions, all of which must hold.

    db:app          column contains text (`*` `?` match as in a shell)      db=app       equals
    wait>5 use>=80  compares by value: seconds (or 500ms, 2m), percent, counts (or 10k)
    @zone=eu-1      label                                                   @zone        has the label
    paused faults waiting stale       what a row is                         !term        not that
    edge-.*         anything else is a regular expression, case ignored, over the row's names and state

Words are separated by spaces; quotes hold a term together. A value that is n/a passes no comparison.
Pure: it knows columns, not tables on a screen.
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Generic, Protocol, TypeVar

from console.view import states
from console.view.cells import Ageing, Kind, ViewColumn, column_named


class Filterable(Ageing, Protocol):
    """What every row of a table offers to a filter."""

    @property
    def state(self) -> str: ...
    @property
    def faulty(self) -> bool: ...
    @property
    def paused(self) -> bool: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def search_text(self) -> str: ...


F = TypeVar("F", bound=Filterable)
Test = Callable[[F], bool]

FLAGS = ("faults", "paused", "waiting", "stale", "unreachable")
_TERM = re.compile(r"^(?P<name>[A-Za-z_][\w/]*)(?P<op>>=|<=|>|<|=|:)(?P<value>.*)$")
_LABEL = re.compile(r"^@(?P<name>[\w.-]+)(?:(?P<op>=|:)(?P<value>.*))?$")
_QUANTITY = re.compile(r"^(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-zA-Zµ%]*)$")
_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_UNITS: dict[Kind, dict[str, float]] = {
    Kind.DURATION_US: {"": 1e6, "us": 1, "µs": 1, "ms": 1e3, "s": 1e6, "m": 60e6, "min": 60e6, "h": 3600e6},
    Kind.SHARE: {"": 0.01, "%": 0.01},
    Kind.COUNT: _SCALES,
    Kind.RATE: _SCALES,
    Kind.BYTE_RATE: {"": 1.0, "b": 1.0, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9},
}


class FilterError(ValueError):
    """A filter cannot be read. The message is one line for the person who is still typing it."""


@dataclass(frozen=True, slots=True)
class Filter(Generic[F]):
    """A filter that was read; `text` is what was typed."""

    text: str
    tests: tuple[Test[F], ...]

    def __call__(self, row: F) -> bool:
        return all(test(row) for test in self.tests)

    def __bool__(self) -> bool:
        return bool(self.tests)


def parse_filter(text: str, columns: Sequence[ViewColumn[F]]) -> Filter[F]:
    """Read a filter for a table with `columns`.

    Raises:
        FilterError: an unknown column, an unreadable number, or a bad regular expression.
    """
    return Filter(text, tuple(_read(word, columns) for word in _words(text)))


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="")
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""
    try:
        return list(lexer)
    except ValueError:
        raise FilterError("a quote is not closed yet") from None


def _read(word: str, columns: Sequence[ViewColumn[F]]) -> Test[F]:
    if word.startswith("!"):
        if word == "!":
            raise FilterError("'!' wants a term after it, e.g. !paused")
        inner = _read(word[1:], columns)
        return lambda row: not inner(row)
    if word.startswith("@"):
        return _label(word)
    if word.casefold() in FLAGS:
        return _flag(word.casefold(), columns)
    found = _TERM.match(word)
    if found is None:
        return _regex(word)
    return _term(found["name"], found["op"], found["value"], columns)


def _label(word: str) -> Test[F]:
    found = _LABEL.match(word)
    if found is None:
        raise FilterError(f"{word!r} is no label: write @zone=eu-1, or @zone for any value")
    name, op, wanted = found["name"], found["op"], found["value"]
    if op is None:
        return lambda row: name in row.labels
    return lambda row: _text_matches(row.labels.get(name), op, wanted)


def _flag(word: str, columns: Sequence[ViewColumn[F]]) -> Test[F]:
    if word == "faults":
        return lambda row: row.faulty
    if word == "paused":
        return lambda row: row.paused
    if word == "waiting":
        column = column_named(columns, "waiting")
        if column is None:
            raise FilterError("nothing waits in this table")
        value = column.value
        return lambda row: bool(value(row))
    return lambda row: states.rank(row.state) == states.rank(word)


def _regex(word: str) -> Test[F]:
    try:
        with warnings.catch_warnings():
            # `[[` may mean something else in a Python to come; nobody who types a filter is to read of it.
            warnings.simplefilter("ignore", FutureWarning)
            pattern = re.compile(word, re.IGNORECASE)
    except re.error as error:
        raise FilterError(f"{word!r} is no regular expression: {error.msg}") from None
    return lambda row: pattern.search(row.search_text) is not None


def _term(name: str, op: str, wanted: str, columns: Sequence[ViewColumn[F]]) -> Test[F]:
    column = column_named(columns, name)
    if column is None:
        known = [key for column in columns for key in (*column.names, column.key)]
        near = get_close_matches(name.casefold(), known, n=1)
        hint = (
            f"did you mean {near[0]}?" if near else f"columns are {', '.join(c.key for c in columns[:6])} …"
        )
        raise FilterError(f"there is no column {name!r}; {hint}")
    if not wanted:
        raise FilterError(f"{name}{op} wants a value after it")
    value = column.value
    if column.kind is Kind.TEXT:
        if op not in ("=", ":"):
            raise FilterError(f"{name} is text: compare it with : (contains) or = (equals)")
        return lambda row: _text_matches(value(row), op, wanted)
    if column.kind is Kind.TREND:
        raise FilterError(f"{name} is a picture; filter by the number it draws")
    number = _quantity(wanted, column.kind, name)
    return lambda row: _number_matches(value(row), op, number)


def _quantity(text: str, kind: Kind, name: str) -> float:
    found = _QUANTITY.match(text)
    scale = None if found is None else _UNITS[kind].get(found["unit"].casefold())
    if found is None or scale is None:
        units = ", ".join(unit for unit in _UNITS[kind] if unit)
        raise FilterError(f"{text!r} is no number for {name}: write digits, and one of {units} if you like")
    return float(found["number"]) * scale


def _text_matches(value: object, op: str, wanted: str) -> bool:
    if not isinstance(value, str):
        return False
    have, want = value.casefold(), wanted.casefold()
    if "*" in want or "?" in want:
        return fnmatchcase(have, want)
    return have == want if op == "=" else want in have


def _number_matches(value: object, op: str, number: float) -> bool:
    if not isinstance(value, int | float):
        return False
    match op:
        case ">":
            return value > number
        case "<":
            return value < number
        case ">=":
            return value >= number
        case "<=":
            return value <= number
        case _:
            return value == number
