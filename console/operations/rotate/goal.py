"""What a run of a rotation is to bring about: the new secret everywhere, or the old one again.

Pure. A rotation, its `--resume` and its `--undo` are the same steps with another goal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from console.config.pgbouncer_auth import read_auth_file
from console.config.pgbouncer_auth_edit import edit_auth_file
from console.config.scram import SecretKind
from console.model.version import Version


@dataclass(frozen=True, slots=True)
class Goal:
    """How everything is to be in the end."""

    stored: Mapping[str, str | None] = field(repr=False)
    """The verifier by Postgres node; None: not known, so it cannot be brought about there."""
    contents: Mapping[str, bytes] = field(repr=False)
    """The auth_file by pooler."""
    secret: SecretStr | None
    """What opens it; None: not known here, so no login can be tried."""
    other: SecretStr | None
    """What must not open it any more; None: not known here."""


def new_content(content: bytes, version: Version, role: str, verifier: str, secret: SecretStr) -> bytes:
    """Return an auth_file in which the role has the new secret; plaintext stays plaintext, all else is SCRAM.

    Raises:
        UsageError: it cannot be written.
    """
    entry = read_auth_file(content, version).by_name.get(role)
    plaintext = entry is not None and entry.kind is SecretKind.PLAINTEXT
    stored = secret.get_secret_value() if plaintext else verifier
    return edit_auth_file(content, version, {role: stored}).content


def verifier_of_entry(content: bytes, version: Version, role: str) -> str | None:
    """Return the SCRAM secret that an auth_file has of a role; None: it has none."""
    entry = read_auth_file(content, version).by_name.get(role)
    return entry.secret_in(content) if entry is not None and entry.kind is SecretKind.SCRAM else None
