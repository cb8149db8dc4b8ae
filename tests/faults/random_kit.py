"""Plays what `random_scenario` drew: verbs, faults and exits, for real.

What must hold in the end is said in `test_random`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from console.lab.bouncer import PgBouncerServer
from console.operations.lease.store import LeasePhase
from tests.faults.fault_kit import FaultShell
from tests.faults.random_scenario import Act, Fault, Moment, Scenario
from tests.harness.faults import FaultProxy
from tests.servers.cli_kit import LIMIT_S
from tests.servers.operations_kit import is_paused

MOMENT_LIMIT_S = 8.0
"""A moment that does not come in so long, e.g. `held` under an open transaction, is not waited for."""
LEASED = frozenset({"pause", "kill"})
KILLS = frozenset({Fault.CONSOLE_KILLED, Fault.GUARDIAN_KILLED, Fault.BOTH_KILLED})


@dataclass(slots=True)
class Played:
    """A command that was started."""

    act: Act
    process: subprocess.Popen[str]
    said: Path
    """Where its output goes: a pipe that nobody reads would hold it up."""
    console_killed: bool = False
    guardian_killed: bool = False

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def abandoned(self) -> bool:
        """Whether we took away everybody who would have ended what it began."""
        alone = self.guardian_killed or self.act.words[0] not in LEASED
        return (self.console_killed and alone) or (self.guardian_killed and "--detach" in self.act.words)


class RandomShell(FaultShell):
    """A `FaultShell` whose bouncer is behind a proxy that breaks."""

    def __init__(self, server: PgBouncerServer, proxy: FaultProxy, folder: Path) -> None:
        super().__init__({"edge": server}, folder)
        self.proxy = proxy
        self.folder = folder
        text = self.fleet.read_text()
        self.fleet.write_text(text.replace(f"{server.host}:{server.port}", f"{server.host}:{proxy.port}"))

    def pauses(self) -> set[str]:
        """What is paused: `edge` for the whole bouncer, and databases; empty when it cannot be asked."""
        try:
            with self.server.admin() as console:
                whole = {"edge"} if is_paused(console) else set()
                return whole | {name for name in self.server.databases if is_paused(console, name)}
        except psycopg.OperationalError:
            return set()

    def orphaned(self) -> set[str]:
        """What may be paused by runs whose console and guardian are dead, named as `pauses` does."""
        orphans = [lease for lease in self.leases() if lease.orphan]
        return {one.target.database or "edge" for lease in orphans for one in lease.open_targets}

    def setting(self, key: str) -> str:
        """What SHOW CONFIG says."""
        with self.server.admin() as console:
            return next(str(row[1]) for row in console.execute("SHOW CONFIG") if row[0] == key)

    def clients(self) -> int:
        """How many clients there are, those of the console itself not counted."""
        try:
            with self.server.admin() as console:
                cursor = console.execute("SHOW CLIENTS")
                place = [column.name for column in cursor.description or ()].index("database")
                return sum(row[place] != "pgbouncer" for row in cursor)
        except psycopg.OperationalError:
            return 0


@dataclass(slots=True)
class Stage:
    """Plays a scenario."""

    shell: RandomShell
    played: list[Played] = field(default_factory=list)
    foreign: bool = False
    """Somebody's pause of `other` is there, and nobody was asked to end it."""
    killed: set[int] = field(default_factory=set)
    """The guardians that were."""
    clients: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def play(self, scenario: Scenario) -> None:
        """Do one act after the other."""
        for number, act in enumerate(scenario.acts):
            if number == scenario.foreign:
                self._pause_as_somebody_else()
            self._do(act)

    def _do(self, act: Act) -> None:
        if act.busy:
            self._open_transaction()
        one = self._start(act)
        if act.fault is not Fault.NONE:
            self._await(one, act.moment)
            time.sleep(act.after_s)
            self._inflict(one)
        if act.waits:
            one.process.wait(LIMIT_S)
            self.clients.close()

    def _start(self, act: Act) -> Played:
        agreed: tuple[str, ...] = ("--yes",)
        if act.words[:2] == ("pause", "edge/*"):
            agreed = ("--yes", "--confirm", f"test {self.shell.clients()}")
        elif act.words[0] == "kill":
            agreed = ("--yes", "--confirm", f"edge/app {self.shell.clients()}")
        if act.words[0] == "mend":
            self.foreign = False
        said = self.shell.folder / f"said-{len(self.played)}"
        with said.open("w") as file:
            process = subprocess.Popen(
                self.shell.argv(*act.words, *agreed),
                env=self.shell.environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.shell.started.callback(_end, process)
        self.played.append(Played(act, process, said))
        return self.played[-1]

    def _await(self, one: Played, moment: Moment) -> None:
        before = {"other"} if self.foreign else set()
        moments: dict[Moment, Callable[[], bool]] = {
            Moment.STARTED: lambda: True,
            Moment.ARMED: lambda: self._has_lease(one, tuple(LeasePhase)),
            Moment.PAUSED: lambda: bool(self.shell.pauses() - before),
            Moment.HELD: lambda: self._has_lease(one, (LeasePhase.HELD,)),
            Moment.ENDED: lambda: False,
        }
        end = time.monotonic() + MOMENT_LIMIT_S
        while not (moments[moment]() or one.ended) and time.monotonic() < end:
            time.sleep(0.02)

    def _has_lease(self, one: Played, phases: tuple[LeasePhase, ...]) -> bool:
        return any(
            target.phase in phases
            for lease in self.shell.leases()
            if lease.owner.pid == one.process.pid
            for target in lease.targets
        )

    def _inflict(self, one: Played) -> None:
        fault = one.act.fault
        if fault in KILLS:
            self._kill(one)
        elif fault is Fault.CTRL_C_TWICE:
            one.process.send_signal(signal.SIGINT)
            time.sleep(0.1)
            one.process.send_signal(signal.SIGINT)
        elif fault in _SIGNALS:
            one.process.send_signal(_SIGNALS[fault])
        elif fault is Fault.CONSOLE_STOPPED:
            one.process.send_signal(signal.SIGSTOP)
            time.sleep(one.act.for_s)
            one.process.send_signal(signal.SIGCONT)
        elif fault is Fault.RESTARTED:
            self._restart(one.act.for_s)
        elif fault is Fault.CUT:
            self.shell.proxy.cut()
        elif fault is Fault.UNREACHABLE:
            with self.shell.proxy.refusing():
                time.sleep(one.act.for_s)
        elif fault is Fault.RESUMED_BY_HAND:
            self._resume_by_hand()
        else:
            words = ("mend",) if fault is Fault.MENDED else ("resume", one.act.words[1])
            self.foreign = False
            self._start(Act(words)).process.wait(LIMIT_S)

    def _kill(self, one: Played) -> None:
        victims = [] if one.act.fault is Fault.CONSOLE_KILLED else self.shell.guardians(one.process.pid)
        for pid in victims:  # all stand still first: none may act on the end of another
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        if one.act.fault is not Fault.GUARDIAN_KILLED and not one.ended:
            one.process.kill()
            one.process.wait(LIMIT_S)
            one.console_killed = True
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                one.guardian_killed = True
                self.killed.add(pid)

    def _restart(self, down_s: float) -> None:
        server = self.shell.server
        server.kill()
        self.foreign = False
        time.sleep(down_s)
        server.start()
        self.shell.proxy.target = (server.host, server.port)

    def _resume_by_hand(self) -> None:
        for statement in ("RESUME", "RESUME app"):
            with contextlib.suppress(psycopg.Error), self.shell.server.admin() as console:
                console.execute(statement.encode())

    def _pause_as_somebody_else(self) -> None:
        """Only once nothing of ours is left: a pause beside one of ours is not somebody else's alone."""
        end = time.monotonic() + LIMIT_S
        while self.shell.processes() and time.monotonic() < end:
            time.sleep(0.1)
        if not self.shell.processes() and not self.shell.pauses():
            self.shell.tell("edge", "PAUSE other")
            self.foreign = True

    def _open_transaction(self) -> None:
        with contextlib.suppress(psycopg.Error):  # it is paused, disabled or down: then nobody has one open
            client = self.shell.server.connect("app", connect_timeout=2)
            self.clients.callback(client.close)
            with _patience(client, 1.0):
                client.execute("BEGIN")
                client.execute("SELECT 1")


_SIGNALS = {
    Fault.CTRL_C: signal.SIGINT,
    Fault.TERMINATED: signal.SIGTERM,
    Fault.HUNG_UP: signal.SIGHUP,
}


@contextlib.contextmanager
def client_load(server: PgBouncerServer) -> Iterator[None]:
    """One client asks one short query after the other, and comes back whenever it was cut."""
    over = threading.Event()
    current: list[psycopg.Connection[Any]] = []

    def ask() -> None:
        while not over.is_set():
            with contextlib.suppress(psycopg.Error), contextlib.closing(server.connect()) as client:
                current[:] = [client]
                while not over.is_set():
                    client.execute("SELECT 1")
                    over.wait(0.02)
            over.wait(0.1)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        for client in current:
            _hang_up(client)
        thread.join(LIMIT_S)


@contextlib.contextmanager
def _patience(client: psycopg.Connection[Any], limit_s: float) -> Iterator[None]:
    """Cut a client that waits for longer."""
    timer = threading.Timer(limit_s, _hang_up, [client])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _hang_up(client: psycopg.Connection[Any]) -> None:
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(client.fileno())) as link:
        link.shutdown(socket.SHUT_RDWR)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait(LIMIT_S)
