"""Reads PgBouncer's ini files as PgBouncer does: same grammar, same order, same stops.

The grammar is libusual's `cfparser.c` (that of connection strings is `pgbouncer_pairs`'):

* a line is blank, a comment (`;` or `#` at its beginning), `%include FILE`, `[section]` or `key = value`;
  what follows `[section]` on the same line is read as if it stood on the next;
* a key is letters, digits, `_ . - *`, or (1.25 and later) anything in single quotes;
* a value goes to the end of the line: no quotes, no comments behind it, no continuation;
* the section goes on through and after an included file; a file name that is not absolute counts from the
  process's working directory; includes nest 10 deep at most.

Nothing is judged here (unknown keys, bad numbers, keys given twice): entries keep their place and order, so
that callers can. `read_ini` stops where PgBouncer stops; `scan_ini` goes on at the next line, for those who
want every mistake at once. Values may be passwords: only callers that know the key may show one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType

from console.config.files import read_bounded
from console.config.pgbouncer_settings import KINDS, OPTIONS
from console.errors import UsageError

MAIN_SECTION = "pgbouncer"
SECTIONS = (MAIN_SECTION, "databases", "users", "peers")
MAX_INCLUDE_DEPTH = 10
"""`MAX_INCLUDE` of cfparser.c."""
_TELLABLE = frozenset(KINDS).union(*OPTIONS.values())
"""Names that may be shown."""

_BYTE_ORDER_MARK = "\ufeff"
_SPACE = " \t\n\v\f\r"
_BARE_KEY = re.compile(r"[A-Za-z0-9_.\-*]*")
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
    quoted: bool = False
    """The key stood in single quotes, which 1.25 and later know."""
    start: int = field(default=-1, compare=False)
    """Where its key begins: characters from the file's beginning, as `decoded` has it; -1: not known."""
    value_start: int = field(default=-1, compare=False)

    def __repr__(self) -> str:
        return f"Entry({self.section!r}, {self.key!r}, …, {self.place})"  # a value may be a password


@dataclass(frozen=True, slots=True)
class Section:
    """One `[name]` header. For PgBouncer each sets that section's keys back to their defaults."""

    name: str
    place: Place
    start: int = field(default=-1, compare=False)
    """Of its `[`, counted as in `Entry.start`."""
    end: int = field(default=-1, compare=False)
    """Just behind its `]`."""


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


class Stop(Enum):
    """What PgBouncer stops at."""

    SYNTAX = auto()
    BYTE_ORDER_MARK = auto()
    NO_SECTION = auto()
    """A key before any `[section]`."""
    TOO_DEEP = auto()
    CIRCLE = auto()
    """Too deep, because files include one another."""
    NO_NAME = auto()
    """`%include` without a file."""
    UNREADABLE = auto()


@dataclass(frozen=True, slots=True)
class Mistake:
    """One of several places where PgBouncer would stop."""

    stop: Stop
    place: Place | None
    """None: the main file itself cannot be read."""
    unreadable: Path | None = None
    """Of `UNREADABLE`: the file."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A configuration with everything that PgBouncer would stop at; complete when there is none."""

    ini: IniFile
    steps: tuple[Section | Entry, ...]
    """Headers and entries in the order in which PgBouncer takes them."""
    mistakes: tuple[Mistake, ...]


Source = Callable[[Path], bytes]
"""Gives a file's bytes, or raises OSError."""


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
    reader = _Reader(read_bounded, working_folder or Path.cwd(), path.parent if beside else None)
    reader.read(path, ())
    if all(section.name != MAIN_SECTION for section in reader.sections):
        raise IniError(
            f"there is no [{MAIN_SECTION}] section", where=str(path), hint="is it a PgBouncer ini?"
        )
    return reader.file(path)


def scan_ini(path: Path, source: Source, *, working_folder: Path) -> Scan:
    """Read `path` and the files it includes from `source`; after a mistake go on with the next line.

    `working_folder` is what relative `%include` names count from. Nothing is raised: whether there is a
    `[pgbouncer]` section is the caller's to see.
    """
    mistakes: list[Mistake] = []
    reader = _Reader(source, working_folder, None, mistakes)
    reader.read(path, ())
    return Scan(reader.file(path), tuple(reader.steps), tuple(mistakes))


def decoded(content: bytes) -> str:
    """Return a file as text: letters of any encoding pass through, and `encoded` brings each byte back."""
    return content.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """Return what `decoded` read."""
    return text.encode("utf-8", "surrogateescape")


def told(name: str) -> str:
    """Return a name as a message may have it: any other word may be part of a password without its quotes."""
    return name if name in _TELLABLE else "a word that is no option"


class _Reader:
    """Follows cfparser.c's `parse_ini_file_internal` and `load_handler`."""

    def __init__(
        self,
        source: Source,
        working_folder: Path,
        beside: Path | None,
        mistakes: list[Mistake] | None = None,
    ) -> None:
        """With a list for `mistakes` it goes on after them; without it raises at the first."""
        self._source = source
        self._working_folder = working_folder
        self._beside = beside
        self._mistakes = mistakes
        self.steps: list[Section | Entry] = []
        self._files: list[Path] = []
        self._section: str | None = None
        self._overflown = False

    @property
    def sections(self) -> tuple[Section, ...]:
        return tuple(step for step in self.steps if isinstance(step, Section))

    def file(self, path: Path) -> IniFile:
        entries = tuple(step for step in self.steps if isinstance(step, Entry))
        return IniFile(path, entries, self.sections, tuple(dict.fromkeys(self._files)))

    def read(self, path: Path, chain: tuple[str, ...], at_include: Place | None = None) -> None:
        text = self._text(path, chain, at_include)
        if text is None:
            return
        self._files.append(path)
        at = counted = 0
        line = 1
        if text.startswith(_BYTE_ORDER_MARK):
            mistake = Mistake(Stop.BYTE_ORDER_MARK, Place(path, 1, chain))
            self._stop(mistake, "syntax error: the file begins with a byte order mark")
            at = len(_BYTE_ORDER_MARK)
        while True:
            at = _skip(text, at, _SPACE)
            if at >= len(text):
                return
            line += text.count("\n", counted, at)
            counted = at
            place = Place(path, line, chain)
            if _INCLUDE.match(text, at):
                at = self._include(text, at, place)
            elif text[at] in "#;":
                at = _line_end(text, at)
            elif text[at] == "[":
                at = self._header(text, at, place)
            else:
                at = self._key_value(text, at, place)

    def _text(self, path: Path, chain: tuple[str, ...], at_include: Place | None) -> str | None:
        try:
            # PgBouncer's own view is bytes up to a zero.
            return decoded(self._source(path).split(b"\0", 1)[0])
        except OSError as error:
            what = f"the included file {path}" if chain else "the file"
            self._stop(
                Mistake(Stop.UNREADABLE, at_include, path),
                f"{what} cannot be read: {error.strerror or error}",
                where=str(at_include or path),
            )
            return None

    def _stop(self, mistake: Mistake, message: str, *, where: str = "", hint: str | None = None) -> None:
        if self._mistakes is None:
            raise IniError(message, where=where or str(mistake.place), hint=hint) from None
        self._mistakes.append(mistake)

    def _include(self, text: str, at: int, place: Place) -> int:
        end = _line_end(text, at)
        name = text[at + len("%include") : end].strip(" \t\r\v\f")
        chain = (*place.included_from, str(place))
        if self._overflown:
            return end  # a circle of files with several includes each would be followed for ever
        if len(chain) > MAX_INCLUDE_DEPTH:
            self._overflown = True
            circle = len({step.rpartition(":")[0] for step in chain}) < len(chain)
            self._stop(
                Mistake(Stop.CIRCLE if circle else Stop.TOO_DEEP, place),
                f"includes nest deeper than {MAX_INCLUDE_DEPTH}{' (they go in a circle)' * circle}",
                hint="PgBouncer stops too",
            )
        elif not name:
            self._stop(Mistake(Stop.NO_NAME, place), "%include names no file")
        else:
            self.read(self._included(Path(name)), chain, place)
        return end

    def _included(self, name: Path) -> Path:
        path = self._working_folder / name
        if self._beside is not None and not path.exists() and (self._beside / name).exists():
            return self._beside / name
        return path

    def _header(self, text: str, at: int, place: Place) -> int:
        end = _line_end(text, at)
        closing = text.find("]", at, end)
        if closing < 0:
            self._stop(Mistake(Stop.SYNTAX, place), "syntax error: the section's ] is missing")
            return end
        self._section = text[at + 1 : closing]
        self.steps.append(Section(self._section, place, at, closing + 1))
        return closing + 1

    def _key_value(self, text: str, at: int, place: Place) -> int:
        start, end = at, _line_end(text, at)
        quoted = text[at] == "'"
        if quoted:
            closing = text.find("'", at + 1)
            if closing <= at + 1:
                self._stop(Mistake(Stop.SYNTAX, place), "syntax error: a quoted key has no end or is empty")
                return end
            key, at = text[at + 1 : closing], closing + 1
        else:
            found = _BARE_KEY.match(text, at)
            key, at = (found[0], found.end()) if found else ("", at)
        at = _skip(text, at, " \t")
        if text[at : at + 1] != "=":
            self._stop(
                Mistake(Stop.SYNTAX, place),
                f"syntax error after {told(key)}: '=' expected" if key else "syntax error: no key",
                hint="keys are letters, digits and _ . - *; comments stand on lines of their own",
            )
            return max(end, _line_end(text, at))
        at = _skip(text, at + 1, " \t")
        end = _line_end(text, at)
        if self._section is None:
            self._stop(Mistake(Stop.NO_SECTION, place), f"{key} stands before any [section]")
        else:
            value = text[at:end].rstrip(_SPACE)
            self.steps.append(Entry(self._section, key, value, place, quoted, start, at))
        return end


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
