"""New passwords: what is made is strong and harmless, what is brought is judged without a word of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.config.secret_policy import GENERATED_LENGTH, generate_secret, judge_secret


def test_a_generated_secret_is_good_and_never_the_same() -> None:
    made = {generate_secret("app") for _ in range(50)}
    assert len(made) == 50
    for secret in made:
        assert len(secret) == GENERATED_LENGTH
        assert secret.isascii()
        assert secret.isalnum()
        judged = judge_secret(secret, "app")
        assert judged.refused is None
        assert judged.warnings == ()


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "empty"),
        ("short1!", "shorter"),
        ("x" * 600, "longer"),
        ("aaaaaaaaaaaaaaaaaaaa", "easy to guess"),
        ("Tr0ub4dor&3\nnext", "control character"),
        ("md5" + "0123456789abcdef" * 2, "stored secret"),
        ("SCRAM-SHA-256$4096:", "stored secret"),
        ("webshop-Xy71-qq-90", "role's name"),
        ("MyPassword-2026-x!", "guesser"),
        ("\udcff" + "Ab3$" * 5, "UTF-8"),
    ],
)
def test_a_weak_or_harmful_secret_is_refused(secret: str, reason: str) -> None:
    refused = judge_secret(secret, "webshop").refused
    assert refused is not None
    assert reason in refused


def test_characters_that_have_to_be_escaped_are_warned_of() -> None:
    assert len(judge_secret("k9:Vw/2q'Lm84-zz", "app").warnings) == 1
    assert len(judge_secret("k9Vw2qLm84zzäöü", "app").warnings) == 1


@given(st.text(max_size=40))
def test_no_judgement_repeats_the_secret(secret: str) -> None:
    judged = judge_secret(secret, "app")
    if len(secret) >= 8:
        assert secret not in f"{judged.refused} {judged.warnings}"
