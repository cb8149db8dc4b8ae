"""Reads a password file by libpq's own rules (libpq manual, "The Password File"; fe-connect.c).

One difference, for fleets behind tunnels: a line's host field may be any of several names of the node,
since libpq would see only the tunnel's near end. No message holds a password.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from console.errors import CredentialError


def default_file(environ: Mapping[str, str], home: Path) -> Path:
    """Return the file libpq would read: `$PGPASSFILE`, else `~/.pgpass`."""
    named = environ.get("PGPASSFILE")
    return Path(named) if named else home / ".pgpass"


def host_candidates(node: str, host: str | None) -> tuple[str, ...]:
    """Return what a line's host field may be for a node: its name, its address; `localhost` for a socket."""
    names = [node, *([host] if host else [])]
    if host is None or host.startswith(("/", "@")):
        names.append("localhost")
    return tuple(dict.fromkeys(names))


def read_password(file: Path, *, hosts: Sequence[str], port: int, database: str, user: str) -> str | None:
    """Return the password of the first line that matches; None when none does or the file is absent.

    "" is what a line with an empty last field says.

    Raises:
        CredentialError: others may read the file (libpq refuses it as well), it is no plain file, or it
            cannot be read.
    """
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise CredentialError("the password file is not a plain file", where=str(file))
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CredentialError(
                f"the password file is not used: others may read it (mode {stat.S_IMODE(found.st_mode):04o})",
                where=str(file),
                hint=f"chmod 0600 {file}",
            )
        text = file.read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CredentialError(
            f"the password file cannot be read: {error.strerror or error}", where=str(file)
        ) from None
    password = first_match(text, hosts=hosts, port=port, database=database, user=user)
    if password is not None and any("\udc80" <= character <= "\udcff" for character in password):
        raise CredentialError("the password in the matching line is not UTF-8 text", where=str(file))
    return password


def first_match(text: str, *, hosts: Sequence[str], port: int, database: str, user: str) -> str | None:
    """Return the password of the first matching line of `text`, its escapes taken off; None without one."""
    for line in text.split("\n"):
        entry = line.rstrip("\r")
        if entry.startswith("#"):
            continue
        for host in hosts:
            rest = _after_fields(entry, (host, str(port), database, user))
            if rest is not None:
                return _unescaped(rest)
    return None


def _after_fields(entry: str, values: Sequence[str]) -> str | None:
    for value in values:
        rest = _after_field(entry, value)
        if rest is None:
            return None
        entry = rest
    return entry


def _after_field(entry: str, value: str) -> str | None:
    """Return what follows the first field if it is `value` or `*`; None if it is not (pwdfMatchesString)."""
    if entry.startswith("*:"):
        return entry[2:]
    at = matched = 0
    while at < len(entry):
        if entry[at] == ":" and matched == len(value):
            return entry[at + 1 :]
        if entry[at] == "\\":
            at += 1
        if matched == len(value) or at >= len(entry) or entry[at] != value[matched]:
            return None
        at += 1
        matched += 1
    return None


def _unescaped(field: str) -> str:
    """Return the field up to an unescaped colon, backslashes taken off."""
    password = ""
    at = 0
    while at < len(field) and field[at] != ":":
        if field[at] == "\\" and at + 1 < len(field):
            at += 1
        password += field[at]
        at += 1
    return password
