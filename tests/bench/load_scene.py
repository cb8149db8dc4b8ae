"""A real bouncer under every kind of client while an operation runs, judged, and its table kept.

An operation is a callable that takes the `Scene`; whoever brings one lists a `Case` for it and calls
`run_cases`.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import APP_DATABASE, PostgresServer
from console.lab.tls import CertificateAuthority
from tests.bench.table import BenchRow
from tests.harness.clients import ClientLoad, Group, Report, judge, ledger
from tests.harness.clients.judging import STALL_S
from tests.harness.clients.pgbench import PgBench
from tests.harness.clients.report import Figures
from tests.harness.servers import PGBOUNCER_LINES, MakePgBouncer, Workshop
from tests.servers.cli_kit import Shell
from tests.servers.load_kit import client_tls, every_kind, make_ledger, passfile

KEPT = Path(__file__).resolve().parents[2] / "docs" / "bench"
SETTLE_S = 1.0
"""Clients run so long before and after the operation."""


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
            RuntimeError: it did not end well.
        """
        ended = self.shell(*words)
        if ended.returncode:
            raise RuntimeError(f"pooldeck {' '.join(words)} ended with {ended.returncode}: {ended.stderr}")
        return ended.stdout


@dataclass(frozen=True)
class Case:
    """One operation and its limits; None: told, not judged. `pgbench_s` None: without pgbench beside."""

    name: str
    operate: Callable[[Scene], None]
    failed: int | None = 0
    stall_s: float | None = STALL_S
    closed_idle: int | None = 0
    pgbench_s: int | None = None
    lines: Sequence[str] = PGBOUNCER_LINES


@dataclass(frozen=True)
class Measured:
    """What one case gave on one version."""

    case: Case
    version: str
    report: Report
    beside: Figures | None
    differences: tuple[str, ...]
    notes: tuple[str, ...]

    def row(self, letter: str) -> BenchRow:
        """Return its line of `make bench`."""
        case, report = self.case, self.report
        found = judge(
            report,
            failed=sys.maxsize if case.failed is None else case.failed,
            stall_s=case.stall_s,
            closed_idle=case.closed_idle,
        )
        wrong = [f"{one.what}: {one.figure}" for one in found if not one.ok] + list(self.differences)
        if self.beside is not None and self.beside.failed and case.failed is not None:
            wrong.append(f"pgbench: {self.beside.failed}")
        limits = [f"{case.failed} failed"] if case.failed is not None else []
        limits += [f"<= {case.stall_s:g} s"] if case.stall_s is not None else []
        total = report.total
        detail = f"{total.done:,} done by {total.clients} clients, stall p50/p99/max {total.stall_ms} ms"
        if self.beside is not None:
            detail += f"; pgbench {self.beside.done:,} done, {self.beside.stall_ms} ms"
        return BenchRow(
            name=f"({letter}) {case.name}, {self.version}",
            figure=f"{sum(total.failed.values())} failed, {(total.stall_ms.max or 0) / 1_000:.2f} s",
            limit=", ".join(limits) or "(said beside)",
            ok=not wrong,
            detail="; ".join([*wrong, detail, *self.notes]),
        )


@contextmanager
def scene(line: str) -> Iterator[Callable[[Case], Measured]]:
    """Bring Postgres and one bouncer up, and give what measures a case on them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pd-load-", dir="/tmp")))
        os.environ["XDG_RUNTIME_DIR"] = str(folder)
        workshop = Workshop()
        stack.callback(workshop.remove)
        postgres = workshop.keep(
            PostgresServer("primary", workshop.base / "pg", workshop.launcher, workshop.secrets)
        )
        postgres.start()
        authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
        make = MakePgBouncer(workshop, lambda: postgres)
        bouncer = make(line, name="edge", **client_tls(authority))
        shell = stack.enter_context(Shell({"edge": bouncer}, folder))
        passwords = passfile(workshop.secrets, folder)
        groups = every_kind(bouncer, passwords, tls_ca=authority.cert_path)
        version = str(bouncer.version)

        def measure(case: Case) -> Measured:
            make_ledger(postgres)
            load = ClientLoad(groups, folder / "clients.log")
            made = Scene(version, folder, workshop, postgres, bouncer, shell, load)
            with ExitStack() as running:
                other = _pgbench(case, bouncer, passwords, folder)
                if other is not None:
                    running.enter_context(other)
                running.enter_context(load)
                time.sleep(SETTLE_S)
                with load.window(case.name):
                    case.operate(made)
                time.sleep(SETTLE_S)
                beside = None if other is None else other.figures()
                report = load.stop()
            with postgres.connect(APP_DATABASE) as session:
                wrong = ledger.differences(session, report)
            return Measured(case, version, report, beside, tuple(wrong), tuple(made.notes))

        yield measure


def run_cases(cases: Sequence[Case], *, letter: str, page: str, title: str) -> list[BenchRow]:
    """Measure every case on every version it names, keep the tables in docs/bench/, and return the rows."""
    found: dict[str, list[Measured]] = {case.name: [] for case in cases}
    for line in dict.fromkeys(line for case in cases for line in case.lines):
        with scene(line) as measure:
            for case in cases:
                if line in case.lines:
                    found[case.name].append(measure(case))
                    sys.stderr.write(f"{found[case.name][-1].report.table()}\n")
    keep(page, title, [(case.name, found[case.name]) for case in cases])
    return [one.row(letter) for case in cases for one in found[case.name]]


def keep(page: str, title: str, tables: Sequence[tuple[str, Sequence[Measured]]]) -> None:
    """Write docs/bench/PAGE.md: a table an operation, a line a version."""
    KEPT.mkdir(exist_ok=True)
    parts = [f"# {title}\n\nWritten by `make bench`; how to read it: [under load](../load.md).\n"]
    head = (
        "| PgBouncer | clients | done | failed | connects retried | closed idle "
        "| longest stall p50 / p99 / max, ms "
        "| pgbench: done, failed, longest stall | measuring: CPU of a core, late by |"
    )
    for name, measured in tables:
        lines = [f"## {name}\n", head, _rule(head)]
        lines += [_line(one) for one in measured]
        kinds = [_kinds(one) for one in measured]
        parts.append("\n".join([*lines, *[text for text in kinds if text]]) + "\n")
    (KEPT / f"{page}.md").write_text("\n".join(parts), encoding="utf-8")


def _rule(head: str) -> str:
    return "|" + " --- |" * (head.count("|") - 1)


def _line(one: Measured) -> str:
    total, cost = one.report.total, one.report.overhead
    beside = "-"
    if one.beside is not None:
        beside = f"{one.beside.done:,}, {sum(one.beside.failed.values())}, {one.beside.stall_ms} ms"
    cells = (
        one.version,
        total.clients,
        f"{total.done:,}",
        sum(total.failed.values()),
        total.retried,
        sum(total.lost_idle.values()),
        total.stall_ms,
        beside,
        f"{cost.cpu_share:.0%}, {cost.lag_ms} ms",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _kinds(one: Measured) -> str:
    total = one.report.total
    told = [f"{count} × {kind}" for kind, count in (*total.failed.items(), *total.lost_idle.items())]
    told += [f"{count} × connect {kind}" for kind, count in total.retries.items()]
    told += list(one.notes)
    return f"\n{one.version}: {re.sub(r'[|]', '/', '; '.join(told))}" if told else ""


def _pgbench(case: Case, bouncer: PgBouncerServer, passwords: str, folder: Path) -> PgBench | None:
    if case.pgbench_s is None:
        return None
    group = Group("pgbench", bouncer.host, bouncer.port, passwords, clients=2)
    return PgBench(group, case.pgbench_s, folder)
