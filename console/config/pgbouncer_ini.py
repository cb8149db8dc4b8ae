"""Reads PgBouncer's ini files as PgBouncer does: same grammar, same order, same stops.

The grammar is libusual's `cfparser.c` and, for connection strings, PgBouncer's `loader.c`:

* a line is blank, a comment (`;` or `#` at its beginning), `%include FILE`, `[section]` or `key = value`;
  what follows `[section]` on the same line is read as if it stood on the next;
* a key is letters, digits, `_ . - *`, or (1.25 and later) anything in single quotes;
* a value goes to the end of the line: no quotes, no comments behind it, no continuation;
* the section goes on through and after an included file; a file name that is not absolute counts from the
  process's working directory; includes nest 10 deep at most;
* a connection string is `key=value` pairs parted by spaces (a tab is none); a value with spaces stands in
  single quotes, a quote in it is doubled; empty values are refused.

Nothing is judged here (unknown keys, bad numbers, keys given twice): entries keep their place and order, so
that callers can. Values may be passwords: only callers that know the key may show one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from console.config.files import read_bounded
from console.errors import UsageError

MAIN_SECTION = "pgbouncer"
SECTIONS = (MAIN_SECTION, "databases", "users", "peers")
MAX_INCLUDE_DEPTH = 10
"""`MAX_INCLUDE` of cfparser.c."""

_SPACE = " \t\n\v\f\r"
_BARE_KEY = re.compile(r"[A-Za-z0-9_.\-*]*")
_QUOTED = re.compile(r"'((?:[^']|'')*+)'")
"""Possessive: a doubled quote is never taken for a closing one."""
_INCLUDE = re.compile(r"%include(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, and how PgBouncer came there."""

    file: Path
    line: int
    """1-based."""
    included_from: tuple[str, ...] = ()
    """`file:line` of each `%include` on the way, outermost first; () in the file itself."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key = value` line."""

    section: str
    key: str
    value: str
    place: Place

    def __repr__(self) -> str:
        return f"Entry({self.section!r}, {self.key!r}, …, {self.place})"  # a value may be a password


@dataclass(frozen=True, slots=True)
class Section:
    """One `[name]` header. For PgBouncer each sets that section's keys back to their defaults."""

    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class IniFile:
    """A configuration as read, included files in their place."""

    path: Path
    entries: tuple[Entry, ...]
    """In the order in which PgBouncer takes them."""
    sections: tuple[Section, ...]
    files: tuple[Path, ...]
    """Every file read, each once, in order."""

    def section(self, name: str) -> tuple[Entry, ...]:
        """Return the entries of a section, repeated keys included."""
        return tuple(entry for entry in self.entries if entry.section == name)

    def setting(self, key: str) -> Entry | None:
        """Return the entry of `[pgbouncer]` that is in force: the last one; None when it is not set."""
        return self.effective(MAIN_SECTION).get(key)

    def effective(self, name: str) -> Mapping[str, Entry]:
        """Return the last entry of each key of a section."""
        return MappingProxyType({entry.key: entry for entry in self.section(name)})

    def duplicates(self) -> tuple[tuple[Entry, Entry], ...]:
        """Return (earlier, later) for every key given again in its section."""
        first: dict[tuple[str, str], Entry] = {}
        found = []
        for entry in self.entries:
            earlier = first.setdefault((entry.section, entry.key), entry)
            if earlier is not entry:
                found.append((earlier, entry))
        return tuple(found)


class IniError(UsageError):
    """An ini file that PgBouncer would refuse to load, or that cannot be read; `where` is file:line."""


def read_ini(path: Path, *, working_folder: Path | None = None, beside: bool = False) -> IniFile:
    """Read `path` and the files it includes.

    Args:
        path: the main file.
        working_folder: what relative `%include` names count from: PgBouncer's working directory; None: ours.
        beside: look in the folder of the main file as well, for a file that was copied or a service
            whose working directory is not known here. PgBouncer itself does not.

    Raises:
        IniError: a syntax error, a key before any section, no `[pgbouncer]` section, includes that nest
            too deep or in a circle, or a file that cannot be read.
    """
    reader = _Reader(working_folder or Path.cwd(), path.parent if beside else None)
    reader.read(path, ())
    if all(section.name != MAIN_SECTION for section in reader.sections):
        raise IniError(
            f"there is no [{MAIN_SECTION}] section", where=str(path), hint="is it a PgBouncer ini?"
        )
    return IniFile(path, tuple(reader.entries), tuple(reader.sections), tuple(dict.fromkeys(reader.files)))


def connection_pairs(entry: Entry) -> tuple[tuple[str, str], ...]:
    """Return the `key=value` pairs of a `[databases]`, `[users]` or `[peers]` entry, in order.

    Raises:
        IniError: PgBouncer's "syntax error in connection string".
    """
    return tuple(_pairs(entry))


def _pairs(entry: Entry) -> Iterator[tuple[str, str]]:
    text, at = entry.value, 0
    while True:
        at = _skip(text, at, " ")
        if at >= len(text):
            return
        start = at
        while at < len(text) and text[at] not in "= ":
            at += 1
        key = text[start:at]
        at = _skip(text, at, " ")
        if not key or text[at : at + 1] != "=":
            raise _bad_connection_string(
                entry, f"after {key!r} there is no '='" if key else "a name is missing"
            )
        value, at = _pair_value(entry, key, at + 1)
        yield key, value


def _pair_value(entry: Entry, key: str, at: int) -> tuple[str, int]:
    text = entry.value
    at = _skip(text, at, " ")
    if text[at : at + 1] == "'":
        found = _QUOTED.match(text, at)
        if found is None:
            raise _bad_connection_string(entry, f"the quotes of {key} do not end")
        value, at = found[1].replace("''", "'"), found.end()
        # What touches the closing quote is cut off by PgBouncer: it takes one character for the separator.
        at += 1
    else:
        end = text.find(" ", at)
        end = len(text) if end < 0 else end
        value, at = text[at:end], end + 1
    if not value:
        raise _bad_connection_string(entry, f"{key} has no value")
    return value, at


def _bad_connection_string(entry: Entry, message: str) -> IniError:
    return IniError(
        f"syntax error in the connection string of {entry.key}: {message}", where=str(entry.place)
    )


class _Reader:
    """Follows cfparser.c's `parse_ini_file_internal` and `load_handler`."""

    def __init__(self, working_folder: Path, beside: Path | None) -> None:
        self._working_folder = working_folder
        self._beside = beside
        self.entries: list[Entry] = []
        self.sections: list[Section] = []
        self.files: list[Path] = []
        self._section: str | None = None

    def read(self, path: Path, chain: tuple[str, ...]) -> None:
        text = self._text(path, chain)
        self.files.append(path)
        at = 0
        while True:
            at = _skip(text, at, _SPACE)
            if at >= len(text):
                return
            place = Place(path, text.count("\n", 0, at) + 1, chain)
            if _INCLUDE.match(text, at):
                at = self._include(text, at, place)
            elif text[at] in "#;":
                at = _line_end(text, at)
            elif text[at] == "[":
                at = self._header(text, at, place)
            else:
                at = self._key_value(text, at, place)

    def _text(self, path: Path, chain: tuple[str, ...]) -> str:
        where = chain[-1] if chain else str(path)
        try:
            # Latin letters of any encoding pass through: PgBouncer's own view is bytes up to a zero.
            return read_bounded(path).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        except OSError as error:
            what = f"the included file {path}" if chain else "the file"
            raise IniError(f"{what} cannot be read: {error.strerror or error}", where=where) from None

    def _include(self, text: str, at: int, place: Place) -> int:
        end = _line_end(text, at)
        name = text[at + len("%include") : end].strip(" \t\r\v\f")
        chain = (*place.included_from, str(place))
        if len(chain) > MAX_INCLUDE_DEPTH:
            names = {step.rpartition(":")[0] for step in chain}
            circle = " (they go in a circle)" if len(names) < len(chain) else ""
            raise IniError(
                f"includes nest deeper than {MAX_INCLUDE_DEPTH}{circle}",
                where=str(place),
                hint="PgBouncer stops too",
            )
        if not name:
            raise IniError("%include names no file", where=str(place))
        self.read(self._included(Path(name)), chain)
        return end

    def _included(self, name: Path) -> Path:
        path = self._working_folder / name
        if self._beside is not None and not path.exists() and (self._beside / name).exists():
            return self._beside / name
        return path

    def _header(self, text: str, at: int, place: Place) -> int:
        closing = text.find("]", at, _line_end(text, at))
        if closing < 0:
            raise IniError("syntax error: the section's ] is missing", where=str(place))
        self._section = text[at + 1 : closing]
        self.sections.append(Section(self._section, place))
        return closing + 1

    def _key_value(self, text: str, at: int, place: Place) -> int:
        if text[at] == "'":
            closing = text.find("'", at + 1)
            if closing <= at + 1:
                raise IniError("syntax error: a quoted key has no end or is empty", where=str(place))
            key, at = text[at + 1 : closing], closing + 1
        else:
            found = _BARE_KEY.match(text, at)
            key, at = (found[0], found.end()) if found else ("", at)
        at = _skip(text, at, " \t")
        if text[at : at + 1] != "=":
            raise IniError(
                f"syntax error after {key!r}: '=' expected" if key else "syntax error: no key",
                where=str(place),
                hint="keys are letters, digits and _ . - *; comments stand on lines of their own",
            )
        at = _skip(text, at + 1, " \t")
        end = _line_end(text, at)
        if self._section is None:
            raise IniError(f"{key} stands before any [section]", where=str(place))
        self.entries.append(Entry(self._section, key, text[at:end].rstrip(_SPACE), place))
        return end


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
