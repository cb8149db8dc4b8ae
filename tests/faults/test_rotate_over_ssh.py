"""A rotation whose pooler is reached over SSH, and the SSH that is cut while its clients wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from console.lab.fleet import Lab
from tests.faults.fault_kit import LabShell, cut_sessions, running, until_running
from tests.harness.servers import MakeLab
from tests.servers.cli_kit import until
from tests.servers.rotate_kit import NEW, Rotation, rotate, run_state, until_phase

ROLE = "reports"
NAME = "edge-1a"
YES = ("--on", NAME, "--yes", "--confirm", NAME)
KEEPER_LIMIT_S = 60.0


@pytest.fixture
def shell(make_lab: MakeLab, tmp_path: Path) -> Iterator[LabShell]:
    lab = make_lab(bouncers=1)
    with LabShell(lab, tmp_path) as made:
        yield made


def lets_in(lab: Lab, secret: str) -> bool:
    """Log in and ask, twice: the first client may lift a pool's lock."""
    for _ in range(2):
        try:
            with lab.bouncers[NAME].connect(user=ROLE, password=secret) as client:
                client.execute("SELECT 1")
                return True
        except psycopg.Error:
            continue
    return False


@pytest.mark.during("rotate: SSH connection cut")
def test_ssh_is_cut_while_postgres_is_asked(shell: LabShell) -> None:
    lab = shell.lab
    bouncer, old = lab.bouncers[NAME], lab.secrets.password(ROLE)
    role = sql.Identifier(ROLE)
    with lab.primary.connect() as locking, locking.transaction(force_rollback=True):
        locking.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 50").format(role))
        rotation = Rotation(shell, ROLE, *YES, "--timeout", "20s", old=old)
        shell.started.callback(rotation.process.kill)
        until_phase(shell, "postgres")
        assert not running(bouncer)
        listener = lab.hosts["edge-1"].pid
        assert listener is not None
        cut_sessions(listener)
    code, said = rotation.end()
    assert code in (0, 1, 4), said
    until_running(bouncer, limit_s=KEEPER_LIMIT_S)
    assert lets_in(lab, NEW) or lets_in(lab, old), said
    if run_state(shell) is not None:
        code, said = rotate(shell, ROLE, *YES, "--undo", new=None, old=old)
        assert code == 0, said
        assert lets_in(lab, old)
    good, bad = (NEW, old) if lets_in(lab, NEW) else (old, NEW)
    assert lets_in(lab, good)
    assert not lets_in(lab, bad)
    assert run_state(shell) is None
    assert [path.name for path in bouncer.directory.glob("*.pooldeck-*")] == []
    until(lambda: not shell.leases())
