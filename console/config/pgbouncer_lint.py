"""Judges the files of one PgBouncer before a RELOAD: what would make it fail, and what would surprise.

Every rule here was seen on running 1.18, 1.24 and 1.26 (tests/servers/test_reload_check.py makes each mistake
and compares). An *error* is what makes RELOAD fail part-way or locks people out: PgBouncer then keeps what it
read up to the mistake and compiled defaults for the rest (trap T5). Everything else is a *warning*.

Pure. No finding holds a value that may be a secret; lines of an auth_file are never quoted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from console.config.pgbouncer_expect import CATCH_ALL, Expected, expected
from console.config.pgbouncer_ini import (
    MAIN_SECTION,
    MAX_INCLUDE_DEPTH,
    SECTIONS,
    Entry,
    IniError,
    Mistake,
    Place,
    Scan,
    Stop,
)
from console.config.pgbouncer_pairs import connection_pairs
from console.config.pgbouncer_settings import (
    AUTH_TYPES,
    BUILD_DEPENDENT,
    GONE_SINCE,
    KINDS,
    NUMBERS,
    OPTIONS,
    RESERVED_DATABASE,
    SINCE,
    WORDS,
    Kind,
    atoi,
    is_whole,
    printed,
    word,
)
from console.config.pgbouncer_texts import ConfigTexts, Trouble, scan
from console.model.rows import Setting
from console.model.version import Version

PEERS_SINCE = Version(1, 19)
_QUOTED_KEYS = Version(1, 25)
_LDAP = Version(1, 25)
_UNLIMITED_POOLS = Version(1, 24)
_LONGEST_DATABASE_BYTES = 63
_LARGEST_PEER_ID = 0xFFFF


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """RELOAD would fail part-way, or somebody could no longer log in."""
    UNREAD = "cannot be read off-line"
    """Nobody can tell."""
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or odd."""

    severity: Severity
    rule: str
    """Stable, e.g. `unknown-key`."""
    file: str
    line: int | None
    """1-based; None when the file as a whole is meant."""
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class IniLint:
    """What was found in the ini files, and what they would make of the process."""

    findings: tuple[Finding, ...]
    expected: Expected
    """Only as good as the files: meaningless when there are errors or files that were not read."""
    scan: Scan


def lint_ini(texts: ConfigTexts, running: Mapping[str, Setting], version: Version) -> IniLint:
    """Judge the main file and its includes against the process that runs with `running`."""
    found, unread = scan(texts)
    findings = [
        Finding(Severity.UNREAD, "unread", path, None, "cannot be read off-line: it was not asked for")
        for path in unread
    ]
    findings += [_stopped(mistake, texts) for mistake in found.mistakes]
    findings += _files(found, texts)
    findings += _sections(found, version)
    findings += _doubles(found)
    for entry in found.ini.entries:
        findings += _entry(entry, running, version)
    return IniLint(tuple(findings), expected(found, running, version), found)


def error(rule: str, place: Place, message: str) -> Finding:
    """Return an error at a place."""
    return Finding(Severity.ERROR, rule, str(place.file), place.line, message)


def warning(rule: str, place: Place, message: str) -> Finding:
    """Return a warning at a place."""
    return Finding(Severity.WARNING, rule, str(place.file), place.line, message)


# -- grammar ----------------------------------------------------------------------------------------

_STOPS: Mapping[Stop, tuple[str, str]] = {
    Stop.SYNTAX: (
        "syntax",
        "syntax error: neither key = value, [section], %include FILE nor a comment on a line of its own",
    ),
    Stop.BYTE_ORDER_MARK: ("byte-order-mark", "a byte order mark: to PgBouncer it is a syntax error"),
    Stop.NO_SECTION: ("no-section", "a key before any [section]"),
    Stop.TOO_DEEP: ("include-depth", f"includes nest deeper than {MAX_INCLUDE_DEPTH}"),
    Stop.CIRCLE: ("include-circle", "files include one another in a circle"),
    Stop.NO_NAME: ("include-missing", "%include names no file"),
}


def _stopped(mistake: Mistake, texts: ConfigTexts) -> Finding:
    place = mistake.place
    if mistake.unreadable is None:
        assert place is not None, "only a main file that cannot be read has no place"
        rule, message = _STOPS[mistake.stop]
        return error(rule, place, message)
    path = str(mistake.unreadable)
    file = texts.file(path)
    where, line = (path, None) if place is None else (str(place.file), place.line)
    named = "" if place is None else f"the included file {path}: "
    if file.trouble is Trouble.MISSING:
        return Finding(
            Severity.ERROR, "include-missing" if place else "missing", where, line, named + file.why
        )
    message = f"cannot be read off-line: {named}{file.why}"
    return Finding(Severity.UNREAD, "unread", where, line, message)


def _files(found: Scan, texts: ConfigTexts) -> Iterator[Finding]:
    for path in map(str, found.ini.files):
        file = texts.file(path)
        if file.trouble is Trouble.FOLDER:
            message = "it is a folder: PgBouncer reads nothing of it, and says nothing"
            yield Finding(Severity.WARNING, "folder", path, None, message)
        content = file.content or b""
        if b"\0" in content:
            line = content.count(b"\n", 0, content.index(b"\0")) + 1
            message = "a zero byte: PgBouncer takes it for the end of the file"
            yield Finding(Severity.ERROR, "zero-byte", path, line, message)


def _sections(found: Scan, version: Version) -> Iterator[Finding]:
    main = [section.place for section in found.ini.sections if section.name == MAIN_SECTION]
    if not main and not any(mistake.place is None for mistake in found.mistakes):
        message = f"there is no [{MAIN_SECTION}] section"
        yield Finding(Severity.ERROR, "no-main-section", str(found.ini.path), None, message)
    for section in found.ini.sections:
        if section.name not in SECTIONS or (section.name == "peers" and version < PEERS_SINCE):
            known = "before 1.19 PgBouncer" if section.name == "peers" else "PgBouncer"
            yield error("unknown-section", section.place, f"{known} knows no section [{section.name}]")
    for place in main[1:]:
        message = (
            f"[{MAIN_SECTION}] once more (first at {main[0]}): "
            "every setting above it that has a default is back at it"
        )
        yield warning("second-header", place, message)


def _doubles(found: Scan) -> Iterator[Finding]:
    for earlier, later in found.ini.duplicates():
        message = f"{later.key} of [{later.section}] stands at {earlier.place} too: the last one counts"
        if later.section == "databases" and earlier.value != later.value:
            message += ", and every RELOAD may replace its server connections"
        yield warning("double", later.place, message)


# -- entries ----------------------------------------------------------------------------------------


def _entry(entry: Entry, running: Mapping[str, Setting], version: Version) -> Iterator[Finding]:
    if entry.quoted and version < _QUOTED_KEYS:
        yield error("quoted-key", entry.place, "before 1.25 a key in quotes is a syntax error")
    match entry.section:
        case "pgbouncer":
            yield from _setting(entry, running, version)
        case "databases":
            yield from _database(entry, version)
        case "users":
            yield from _options(entry, version)
        case "peers" if version >= PEERS_SINCE:
            yield from _peer(entry, version)
        case _:
            pass


def _setting(entry: Entry, running: Mapping[str, Setting], version: Version) -> Iterator[Finding]:
    key, value, place = entry.key, entry.value, entry.place
    setting = running.get(key)
    if setting is None:
        yield error(
            "unknown-key", place, f"PgBouncer {version} knows no setting {key}{_known(key, running, version)}"
        )
        return
    try:
        if key == "auth_type":
            word(value, tuple(known for known in AUTH_TYPES if known != "ldap" or version >= _LDAP))
        shown = printed(key, value)
    except ValueError as refused:
        if setting.changeable is False:
            message = f"{key} {refused}: RELOAD passes over it, but PgBouncer would not start with it"
            yield warning("bad-value-at-start", place, message)
        else:
            yield error("bad-value", place, f"{key} {refused}")
        return
    if shown is None and KINDS.get(key) is Kind.TIME:
        yield warning(
            "odd-value", place, f"{key} is too large a number: PgBouncer makes something else of it"
        )
    if key == "auth_type" and shown in BUILD_DEPENDENT and setting.value != shown:
        message = f"auth_type {shown} is known to some builds only; others refuse it, and RELOAD fails"
        yield warning("build-dependent", place, message)
    if key == "default_pool_size" and shown == "0" and version >= _UNLIMITED_POOLS:
        yield warning("unlimited", place, "default_pool_size = 0 is unlimited from 1.24 on (trap T24)")
    if key == "conffile" and shown != setting.value:
        yield warning("conffile", place, "conffile: the next RELOAD reads another file than this")


def _known(key: str, running: Mapping[str, Setting], version: Version) -> str:
    if key in SINCE and version < SINCE[key]:
        return f" ({SINCE[key].major}.{SINCE[key].minor} and later do)"
    if key in GONE_SINCE and version >= GONE_SINCE[key]:
        return f" (it is gone since {GONE_SINCE[key].major}.{GONE_SINCE[key].minor})"
    near = get_close_matches(key, running, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _database(entry: Entry, version: Version) -> Iterator[Finding]:
    if entry.key == RESERVED_DATABASE:
        yield error("reserved", entry.place, f"{RESERVED_DATABASE} is the admin console's own name")
    if len(entry.key.encode("utf-8", "surrogateescape")) > _LONGEST_DATABASE_BYTES:
        message = f"the name of a database is at most {_LONGEST_DATABASE_BYTES} bytes long"
        yield error("long-name", entry.place, message)
    for finding in _options(entry, version):
        if entry.key != CATCH_ALL or finding.severity is not Severity.ERROR:
            yield finding
            continue
        # PgBouncer reads `*` only when somebody asks for a database that is not listed.
        message = f"{finding.message}; RELOAD succeeds, but no database that is not listed can be opened"
        yield error("bad-catch-all", entry.place, message)


def _peer(entry: Entry, version: Version) -> Iterator[Finding]:
    number = int(entry.key) if entry.key.isascii() and entry.key.isdigit() else 0
    if not 0 < number <= _LARGEST_PEER_ID:
        message = f"the id of a peer must be a number from 1 to {_LARGEST_PEER_ID}"
        yield error("peer-id", entry.place, message)
    found = tuple(_options(entry, version))
    yield from found
    if not any(finding.rule == "connection-string" for finding in found) and "host" not in dict(
        connection_pairs(entry)
    ):
        yield error("peer-host", entry.place, f"peer {entry.key} has no host")


def _options(entry: Entry, version: Version) -> Iterator[Finding]:
    """Judge the `key=value` pairs of a line."""
    try:
        pairs = connection_pairs(entry)
    except IniError:
        # Not the reader's own words: a password without its quotes would be in them.
        message = (
            f"the line of {entry.key} cannot be read: it has to be key=value pairs, a value with spaces in "
            "single quotes, none empty"
        )
        yield error("connection-string", entry.place, message)
        return
    known = OPTIONS[entry.section]
    past_password = False
    for name, value in pairs:
        if name not in known or version < known[name]:
            told = _unknown(name, known, version) if name in known or not past_password else _BEHIND_PASSWORD
            yield error("unknown-option", entry.place, f"{entry.key}: {told}")
        elif name in WORDS:
            try:
                word(value, WORDS[name])
            except ValueError as refused:
                yield error("bad-option", entry.place, f"{entry.key}: {name} {refused}")
        elif name in NUMBERS:
            yield from _number(entry, name, value)
        past_password = past_password or name == "password"


_BEHIND_PASSWORD = "what follows the password is no option: a password with spaces stands in single quotes"


def _unknown(name: str, known: Mapping[str, Version], version: Version) -> str:
    if name in known:
        since = known[name]
        return f"{name} came with {since.major}.{since.minor}; PgBouncer {version} refuses it"
    near = get_close_matches(name, known, n=1)
    return f"there is no option {name}{f' (did you mean {near[0]}?)' if near else ''}"


def _number(entry: Entry, name: str, value: str) -> Iterator[Finding]:
    number = atoi(value)
    if name == "port" and number == 0:
        yield error("bad-option", entry.place, f"{entry.key}: port must be a number from 1 to 65535")
    elif name == "port" and not 0 < number <= 65535:
        yield warning("odd-option", entry.place, f"{entry.key}: there is no port {number}")
    elif not is_whole(value):
        yield warning(
            "odd-option", entry.place, f"{entry.key}: {name} is no whole number; PgBouncer takes {number}"
        )
