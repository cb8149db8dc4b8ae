"""One operation under load: run, measured, judged against its limits."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from console.lab.postgres import APP_DATABASE, PostgresServer
from tests.bench.table import BenchRow
from tests.harness.clients import ClientLoad, Group, Report, judge, ledger
from tests.harness.clients.judging import STALL_S, refused_logins
from tests.harness.clients.pgbench import PgBench
from tests.harness.clients.report import Figures

SETTLE_S = 1.0
"""Clients run so long before and after the operation."""
SAID_LINES = 3
SAID_CHARACTERS = 400


class OperationFailed(Exception):
    """The operation did not end as it should; its words are how what it said begins, and ends."""

    def __init__(self, words: str) -> None:
        lines = words.strip().splitlines()
        shown = lines if len(lines) <= SAID_LINES else [lines[0], lines[-1]]
        super().__init__(" / ".join(line[:SAID_CHARACTERS] for line in shown))


@dataclass(frozen=True)
class Limits:
    """What must hold. None: told, not judged.

    Attributes:
        stall_s: the longest stall of any client.
        closed_idle: connections that clients found closed between two transactions.
        logins_apart: logins that are answered with an error are counted apart, and the stall is that of
            clients that keep their connection.
    """

    failed: int | None = 0
    stall_s: float | None = STALL_S
    closed_idle: int | None = 0
    logins_apart: bool = False

    @property
    def words(self) -> str:
        """For people."""
        parts = [f"{self.failed} failed"] if self.failed is not None else []
        parts += [f"<= {self.stall_s:g} s"] if self.stall_s is not None else []
        return ", ".join(parts) or "(said beside)"


@dataclass(frozen=True)
class Measured:
    """What one operation gave on one version."""

    name: str
    version: str
    limits: Limits
    report: Report
    beside: Figures | None = None
    wrong: tuple[str, ...] = ()
    """What does not hold besides the limits: the operation's own end, rows of the ledger."""
    notes: tuple[str, ...] = ()

    @property
    def refused_logins(self) -> int | None:
        """Logins that were answered with an error; None: those are failures here."""
        return refused_logins(self.report) if self.limits.logins_apart else None

    @property
    def failed(self) -> int:
        """Failed transactions, without refused logins where those are counted apart."""
        return sum(self.report.total.failed.values()) - (self.refused_logins or 0)

    @property
    def judged(self) -> Figures:
        """The figures whose stall is judged."""
        kept = self.report.kept if self.limits.logins_apart else None
        return self.report.total if kept is None else kept

    @property
    def missed(self) -> tuple[str, ...]:
        """What does not hold, in words; () when all does."""
        limits = self.limits
        found = judge(
            self.report,
            failed=sys.maxsize if limits.failed is None else limits.failed,
            stall_s=limits.stall_s,
            closed_idle=limits.closed_idle,
            logins_apart=limits.logins_apart,
        )
        lines = [f"{one.what}: {one.figure}" for one in found if not one.ok]
        if self.beside is not None and self.beside.failed and limits.failed is not None:
            lines.append(f"pgbench: {self.beside.failed}")
        return (*lines, *self.wrong)

    def row(self, letter: str) -> BenchRow:
        """Return its line of `make bench`."""
        total, missed = self.report.total, self.missed
        detail = (
            f"{total.done:,} done by {total.clients} clients, stall p50/p99/max {self.judged.stall_ms} ms"
        )
        if self.refused_logins is not None:
            detail += f"; {self.refused_logins} new logins refused"
        if total.retried:
            detail += f"; {total.retried} connects retried"
        if self.beside is not None:
            detail += f"; pgbench {self.beside.done:,} done, {self.beside.stall_ms} ms"
        return BenchRow(
            name=f"({letter}) {self.name}, {self.version}",
            figure=f"{self.failed} failed, {(self.judged.stall_ms.max or 0) / 1_000:.2f} s",
            limit=self.limits.words,
            ok=not missed,
            detail="; ".join([*missed, detail, *self.notes]),
        )


def watched(
    name: str,
    version: str,
    groups: Sequence[Group],
    folder: Path,
    operate: Callable[[ClientLoad], Iterable[str]],
    truth: Callable[[], PostgresServer],
    *,
    limits: Limits | None = None,
    beside: PgBench | None = None,
) -> Measured:
    """Let clients work while `operate` runs, which returns what it wants told beside its row.

    Args:
        name: of the operation, as in the tables.
        version: of PgBouncer.
        groups: the clients.
        folder: for the clients' log.
        operate: the operation; it raises `OperationFailed` when that does not end as it should.
        truth: gives the server whose ledger is compared with what clients were told.
        limits: what must hold; None: the usual.
        beside: pgbench, when it runs as well.
    """
    wrong: list[str] = []
    notes: tuple[str, ...] = ()
    load = ClientLoad(groups, folder / "clients.log")
    with ExitStack() as running:
        if beside is not None:
            running.enter_context(beside)
        running.enter_context(load)
        time.sleep(SETTLE_S)
        with load.window(name):
            try:
                notes = tuple(operate(load))
            except OperationFailed as error:
                wrong.append(str(error))
        time.sleep(SETTLE_S)
        figures = None if beside is None else beside.figures()
        report = load.stop()
    with truth().connect(APP_DATABASE) as session:
        wrong += ledger.differences(session, report)
    sys.stderr.write(f"{name}, {version}\n{report.table()}\n")
    return Measured(name, version, limits or Limits(), report, figures, tuple(wrong), notes)
