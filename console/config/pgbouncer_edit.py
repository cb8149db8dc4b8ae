"""Changes keys of PgBouncer's ini files where they stand, and leaves every other byte as it is.

The line that is in force is changed: the last one of its key, and in `[pgbouncer]` one below the last header,
since each header takes what is above it back. A new line goes below a commented-out one of its key, else
below the section's last line in the file of its header; a section that is missing is added to the main file.
What comes out is read again: it must say exactly what was asked, and of all else what it said before.

Pure. No message holds a value: it may be a password.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from console.config.pgbouncer_ini import (
    MAIN_SECTION,
    Entry,
    IniError,
    Place,
    Scan,
    Section,
    decoded,
    encoded,
)
from console.config.pgbouncer_keys import Change, EditError, written_key
from console.config.pgbouncer_pairs import with_pair, without_pair
from console.config.pgbouncer_texts import ConfigTexts, HostFile, scan

_SPACE = " \t\n\v\f\r"
_SEPARATORS = ("=", " = ", "= ")
_CREATED = frozenset({"users"})
"""Sections in which a pair makes a line that is not there; a database needs to be told where it is."""

InForce = Mapping[tuple[str, str], Entry]
"""The line that counts, by section and key."""


def apply_changes(texts: ConfigTexts, changes: Iterable[Change], sticky: Collection[str] = ()) -> ConfigTexts:
    """Return the texts as they would be.

    Args:
        texts: as read; everything that is included must be among them.
        changes: one after another.
        sticky: settings without a default: a second `[pgbouncer]` does not take them back.

    Raises:
        EditError: it cannot be done, or not without touching something else.
    """
    wanted = {at: entry.value for at, entry in in_force(_scanned(texts), sticky).items()}
    for change in changes:
        found = _scanned(texts)
        value = _whole_value(change, in_force(found, sticky))
        at = (change.key.section, change.key.name)
        if value is None:
            texts = _removed(texts, found, at)
            wanted.pop(at, None)
        else:
            texts = _set(texts, found, at, value, sticky)
            wanted[at] = value
    got = {at: entry.value for at, entry in in_force(_scanned(texts), sticky).items()}
    if got != wanted:
        section, name = min(at for at in got.keys() | wanted.keys() if got.get(at) != wanted.get(at))
        raise EditError(
            f"{name} of [{section}] would not read as asked, or change along: the files are laid out in a "
            "way that is not changed by machine",
            hint="edit them by hand, then pooldeck reload",
        )
    return texts


def in_force(found: Scan, sticky: Collection[str] = ()) -> InForce:
    """Return the lines that count."""
    lines: dict[tuple[str, str], Entry] = {}
    for step in found.steps:
        if isinstance(step, Entry):
            lines[step.section, step.key] = step
        elif step.name == MAIN_SECTION:
            lines = {at: one for at, one in lines.items() if at[0] != MAIN_SECTION or at[1] in sticky}
    return lines


def changed_paths(old: ConfigTexts, new: ConfigTexts) -> tuple[str, ...]:
    """Return the files whose bytes differ, the main file last: it may name the others."""
    paths = [
        path
        for path, file in new.files.items()
        if path in old.files and file.content is not None and file.content != old.files[path].content
    ]
    return tuple(sorted(paths, key=lambda path: path == new.root))


def _scanned(texts: ConfigTexts) -> Scan:
    found, unread = scan(texts)
    for path in (*map(str, found.ini.files), *unread):
        content = texts.file(path).content
        if content is not None and b"\0" in content:
            raise EditError("it has a zero byte, which ends it for PgBouncer", where=path)
    return found


def _whole_value(change: Change, lines: InForce) -> str | None:
    """Return what the key's line is to hold; None: it goes."""
    key = change.key
    entry = lines.get((key.section, key.name))
    if key.pair is None:
        _refuse_misspelt_pair(change, lines)
        return change.value
    if entry is None:
        if change.value is None:
            return None
        if key.section not in _CREATED:
            raise EditError(
                f"[{key.section}] has no line of {key.name}",
                where=str(key),
                hint=f"give the whole of it: {key.section}.{key.name}='host=… dbname=…'",
            )
        entry = _nothing(key.section, key.name)
    try:
        if change.value is None:
            return without_pair(entry, key.pair)
        return with_pair(entry, key.pair, change.value)
    except IniError as error:
        raise EditError(
            f"the line of {key.name} cannot be read, so no single option of it can be changed",
            where=error.where,
        ) from None


def _refuse_misspelt_pair(change: Change, lines: InForce) -> None:
    key = change.key
    base, dot, option = key.name.rpartition(".")
    if dot and (key.section, key.name) not in lines and (key.section, base) in lines and not key.is_quoted:
        raise EditError(
            f"[{key.section}] has {base}, and no option is called {option}",
            where=str(key),
            hint=f'for a line that is called {key.name} write {key.section}."{key.name}"',
        )


def _nothing(section: str, name: str) -> Entry:
    return Entry(section, name, "", Place(Path("/"), 0))


# -- in place ---------------------------------------------------------------------------------------


def _set(
    texts: ConfigTexts, found: Scan, at: tuple[str, str], value: str, sticky: Collection[str]
) -> ConfigTexts:
    entry = in_force(found, sticky).get(at)
    if entry is None:
        return _added(texts, found, at, value)
    if entry.value == value:
        return texts
    path = str(entry.place.file)
    text = _text(texts, path)
    start, end = entry.value_start, entry.value_start + len(entry.value)
    gap = " " if value and not entry.value and text[start - 1 : start] == "=" else ""
    return _with_text(texts, path, f"{text[:start]}{gap}{value}{text[end:]}")


def _removed(texts: ConfigTexts, found: Scan, at: tuple[str, str]) -> ConfigTexts:
    """Drop every line of a key: one further up would come into force."""
    section, name = at
    lines = {
        (str(entry.place.file), entry.start): entry
        for entry in found.ini.entries
        if (entry.section, entry.key) == (section, name)
    }
    for (path, start), entry in sorted(lines.items(), reverse=True):
        text = _text(texts, path)
        line_start = text.rfind("\n", 0, start) + 1
        end = _line_end(text, entry.value_start + len(entry.value))
        if text[line_start:start].strip(_SPACE):
            # Behind `[section]` on one line: that stays, and so does the line's end.
            text = text[:start] + text[end - (text[end - 1 : end] == "\r") :]
        else:
            text = text[:line_start] + text[end + 1 :]
        texts = _with_text(texts, path, text)
    return texts


# -- new lines --------------------------------------------------------------------------------------


def _added(texts: ConfigTexts, found: Scan, at: tuple[str, str], value: str) -> ConfigTexts:
    section, name = at
    key = written_key(section, name)
    headers = [
        (number, step)
        for number, step in enumerate(found.steps)
        if isinstance(step, Section) and step.name == section
    ]
    if not headers:
        return _with_section(texts, section, _line(key, value))
    number, header = headers[-1]
    path = str(header.place.file)
    text = _text(texts, path)
    end = _region_end(text, header, found.steps[number + 1 :])
    return _with_text(texts, path, _with_line(text, header, end, found, key, value))


def _with_line(text: str, header: Section, end: int, found: Scan, key: str, value: str) -> str:
    commented = re.compile(rf"^([ \t]*)[;#]+[ \t]*{re.escape(key)}[ \t]*=", re.MULTILINE)
    remarks = list(commented.finditer(text, header.end, end))
    if remarks:
        return _below(text, remarks[-1].start(), _line(key, value, remarks[-1][1]))
    own = [
        entry
        for entry in found.ini.entries
        if entry.section == header.name
        and (entry.place.file, entry.place.included_from) == (header.place.file, header.place.included_from)
        and header.end <= entry.start < end
    ]
    if own:
        last = own[-1]
        line_start = text.rfind("\n", 0, last.start) + 1
        before = text[line_start : last.start]
        indent = "" if before.strip(" \t") else before
        return _below(text, last.value_start + len(last.value), _line(key, value, indent, _style(text, last)))
    line_end = _line_end(text, header.end)
    rest = text[header.end : line_end].strip(_SPACE)
    if not rest or rest[0] in ";#":
        return _below(text, header.end, _line(key, value))
    newline = _newline(text, line_end)
    return f"{text[: header.end]}{newline}{_line(key, value)}{newline}{text[header.end :]}"


def _region_end(text: str, header: Section, later: Iterable[Section | Entry]) -> int:
    """Return where the header's section ends in its own file: at the next header, also an included one."""
    own = header.place
    depth = len(own.included_from)
    for step in later:
        if not isinstance(step, Section):
            continue
        way = step.place.included_from
        if (step.place.file, way) == (own.file, own.included_from):
            return step.start
        file, _, line = way[depth].rpartition(":") if len(way) > depth else ("", "", "")
        if way[:depth] == own.included_from and file == str(own.file):
            return max(header.end, _line_start(text, int(line)))
        return len(text)
    return len(text)


def _with_section(texts: ConfigTexts, section: str, line: str) -> ConfigTexts:
    text = _text(texts, texts.root)
    newline = _newline(text, len(text))
    gap = "" if not text else newline if text.endswith("\n") else newline * 2
    return _with_text(texts, texts.root, f"{text}{gap}[{section}]{newline}{line}{newline}")


def _line(key: str, value: str, indent: str = "", separator: str = " = ") -> str:
    return f"{indent}{key}{separator}{value}".rstrip(" ")


def _style(text: str, entry: Entry) -> str:
    key_end = entry.start + len(entry.key) + 2 * entry.quoted
    separator = text[key_end : entry.value_start]
    return separator if separator in _SEPARATORS else " = "


def _below(text: str, at: int, line: str) -> str:
    """Return the text with a line below the one that `at` is in."""
    end = _line_end(text, at)
    newline = _newline(text, end)
    if end == len(text):
        return f"{text}{newline}{line}"
    return f"{text[: end + 1]}{line}{newline}{text[end + 1 :]}"


def _newline(text: str, line_end: int) -> str:
    if line_end < len(text):
        return "\r\n" if text[line_end - 1 : line_end] == "\r" else "\n"
    return "\r\n" if "\r\n" in text else "\n"


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _line_start(text: str, line: int) -> int:
    at = 0
    for _ in range(line - 1):
        at = text.find("\n", at) + 1
    return at


def _text(texts: ConfigTexts, path: str) -> str:
    file = texts.file(path)
    if file.content is None:
        raise EditError(f"it cannot be changed: {file.why}", where=path)
    return decoded(file.content)


def _with_text(texts: ConfigTexts, path: str, text: str) -> ConfigTexts:
    return texts.with_files({path: HostFile(path, encoded(text))})
