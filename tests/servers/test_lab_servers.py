"""The lab's servers: they start, they are who they should be, and only they are ended."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import psycopg
import pytest

from console.errors import LabError
from console.lab.ports import is_free, lease_port
from console.lab.postgres import PostgresServer
from console.lab.process import ProcessId, end, read_stat, wait_until
from tests.harness.faults import FaultProxy, killed, refusing_port, silent_port
from tests.harness.servers import MakePgBouncer, MakeSshd, Workshop


def test_every_pgbouncer_line_starts_and_says_its_version(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str
) -> None:
    bouncer = make_pgbouncer(version=pgbouncer_version)
    with bouncer.admin() as console:
        row = console.execute("SHOW VERSION").fetchone()
    assert row == (f"PgBouncer {pgbouncer_version}",)
    with bouncer.connect("app") as client:
        assert client.execute("SELECT current_user").fetchone() == ("app",)
    assert bouncer.stop()
    assert is_free(bouncer.port)


def test_remote_commands_and_logins_work_through_sshd(make_sshd: MakeSshd, tmp_path: Path) -> None:
    host = make_sshd("edge-1")
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(host.known_hosts_line)
    said = subprocess.run(
        [
            *("ssh", "-F", "none", "-i", str(make_sshd.user_key.path), "-p", str(host.port)),
            *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"),
            *("-o", f"UserKnownHostsFile={known_hosts}", f"{host.user}@127.0.0.1", "echo $((6*7))"),
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (said.returncode, said.stdout) == (0, "42\n"), said.stderr


def test_servers_do_not_run_as_root(postgres: PostgresServer) -> None:
    status = Path(f"/proc/{postgres.pid}/status").read_text()
    uid, gid = (
        next(line.split()[1:] for line in status.splitlines() if line.startswith(key))
        for key in ("Uid:", "Gid:")
    )
    account = postgres.launcher.account
    assert set(uid) == {str(account.uid)} != {"0"}
    assert set(gid) == {str(account.gid)}


def test_a_recycled_pid_is_never_signalled() -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        stat = read_stat(bystander.pid)
        assert stat is not None
        before = ProcessId(bystander.pid, stat.start_ticks - 1)
        assert not before.alive
        assert not end(before, owner_uid=0)
        assert bystander.poll() is None
        bystander.kill()


def test_a_process_of_another_owner_is_never_signalled(postgres: PostgresServer) -> None:
    assert postgres.process is not None
    assert not postgres.process.send(signal.SIGKILL, owner_uid=postgres.launcher.account.uid + 1)
    assert postgres.running


def test_a_server_that_cannot_start_shows_its_own_log(make_pgbouncer: MakePgBouncer) -> None:
    with pytest.raises(LabError, match="no_such_mode"):
        make_pgbouncer(pool_mode="no_such_mode")


def test_a_port_taken_meanwhile_is_replaced(make_pgbouncer: MakePgBouncer) -> None:
    with silent_port() as taken:
        bouncer = make_pgbouncer(port=taken)
        assert bouncer.port != taken
        with bouncer.connect("app") as client:
            assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_port_taken_at_the_last_moment_is_replaced(
    make_pgbouncer: MakePgBouncer, monkeypatch: pytest.MonkeyPatch, pgbouncer_version: str
) -> None:
    looks = iter([True])
    monkeypatch.setattr("console.lab.server.is_free", lambda port: next(looks, None) or is_free(port))
    with silent_port() as taken:
        bouncer = make_pgbouncer(version=pgbouncer_version, port=taken)
        assert bouncer.port != taken
        with bouncer.connect("app") as client:
            assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_port_that_was_taken_for_a_moment_only_is_tried_again(
    make_sshd: MakeSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another test's look at the same port falls between our look and sshd's bind."""
    thief = socket.create_server(("127.0.0.1", 0))
    looks = iter([lambda: None, thief.close])

    def look(port: int) -> bool:
        next(looks, lambda: None)()
        return True

    monkeypatch.setattr("console.lab.server.is_free", look)
    with thief:
        sshd = make_sshd(port=thief.getsockname()[1])
        assert sshd.running
    assert "Address already in use" in sshd.log_path.read_text()


def test_leases_never_give_one_port_twice() -> None:
    leases = [lease_port() for _ in range(50)]
    assert len({lease.number for lease in leases}) == 50
    for lease in leases:
        lease.release()


def test_a_new_object_adopts_a_running_server_and_ends_it(
    workshop: Workshop, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer()
    assert workshop.launcher.recorded(bouncer.name) == bouncer.process
    again = make_pgbouncer(start=False)
    again.name = bouncer.name
    assert again.adopt()
    assert again.stop()
    assert wait_until(lambda: not bouncer.running, timeout_s=5)


def test_a_crashed_postgres_starts_again_with_its_data(workshop: Workshop) -> None:
    server = PostgresServer("crash", workshop.place("crash"), workshop.launcher, workshop.secrets)
    workshop.keep(server).start()
    try:
        with server.connect("app", user="app") as session:
            session.execute("SET synchronous_commit = on")
            session.execute("CREATE TABLE kept AS SELECT 7 AS n")

        with killed(server), pytest.raises(psycopg.OperationalError):
            server.connect()
        assert server.value("SELECT n FROM kept", database="app") == 7
    finally:
        workshop.end_test()


def test_a_proxy_cuts_in_the_middle_of_an_answer(make_pgbouncer: MakePgBouncer) -> None:
    bouncer = make_pgbouncer()
    with FaultProxy(bouncer.port) as proxy, bouncer.connect("app", port=proxy.port) as client:
        proxy.cut_after = 1000
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT repeat('x', 100000)")


def test_a_proxy_refuses_then_serves_again(make_pgbouncer: MakePgBouncer) -> None:
    bouncer = make_pgbouncer()
    with FaultProxy(bouncer.port) as proxy:
        with proxy.refusing(), pytest.raises(psycopg.OperationalError, match="refused"):
            bouncer.connect("app", port=proxy.port)
        with bouncer.connect("app", port=proxy.port) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_black_hole_swallows_and_a_stopped_server_does_not_answer(make_pgbouncer: MakePgBouncer) -> None:
    bouncer = make_pgbouncer()
    with FaultProxy(bouncer.port) as proxy:
        proxy.black_hole = True
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            bouncer.connect("app", port=proxy.port, connect_timeout=2)
    with bouncer.stopped(), pytest.raises(psycopg.errors.ConnectionTimeout):
        bouncer.connect("app", connect_timeout=2)
    with bouncer.connect("app") as client:
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_nothing_listens_on_a_refusing_port(make_pgbouncer: MakePgBouncer) -> None:
    bouncer = make_pgbouncer()
    with refusing_port() as port, pytest.raises(psycopg.OperationalError, match="refused"):
        bouncer.connect("app", port=port)
