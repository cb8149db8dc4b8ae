"""Bench (j): configuration files pushed under load: good, with a bad key, with a bad certificate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from console.lab.bouncer import PgBouncerServer
from console.lab.tls import CertificateAuthority
from tests.bench.load_case import Measured, OperationFailed, watched
from tests.bench.load_scene import pooldeck, started_postgres, workplace
from tests.bench.load_table import keep
from tests.bench.table import BenchRow, print_table
from tests.harness.clients import ClientLoad
from tests.harness.servers import PGBOUNCER_LINES, MakePgBouncer
from tests.servers.cli_kit import Shell
from tests.servers.load_kit import client_tls, every_kind, make_ledger, passfile

REFUSED = 3
FAILED = 1
GOOD = "config push, a good file"
BAD_KEY = "config push, a misspelt key"
BAD_FILE = "config push, a certificate that is none"


class Pushing:
    """One bouncer that files are pushed to."""

    def __init__(self, server: PgBouncerServer, shell: Shell, folder: Path) -> None:
        self._server = server
        self._shell = shell
        self._file = folder / "new.ini"
        self._garbage = server.directory / "none.crt"
        server.launcher.write_file(self._garbage, "no certificate\n")

    @property
    def _before(self) -> str:
        return self._server.config_path.read_text()

    def good(self, _: ClientLoad) -> list[str]:
        """Push a file with another pool size."""
        self._file.write_text(self._before.replace("default_pool_size = 10", "default_pool_size = 12"))
        pooldeck(self._shell, "config", "push", "edge", str(self._file), "--yes")
        return []

    def bad_key(self, _: ClientLoad) -> list[str]:
        """Push one with a key that PgBouncer does not know."""
        return self._refused(self._before.replace("default_pool_size", "defualt_pool_size"))

    def bad_file(self, _: ClientLoad) -> list[str]:
        """Push one that names a certificate that PgBouncer cannot read."""
        named = [line for line in self._before.splitlines() if line.startswith("client_tls_cert_file")]
        return self._refused(self._before.replace(named[0], f"client_tls_cert_file = {self._garbage}"))

    def _refused(self, text: str) -> list[str]:
        before = self._before
        self._file.write_text(text)
        ended = self._shell("config", "push", "edge", str(self._file), "--yes")
        if ended.returncode not in (REFUSED, FAILED):
            raise OperationFailed(f"{ended.stderr}\n{ended.stdout}\nit was not refused")
        if self._before != before:
            raise OperationFailed("the bad file is there")
        told = pooldeck(self._shell, "config", "diff", "edge")
        if "runs as its files say" not in told:
            raise OperationFailed(f"it does not run as its files say: {told}")
        return ["refused beforehand" if ended.returncode == REFUSED else "put back"]


def _measure(line: str) -> list[Measured]:
    with ExitStack() as stack:
        workshop, folder = stack.enter_context(workplace())
        postgres = started_postgres(workshop)
        authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
        server = MakePgBouncer(workshop, lambda: postgres)(line, name="edge", **client_tls(authority))
        shell = stack.enter_context(Shell({"edge": server}, folder))
        groups = every_kind(server, passfile(workshop.secrets, folder), tls_ca=authority.cert_path)
        pushing = Pushing(server, shell, folder)
        cases: Sequence[tuple[str, Callable[[ClientLoad], list[str]]]] = (
            (GOOD, pushing.good),
            (BAD_KEY, pushing.bad_key),
            (BAD_FILE, pushing.bad_file),
        )
        found = []
        for name, operate in cases:
            make_ledger(postgres)
            found.append(watched(name, str(server.version), groups, folder, operate, lambda: postgres))
        return found


def run() -> list[BenchRow]:
    """Measure them on every version."""
    found = [one for line in PGBOUNCER_LINES for one in _measure(line)]
    found.sort(key=lambda one: (GOOD, BAD_KEY, BAD_FILE).index(one.name))
    keep("config", "Configuration changes under load", found, into=["config-push"])
    return [one.row("j") for one in found]


if __name__ == "__main__":
    rows = run()
    print_table(rows)
    sys.exit(0 if all(row.ok for row in rows) else 1)
