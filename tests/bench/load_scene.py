"""A real bouncer under every kind of client while an operation runs, judged, and its table kept.

An operation is a callable that takes the `Scene`; whoever brings one lists a `Case` for it and calls
`run_cases`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.lab.tls import CertificateAuthority
from tests.bench.load_case import Limits, Measured, OperationFailed, watched
from tests.bench.load_table import keep
from tests.bench.table import BenchRow
from tests.harness.clients import ClientLoad, Group
from tests.harness.clients.pgbench import PgBench
from tests.harness.servers import PGBOUNCER_LINES, MakePgBouncer, Workshop
from tests.servers.cli_kit import Shell
from tests.servers.load_kit import client_tls, every_kind, make_ledger, passfile


@dataclass
class Scene:
    """What an operation may use.

    Attributes:
        shell: runs `pooldeck` on the bouncer `edge`.
        notes: what the operation wants told beside its row, e.g. the stall that it measured itself.
    """

    version: str
    folder: Path
    workshop: Workshop
    postgres: PostgresServer
    bouncer: PgBouncerServer
    shell: Shell
    load: ClientLoad
    notes: list[str] = field(default_factory=list)

    def pooldeck(self, *words: str) -> str:
        """Run a verb and return what it printed.

        Raises:
            OperationFailed: it did not end well.
        """
        return pooldeck(self.shell, *words)


def pooldeck(shell: Shell, *words: str) -> str:
    """Run a verb and return what it printed.

    Raises:
        OperationFailed: it did not end well.
    """
    ended = shell(*words)
    if ended.returncode:
        raise OperationFailed(
            f"pooldeck {' '.join(words)} ended with {ended.returncode}: {ended.stdout}{ended.stderr}"
        )
    return ended.stdout


@dataclass(frozen=True)
class Case:
    """One operation and its limits. `pgbench_s` None: without pgbench beside."""

    name: str
    operate: Callable[[Scene], None]
    limits: Limits = field(default_factory=Limits)
    pgbench_s: int | None = None
    lines: Sequence[str] = PGBOUNCER_LINES


@contextmanager
def workplace() -> Iterator[tuple[Workshop, Path]]:
    """Give a workshop and a folder with a short name, which is XDG_RUNTIME_DIR as well."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pd-load-", dir="/tmp")))
        os.environ["XDG_RUNTIME_DIR"] = str(folder)
        workshop = Workshop()
        stack.callback(workshop.remove)
        yield workshop, folder


def started_postgres(workshop: Workshop) -> PostgresServer:
    """Start a primary with the lab's roles."""
    made = workshop.keep(PostgresServer("primary", workshop.base / "pg", workshop.launcher, workshop.secrets))
    made.start()
    return made


@contextmanager
def scene(line: str) -> Iterator[Callable[[Case], Measured]]:
    """Bring Postgres and one bouncer up, and give what measures a case on them."""
    with ExitStack() as stack:
        workshop, folder = stack.enter_context(workplace())
        postgres = started_postgres(workshop)
        authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
        make = MakePgBouncer(workshop, lambda: postgres)
        bouncer = make(line, name="edge", **client_tls(authority))
        shell = stack.enter_context(Shell({"edge": bouncer}, folder))
        passwords = passfile(workshop.secrets, folder)
        groups = every_kind(bouncer, passwords, tls_ca=authority.cert_path)
        version = str(bouncer.version)

        def measure(case: Case) -> Measured:
            make_ledger(postgres)

            def operate(load: ClientLoad) -> list[str]:
                made = Scene(version, folder, workshop, postgres, bouncer, shell, load)
                case.operate(made)
                return made.notes

            return watched(
                case.name,
                version,
                groups,
                folder,
                operate,
                lambda: postgres,
                limits=case.limits,
                beside=_pgbench(case, bouncer, passwords, folder),
            )

        yield measure


def run_cases(cases: Sequence[Case], *, letter: str, page: str, title: str) -> list[BenchRow]:
    """Measure every case on every version it names, keep the tables in docs/bench/, and return the rows."""
    found: dict[str, list[Measured]] = {case.name: [] for case in cases}
    for line in dict.fromkeys(line for case in cases for line in case.lines):
        with scene(line) as measure:
            for case in cases:
                if line in case.lines:
                    found[case.name].append(measure(case))
    ordered = [one for case in cases for one in found[case.name]]
    keep(page, title, ordered)
    return [one.row(letter) for one in ordered]


def _pgbench(case: Case, bouncer: PgBouncerServer, passwords: str, folder: Path) -> PgBench | None:
    if case.pgbench_s is None:
        return None
    group = Group("pgbench", bouncer.host, bouncer.port, passwords, clients=2)
    return PgBench(group, case.pgbench_s, folder)
