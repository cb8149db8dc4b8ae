"""Where in a TOML text a key stands: `tomllib` tells values only, mistakes need lines.

`key_lines` reads a text that `tomllib` has already accepted, so it checks nothing and only keeps count.
It must not interpret values.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]
"""A place in the parsed document: keys, and 0-based positions in arrays."""


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """Return the 1-based line of every key, table header and array element in `text`.

    A table that has several headers (`[a.b]` before `[a]`) is where it is named first. The text must be
    valid TOML: anything else gives a wrong answer or `ValueError`.
    """
    return _Scanner(text.replace("\r\n", "\n")).scan()


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """Return the line of `path`, or of the nearest thing around it; None when nothing of it is there."""
    for length in range(len(path), 0, -1):
        line = lines.get(path[:length])
        if line is not None:
            return line
    return None


class _Scanner:
    """One pass over a valid TOML text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted_to = 0
        self._line = 1
        self._lines: dict[KeyPath, int] = {}
        self._tables: dict[KeyPath, int] = {}
        """Arrays of tables, and how many of each were seen."""

    def scan(self) -> Mapping[KeyPath, int]:
        table: KeyPath = ()
        self._skip_blank()
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(closing="]]", is_array=True)
            elif self._peek() == "[":
                table = self._header(closing="]", is_array=False)
            else:
                self._key_value(table)
            self._skip_blank()
        return self._lines

    def _header(self, *, closing: str, is_array: bool) -> KeyPath:
        line = self._here()
        self._at += len(closing)
        parts = self._dotted_key()
        self._at += len(closing)
        path = self._inside(parts[:-1], line)
        path = (*path, parts[-1])
        if is_array:
            position = self._tables.get(path, 0)
            self._tables[path] = position + 1
            self._note(path, line)
            path = (*path, position)
        elif path in self._tables:
            path = (*path, self._tables[path] - 1)
        self._note(path, line)
        return path

    def _inside(self, parts: list[str], line: int) -> KeyPath:
        """Follow `parts`; in an array of tables the last element is meant."""
        path: KeyPath = ()
        for part in parts:
            path = (*path, part)
            self._note(path, line)
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        return path

    def _key_value(self, table: KeyPath) -> None:
        line = self._here()
        path = table
        for part in self._dotted_key():
            path = (*path, part)
            self._note(path, line)
        self._skip_spaces()
        self._at += 1  # the equals sign
        self._skip_spaces()
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        start = self._peek()
        if start == "\0":
            raise ValueError("the TOML text ends inside a value")
        if start in "\"'":
            self._string()
        elif start == "[":
            self._array(path)
        elif start == "{":
            self._inline_table(path)
        else:
            while self._at < len(self._text) and self._peek() not in ",]}#\n":
                self._at += 1

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        position = 0
        self._skip_blank()
        while self._peek() != "]":
            self._note((*path, position), self._here())
            self._value((*path, position))
            position += 1
            self._skip_separator()
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        self._skip_blank()
        while self._peek() != "}":
            self._key_value(path)
            self._skip_separator()
        self._at += 1

    def _skip_separator(self) -> None:
        self._skip_blank()
        if self._peek() == ",":
            self._at += 1
        self._skip_blank()

    def _dotted_key(self) -> list[str]:
        parts = [self._one_key()]
        self._skip_spaces()
        while self._peek() == ".":
            self._at += 1
            parts.append(self._one_key())
            self._skip_spaces()
        return parts

    def _one_key(self) -> str:
        self._skip_spaces()
        start = self._at
        if self._peek() in "\"'":
            self._string()
            return str(tomllib.loads(f"key = {self._text[start : self._at]}")["key"])
        while self._at < len(self._text) and (self._peek().isalnum() or self._peek() in "_-"):
            self._at += 1
        if self._at == start:
            raise ValueError(f"no TOML key on line {self._here()}")
        return self._text[start : self._at]

    def _string(self) -> None:
        quote = self._peek()
        if self._text.startswith(quote * 3, self._at):
            self._at += 3
            self._skip_to(quote * 3, escapes=quote == '"')
            # Up to two more quotes belong to the text: """a"""" ends with one.
            while self._peek() == quote:
                self._at += 1
        else:
            self._at += 1
            self._skip_to(quote, escapes=quote == '"')

    def _skip_to(self, closing: str, *, escapes: bool) -> None:
        while not self._text.startswith(closing, self._at):
            if self._at >= len(self._text):
                raise ValueError("a TOML string has no end")
            self._at += 2 if escapes and self._peek() == "\\" else 1
        self._at += len(closing)

    def _skip_spaces(self) -> None:
        while self._peek() in (" ", "\t"):
            self._at += 1

    def _skip_blank(self) -> None:
        """Skip spaces, line ends and comments."""
        while self._peek() in (" ", "\t", "\n", "#"):
            if self._peek() == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            else:
                self._at += 1

    def _peek(self) -> str:
        """The character here; at the end a zero character, which no TOML text holds."""
        return self._text[self._at] if self._at < len(self._text) else "\0"

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _note(self, path: KeyPath, line: int) -> None:
        self._lines.setdefault(path, line)
