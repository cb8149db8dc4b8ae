"""Changes entries of PgBouncer's `auth_file`: in place, everything else byte for byte as it was.

What was made is read back by the reader that follows PgBouncer's own (`pgbouncer_auth`), and compared user by
user with what it was made from. No text of an error holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from console.config.pgbouncer_auth import MAX_USERNAME_BYTES, AuthFile, read_auth_file
from console.errors import UsageError
from console.model.version import Version


@dataclass(frozen=True, slots=True)
class AuthEdit:
    """A changed auth_file."""

    content: bytes = field(repr=False)
    changed: tuple[str, ...]
    """Users who have another secret now."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    users: int
    """How many entries it has now."""


def edit_auth_file(
    content: bytes, version: Version, secrets: Mapping[str, str], *, remove: frozenset[str] = frozenset()
) -> AuthEdit:
    """Give users another secret, take users out, or add some at the end.

    Args:
        content: the file as it is.
        version: of the PgBouncer that reads it.
        secrets: what each user's secret is to be; a user without an entry gets one.
        remove: users whose entries go, with their whole lines.

    Raises:
        UsageError: it has a mistake already, a name or secret cannot be written, or what was made does not
            read as it should.
    """
    before = _whole(content, version)
    for name, secret in secrets.items():
        _check(name, secret)
    pieces: list[bytes] = []
    at = 0
    for user in before.users:
        start, end = user.span
        if user.name in remove:
            line = content.rfind(b"\n", 0, _name_start(content, start)) + 1
            stop = content.find(b"\n", end)
            pieces.append(content[at : max(at, line)])
            at = len(content) if stop < 0 else stop + 1
        elif user.name in secrets:
            pieces += (content[at:start], _quoted(secrets[user.name]))
            at = end
    pieces.append(content[at:])
    made = b"".join(pieces)
    added = tuple(name for name in secrets if name not in before.by_name)
    if added and made and not made.endswith(b"\n"):
        made += b"\r\n" if made.count(b"\r\n") == made.count(b"\n") > 0 else b"\n"
    for name in added:
        made += b'"' + _quoted(name) + b'" "' + _quoted(secrets[name]) + b'"\n'
    gone = tuple(name for name in before.by_name if name in remove)
    _compare(before, made, version, secrets, remove)
    changed = tuple(
        name
        for name, user in before.by_name.items()
        if name in secrets and user.secret_in(content) != secrets[name]
    )
    return AuthEdit(made, changed, added, gone, len(read_auth_file(made, version).users))


def _whole(content: bytes, version: Version) -> AuthFile:
    read = read_auth_file(content, version)
    if read.mistakes:
        first = read.mistakes[0]
        raise UsageError(f"the auth_file has a mistake in line {first.line}: {first.message}")
    return read


def _check(name: str, secret: str) -> None:
    for what, text in (("a name", name), ("a secret", secret)):
        if any(char in text for char in "\0\n\r"):
            raise UsageError(f"{what} with a line break or a zero byte cannot stand in an auth_file")
    if not name or len(name.encode("utf-8", "surrogateescape")) > MAX_USERNAME_BYTES:
        raise UsageError(f"a name in an auth_file has 1 to {MAX_USERNAME_BYTES} bytes")


def _quoted(text: str) -> bytes:
    return text.replace('"', '""').encode("utf-8", "surrogateescape")


def _name_start(content: bytes, secret_start: int) -> int:
    """Return where the entry begins whose secret begins there: names hold no line break that counts here."""
    return content.rfind(b"\n", 0, secret_start) + 1


def _compare(
    before: AuthFile, made: bytes, version: Version, secrets: Mapping[str, str], remove: frozenset[str]
) -> None:
    """Raise unless `made` reads as the old file with exactly the changes that were asked for."""
    after = read_auth_file(made, version)
    kept = [user for user in before.users if user.name not in remove]
    added = [name for name in secrets if name not in before.by_name]
    names = [user.name for user in kept] + added
    if after.mistakes or [user.name for user in after.users] != names:
        raise UsageError("the changed auth_file would not read as the old one does, so it was not written")
    for user, old in zip(after.users, kept, strict=False):
        if user.name not in secrets and user.fingerprint != old.fingerprint:
            raise UsageError(f"the changed auth_file would give {user.name} another secret")
    for user in after.users:
        if user.name in secrets and user.secret_in(made) != secrets[user.name]:
            raise UsageError(f"the changed auth_file would not give {user.name} the new secret")
