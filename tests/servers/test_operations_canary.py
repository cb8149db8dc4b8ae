"""After a failed server login the next client gets its error, although the cause is gone (trap T26)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import APP_DATABASE, PostgresServer
from console.lab.secrets import APP_USERS
from tests.harness.servers import MakePgBouncer
from tests.servers.cli_kit import Shell

RETRY_S = 8
"""Longer than it takes from the failure to the gate."""
PROBE = f'probe_user = "{APP_USERS[0]}"\nprobe_database = "app"\nprobe_password_from = "env:PROBE_WORD"'


@pytest.fixture
def shell(make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path) -> Iterator[Shell]:
    """Two bouncers whose own password for Postgres is wrong."""
    target = f"host={postgres.host} port={postgres.port} dbname={APP_DATABASE} user={APP_USERS[0]}"
    servers = {
        name: make_pgbouncer(
            "1.26",
            name=name,
            databases={"app": f"{target} password=wrong"},
            server_login_retry=RETRY_S,
        )
        for name in ("one", "two")
    }
    with Shell(servers, tmp_path, more=PROBE) as made:
        made.environ["PROBE_WORD"] = made.server.secrets.password(APP_USERS[0])
        yield made


def served(server: PgBouncerServer) -> bool:
    try:
        with server.connect() as client:
            return client.execute("SELECT 42").fetchone() == (42,)
    except psycopg.OperationalError:
        return False


@pytest.mark.trap("T26")
def test_the_gate_takes_the_error_that_would_be_the_next_clients(shell: Shell) -> None:
    for server in shell.servers.values():
        assert not served(server)
        ini = server.config_path.read_text()
        right = server.secrets.password(APP_USERS[0])
        server.launcher.write_file(server.config_path, ini.replace("password=wrong", f"password={right}"))
    ended = shell("reload", "one,two", "--yes", "--serial", "1")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = [line for line in ended.stderr.splitlines() if line.startswith("test: ")]
    assert any("waiting for health: one: " in line for line in told), "the probe got the error"
    (opened,) = (line for line in told if line.startswith("test: the gate is open: the wave is healthy"))
    assert told.index(opened) < told.index("test: wave 2 of 2: two")
    assert served(shell.servers["one"])
