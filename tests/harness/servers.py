"""Factories for real servers, one set a test worker: what the fixtures in `tests/conftest.py` hand out."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from console.lab.bouncer import PgBouncerServer
from console.lab.fleet import Lab
from console.lab.postgres import APP_DATABASE, PostgresServer
from console.lab.process import (
    Launcher,
    ProcessId,
    end_family,
    log_tail,
    parse_stat,
    recorded,
    server_account,
)
from console.lab.secrets import Secrets
from console.lab.server import Server
from console.lab.sshd import KeyPair, SshServer

ServerT = TypeVar("ServerT", bound=Server)
PGBOUNCER_LINES = ("1.18", "1.24", "1.26")


class Workshop:
    """A short folder that servers can live in, and the servers of the current test.

    pytest's own `tmp_path` is closed to other accounts, and too long for the name of a Unix socket.
    """

    def __init__(self) -> None:
        sweep()
        self.base = Path(tempfile.mkdtemp(prefix="pd-", dir="/tmp"))
        self.base.chmod(0o711)
        (self.base / "owner").write_text(Path("/proc/self/stat").read_text())
        self.launcher = Launcher(self.base / "run")
        self.secrets = Secrets.random()
        self.servers: list[Server] = []
        self._numbers = itertools.count(1)

    def place(self, name: str) -> Path:
        """Return a folder that does not exist yet."""
        return self.base / f"{name[:12]}-{next(self._numbers)}"

    def keep(self, server: ServerT) -> ServerT:
        """Note a server, so that the test's end stops it and a failure shows its log."""
        self.servers.append(server)
        return server

    def end_test(self) -> None:
        """Stop the servers of one test, newest first."""
        while self.servers:
            self.servers.pop().kill()

    def remove(self) -> None:
        """Stop what is left and delete the folder."""
        self.end_test()
        shutil.rmtree(self.base, ignore_errors=True)

    def log_sections(self) -> list[tuple[str, str]]:
        """Return what the running test's servers logged last, for a failure report."""
        return [(f"log of {server.name}", log_tail(server.log_path)) for server in self.servers]


def sweep() -> None:
    """End the servers of test runs that were killed, and delete their folders."""
    for owner in Path("/tmp").glob("pd-*/owner"):
        with contextlib.suppress(FileNotFoundError):  # another worker sweeps too
            _sweep_one(owner)


def _sweep_one(owner: Path) -> None:
    stat = parse_stat(owner.read_text()) if owner.stat().st_uid == os.geteuid() else None
    if stat is None or ProcessId(stat.pid, stat.start_ticks).alive:
        return
    base, uid = owner.parent, server_account().uid
    for record in (*base.glob("run/*.stat"), *base.glob("*/run/*.stat")):
        left = recorded(record.parent, record.stem)
        if left is not None:
            end_family(left, owner_uid=uid, polite=signal.SIGKILL, patience_s=1.0)
    shutil.rmtree(base, ignore_errors=True)


def pgbouncer_executable(version: str | None) -> tuple[str, Path]:
    """Return full version and executable: of the machine's own PgBouncer, or of a line such as `1.24`.

    A version that is not there fails the test and says so: a skipped test would look like a passed one.
    """
    from console.lab import packages

    found = packages.pgbouncer_binaries()
    for full, path in found.items():
        if version is None or full == version or full.startswith(f"{version}."):
            return full, path
    known = ", ".join(found) or "none"
    pytest.fail(
        f"PgBouncer {version or ''} is not here (found: {known}); `make test` brings it in", pytrace=False
    )


def app_databases(postgres: PostgresServer) -> dict[str, str]:
    """Return the `[databases]` every test pooler has: transaction mode, session mode, and a pool of two."""
    target = f"host={postgres.host} port={postgres.port} dbname={APP_DATABASE}"
    return {
        "app": f"{target} pool_mode=transaction",
        "app_session": f"{target} pool_mode=session",
        "tiny": f"{target} pool_mode=transaction pool_size=2",
    }


class MakePgBouncer:
    """`make_pgbouncer(version=None, *, databases=None, start=True, **ini)`: a started PgBouncer.

    `version` is a line (`1.24`), a full number, or None for the machine's own; `ini` goes to `[pgbouncer]`.
    """

    def __init__(self, workshop: Workshop, postgres: Callable[[], PostgresServer]) -> None:
        self._workshop = workshop
        self._postgres = postgres

    def __call__(
        self,
        version: str | None = None,
        *,
        name: str = "bouncer",
        databases: Mapping[str, str] | None = None,
        port: int | None = None,
        start: bool = True,
        **ini: object,
    ) -> PgBouncerServer:
        _, executable = pgbouncer_executable(version)
        place = self._workshop.place(name)
        server = PgBouncerServer(
            place.name,
            place,
            self._workshop.launcher,
            self._workshop.secrets,
            executable=executable,
            databases=app_databases(self._postgres()) if databases is None else databases,
            settings=ini,
            port=port,
        )
        self._workshop.keep(server)
        if start:
            server.start()
        return server


class MakeSshd:
    """`make_sshd(name="host", *, start=True, **settings)`: a started sshd that lets `user_key` in.

    Attributes:
        user_key: the client's key.
    """

    def __init__(self, workshop: Workshop, user_key: KeyPair) -> None:
        self._workshop = workshop
        self.user_key = user_key

    def __call__(
        self, name: str = "host", *, port: int | None = None, start: bool = True, **settings: str
    ) -> SshServer:
        place = self._workshop.place(name)
        server = SshServer(
            place.name,
            place,
            self._workshop.launcher,
            user_keys=[self.user_key],
            port=port,
            settings=settings,
        )
        self._workshop.keep(server)
        if start:
            server.start()
        return server


class MakeLab:
    """`make_lab(bouncers=None, load_s=None, pgbouncer=())`: a lab of its own, down at the test's end."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._directories: list[Path] = []

    def place(self) -> Path:
        """Return a folder for a lab; whatever is started in it is taken down at the test's end."""
        self._directories.append(self._workshop.place("lab"))
        return self._directories[-1]

    def __call__(
        self, bouncers: int | None = None, load_s: int | None = None, pgbouncer: Sequence[Path] = ()
    ) -> Lab:
        return Lab.up(self.place(), bouncers, load_s, pgbouncer)

    def end(self) -> None:
        """Take every lab of this test down."""
        while self._directories:
            Lab.down(self._directories.pop())
