"""What a new password of a role must be like, and how one is made.

It must pass unharmed through everything that carries it: PgBouncer's files, libpq's password file, connection
URLs. What is made here is letters and digits only; what a person brings is judged.
"""

from __future__ import annotations

import math
import secrets
import string
from dataclasses import dataclass

GENERATED_LENGTH = 32
"""Of 62 characters: 190 bits."""
SHORTEST = 12
LONGEST_BYTES = 512
"""PgBouncer takes more; older drivers do not."""
LEAST_BITS = 50
"""Of a guess by the characters that occur; a verifier that leaks is tried off-line, millions a second."""
_ALPHABET = string.ascii_letters + string.digits
_CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation + " ")
_OTHER_CLASS = 64
_TELLING_NAME = 5
"""Shorter names occur in any long text by chance."""
_COMMON = (
    "password",
    "passw0rd",
    "qwerty",
    "letmein",
    "welcome",
    "postgres",
    "pgbouncer",
    "changeme",
    "secret",
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said of a password, without a word of it."""

    refused: str | None = None
    """Why it is not taken, as a clause; None: it is."""
    warnings: tuple[str, ...] = ()


def generate_secret(role: str, length: int = GENERATED_LENGTH) -> str:
    """Return a random password of letters and digits that `judge_secret` takes."""
    while True:
        made = "".join(secrets.choice(_ALPHABET) for _ in range(length))
        if judge_secret(made, role).refused is None:
            return made


def judge_secret(password: str, role: str) -> Judgement:
    """Judge a new password of `role`."""
    return Judgement(_refused(password, role), tuple(_warnings(password)))


def _refused(password: str, role: str) -> str | None:
    if not password:
        return "it is empty"
    if any(ord(char) < 32 or ord(char) == 127 for char in password):
        return "it has a control character, which files and drivers read differently"
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        return "it is no UTF-8 text"
    if size > LONGEST_BYTES:
        return f"it is longer than {LONGEST_BYTES} bytes"
    if len(password) < SHORTEST:
        return f"it is shorter than {SHORTEST} characters"
    if password.startswith(("md5", "SCRAM-SHA-256$")):
        return "it looks like a stored secret: Postgres and PgBouncer would take it for one"
    lowered = password.lower()
    if role.lower() in lowered and len(role) >= _TELLING_NAME:
        return "the role's name is part of it"
    if any(word in lowered for word in _COMMON):
        return "it is made of a word that every guesser tries first"
    if guessed_bits(password) < LEAST_BITS:
        return "it is too easy to guess: too few different characters"
    return None


def _warnings(password: str) -> list[str]:
    found = []
    if not password.isascii():
        found.append("it has characters beyond ASCII: drivers that do no SASLprep cannot log in with it")
    if any(char in "'\"\\:@/%# " for char in password):
        found.append("it has characters that connection strings and password files have to escape")
    return found


def guessed_bits(password: str) -> float:
    """Return an upper bound of the tries that a guesser needs, in bits: by character classes and variety."""
    size = sum(len(group) for group in _CLASSES if any(char in group for char in password))
    size += _OTHER_CLASS if not password.isascii() else 0
    different = len(set(password))
    return min(len(password), different * 2) * math.log2(max(size, 2))
