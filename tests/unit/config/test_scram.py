"""Verifiers are what libpq and PostgreSQL make of the same password, and never show it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import pq

from console.config.scram import (
    SecretKind,
    Verifier,
    md5_verifier,
    opens,
    saslprep,
    scram_verifier,
    secret_kind,
)

_PASSWORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cn", "Co"], exclude_characters="\0"), min_size=1, max_size=24
)


def _by_libpq(password: str, user: str, algorithm: bytes) -> str:
    connection = pq.PGconn.connect_start(b"host=/nonexistent")
    try:
        return connection.encrypt_password(password.encode(), user.encode(), algorithm).decode()
    finally:
        connection.finish()


@settings(max_examples=150, deadline=None)
@given(_PASSWORDS)
@example("I\u00adX")
@example("\u00aa")
@example("\u2168")
@example("\u0007é")
@example("\u0627\u0031")
@example("a\u00a0b\u200bc")
def test_it_is_the_verifier_that_libpq_makes(password: str) -> None:
    theirs = Verifier.parse(_by_libpq(password, "app", b"scram-sha-256"))
    assert theirs is not None
    assert theirs == Verifier.of(password, salt=theirs.salt, iterations=theirs.iterations)
    assert theirs.opens_with(password)


def test_the_example_of_rfc_7677_has_its_keys() -> None:
    # Salt and password of its section 3; the keys as PostgreSQL derives them from these.
    verifier = Verifier.of("pencil", salt=b"[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81", iterations=4096)
    assert Verifier.parse(str(verifier)) == verifier
    assert verifier.opens_with("pencil")
    assert not verifier.opens_with("Pencil")


@given(st.text(min_size=1, max_size=20), st.integers(1, 50), st.binary(min_size=1, max_size=24))
@settings(max_examples=60, deadline=None)
def test_a_verifier_survives_being_written_and_read(password: str, iterations: int, salt: bytes) -> None:
    try:
        password.encode()
    except UnicodeEncodeError:
        return
    text = scram_verifier(password, salt=salt, iterations=iterations)
    assert secret_kind(text) is SecretKind.SCRAM
    assert str(Verifier.parse(text)) == text
    assert opens(text, password, "anybody")
    assert not opens(text, password + "x", "anybody")


@given(_PASSWORDS, st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=10))
@settings(max_examples=40, deadline=None)
def test_md5_is_libpqs(password: str, user: str) -> None:
    made = md5_verifier(password, user)
    assert made == _by_libpq(password, user, b"md5")
    assert secret_kind(made) is SecretKind.MD5
    assert opens(made, password, user)


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        ("", SecretKind.EMPTY),
        ("md5" + "a" * 32, SecretKind.MD5),
        ("md5" + "A" * 32, SecretKind.PLAINTEXT),
        ("md5" + "a" * 31, SecretKind.PLAINTEXT),
        ("SCRAM-SHA-256$4096:x$y:z", SecretKind.PLAINTEXT),
        ("hunter2", SecretKind.PLAINTEXT),
    ],
)
def test_a_stored_secret_is_told_by_its_shape(stored: str, kind: SecretKind) -> None:
    assert secret_kind(stored) is kind


def test_plain_ascii_and_what_is_prohibited_are_taken_as_they_are() -> None:
    assert saslprep("a b") == b"a b"
    assert saslprep("\u0007é") == "\u0007é".encode()
    assert saslprep("\u0627\u0031") == "\u0627\u0031".encode()


def test_no_repr_shows_a_key() -> None:
    verifier = Verifier.of("correct horse battery")
    for part in str(verifier).split("$")[2].split(":"):
        assert part not in repr(verifier)
    assert len(verifier.fingerprint) == 8
