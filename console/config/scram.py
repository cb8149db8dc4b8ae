"""Password verifiers as PostgreSQL stores them, made and read here: no server ever sees the clear password.

SCRAM-SHA-256 by RFC 5802 and 7677, with SASLprep as PostgreSQL's `pg_saslprep` does it; md5 as before
PostgreSQL 10. Nothing here keeps a password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_ITERATIONS = 4096
"""Of PostgreSQL and of PgBouncer's `scram_iterations`, where nobody says otherwise."""
SALT_BYTES = 16
_KEY_BYTES = 32
_MD5 = re.compile(r"md5[0-9a-f]{32}")
_SCRAM = re.compile(r"SCRAM-SHA-256\$(\d+):([^$:]*)\$([^$:]*):([^$:]*)")
_PROHIBITED = (
    *(stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4),
    *(stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8),
    *(stringprep.in_table_c9, stringprep.in_table_a1),
)


class SecretKind(StrEnum):
    """What a stored secret is, as PgBouncer's `get_password_type` tells it."""

    PLAINTEXT = "plaintext"
    MD5 = "md5"
    SCRAM = "SCRAM secret"
    EMPTY = "no secret"
    """No password opens it."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A SCRAM-SHA-256 verifier, taken apart."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Verifier | None:
        """Return what `text` says; None when it is no such verifier."""
        found = _SCRAM.fullmatch(text)
        if found is None or not 1 <= int(found[1]) < 2**31:
            return None
        try:
            salt, stored, server = (base64.b64decode(part, validate=True) for part in found.groups()[1:])
        except binascii.Error:
            return None
        if not salt or len(stored) != _KEY_BYTES or len(server) != _KEY_BYTES:
            return None
        return cls(int(found[1]), salt, stored, server)

    @classmethod
    def of(
        cls, password: str, *, salt: bytes | None = None, iterations: int = DEFAULT_ITERATIONS
    ) -> Verifier:
        """Make one; `salt` None: a random one."""
        salt = os.urandom(SALT_BYTES) if salt is None else salt
        salted = hashlib.pbkdf2_hmac("sha256", saslprep(password), salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        return cls(
            iterations,
            salt,
            hashlib.sha256(client_key).digest(),
            hmac.digest(salted, b"Server Key", "sha256"),
        )

    def __str__(self) -> str:
        salt, stored, server = (
            base64.b64encode(part).decode() for part in (self.salt, self.stored_key, self.server_key)
        )
        return f"SCRAM-SHA-256${self.iterations}:{salt}${stored}:{server}"

    @property
    def fingerprint(self) -> str:
        """Eight hex digits to tell two verifiers apart; all that may be shown of one."""
        return fingerprint(str(self))

    def opens_with(self, password: str) -> bool:
        """Say whether this is a verifier of `password`."""
        other = Verifier.of(password, salt=self.salt, iterations=self.iterations)
        return hmac.compare_digest(other.stored_key, self.stored_key)


def scram_verifier(password: str, *, salt: bytes | None = None, iterations: int = DEFAULT_ITERATIONS) -> str:
    """Return a verifier as PostgreSQL and PgBouncer store it.

    >>> scram_verifier("x", salt=bytes(16)).startswith("SCRAM-SHA-256$4096:AAAA")
    True
    """
    return str(Verifier.of(password, salt=salt, iterations=iterations))


def md5_verifier(password: str, user: str) -> str:
    """Return what `password_encryption = md5` stores: weak, and bound to the role's name."""
    digest = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    return f"md5{digest}"


def secret_kind(stored: str) -> SecretKind:
    """Tell what a secret is, of an auth_file or of pg_authid."""
    if not stored:
        return SecretKind.EMPTY
    if _MD5.fullmatch(stored):
        return SecretKind.MD5
    return SecretKind.SCRAM if Verifier.parse(stored) is not None else SecretKind.PLAINTEXT


def opens(stored: str, password: str, user: str) -> bool:
    """Say whether `password` is the one that a stored secret of any kind belongs to."""
    verifier = Verifier.parse(stored)
    if verifier is not None:
        return verifier.opens_with(password)
    expected = md5_verifier(password, user) if secret_kind(stored) is SecretKind.MD5 else password
    return bool(stored) and hmac.compare_digest(stored.encode(), expected.encode())


def fingerprint(stored: str) -> str:
    """Return eight hex digits of a stored secret's SHA-256."""
    return hashlib.sha256(stored.encode()).hexdigest()[:8]


def saslprep(password: str) -> bytes:
    """Return the bytes that SCRAM hashes.

    As PostgreSQL does, a text that RFC 4013 prohibits is taken as it is, and so is plain ASCII.
    """
    raw = password.encode()
    if password.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else "" if stringprep.in_table_b1(char) else char
        for char in password
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(table(char) for char in prepared for table in _PROHIBITED):
        return raw
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not (stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1]))
    ):
        return raw
    return prepared.encode()
