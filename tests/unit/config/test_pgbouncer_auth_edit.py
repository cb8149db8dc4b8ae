"""An auth_file is changed in place: one entry, and not a byte beside it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.config.pgbouncer_auth import read_auth_file
from console.config.pgbouncer_auth_edit import edit_auth_file
from console.errors import UsageError
from console.model.version import Version

V = Version(1, 24, 1)
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r"), max_size=12)
_NAMES = _TEXT.filter(lambda text: 0 < len(text.encode()) <= 127)
_NOISE = st.sampled_from(["", "; a comment", "   ", ';"x" "y"', "\t"])


def _line(name: str, secret: str) -> str:
    return '"{}" "{}"'.format(name.replace('"', '""'), secret.replace('"', '""'))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(_NAMES, _TEXT, _NOISE), max_size=6),
    st.dictionaries(_NAMES, _TEXT, max_size=3),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_what_is_not_meant_stays_as_it_was(
    rows: list[tuple[str, str, str]], changes: dict[str, str], newline: str, ends: bool
) -> None:
    lines = [part for name, secret, noise in rows for part in (noise, _line(name, secret))]
    content = (newline.join(lines) + (newline if ends else "")).encode()
    if read_auth_file(content, V).mistakes:
        return
    names = [name for name, _, _ in rows]
    changes |= {name: 'Neu-"x' for name in names[:1]}
    edit = edit_auth_file(content, V, changes)
    after = read_auth_file(edit.content, V)
    assert [user.name for user in after.users] == names + list(edit.added)
    assert edit.users == len(after.users)
    wanted = {name: secret for name, secret, _ in rows} | changes
    assert {user.name: user.secret_in(edit.content) for user in after.users} == wanted
    for name in edit.added:
        edit = edit_auth_file(edit.content, V, {}, remove=frozenset({name}))
    back = edit_auth_file(edit.content, V, {name: secret for name, secret, _ in rows if name in changes})
    if len(set(names)) == len(names):
        assert back.content.rstrip(b"\r\n") == content.rstrip(b"\r\n")


def test_a_changed_entry_keeps_its_place_and_what_is_around_it() -> None:
    content = b'; users\n"app" "old" "extra"\n\n"b""x"\t"md5"  \n'
    edit = edit_auth_file(content, V, {"app": 'n"w', "new": "s"})
    assert edit.content == b'; users\n"app" "n""w" "extra"\n\n"b""x"\t"md5"  \n"new" "s"\n'
    assert (edit.changed, edit.added, edit.users) == (("app",), ("new",), 3)


def test_a_user_is_taken_out_with_his_line() -> None:
    content = b'"a" "1"\n"app" "old" ; x\n"b" "2"'
    assert edit_auth_file(content, V, {}, remove=frozenset({"app"})).content == b'"a" "1"\n"b" "2"'
    assert edit_auth_file(content, V, {}, remove=frozenset({"b"})).content == b'"a" "1"\n"app" "old" ; x\n'


def test_every_entry_of_the_name_is_changed_since_the_last_one_counts() -> None:
    edit = edit_auth_file(b'"a" "1"\n"a" "2"\n', V, {"a": "3"})
    assert edit.content == b'"a" "3"\n"a" "3"\n'


@pytest.mark.parametrize("content", [b'"a" "1"\nb "2"\n', b'"a" "1\n', b'"a"\n"b" "c"\n', b'"a" "1"\0'])
def test_a_file_with_a_mistake_is_not_touched(content: bytes) -> None:
    with pytest.raises(UsageError, match="mistake in line"):
        edit_auth_file(content, V, {"a": "x"})


@pytest.mark.parametrize(
    ("name", "secret"), [("a\nb", "x"), ("", "x"), ("a" * 128, "x"), ("a", "x\ny"), ("a", "\0")]
)
def test_what_cannot_be_written_is_refused_without_its_secret(name: str, secret: str) -> None:
    with pytest.raises(UsageError) as caught:
        edit_auth_file(b"", V, {name: secret})
    assert "x\ny" not in str(caught.value)


def test_a_secret_that_the_version_cannot_hold_is_refused() -> None:
    with pytest.raises(UsageError):
        edit_auth_file(b'"a" "1"\n', V, {"a": "x" * 3000})
    assert edit_auth_file(b'"a" "1"\n', Version(1, 26, 1), {"a": "x" * 3000}).changed == ("a",)
