"""A switchover whose bouncer is reached over SSH, and the SSH that is cut in the middle of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.lab.fleet import Lab
from console.lab.secrets import SUPERUSER
from console.lab.server import program
from tests.faults.fault_kit import LabShell, cut_sessions, until_running
from tests.harness.servers import MakeLab
from tests.servers.cli_kit import LIMIT_S, until

KEEPER_LIMIT_S = 60.0


@pytest.fixture
def shell(make_lab: MakeLab, tmp_path: Path) -> Iterator[LabShell]:
    """Run `pooldeck` on a lab of one bouncer, as it comes."""
    lab = make_lab(bouncers=1)
    with LabShell(lab, tmp_path) as made:
        yield made


def _leads_to(lab: Lab) -> int:
    with lab.bouncers["edge-1a"].admin() as console:
        cursor = console.execute("SHOW DATABASES")
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    (port,) = {row["port"] for row in rows if row["name"] != "pgbouncer"}
    return int(port)


@pytest.mark.during("switchover: SSH connection cut")
def test_ssh_is_cut_after_the_promotion(shell: LabShell) -> None:
    lab = shell.lab
    psql = program("psql", "postgresql-client")
    where = f"host={lab.replica.host} port={lab.replica.port} user={SUPERUSER} dbname=postgres"
    promote = f"PGPASSFILE={lab.pgpass_path} {psql} -qAtd '{where}' -c 'SELECT pg_promote()' && sleep 2"
    command = ["switchover", "primary", "--to", "replica", "--fence", "read-only"]
    agreed = ["--yes", "--confirm", "edge-1a 0"]
    process = shell.start(*command, "--promote-command", f"sh -c {shlex.quote(promote)}", *agreed)
    until(lambda: not lab.replica.value("SELECT pg_is_in_recovery()"))
    listener = lab.hosts["edge-1"].pid
    assert listener is not None
    cut_sessions(listener)
    until_running(lab.bouncers["edge-1a"], limit_s=KEEPER_LIMIT_S)
    _, err = process.communicate(timeout=KEEPER_LIMIT_S + LIMIT_S)
    assert process.returncode in (0, 1, 4), err
    assert lab.primary.value("SHOW default_transaction_read_only") == "on"

    if _leads_to(lab) != lab.replica.port:
        finished = shell(*command, *agreed)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    assert _leads_to(lab) == lab.replica.port
    shell.assert_settled_within(KEEPER_LIMIT_S)
    with lab.bouncers["edge-1a"].connect() as client:
        assert client.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
