"""The password file means to us what it means to libpq: libpq itself is asked, line by line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import pq

from console.config.pgpass import first_match, host_candidates, read_password
from console.errors import CredentialError


def libpq_says(file: Path, host: str, port: int, database: str, user: str) -> str:
    """Return the password libpq would send; it looks it up before it connects. "" for none."""
    parameters = {"host": host, "port": str(port), "dbname": database, "user": user, "passfile": str(file)}
    quoted = " ".join(f"{key}='{_quoted(value)}'" for key, value in parameters.items())
    connection = pq.PGconn.connect_start(quoted.encode())
    try:
        return connection.password.decode()
    finally:
        connection.finish()


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


LINES = [
    "127.0.0.1:1:db:me:plain",
    "*:*:*:*:any",
    "127.0.0.1:*:*:me:with spaces and # hash",
    r"127.0.0.1:1:d\:b:me:escaped database",
    r"127.0.0.1:1:db:me:co\:lon\\back",
    "127.0.0.1:1:db:me:ends:here",
    "127.0.0.1:1:db:me:",
    "127.0.0.1:1:db:you:other",
    "#127.0.0.1:1:db:me:comment",
    " 127.0.0.1:1:db:me:leading space",
    "127.0.0.1:1:db",
    "127.0.0.1:1:db:m*:glob is no glob",
    r"\127.0.0.1:1:db:me:escape in host",
    "127.0.0.1:1:db:me:carriage return\r",
    "127.0.0.1:1:db:me:trailing backslash\\",
    "",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("database", ["db", "d:b"])
def test_each_line_means_what_libpq_takes_it_for(tmp_path: Path, line: str, database: str) -> None:
    file = tmp_path / "pass"
    file.write_text(f"{line}\n")
    file.chmod(0o600)
    ours = read_password(file, hosts=("127.0.0.1",), port=1, database=database, user="me")
    assert (ours or "") == libpq_says(file, "127.0.0.1", 1, database, "me")


_FIELD = st.text(alphabet="ab:*\\# ", max_size=4)


@settings(deadline=None)
@given(
    line=st.lists(_FIELD, max_size=6).map(":".join), user=st.text(alphabet="ab:*\\", min_size=1, max_size=3)
)
def test_odd_lines_too(tmp_path_factory: pytest.TempPathFactory, line: str, user: str) -> None:
    file = tmp_path_factory.mktemp("pgpass") / "pass"
    text = f"127.0.0.1:1:*:{line}\n{line}\n*:*:*:*:last\n"
    file.write_text(text)
    file.chmod(0o600)
    ours = first_match(text, hosts=("127.0.0.1",), port=1, database="a", user=user)
    assert (ours or "") == libpq_says(file, "127.0.0.1", 1, "a", user)


def test_the_first_line_that_matches_any_name_of_the_node_counts() -> None:
    text = "edge-1a:6432:pgbouncer:mon:by name\n/run/pg:6432:pgbouncer:mon:by folder\n"
    hosts = host_candidates("edge-1a", "/run/pg")
    assert hosts == ("edge-1a", "/run/pg", "localhost")
    assert first_match(text, hosts=hosts, port=6432, database="pgbouncer", user="mon") == "by name"
    swapped = "\n".join(reversed(text.strip().split("\n")))
    assert first_match(swapped, hosts=hosts, port=6432, database="pgbouncer", user="mon") == "by folder"
    assert first_match(text, hosts=("edge-2",), port=6432, database="pgbouncer", user="mon") is None
    assert host_candidates("edge-2", "10.0.0.2") == ("edge-2", "10.0.0.2")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_file_open_to_others_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "pass"
    file.write_text("*:*:*:*:hunter2\n")
    file.chmod(mode)
    with pytest.raises(CredentialError, match=f"mode {mode:04o}") as caught:
        read_password(file, hosts=("a",), port=1, database="b", user="c")
    assert caught.value.hint == f"chmod 0600 {file}"
    assert "hunter2" not in f"{caught.value!r}{caught.value}"


def test_absent_is_none_and_a_fifo_is_no_password_file(tmp_path: Path) -> None:
    assert read_password(tmp_path / "none", hosts=("a",), port=1, database="b", user="c") is None
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(CredentialError, match="not a plain file"):
        read_password(tmp_path / "fifo", hosts=("a",), port=1, database="b", user="c")
