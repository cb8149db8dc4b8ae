"""What a running lab is: who listens where, who may read what, and that its inventory leads to every node."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from console.config.schema import Bouncer
from console.lab.fleet import Lab
from console.lab.process import ProcessId, descendants, wait_until
from console.lab.secrets import ADMIN, MONITOR, ROLES
from console.lab.sockets import command_line, listeners


def _processes(lab: Lab) -> list[ProcessId]:
    own = [server.process for server in lab.servers.values() if server.process is not None]
    return [*own, *(child for process in own for child in descendants(process))]


@contextmanager
def _way_to(lab: Lab, bouncer: Bouncer, near: Path) -> Iterator[dict[str, Any]]:
    """Give libpq's parameters for a bouncer; one with a host is reached through OpenSSH's own client."""
    if bouncer.host is None:
        yield {
            "host": bouncer.tcp_host,
            "port": bouncer.listen_port,
            "sslmode": bouncer.sslmode,
            "sslrootcert": str(bouncer.sslrootcert),
        }
        return
    host = lab.inventory.hosts[bouncer.host]
    far = bouncer.tcp or f"{bouncer.unix}/.s.PGSQL.{bouncer.port}"
    socket = near / f".s.PGSQL.{bouncer.listen_port}"
    command = ["ssh", "-F", "none", "-N", "-i", str(host.identity_file), "-p", str(host.port)]
    command += ["-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={host.known_hosts_file}"]
    command += ["-o", "ExitOnForwardFailure=yes", "-L", f"{socket}:{far}", f"{host.user}@{host.hostname}"]
    with subprocess.Popen(command) as tunnel:
        try:
            assert wait_until(socket.exists, timeout_s=10)
            yield {"host": str(near), "port": bouncer.listen_port}
        finally:
            tunnel.terminate()
    socket.unlink(missing_ok=True)


def test_its_inventory_leads_to_every_bouncer_and_database(lab: Lab) -> None:
    near = Path(os.environ["XDG_RUNTIME_DIR"])
    seen: dict[str, tuple[str, bool]] = {}
    for bouncer in lab.inventory.bouncers:
        with _way_to(lab, bouncer, near) as where:
            login: dict[str, Any] = {
                "user": "app",
                "password": lab.secrets.password("app"),
                "connect_timeout": 5,
            }
            for database in ("app", "app_session", "tiny"):
                with psycopg.connect(dbname=database, **login, **where) as client:
                    row = client.execute("SELECT current_setting('cluster_name')").fetchone()
                    assert row is not None
                    seen[f"{bouncer.name}/{database}"] = (row[0], client.info.pgconn.ssl_in_use)
    expected = {"edge-1a": "primary", "edge-1b": "primary", "core-1": "primary", "tls-1": "replica"}
    assert seen == {
        f"{name}/{database}": (node, name == "tls-1")
        for name, node in expected.items()
        for database in ("app", "app_session", "tiny")
    }


def test_tls_is_required_and_the_peers_share_a_port_and_a_host(lab: Lab) -> None:
    with pytest.raises(psycopg.OperationalError, match="SSL required"):
        lab.bouncers["tls-1"].connect(sslmode="disable")
    entries = {bouncer.name: bouncer for bouncer in lab.inventory.bouncers}
    first, second = entries["edge-1a"], entries["edge-1b"]
    assert (first.host, first.port, first.peer_group) == (second.host, second.port, second.peer_group)
    assert first.unix != second.unix
    assert entries["core-1"].host != first.host


def test_admin_and_stats_users_are_different_roles(lab: Lab) -> None:
    bouncer = lab.bouncers["core-1"]
    with bouncer.admin(user=MONITOR) as console, pytest.raises(psycopg.Error, match="admin access needed"):
        console.execute("RELOAD")
    with bouncer.admin(user=ADMIN) as console:
        assert console.execute("RELOAD").statusmessage == "RELOAD"
    with pytest.raises(psycopg.OperationalError, match="not allowed"):
        bouncer.admin(user="app")


def test_databases_are_in_transaction_and_in_session_mode(lab: Lab) -> None:
    with lab.bouncers["edge-1a"].admin() as console:
        rows = console.execute("SHOW DATABASES")
        names = [column.name for column in rows.description or ()]
        found = {row[0]: dict(zip(names, row, strict=True)) for row in rows.fetchall()}
    assert found["app"]["pool_mode"] == "transaction"
    assert found["app_session"]["pool_mode"] == "session"
    assert found["tiny"]["pool_size"] == 2


def test_a_write_through_a_bouncer_streams_to_the_replica(lab: Lab) -> None:
    assert lab.primary.value("SELECT state FROM pg_stat_replication") == "streaming"
    assert lab.replica.value("SELECT pg_is_in_recovery()") is True
    with lab.bouncers["edge-1b"].connect("app") as client:
        client.execute("CREATE TABLE IF NOT EXISTS streamed (n int)")
        client.execute("INSERT INTO streamed VALUES (41)")

    def arrived() -> bool:
        with lab.bouncers["tls-1"].connect("app", sslmode="require") as client:
            known = client.execute("SELECT to_regclass('streamed') IS NOT NULL").fetchone()
            return known == (True,) and client.execute("SELECT max(n) FROM streamed").fetchone() == (41,)

    assert wait_until(arrived, timeout_s=10)


def test_nothing_listens_off_loopback(lab: Lab) -> None:
    heard = listeners(process.pid for process in _processes(lab))
    assert {row.address for row in heard} == {"127.0.0.1"}
    assert {row.port for row in heard} == {server.port for server in lab.servers.values()}


def test_files_are_private(lab: Lab) -> None:
    account = lab.launcher.account.uid
    for path in [lab.directory, *lab.directory.rglob("*")]:
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue  # Postgres makes and removes files all the time
        if stat.S_ISSOCK(found.st_mode) or stat.S_ISLNK(found.st_mode):
            continue
        wanted = 0o700 if stat.S_ISDIR(found.st_mode) else 0o600
        assert stat.S_IMODE(found.st_mode) == wanted, path
        assert found.st_uid in (account, os.geteuid()), path


def test_a_server_held_by_a_signal_is_shown_as_held(lab: Lab) -> None:
    def state() -> str:
        return next(p.state for p in Lab.status(lab.directory).processes if p.name == "core-1")

    assert state() == "running"
    with lab.bouncers["core-1"].stopped():
        assert wait_until(lambda: state() == "held", timeout_s=5)
        assert not Lab.status(lab.directory).healthy
    assert wait_until(lambda: state() == "running", timeout_s=5)


def test_passwords_are_only_where_they_belong(lab: Lab) -> None:
    words = [lab.secrets.password(role) for role in ROLES]
    assert len(set(words)) == len(ROLES)
    assert not [word for word in words if word in repr(lab.secrets)]
    for process in _processes(lab):
        line = " ".join(command_line(process.pid))
        assert not [word for word in words if word in line], line
    data = ("data", "secrets.json", "pgpass")
    for path in lab.directory.rglob("*"):
        if path.is_file() and not set(data) & set(path.relative_to(lab.directory).parts):
            text = path.read_text(errors="replace")
            assert not [word for word in words if word in text], path
