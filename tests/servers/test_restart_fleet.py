"""Bouncers under load, restarted one by one: nothing fails. The bench has four of each shape and version."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.lab.postgres import APP_DATABASE, PostgresServer
from tests.harness.clients import ClientLoad, Report, judge, ledger
from tests.harness.servers import MakePgBouncer, Workshop, pgbouncer_executable
from tests.servers.fleet_kit import Fleet, coming_back, fleet
from tests.servers.load_kit import make_ledger, passfile


@pytest.fixture
def passwords(workshop: Workshop, tmp_path: Path, postgres: PostgresServer) -> str:
    make_ledger(postgres)
    return passfile(workshop.secrets, tmp_path)


def restarted(made: Fleet, passwords: str, folder: Path, *words: str) -> Report:
    """Restart all of a fleet under load, and see that each is another process."""
    old = made.pids()
    groups = coming_back(made.groups(passwords))
    with ClientLoad(groups, folder / "clients.log") as load:
        done = made.shell("restart", "all", "--method", "rolling", *words, "--yes", "--confirm", "test 0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert made.adopt()
    assert all(pid != old[name] for name, pid in made.pids().items())
    made.shell.assert_settled()
    return load.report


def nothing_failed(report: Report, postgres: PostgresServer) -> None:
    """Connects that were refused or reset and went well when tried again are no failures."""
    assert [one for one in judge(report, stall_s=None) if not one.ok] == [], report.table()
    with postgres.connect(APP_DATABASE) as session:
        assert ledger.differences(session, report) == []


@pytest.mark.under_load("restart")
def test_four_peers_of_one_port_are_upgraded(
    workshop: Workshop,
    make_pgbouncer: MakePgBouncer,
    postgres: PostgresServer,
    passwords: str,
    tmp_path: Path,
) -> None:
    with fleet(workshop, make_pgbouncer, tmp_path, "1.24") as made:
        made.switch("1.26")
        report = restarted(made, passwords, tmp_path, "--expect-version", "1.26")
        assert made.versions() == {pgbouncer_executable("1.26")[0]}
    nothing_failed(report, postgres)


@pytest.mark.under_load("restart")
def test_two_behind_a_balancer(
    workshop: Workshop,
    make_pgbouncer: MakePgBouncer,
    postgres: PostgresServer,
    passwords: str,
    tmp_path: Path,
) -> None:
    with fleet(workshop, make_pgbouncer, tmp_path, "1.26", count=2, balanced=True) as made:
        report = restarted(made, passwords, tmp_path)
    nothing_failed(report, postgres)
