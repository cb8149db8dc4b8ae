"""The measuring clients and pgbench on a real bouncer: what they say of faults that were really there."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from console.lab.postgres import APP_DATABASE, PostgresServer
from console.lab.tls import CertificateAuthority
from tests.harness.clients import ClientLoad, Group, judge, ledger
from tests.harness.clients.pgbench import PgBench
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.load_kit import client_tls, every_kind, make_ledger, passfile

PAUSE_S = 1.0


@pytest.fixture
def passwords(workshop: Workshop, tmp_path: Path, postgres: PostgresServer) -> str:
    make_ledger(postgres)
    return passfile(workshop.secrets, tmp_path)


def test_a_pause_is_a_stall_of_its_length_for_everybody_and_no_failure(
    make_pgbouncer: MakePgBouncer,
    pgbouncer_version: str,
    workshop: Workshop,
    postgres: PostgresServer,
    passwords: str,
    tmp_path: Path,
) -> None:
    authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
    server = make_pgbouncer(pgbouncer_version, **client_tls(authority))
    groups = every_kind(server, passwords, tls_ca=authority.cert_path)
    bench = Group("pgbench", server.host, server.port, passwords, clients=2)
    with PgBench(bench, 4, tmp_path) as other, ClientLoad(groups, tmp_path / "log") as load:
        with load.window("pause"), server.admin() as console:
            console.execute("PAUSE")
            time.sleep(PAUSE_S)
            console.execute("RESUME")
        beside = other.figures()
        report = load.stop()
    assert report.total.failed == {}, report.table()
    assert beside.failed == {}
    for figures in (*report.groups, report.window("pause"), beside):
        stall_ms = figures.stall_ms
        assert stall_ms.p50 is not None, report.table()
        assert stall_ms.p50 >= PAUSE_S * 1_000, report.table()
    assert {finding.what for finding in judge(report) if not finding.ok} <= {"longest stall"}
    with postgres.connect(APP_DATABASE) as session:
        assert ledger.differences(session, report) == []


def test_a_killed_backend_fails_one_transaction_at_most_and_says_so(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, passwords: str, tmp_path: Path
) -> None:
    server = make_pgbouncer()
    # In a session pool a client has a backend of its own, so that its end is told to nobody else.
    where = {"host": server.host, "port": server.port, "passfile": passwords}
    group = Group("kept", **where, database="app_session", clients=2)  # type: ignore[arg-type]
    with ClientLoad([group], tmp_path / "log") as load, postgres.connect() as session:
        killed = session.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'"
            " AND backend_type = 'client backend' AND datname = 'app'"
        ).fetchone()
        time.sleep(0.3)
    told = sum(load.report.total.failed.values()) + sum(load.report.total.lost_idle.values())
    assert killed is not None
    assert 1 <= told <= killed[0], load.report.table()
    with postgres.connect(APP_DATABASE) as session:
        assert ledger.differences(session, load.report) == []


def test_a_bouncer_that_was_away_is_refused_connects_retried_and_connections_lost(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, passwords: str, tmp_path: Path
) -> None:
    server = make_pgbouncer()
    groups = every_kind(server, passwords)
    with ClientLoad(groups, tmp_path / "log") as load:
        server.kill()
        time.sleep(0.3)
        server.start()
        time.sleep(0.5)
    total = load.report.total
    assert total.retries["refused"] > 0, load.report.table()
    assert total.retried >= 1
    assert all(kind.endswith(("connection reset", "connection refused")) for kind in total.failed)
    assert sum(total.failed.values()) + sum(total.lost_idle.values()) >= 1
    with postgres.connect(APP_DATABASE) as session:
        assert ledger.differences(session, load.report) == []


def test_clients_log_in_as_somebody_else_when_told(
    make_pgbouncer: MakePgBouncer, passwords: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    server = make_pgbouncer()
    with ClientLoad([every_kind(server, passwords)[1]], tmp_path / "log") as load:
        load.change("new", user="worker")
        deadline = time.monotonic() + 10
        while "worker" not in _users(server.admin()):
            assert time.monotonic() < deadline
    assert load.report.total.failed == {}


def _users(console: psycopg.Connection[tuple[object, ...]]) -> set[object]:
    with console:
        return {row[1] for row in console.execute("SHOW POOLS").fetchall()}
