"""A pooler that lets nobody in because it is suspended: found by its process, where a login cannot tell.

Until 1.25 SUSPEND stops everything: the kernel still takes connections for the pooler, and nobody answers
them. A process that hangs, was stopped by a signal or ran out of file descriptors looks alike to a login, so
its host is asked (seen on 1.18 and 1.24): only a suspended one sleeps without waiting for connections on the
socket it listens on while it could open more files. It only reads.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from console.config.schema import Bouncer
from console.errors import DeadlineError, NodeError, Phase
from console.hosts.commands import IN_CONTAINERS, HostCommands, commands_of
from console.hosts.listeners import Listener, Listeners, listeners_on
from console.hosts.processes import STOPPED, HostProcesses, Process
from console.operations.spec import Outside
from console.poolers.connect import route_of
from console.transport.base import TcpAddress, Transport, UnixAddress
from console.transport.shell import command_line

PROGRAM = "pgbouncer"
_BEFORE_LOGIN = frozenset({Phase.TUNNEL, Phase.CONNECT, Phase.TLS, Phase.PROTOCOL})
_SIGNAL = ("kill", "-USR2")
"""RESUME. To a pooler that runs it does nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Suspended:
    """What was found instead of an `Observation`."""

    bouncer: str
    address: str
    silence: str
    """How the login ended, as a clause."""
    process: Process
    processes: HostProcesses
    """Of its host."""

    @property
    def where(self) -> str:
        """`host edge-1` or `this machine`."""
        return self.processes.commands.where

    @property
    def words(self) -> tuple[str, ...]:
        """The command that resumes it."""
        return self.processes.commands.as_owner(*_SIGNAL, str(self.process.pid))

    @property
    def command(self) -> str:
        """The command, as it would be typed there."""
        return command_line(self.words)

    @property
    def facts(self) -> dict[str, str]:
        """What a permit is bound to: this very process, seen suspended."""
        return {"admin console": "lets nobody in", "suspended process": self.process.identity}


async def look_if_suspended(
    bouncer: Bouncer, transport: Transport | None, error: NodeError, *, timeout_s: float
) -> Suspended:
    """Find out whether a pooler that nobody could log in to is suspended.

    Args:
        bouncer: the pooler.
        transport: to its host.
        error: how the login ended.
        timeout_s: for each command on its host.

    Raises:
        NodeError: it is not suspended, or that cannot be told: then the hint says what to run where.
    """
    if error.phase not in _BEFORE_LOGIN:
        raise error
    case = _Case(bouncer, error)
    if bouncer.process is not None and bouncer.process.kind in IN_CONTAINERS:
        raise case.in_container()
    commands = commands_of(bouncer, transport)
    if commands is None:
        raise case.no_way()
    processes = HostProcesses(commands, timeout_s=timeout_s)
    try:
        found = await listeners_on(processes, case.address, PROGRAM)
    except NodeError as trouble:
        raise case.not_asked(commands, trouble) from trouble
    process = case.judge(commands, found)
    return Suspended(bouncer.name, str(case.address), case.silence, process, processes)


async def look_outside(outside: Outside) -> Suspended:
    """See `look_if_suspended`."""
    transport = outside.reach.transport
    return await look_if_suspended(outside.bouncer, transport, outside.error, timeout_s=outside.timeout_s)


class _Case:
    """One pooler that did not let us in, and what can be said of it."""

    def __init__(self, bouncer: Bouncer, error: NodeError) -> None:
        self.bouncer = bouncer
        self.error = error
        self.address: TcpAddress | UnixAddress = route_of(bouncer).address

    @property
    def silence(self) -> str:
        """How the login ended, as a clause."""
        return f"{self.error.message} ({self.error.phase})"

    def told(self, finding: str, hint: str | None = None, *, certain: bool = False) -> NodeError:
        """Return the error with what was found.

        Only silence is explained by it, unless it is `certain`: a refusal has a reason of its own.
        """
        error = self.error
        if not certain and not isinstance(error, DeadlineError):
            return error
        return NodeError(
            error.phase, f"{error.message}; {finding}", where=error.where, hint=hint or error.hint
        )

    def in_container(self) -> NodeError:
        """It has a /proc of its own."""
        process = self.bouncer.process
        assert process is not None, "asked before"
        name = process.container or "CONTAINER"
        command = f"docker kill --signal=USR2 {shlex.quote(name)}"
        return self.told(
            "whether it is suspended cannot be seen from outside its container",
            f"if somebody sent SUSPEND (until 1.25), this ends it on its host: {command}",
        )

    def no_way(self) -> NodeError:
        """Neither here nor reached over SSH."""
        if self.error.phase is Phase.CONNECT:
            # Most likely it is down: not even its kernel answered.
            return self.error
        host = self.bouncer.host
        why = f"the host {host} cannot be reached from here" if host else "the inventory names no host for it"
        return self.told(
            f"whether it is suspended cannot be seen: {why}", self._by_hand("on the machine where it runs")
        )

    def not_asked(self, commands: HostCommands, trouble: NodeError) -> NodeError:
        """Its host did not answer."""
        return self.told(
            f"whether it is suspended cannot be seen on {commands.where}: {trouble.message}",
            self._by_hand(f"on {commands.where}"),
        )

    def judge(self, commands: HostCommands, found: Listeners) -> Process:
        """Return the process that is suspended.

        Raises:
            NodeError: none is, or that cannot be told.
        """
        where = commands.where
        if not found.sockets:
            raise self.told(f"nobody listens on {self.address} on {where}")
        if len(found.found) > 1:
            pids = ", ".join(str(one.process.pid) for one in found.found)
            raise self.told(
                f"several processes listen on {self.address} on {where}: {pids}",
                "a takeover (-R) may be stuck, or they share the port: give each process an address or Unix "
                f"socket of its own in the inventory, or end a SUSPEND there: {self._kill('PID')}",
            )
        if not found.found:
            raise self._nobody(where, found)
        listener = found.found[0]
        finding = self._otherwise(where, listener)
        if finding is not None:
            raise finding
        return listener.process

    def _nobody(self, where: str, found: Listeners) -> NodeError:
        """Somebody listens, and no PgBouncer is seen to."""
        pids = [str(one.pid) for one in found.hidden]
        if not pids:
            return self.told(
                f"what listens on {self.address} on {where} is no process called {PROGRAM} there",
                self._by_hand(f"on {where}"),
            )
        kind = "process" if len(pids) == 1 else "one of the processes"
        hint = (
            f"if it is suspended, this ends it on {where}: {self._kill(pids[0], root=True)}"
            if len(pids) == 1
            else self._by_hand(f"on {where}")
        )
        return self.told(
            f"{kind} {', '.join(pids)} on {where} may be it, but belongs to another account, so whether it "
            "is suspended cannot be seen",
            f"{hint}; with sudo = true in its [bouncers.process], Pooldeck looks and does it",
        )

    def _otherwise(self, where: str, listener: Listener) -> NodeError | None:
        """Say what keeps its process from answering when that is no SUSPEND."""
        process = listener.process
        name = f"its process {process.pid} on {where}"
        if process.state in STOPPED:
            return self.told(
                f"{name} is stopped (by SIGSTOP or a debugger), which is no SUSPEND",
                f"find out who stopped it; this lets it go on, on {where}: kill -CONT {process.pid}",
                certain=True,
            )
        if listener.file_limit is not None and listener.open_files >= listener.file_limit:
            return self.told(
                f"{name} has all of the {listener.file_limit} files open that it may, so it takes no "
                "connection; that is no SUSPEND",
                "end clients, or raise its limit (LimitNOFILE of its unit) and restart it",
                certain=True,
            )
        if listener.takes is None:
            return self.told(
                f"whether {name} takes connections cannot be seen",
                f"if it is suspended, this ends it on {where}: {self._kill(str(process.pid))}",
            )
        if listener.takes:
            return self.told(
                f"{name} is not suspended: it waits for connections and does not answer "
                f"(state {process.state})",
                "it hangs or is busy: look at its log, and at what it does there",
            )
        return None

    def _by_hand(self, place: str) -> str:
        """Say how a SUSPEND is ended without us."""
        return (
            f"if somebody sent SUSPEND (until 1.25), this ends it {place}: {self._kill('PID', root=True)}, "
            f"with the pid that this names there: sudo ss {self._filter()}"
        )

    def _filter(self) -> str:
        address = self.address
        if isinstance(address, TcpAddress):
            return f"-ltnp 'sport = :{address.port}'"
        return f"-lxp src {shlex.quote(address.path)}"

    def _kill(self, pid: str, *, root: bool = False) -> str:
        return " ".join((*(("sudo",) if root else ()), *_SIGNAL, pid))
