"""Connection strings of PgBouncer: the `key=value` pairs of `[databases]`, `[users]` and `[peers]` lines.

The grammar is `cstr_get_pair` of PgBouncer's `loader.c`: pairs parted by spaces (a tab is none); a value with
spaces stands in single quotes, a quote in it is doubled; empty values are refused; the last of a name counts.
Values may be passwords: no message holds one. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from console.config.pgbouncer_ini import Entry, IniError, told

_QUOTED = re.compile(r"'((?:[^']|'')*+)'")
"""Possessive: a doubled quote is never taken for a closing one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair and where it stands in the string, in characters."""

    name: str
    value: str = field(repr=False)
    start: int
    value_start: int
    end: int
    """Behind the value, and behind the character that PgBouncer swallows with a closing quote."""


def connection_pairs(entry: Entry) -> tuple[tuple[str, str], ...]:
    """Return the `key=value` pairs of a `[databases]`, `[users]` or `[peers]` entry, in order.

    Raises:
        IniError: PgBouncer's "syntax error in connection string".
    """
    return tuple((pair.name, pair.value) for pair in _pairs(entry))


def with_pair(entry: Entry, name: str, value: str) -> str:
    """Return the entry's string with one pair changed in place, or added behind the others.

    Raises:
        IniError: the string cannot be read.
    """
    text = entry.value
    found = [pair for pair in _pairs(entry) if pair.name == name]
    written = quoted(value)
    if not found:
        return f"{text}{' ' if text else ''}{name}={written}"
    pair = found[-1]
    behind = text[pair.end :]
    gap = " " if behind and not behind.startswith(" ") else ""
    return f"{text[: pair.value_start]}{written}{gap}{behind}"


def without_pair(entry: Entry, name: str) -> str:
    """Return the entry's string without the pairs of a name.

    Raises:
        IniError: the string cannot be read.
    """
    text = entry.value
    for pair in reversed([pair for pair in _pairs(entry) if pair.name == name]):
        before, behind = text[: pair.start], text[pair.end :].lstrip(" ")
        text = f"{before}{behind}" if behind else before.rstrip(" ")
    return text


def quoted(value: str) -> str:
    """Return a value as a connection string holds it."""
    if " " in value or value.startswith("'"):
        return "'" + value.replace("'", "''") + "'"
    return value


def _pairs(entry: Entry) -> Iterator[Pair]:
    text, at = entry.value, 0
    while True:
        at = _spaces(text, at)
        if at >= len(text):
            return
        start = at
        while at < len(text) and text[at] not in "= ":
            at += 1
        name = text[start:at]
        at = _spaces(text, at)
        if not name or text[at : at + 1] != "=":
            raise _bad(entry, f"{told(name)} has no '='" if name else "a name is missing")
        pair = _pair(entry, name, start, _spaces(text, at + 1))
        yield pair
        at = pair.end


def _pair(entry: Entry, name: str, start: int, at: int) -> Pair:
    text = entry.value
    if text[at : at + 1] == "'":
        found = _QUOTED.match(text, at)
        if found is None:
            raise _bad(entry, f"the quotes of {told(name)} do not end")
        value, end = found[1].replace("''", "'"), found.end()
        # What touches the closing quote is cut off by PgBouncer: it takes one character for the separator.
        end += text[end : end + 1] not in ("", " ")
    else:
        end = text.find(" ", at)
        end = len(text) if end < 0 else end
        value = text[at:end]
    if not value:
        raise _bad(entry, f"{told(name)} has no value")
    return Pair(name, value, start, at, end)


def _bad(entry: Entry, message: str) -> IniError:
    return IniError(
        f"syntax error in the connection string of {entry.key}: {message}",
        where=str(entry.place),
        hint="a value with spaces stands in single quotes",
    )


def _spaces(text: str, at: int) -> int:
    while at < len(text) and text[at] == " ":
        at += 1
    return at
