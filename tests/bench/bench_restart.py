"""Bench (h): restarts under load: rolling through four, takeover, drain, plain, an upgrade and back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from console.lab.postgres import PostgresServer
from console.lab.tls import CertificateAuthority
from console.model.version import Version
from tests.bench.load_case import Limits, Measured, OperationFailed, watched
from tests.bench.load_scene import pooldeck, started_postgres, workplace
from tests.bench.load_table import keep
from tests.bench.table import BenchRow, print_table
from tests.harness.clients import ClientLoad, Group
from tests.harness.servers import PGBOUNCER_LINES, MakePgBouncer, Workshop, pgbouncer_executable
from tests.servers.fleet_kit import Fleet, coming_back, fleet
from tests.servers.load_kit import PREPARED_IN_POOLS, client_tls, make_ledger, passfile

WAITS_FOR_CLIENTS = ("1.24", "1.26")
TAKES_OVER = ("1.18", "1.24")
UPGRADE = ("1.24", "1.26")
CUTS = Limits(failed=None, stall_s=None, closed_idle=None)
"""Its clients are cut: told."""
PAUSES_AND_CUTS = Limits(failed=None, closed_idle=None)
"""Likewise, after a pause, whose stall is judged."""


@dataclass(frozen=True)
class Case:
    """One restart.

    Attributes:
        words: of `pooldeck restart`.
        version_after: what `program` leads to before it; "": the version that runs.
        note: what the tables say beside it.
    """

    name: str
    words: Sequence[str]
    limits: Limits = field(default_factory=Limits)
    version_after: str = ""
    note: str = ""


@dataclass(frozen=True)
class Stage:
    """A fleet to restart."""

    workshop: Workshop
    folder: Path
    postgres: PostgresServer
    fleet: Fleet
    groups: Sequence[Group]


@contextmanager
def stage(
    line: str, *, count: int, balanced: bool = False, kinds: Callable[[list[Group]], list[Group]], tls: bool
) -> Iterator[Stage]:
    """Bring Postgres and `count` bouncers up."""
    with ExitStack() as stack:
        workshop, folder = stack.enter_context(workplace())
        postgres = started_postgres(workshop)
        authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
        make = MakePgBouncer(workshop, lambda: postgres)
        ini = client_tls(authority) if tls else {}
        made = stack.enter_context(fleet(workshop, make, folder, line, count=count, balanced=balanced, **ini))
        passwords = passfile(workshop.secrets, folder)
        groups = kinds(made.groups(passwords, tls_ca=authority.cert_path if tls else None))
        yield Stage(workshop, folder, postgres, made, groups)


def measure(case: Case, on: Stage) -> Measured:
    """Restart the whole fleet of `on`, and see that each bouncer is another process, of the right version."""
    made = on.fleet
    runs = made.versions()
    wanted = {pgbouncer_executable(case.version_after)[0]} if case.version_after else runs
    old = made.pids()
    make_ledger(on.postgres)
    if case.version_after:
        made.switch(case.version_after)

    command = made.shell.approved("restart", "all", *case.words)

    def operate(_: ClientLoad) -> list[str]:
        pooldeck(made.shell, *command)
        if not made.adopt() or any(pid == old[name] for name, pid in made.pids().items()):
            raise OperationFailed(f"not every bouncer is a new process: {old} → {made.pids()}")
        if made.versions() != wanted:
            raise OperationFailed(f"{made.versions()} run, not {wanted}")
        return [case.note] if case.note else []

    version = " → ".join(dict.fromkeys([*sorted(runs), *sorted(wanted)]))
    return watched(case.name, version, on.groups, on.folder, operate, lambda: on.postgres, limits=case.limits)


def without_prepared(groups: Sequence[Group], version: Version) -> list[Group]:
    """Leave out clients whose prepared statements the pooler keeps: `-R` loses those, as the plan warns."""
    return [one for one in groups if not one.prepared or version < PREPARED_IN_POOLS]


def rolling(shape: str, *, balanced: bool) -> list[Measured]:
    """Restart four bouncers one by one, then to another version and back."""
    plain = Case(f"rolling, four {shape}", ("--method", "rolling"))
    found = []
    for line in WAITS_FOR_CLIENTS:
        with stage(line, count=4, balanced=balanced, kinds=coming_back, tls=True) as on:
            found.append(measure(plain, on))
            if line != UPGRADE[0]:
                continue
            for version in (UPGRADE[1], UPGRADE[0]):
                words = ("--method", "rolling", "--expect-version", version)
                name = f"upgrade and back, rolling, four {shape}"
                found.append(measure(Case(name, words, version_after=version), on))
    return found


def alone() -> list[Measured]:
    """Restart one bouncer by each method that cannot count on others."""
    found = []
    for line in PGBOUNCER_LINES:
        with stage(line, count=1, kinds=list, tls=True) as on:
            found.append(measure(Case("drain, one", ("--method", "drain"), PAUSES_AND_CUTS), on))
            if line == UPGRADE[0]:
                for version in (UPGRADE[1], UPGRADE[0]):
                    words = ("--method", "drain", "--expect-version", version)
                    name = "upgrade and back, drain, one"
                    found.append(measure(Case(name, words, PAUSES_AND_CUTS, version), on))
            found.append(measure(Case("plain, one", ("--method", "plain"), CUTS), on))
    return found


def takeover() -> list[Measured]:
    """Let a new process take over from one bouncer, without TLS."""
    found = []
    for line in TAKES_OVER:
        version = Version.parse(pgbouncer_executable(line)[0])
        assert version is not None

        def kinds(groups: list[Group], version: Version = version) -> list[Group]:
            return without_prepared(groups, version)

        with stage(line, count=1, kinds=kinds, tls=False) as on:
            note = (
                "without clients whose prepared statements the pooler keeps"
                if version >= PREPARED_IN_POOLS
                else ""
            )
            found.append(measure(Case("takeover, one", ("--method", "takeover"), note=note), on))
    return found


def run() -> list[BenchRow]:
    """Measure them all."""
    found = [
        *rolling("so_reuseport peers", balanced=False),
        *rolling("behind HAProxy", balanced=True),
        *takeover(),
        *alone(),
    ]
    order = list(dict.fromkeys(one.name for one in found))
    found.sort(key=lambda one: order.index(one.name))
    keep("restart", "Restarts under load", found, into=["restart"])
    return [one.row("h") for one in found]


if __name__ == "__main__":
    rows = run()
    print_table(rows)
    sys.exit(0 if all(row.ok for row in rows) else 1)
