"""Fixtures for every test: an environment of its own, and real servers.

Servers: `postgres` (one a worker), `make_pgbouncer`, `make_sshd`, `pgbouncer_version` (each supported
line), `lab` (a whole fleet, one a worker), `make_lab` (fleets a test may break).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from console.lab.fleet import Lab
from console.lab.postgres import PostgresServer
from console.lab.sshd import KeyPair
from tests.harness.servers import (
    PGBOUNCER_LINES,
    MakeLab,
    MakePgBouncer,
    MakeSshd,
    Workshop,
    pgbouncer_executable,
)

pytest_plugins = ("tests.harness.watchdog",)
# The same examples for everybody: a commit passes or fails. `--hypothesis-profile=default` looks for more.
settings.register_profile("pooldeck", derandomize=True)
settings.load_profile("pooldeck")
KEPT_POOLDECK = ("POOLDECK_CACHE", "POOLDECK_DEBIAN_MIRROR")
LEAKING = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "SSH_AUTH_SOCK", "LS_COLORS")
_workshops: list[Workshop] = []


@pytest.fixture(autouse=True)
def isolated_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the test its own home and XDG folders, UTC, and nothing of the developer's settings."""
    for name in list(os.environ):
        ours = name.startswith("POOLDECK_") and name not in KEPT_POOLDECK
        if ours or name.startswith("PG") or name in LEAKING:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    runtime = Path(tempfile.mkdtemp(prefix="pd-x", dir="/tmp"))  # short: Unix sockets go in it
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / ".local/state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / ".local/share"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("TZ", "UTC")
    home.mkdir(mode=0o700)
    time.tzset()
    yield
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(scope="session")
def workshop() -> Iterator[Workshop]:
    """Where this worker's servers live."""
    made = Workshop()
    _workshops.append(made)
    yield made
    _workshops.remove(made)
    made.remove()


@pytest.fixture(scope="session")
def postgres(workshop: Workshop) -> Iterator[PostgresServer]:
    """A PostgreSQL primary with the lab's roles and the database `app`; shared, so leave it as it was."""
    server = PostgresServer("primary", workshop.base / "pg", workshop.launcher, workshop.secrets)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_pgbouncer(workshop: Workshop, request: pytest.FixtureRequest) -> Iterator[MakePgBouncer]:
    """Start PgBouncers for one test: `make_pgbouncer(version=None, **ini)`."""

    def shared_postgres() -> PostgresServer:
        server: PostgresServer = request.getfixturevalue("postgres")
        return server

    yield MakePgBouncer(workshop, shared_postgres)
    workshop.end_test()


@pytest.fixture(scope="session")
def ssh_user_key(workshop: Workshop) -> KeyPair:
    """The client key that every sshd of the tests lets in."""
    return KeyPair(workshop.base / "id_ed25519", workshop.launcher)


@pytest.fixture
def make_sshd(workshop: Workshop, ssh_user_key: KeyPair) -> Iterator[MakeSshd]:
    """Start OpenSSH servers for one test: `make_sshd("host", AllowTcpForwarding="no")`."""
    yield MakeSshd(workshop, ssh_user_key)
    workshop.end_test()


@pytest.fixture(scope="session")
def lab(workshop: Workshop) -> Iterator[Lab]:
    """A whole lab of four bouncers, without load; shared, so a test mends what it breaks (see `make_lab`)."""
    directory = workshop.base / "lab"
    try:
        yield Lab.up(directory)
    finally:
        Lab.down(directory)


@pytest.fixture
def make_lab(workshop: Workshop) -> Iterator[MakeLab]:
    """Start labs that a test may break: `make_lab(bouncers=2, load_s=10)`."""
    maker = MakeLab(workshop)
    yield maker
    maker.end()


@pytest.fixture(params=PGBOUNCER_LINES)
def pgbouncer_version(request: pytest.FixtureRequest) -> str:
    """Each supported PgBouncer in turn, as a full version such as `1.24.1`."""
    return pgbouncer_executable(request.param)[0]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Add the servers' last log lines to the report of a test that failed."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if report.failed and call.when != "teardown":
        for workshop in _workshops:
            report.sections.extend(workshop.log_sections())
