"""Reads PgBouncer's `auth_file` as `load_auth_file` of loader.c does, and says where it goes wrong.

PgBouncer blanks every password first and then fills them in line by line: from a mistake on, nobody below it
can log in, and RELOAD still answers success (seen on 1.18, 1.24 and 1.26). Secrets are compared and counted
here, never kept in words: an entry tells where its secret stands in the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from console.config.scram import SecretKind, secret_kind
from console.model.version import Version

MAX_USERNAME_BYTES = 127
_MAX_SECRET_BYTES = 2047
_MAX_SECRET_BYTES_NEW = 65_530
_LONG_SECRETS = Version(1, 26)
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class AuthUser:
    """One entry."""

    name: str
    line: int
    """1-based."""
    empty: bool
    """It has no secret: no password opens it."""
    fingerprint: str = field(repr=False)
    """Of the secret: good for nothing but telling whether two are the same."""
    kind: SecretKind = SecretKind.PLAINTEXT
    span: tuple[int, int] = (0, 0)
    """Where its secret stands in the file, the quotes around it not counted."""

    def secret_in(self, content: bytes) -> str:
        """Return its secret from the file it was read from."""
        raw = content[slice(*self.span)].replace(b'""', b'"')
        return raw.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class AuthMistake:
    """A line at which users are lost."""

    line: int
    message: str
    """Holds nothing of the line itself: whatever stands there may be a secret."""


@dataclass(frozen=True, slots=True)
class AuthFile:
    """What PgBouncer makes of it."""

    users: tuple[AuthUser, ...]
    """In order; of several with one name the last counts."""
    mistakes: tuple[AuthMistake, ...]
    doubles: tuple[tuple[AuthUser, AuthUser], ...]
    """(earlier, later) of one name."""

    @property
    def by_name(self) -> Mapping[str, AuthUser]:
        """Return the entry that counts for each name."""
        return {user.name: user for user in self.users}


def read_auth_file(content: bytes, version: Version) -> AuthFile:
    """Read an auth_file."""
    return _Reader(content.split(b"\0", 1)[0], version).read(cut=b"\0" in content)


class _Broken(Exception):
    """PgBouncer stops here; its text says why."""


class _Reader:
    def __init__(self, text: bytes, version: Version) -> None:
        self._text = text
        self._longest = _MAX_SECRET_BYTES_NEW if version >= _LONG_SECRETS else _MAX_SECRET_BYTES
        self._users: list[AuthUser] = []
        self._mistakes: list[AuthMistake] = []
        self._line = 1
        self._counted = 0

    def read(self, *, cut: bool) -> AuthFile:
        text, at = self._text, 0
        while True:
            while at < len(text) and text[at : at + 1].isspace():
                at += 1
            if at >= len(text):
                break
            if text[at : at + 1] == b";":
                at = self._line_end(at)
                continue
            try:
                at = self._entry(at)
            except _Broken as broken:
                self._wrong(at, f"{broken}: nobody from here on can log in")
                return self._result()
        if cut:
            self._wrong(at, "a zero byte: PgBouncer reads no further")
        return self._result()

    def _entry(self, start: int) -> int:
        """Read one entry and return where its line ends."""
        if self._text[start : start + 1] != b'"':
            bom = start == 0 and self._text.startswith(_BOM)
            raise _Broken("a byte order mark" if bom else 'an entry has to begin with "')
        name, at = self._quoted(start + 1, "name")
        if len(name) > MAX_USERNAME_BYTES:
            raise _Broken(f"a name longer than {MAX_USERNAME_BYTES} bytes")
        opening = self._text.find(b'"', at)
        if opening < 0:
            raise _Broken("an entry without a secret")
        secret, end = self._quoted(opening + 1, "secret")
        if len(secret) > self._longest:
            raise _Broken(f"a secret longer than {self._longest} bytes")
        if b"\n" in self._text[start:end]:
            # PgBouncer takes the next line's name for this one's secret, and says nothing.
            # Neither is kept here: what looks like a name may be a secret.
            self._wrong(start, "the secret is not on the name's line: this user and the next are mixed up")
            return self._line_end(end)
        bare = secret.replace(b'""', b'"')
        self._users.append(
            AuthUser(
                name.replace(b'""', b'"').decode("utf-8", "backslashreplace"),
                self._line_at(start),
                empty=not bare,
                fingerprint=hashlib.sha256(bare).hexdigest(),
                kind=secret_kind(bare.decode("utf-8", "surrogateescape")),
                span=(opening + 1, end - 1),
            )
        )
        return self._line_end(end)

    def _quoted(self, at: int, what: str) -> tuple[bytes, int]:
        """Return what stands up to the closing quote, quotes still doubled, and the place behind it."""
        start = at
        while True:
            at = self._text.find(b'"', at)
            if at < 0:
                raise _Broken(f"the quotes of a {what} do not end")
            if self._text[at + 1 : at + 2] != b'"':
                return self._text[start:at], at + 1
            at += 2

    def _wrong(self, at: int, message: str) -> None:
        self._mistakes.append(AuthMistake(self._line_at(at), message))

    def _line_at(self, at: int) -> int:
        if at > self._counted:
            self._line += self._text.count(b"\n", self._counted, at)
            self._counted = at
        return self._line

    def _line_end(self, at: int) -> int:
        end = self._text.find(b"\n", at)
        return len(self._text) if end < 0 else end

    def _result(self) -> AuthFile:
        first: dict[str, AuthUser] = {}
        doubles = []
        for user in self._users:
            earlier = first.setdefault(user.name, user)
            if earlier is not user:
                doubles.append((earlier, user))
        return AuthFile(tuple(self._users), tuple(self._mistakes), tuple(doubles))
