"""A rolling restart in which a member has trouble: its peers serve, and no transaction fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from console.lab.postgres import PostgresServer
from tests.faults.fault_kit import cut_sessions
from tests.faults.test_restart_faults import came_back, clean, heard
from tests.harness.clients import ClientLoad
from tests.harness.servers import MakePgBouncer, Workshop, pgbouncer_executable
from tests.servers.cli_kit import LIMIT_S, until
from tests.servers.fleet_kit import Fleet, coming_back, fleet
from tests.servers.load_kit import make_ledger, passfile
from tests.servers.process_kit import relays_of

AGREED = ("--method", "rolling", "--yes", "--confirm")


@pytest.fixture
def pair(workshop: Workshop, make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Fleet]:
    """Two peers of one port."""
    with fleet(workshop, make_pgbouncer, tmp_path, "1.24", count=2) as made:
        yield made


@pytest.mark.during("restart: the bouncer does not start")
def test_a_member_that_does_not_start_again_ends_the_run_and_its_peers_serve(
    pair: Fleet, postgres: PostgresServer, workshop: Workshop, tmp_path: Path
) -> None:
    make_ledger(postgres)
    groups = coming_back(pair.groups(passfile(workshop.secrets, tmp_path)))
    first, second = pair.bouncers.values()
    old = second.pid
    real = pgbouncer_executable("1.24")[1]
    # It tells its version, as a program does of which a library is missing later on.
    stub = pair.program.with_name("stub")
    stub.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {real} --version\necho cannot start >&2\nexit 1\n'
    )
    stub.chmod(0o755)
    fresh = pair.program.with_suffix(".new")
    fresh.symlink_to(stub)
    fresh.rename(pair.program)
    with ClientLoad(groups, tmp_path / "clients.log") as load:
        done = pair.shell("restart", "all", "--start-timeout", "3", *AGREED, "test 0")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot start" in done.stdout
    assert load.report.total.failed == {}, load.report.table()
    assert not first.adopt()
    assert second.adopt()
    assert second.pid == old, "nobody else was taken out"


@pytest.mark.during("restart: SSH connection cut")
def test_ssh_is_cut_while_a_member_waits_for_its_clients(pair: Fleet, workshop: Workshop) -> None:
    one = pair.bouncers["edge-1"]
    old = one.pid
    with one.connect(host=str(one.socket_dir)) as client:
        client.execute("SELECT 1")
        process = pair.shell.start("restart", "edge-1", "--timeout", "20", *AGREED, "edge-1")
        heard(process, "takes no new clients")
        listener = pair.shell.sshd.pid
        assert listener is not None
        cut_sessions(listener)
        assert client.execute("SELECT 42").fetchone() == (42,)
    out, err = process.communicate(timeout=LIMIT_S)
    until(lambda: came_back(one, old))
    # It may have lost its only console while PgBouncer lets no new one in; then it says so.
    assert process.returncode in (0, 1, 4), (out, err)
    if process.returncode:
        assert "pooldeck process edge-1" in out
    until(lambda: all((at / "state").read_text().endswith("started\n") for at in relays_of(workshop.base)))
    clean(relays_of(workshop.base))
