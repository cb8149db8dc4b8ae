"""Finds a pooler's process on its host, and how it is supervised. It only looks.

The pid comes from the unit or container where there is one, else from the pid file; a pid file is believed
only when the process of that number has the pooler's configuration file on its command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from console.config.schema import Bouncer
from console.errors import NodeError
from console.hosts.commands import HostCommands, commands_of
from console.hosts.facts import ProcessFacts, read_cpu_s, read_facts
from console.hosts.listeners import listeners_on
from console.hosts.processes import HostProcesses, Process
from console.model.rows import Setting
from console.model.version import Version
from console.operations.process.relay import Earlier, earlier_relays, label_of
from console.operations.process.supervision import (
    Kind,
    Supervision,
    detected,
    of_inventory,
    unit_config_file,
    unit_facts,
    unit_program,
)
from console.poolers.connect import route_of
from console.transport.base import CommandResult, Transport

PROGRAM = "pgbouncer"
LOG_LINES = 12
_NO_PID = frozenset({"", "0"})


@dataclass(frozen=True, slots=True)
class ProcessLook:
    """A pooler's process as found."""

    host: HostCommands | None
    """None: there is no way to its host; `why` says so."""
    supervision: Supervision | None
    """None: nobody says, and it could not be detected."""
    process: ProcessFacts | None
    """None: it was not found; `why` says why."""
    why: str | None = None
    unit: Mapping[str, str] = field(default_factory=dict)
    """What systemd says of it."""
    supervisor_says: str | None = None
    """What Docker says of it, as one line."""
    program: str | None = None
    """The executable that the next start takes; None: not known."""
    program_version: Version | None = None
    """What that executable calls itself; None: not known."""
    user: int | None = None
    """The uid that commands run with on the host, sudo left out."""
    logfile: str | None = None
    earlier: tuple[Earlier, ...] = ()
    """Restarts of it that its host knows of."""
    is_silent: bool = False
    """Its host did not answer: nothing is known of the process."""

    @property
    def where(self) -> str:
        """The host, for people."""
        return self.host.where if self.host is not None else "its host"

    @property
    def cannot_start(self) -> str | None:
        """Why it cannot be started from here; None: it can."""
        if self.host is None:
            return self.why
        if self.supervision is None:
            return "nobody says how it is started: write [bouncers.process] into the inventory"
        if self.supervision.detected and self.supervision.kind is Kind.COMMAND:
            return (
                "the inventory does not say how it is started; if its command line is right, write it there: "
                f"{self.supervision.words}"
            )
        busy = next((one for one in self.earlier if one.under_way), None)
        return None if busy is None else f"a restart of it is {busy.words}"

    @property
    def starts_as_root(self) -> bool:
        """Whether a start command is a plain call of a pgbouncer, and would run as root."""
        supervision = self.supervision
        if supervision is None or supervision.kind is not Kind.COMMAND or not supervision.start_command:
            return False
        return supervision.start_command[0] == supervision.program and (supervision.sudo or self.user == 0)

    @property
    def config_file(self) -> str | None:
        """The configuration file that its start names; None: not known."""
        if self.supervision is None:
            return None
        return unit_config_file(self.unit) or self.supervision.config_file

    @property
    def may_act(self) -> str | None:
        """Return why commands here may not end or start it; None when nothing speaks against it."""
        found, supervision = self.process, self.supervision
        if found is None or supervision is None or supervision.kind is not Kind.COMMAND:
            return None
        if supervision.sudo or self.user in (None, 0, found.uid):
            return None
        return (
            f"process {found.pid} belongs to uid {found.uid}, and commands on {self.where} run as uid "
            f"{self.user}: log in as its owner, or set sudo = true in [bouncers.process]"
        )


class Finder:
    """Looks at one bouncer's process."""

    def __init__(self, bouncer: Bouncer, transport: Transport | None, *, timeout_s: float) -> None:
        self._bouncer = bouncer
        self._commands = commands_of(bouncer, transport)
        self._timeout_s = timeout_s

    async def look(self, config: Mapping[str, Setting] | None) -> ProcessLook:
        """Find the process. Nothing raises for what the host is like: `why` tells.

        Args:
            config: SHOW CONFIG of the pooler; None: it does not answer, and only the inventory helps.
        """
        process = self._bouncer.process
        supervision = of_inventory(process) if process is not None else None
        logfile = _value(config, "logfile")
        if self._commands is None:
            host = self._bouncer.host
            why = (
                f"the host {host} cannot be reached from here"
                if host
                else "the inventory names no host for it"
            )
            return ProcessLook(None, supervision, None, why, logfile=logfile)
        empty = ProcessLook(self._commands, supervision, None, logfile=logfile)
        try:
            return await self._look(empty, config)
        except NodeError as error:
            return replace(empty, why=f"{self._commands.where}: {error.message}", is_silent=True)

    async def _look(self, found: ProcessLook, config: Mapping[str, Setting] | None) -> ProcessLook:
        told = await self._with_earlier(await self._supervisor(found))
        if told.supervision is not None and told.supervision.kind is Kind.SWARM:
            return replace(told, why="a Swarm service has a process for each of its tasks")
        pid, why = await self._pid(told, config)
        if pid is None:
            return await self._with_program(replace(told, why=why))
        facts = await read_facts(self._processes, pid)
        if facts is None or facts.ended:
            return await self._with_program(replace(told, why=f"process {pid} is gone: it is not running"))
        argv = facts.process.argv
        conffile = _value(config, "conffile") or self._bouncer.config_file or told.config_file
        by_file = told.supervision is None or told.supervision.kind is Kind.COMMAND
        if by_file and conffile and conffile not in argv:
            return await self._with_program(
                replace(
                    told, why=f"process {pid} of its pid file is another one ({argv[0] if argv else 'n/a'})"
                )
            )
        if told.supervision is None:
            told = await self._supervisor(replace(told, supervision=detected(facts)))
            told = await self._with_earlier(told)
        return await self._with_program(replace(told, process=facts))

    async def still_there(self, process: Process) -> bool:
        """Say whether exactly this process runs.

        Raises:
            NodeError: the host did not answer.
        """
        found = await self._processes.read([process.pid])
        return any(one.identity == process.identity and one.state not in "ZX" for one in found)

    async def cpu_s(self, process: Process) -> float | None:
        """Return the CPU time that it has used; None when it is gone.

        Raises:
            NodeError: the host did not answer.
        """
        return await read_cpu_s(self._processes, process)

    # -- inside -------------------------------------------------------------------------------

    async def _with_earlier(self, found: ProcessLook) -> ProcessLook:
        if found.supervision is None:
            return found
        label = label_of(self._bouncer.name, found.supervision)
        return replace(found, earlier=await earlier_relays(self._host, label, timeout_s=self._timeout_s))

    async def _supervisor(self, found: ProcessLook) -> ProcessLook:
        supervision = found.supervision
        if supervision is None or not supervision.state():
            return found
        done = await self._run(*supervision.state())
        text = done.stdout.decode("utf-8", "replace")
        if done.exit_status != 0:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            return replace(found, supervisor_says=said[-1] if said else f"it ended with {done.exit_status}")
        if supervision.kind is Kind.SYSTEMD:
            return replace(found, unit=unit_facts(text))
        return replace(found, supervisor_says=" · ".join(text.split("\n")).strip(" ·"))

    async def _pid(
        self, found: ProcessLook, config: Mapping[str, Setting] | None
    ) -> tuple[int | None, str | None]:
        kind = found.supervision.kind if found.supervision is not None else None
        if kind is Kind.SYSTEMD:
            word = found.unit.get("MainPID", "")
            state = found.unit.get("ActiveState") or found.supervisor_says or "not known to systemd"
            return (int(word), None) if word not in _NO_PID else (None, f"its unit has no process: {state}")
        if kind is Kind.DOCKER:
            words = (found.supervisor_says or "").split()
            if len(words) > 1 and words[1].isdigit() and words[1] != "0":
                return int(words[1]), None
            return None, f"its container has no process: {found.supervisor_says or 'not known to Docker'}"
        own = found.supervision.pid_file if found.supervision is not None else None
        path = own or _value(config, "pidfile")
        if not path:
            return await self._listener()
        done = await self._run(*self._host.as_owner("cat", "--", path))
        content = done.stdout.strip()
        if done.exit_status == 0 and content.isdigit():
            return int(content), None
        said = done.stderr.decode("utf-8", "replace").strip().rpartition(": ")[2]
        return None, f"its pid file {path} has no pid: {said or 'it is empty'}"

    async def _listener(self) -> tuple[int | None, str | None]:
        """Find it by its address, where nobody names a pid file."""
        found = (await listeners_on(self._processes, route_of(self._bouncer).address, PROGRAM)).found
        if len(found) == 1:
            return found[0].process.pid, None
        what = "nobody of ours listens" if not found else f"{len(found)} processes listen"
        return None, f"no pid file is named, and {what} on its address"

    async def _with_program(self, found: ProcessLook) -> ProcessLook:
        """Add the executable of the next start, and what it calls itself."""
        user = await self._run("id", "-u")
        uid = int(user.stdout) if user.stdout.strip().isdigit() else None
        supervision = found.supervision
        program = supervision.program if supervision is not None else None
        if supervision is not None and supervision.kind is Kind.SYSTEMD:
            program = unit_program(dict(found.unit))
        if program is None:
            return replace(found, user=uid)
        done = await self._run(program, "--version")
        version = Version.parse(done.stdout.decode("utf-8", "replace")) if done.exit_status == 0 else None
        return replace(found, user=uid, program=program, program_version=version)

    @property
    def _host(self) -> HostCommands:
        assert self._commands is not None, "checked before"
        return self._commands

    @property
    def _processes(self) -> HostProcesses:
        return HostProcesses(self._host, timeout_s=self._timeout_s)

    async def _run(self, *words: str) -> CommandResult:
        return await self._host.ask(words, timeout_s=self._timeout_s)


async def last_log_lines(look: ProcessLook, *, timeout_s: float, lines: int = LOG_LINES) -> tuple[str, ...]:
    """Return the last lines of the pooler's log; () when it cannot be read. Never raises for its host."""
    supervision = look.supervision
    if look.host is None or supervision is None:
        return ()
    words = supervision.log(look.logfile, lines)
    if not words:
        return ()
    try:
        done = await look.host.ask(words, timeout_s=timeout_s)
    except NodeError:
        return ()
    return tuple(done.stdout.decode("utf-8", "replace").splitlines()[-lines:])


def _value(config: Mapping[str, Setting] | None, key: str) -> str | None:
    setting = config.get(key) if config is not None else None
    return setting.value or None if setting is not None else None
