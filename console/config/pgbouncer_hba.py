"""Reads PgBouncer's `auth_hba_file` as `hba_load_rules` of hba.c does: which lines are rules, which lost.

A line that PgBouncer cannot read is left out with a word in its log, and RELOAD answers success; a file
without a single rule lets nobody in, the console's admins neither (seen on 1.18, 1.24 and 1.26).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from console.model.version import Version

_NEWER_GRAMMAR = Version(1, 23)
"""Brought `all` as an address, `replication` as a database and `map=`."""
_LDAP = Version(1, 25)
_TYPES = ("local", "host", "hostssl", "hostnossl")
_METHODS = ("trust", "reject", "md5", "password", "peer", "cert", "scram-sha-256")
_TOKEN = re.compile(r'\s*(?:(?P<comma>,)|"(?P<text>(?:[^"]|"")*)"|(?P<word>[^\s,#"][^\s,#"]*))')
_END = re.compile(r"\s*(?:#.*)?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HbaFile:
    """What PgBouncer makes of it."""

    rules: int
    ignored: tuple[tuple[int, str], ...]
    """Lines that are no rule for this version, 1-based, and why."""
    never_match: tuple[int, ...]
    """Lines whose address does not lie in its own mask: no client fits them."""


class _Ignored(Exception):
    """This line is left out; its text says why."""


def read_hba_file(content: bytes, version: Version) -> HbaFile:
    """Read an auth_hba_file."""
    rules = 0
    ignored: list[tuple[int, str]] = []
    never: list[int] = []
    for number, raw in enumerate(content.split(b"\n"), start=1):
        line = raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        try:
            rule = _Line(line, version)
            if rule.is_empty:
                continue
            fits = rule.parse()
        except _Ignored as reason:
            ignored.append((number, str(reason)))
            continue
        rules += 1
        if not fits:
            never.append(number)
    return HbaFile(rules, tuple(ignored), tuple(never))


class _Line:
    """One line, word by word; what cannot be read raises `_Ignored`."""

    def __init__(self, line: str, version: Version) -> None:
        self._tokens = _tokens(line)
        self._at = 0
        self._newer = version >= _NEWER_GRAMMAR
        self._ldap = version >= _LDAP

    @property
    def is_empty(self) -> bool:
        return not self._tokens

    def parse(self) -> bool:
        """Return whether its address lies in its mask."""
        kind = self._word()
        if kind not in _TYPES:
            raise _Ignored("its first word is none of " + ", ".join(_TYPES))
        self._names("database")
        self._names("user")
        fits = kind == "local" or self._address()
        method = self._word()
        if method == "ldap" and self._ldap:
            return fits
        if method not in _METHODS:
            raise _Ignored("this version has no such method")
        if self._newer and self._peek() is not None:
            word = self._word()
            if not word.startswith("map="):
                raise _Ignored("something follows the method")
        if self._peek() is not None:
            raise _Ignored("something follows the method")
        return fits

    def _names(self, what: str) -> None:
        while True:
            token = self._next()
            if token is None or token[0] == "comma":
                raise _Ignored(f"a {what} is missing")
            kind, text = token
            if kind == "word":
                if text in ("samerole", "samegroup") or text.startswith("+"):
                    raise _Ignored("roles and groups are not supported")
                if text == "replication" and not self._newer:
                    raise _Ignored("replication is not supported before 1.23")
            if self._peek() != ("comma", ","):
                return
            self._at += 1

    def _address(self) -> bool:
        text = self._word()
        if text == "all" and self._newer:
            return True
        address, slash, bits = text.partition("/")
        try:
            found = ipaddress.ip_address(address)
            all_bits = found.max_prefixlen
            if slash:
                if not bits.isascii() or not (bits or "0").isdigit() or int(bits or 0) > all_bits:
                    raise _Ignored("its mask is too long or no number")
                outside = (1 << (all_bits - int(bits or 0))) - 1
            else:
                mask = ipaddress.ip_address(self._word())
                if mask.version != found.version:
                    raise _Ignored("address and mask are of different kinds")
                outside = (1 << all_bits) - 1 - int(mask)
        except ValueError:
            raise _Ignored("its address is none (names are not supported), or has no mask") from None
        return int(found) & outside == 0

    def _word(self) -> str:
        token = self._next()
        if token is None or token[0] != "word":
            raise _Ignored("a word is missing")
        return token[1]

    def _peek(self) -> tuple[str, str] | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> tuple[str, str] | None:
        token = self._peek()
        self._at += 1
        return token


def _tokens(line: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while not _END.match(line, at):
        token = _TOKEN.match(line, at)
        if token is None:
            raise _Ignored("its quotes do not end")
        kind = token.lastgroup or ""
        found.append((kind, token[kind]))
        at = token.end()
    return found
