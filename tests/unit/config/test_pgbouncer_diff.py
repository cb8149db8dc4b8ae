"""Diffs of ini files show what changes, and no secret."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.config.pgbouncer_diff import NOT_SHOWN, masked, shown_diff
from console.poolers.dialects import dialect_for

SECRET = dialect_for("pgbouncer").may_be_secret


def test_a_diff_is_unified_with_its_file_on_top() -> None:
    old = b"[pgbouncer]\r\na = 1\r\nb = 2\r\nc = 3\r\nd = 4\n"
    assert shown_diff("/etc/p.ini", old, old.replace(b"b = 2", b"b = 5"), SECRET) == (
        "/etc/p.ini:",
        "@@ -1,5 +1,5 @@",
        " [pgbouncer]",
        " a = 1",
        "-b = 2",
        "+b = 5",
        " c = 3",
        " d = 4",
    )
    assert shown_diff("/etc/p.ini", old, old, SECRET) == ()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("app = host=h password=SECRET port=1", f"app = host=h password={NOT_SHOWN} port=1"),
        ("app = password='SECRET ''SECRET SECRET' port=1", f"app = password={NOT_SHOWN} port=1"),
        ("app = password = 'SECRET'", f"app = password = {NOT_SHOWN}"),
        ("app = password=SECRET SECRET=SECRET SECRET", f"app = password={NOT_SHOWN}"),
        ("app = password='SECRET port=SECRET", f"app = password={NOT_SHOWN}"),
        ("app = password='SECRET'SECRET SECRET port=1", f"app = password={NOT_SHOWN} port=1"),
        (";app = host=h PassWord=SECRET", f";app = host=h PassWord={NOT_SHOWN}"),
        ("# auth_ldap_options = SECRET SECRET", f"# auth_ldap_options = {NOT_SHOWN}"),
        ("[pgbouncer] auth_ldap_options=SECRET", f"[pgbouncer] auth_ldap_options={NOT_SHOWN}"),
        ("auth_query = select usename, passwd from x", "auth_query = select usename, passwd from x"),
        ("application = host=h\x1b[2J", "application = host=h\ufffd[2J"),
    ],
)
def test_no_secret_is_shown(line: str, shown: str) -> None:
    assert masked(line, SECRET) == shown
    assert masked(f"+{line}", SECRET) == f"+{shown}"
    assert "SECRET" not in masked(line, SECRET)


_BITS = st.sampled_from(["SECRET", "'SECRET SECRET'", "''", "'", " ", "x=", "SECRET'", "\t"])


@settings(max_examples=300, deadline=None)
@given(st.lists(_BITS, max_size=8).map("".join))
def test_a_password_is_left_out_however_it_is_written(password: str) -> None:
    assert "SECRET" not in masked(f"+app = host=h password={password}", SECRET)
