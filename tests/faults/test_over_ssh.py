"""Faults of the way to a bouncer that is reached over SSH: its keeper resumes where nobody else can."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.lab.fleet import Lab
from console.lab.sshd import SshServer
from tests.faults.fault_kit import LabShell, cut_sessions, held_still, running, until_running
from tests.harness.servers import MakeLab
from tests.servers.cli_kit import LIMIT_S, open_transaction, until

KEEPER_LIMIT_S = 60.0
"""A keeper waits for its guardian's silence first."""


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    return make_lab(bouncers=1)


@pytest.fixture
def shell(lab: Lab, tmp_path: Path) -> Iterator[LabShell]:
    with LabShell(lab, tmp_path) as made:
        yield made


def sshd(lab: Lab) -> SshServer:
    return lab.hosts["edge-1"]


def listener(lab: Lab) -> int:
    pid = sshd(lab).pid
    assert pid is not None
    return pid


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(LIMIT_S)


@pytest.mark.parametrize("moment", ["begun", "pending", "held", "ending"])
@pytest.mark.fault("SSH connection cut")
def test_every_ssh_session_is_cut(shell: LabShell, lab: Lab, moment: str) -> None:
    bouncer = lab.bouncers["edge-1a"]
    if moment == "held":
        process = shell.hold("edge-1a", "--for", "40s")
        cut_sessions(listener(lab))
    elif moment == "ending":
        process = shell.hold("edge-1a", "--for", "40s")
        process.send_signal(signal.SIGINT)
        cut_sessions(listener(lab))
    elif moment == "begun":
        process = shell.start("pause", "edge-1a", "--yes", "--for", "1s")
        stderr = process.stderr
        assert stderr is not None
        until(lambda: "edge-1a: PAUSE edge-1a" in stderr.readline())
        cut_sessions(listener(lab))
    else:
        with open_transaction(bouncer):
            process = shell.start("pause", "edge-1a", "--yes", "--timeout", "20", "--for", "20s")
            until(lambda: not running(bouncer))
            cut_sessions(listener(lab))
            until_running(bouncer)
    until_running(bouncer, limit_s=KEEPER_LIMIT_S)
    out, err = process.communicate(timeout=KEEPER_LIMIT_S)
    assert process.returncode in (0, 1, 4, 130), err
    assert running(bouncer), out
    shell.assert_settled()


@pytest.mark.fault("sshd stopped")
def test_sshd_is_gone_while_a_pause_is_held(shell: LabShell, lab: Lab) -> None:
    bouncer = lab.bouncers["edge-1a"]
    process = shell.hold("edge-1a", "--for", "4s")
    server, main = sshd(lab), listener(lab)
    server.kill()
    cut_sessions(main)
    until_running(bouncer, limit_s=KEEPER_LIMIT_S)
    process.communicate(timeout=KEEPER_LIMIT_S)
    server.start()
    shell.assert_settled_within(KEEPER_LIMIT_S)
    assert running(bouncer)


@pytest.mark.fault("guardian killed")
def test_console_and_guardian_are_killed(shell: LabShell, lab: Lab) -> None:
    bouncer = lab.bouncers["edge-1a"]
    process = shell.hold("edge-1a", "--for", "40s")
    guardian = shell.guardian()
    with held_still(guardian):
        kill(process)
        os.kill(guardian, signal.SIGKILL)
    assert not running(bouncer)
    until_running(bouncer, limit_s=KEEPER_LIMIT_S)
    assert "left behind" in shell("leases").stdout, "the books of a dead run are closed by a later one"
    assert shell("mend", "--yes").returncode == 0
    shell.assert_settled()


@pytest.mark.fault("Postgres stopped mid-PAUSE")
def test_postgres_stops_while_a_pause_is_pending(shell: LabShell, lab: Lab) -> None:
    bouncer = lab.bouncers["edge-1a"]
    client = bouncer.connect()
    client.execute("BEGIN")
    client.execute("SELECT 1")
    process = shell.start("pause", "edge-1a", "--yes", "--timeout", "15", "--for", "1s")
    until(lambda: not running(bouncer))
    lab.primary.kill()
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        lab.primary.start()
        client.close()
    assert process.returncode in (0, 1), err
    assert running(bouncer), out
    shell.assert_settled()
