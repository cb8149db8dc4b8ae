"""How a pooler is supervised, and the commands that follow: stop, signal, start, its state, its log. Pure.

What the inventory says is taken as it is; without a word there, the process's control group tells a systemd
unit or a Docker container. Commands are words, never a line for a shell. Sources: systemctl(1),
systemd.kill(5), the Docker command line's reference, and pgbouncer-admin.md, 3 (what signals mean).
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from console.config.schema import Process
from console.hosts.facts import ProcessFacts
from console.model.version import Version

EXITS_ON_SIGQUIT = Version(1, 23)
"""Before, SIGTERM exits at once and SIGQUIT dumps core; since, SIGTERM waits for every client (trap T17)."""
UNIT_KEYS = (
    *("Id", "ActiveState", "SubState", "MainPID", "Type", "Restart", "KillSignal"),
    *("TimeoutStopUSec", "ExecStart"),
)
_UNIT = re.compile(r"/([^/]+\.service)(?:/|$)")
_DOCKER = re.compile(r"(?:/docker/|/docker-)([0-9a-f]{64})")
_NO_UNIT = re.compile(r"user@\d+\.service|sshd?(?:@[^/]*)?\.service|session-")
"""Units of people who started something by hand."""
_DOCKER_STATE = "--format={{.State.Status}} {{.State.Pid}} {{.Config.Image}}"
_PROGRAM = re.compile(r"pgbouncer[-\d.]*")


class Kind(StrEnum):
    """Who keeps the process."""

    SYSTEMD = "systemd"
    COMMAND = "command"
    DOCKER = "docker"
    SWARM = "swarm"


class Stop(StrEnum):
    """What the process waits for before it ends."""

    NOW = "at once"
    FOR_CLIENTS = "when its last client has left"


@dataclass(frozen=True, slots=True)
class Supervision:
    """One pooler's supervision. Every command is words, for its host."""

    kind: Kind
    name: str
    """The unit, container or service; "" for a start command."""
    start_command: tuple[str, ...] = ()
    pid_file: str | None = None
    sudo: bool = False
    detected: bool = False
    """Found on the host; the inventory does not say."""

    @property
    def words(self) -> str:
        """For people, e.g. `systemd unit pgbouncer@1.service (detected)`."""
        what = {
            Kind.SYSTEMD: f"systemd unit {self.name}",
            Kind.COMMAND: f"start command {shlex.join(self.start_command)}",
            Kind.DOCKER: f"Docker container {self.name}",
            Kind.SWARM: f"Docker Swarm service {self.name}",
        }[self.kind]
        return f"{what}{', with sudo' if self.sudo else ''}{' (detected)' if self.detected else ''}"

    def start(self) -> tuple[str, ...]:
        """Return what starts it; does nothing to one that runs already, but for a start command."""
        return self._with_sudo(
            {
                Kind.SYSTEMD: ("systemctl", "--no-ask-password", "start", self.name),
                Kind.COMMAND: self.start_command,
                Kind.DOCKER: ("docker", "start", self.name),
                Kind.SWARM: ("docker", "service", "update", "--force", "--detach=false", self.name),
            }[self.kind]
        )

    def stop(self, how: Stop, version: Version, pid: int) -> tuple[str, ...]:
        """Return what makes it end; () for a Swarm service, whose start ends the old tasks.

        A unit is stopped as it says itself (KillSignal=, TimeoutStopSec=); otherwise the signal is chosen by
        version.
        """
        number = signal_for(how, version)
        if self.kind is Kind.SWARM:
            return ()
        if self.kind is Kind.SYSTEMD and how is Stop.NOW:
            return self._with_sudo(("systemctl", "--no-ask-password", "stop", self.name))
        return self.signal(number, pid)

    def signal(self, name: str, pid: int) -> tuple[str, ...]:
        """Return what sends a signal, e.g. `HUP`, to the process."""
        return self._with_sudo(
            {
                Kind.SYSTEMD: ("systemctl", "--no-ask-password", "kill", f"--signal=SIG{name}", self.name),
                Kind.COMMAND: ("kill", f"-{name}", str(pid)),
                Kind.DOCKER: ("docker", "kill", f"--signal=SIG{name}", self.name),
                Kind.SWARM: ("kill", f"-{name}", str(pid)),
            }[self.kind]
        )

    def takeover(self) -> tuple[str, ...]:
        """Return what starts a new process that takes the sockets over from the old one (`-R`)."""
        return self._with_sudo((*self.start_command, "-R"))

    def state(self) -> tuple[str, ...]:
        """Return what tells the supervisor's view of it; () for a start command: there is none."""
        return {
            Kind.SYSTEMD: ("systemctl", "show", f"--property={','.join(UNIT_KEYS)}", self.name),
            Kind.COMMAND: (),
            Kind.DOCKER: self._with_sudo(
                (
                    "docker",
                    "inspect",
                    _DOCKER_STATE,
                    self.name,
                )
            ),
            Kind.SWARM: self._with_sudo(
                (
                    "docker",
                    "service",
                    "ps",
                    "--filter=desired-state=running",
                    "--format={{.Name}} {{.CurrentState}}",
                    self.name,
                )
            ),
        }[self.kind]

    def log(self, logfile: str | None, lines: int) -> tuple[str, ...]:
        """Return what shows the last lines of its log; () when nobody says where that is."""
        if self.kind is Kind.DOCKER:
            return self._with_sudo(("docker", "logs", f"--tail={lines}", self.name))
        if self.kind is Kind.SWARM:
            return self._with_sudo(("docker", "service", "logs", "--raw", f"--tail={lines}", self.name))
        if logfile:
            return self._with_sudo(("tail", "-n", str(lines), "--", logfile))
        if self.kind is Kind.SYSTEMD:
            return self._with_sudo(
                ("journalctl", "--no-pager", "--quiet", "-n", str(lines), "-o", "cat", "-u", self.name)
            )
        return ()

    @property
    def program(self) -> str | None:
        """The pgbouncer that a start command runs next; None: not a plain call of one."""
        return next((word for word in self.start_command if _is_program(word)), None)

    @property
    def config_file(self) -> str | None:
        """The configuration file that a plain call of a pgbouncer names, its last word; None: no path."""
        if self.program is None or not self.start_command[-1].startswith("/"):
            return None
        return self.start_command[-1] if self.start_command[-1] != self.program else None

    def _with_sudo(self, words: tuple[str, ...]) -> tuple[str, ...]:
        return ("sudo", "-n", *words) if self.sudo and words else words


def signal_for(how: Stop, version: Version) -> str:
    """Return the signal that makes this version end as wanted (trap T17).

    >>> signal_for(Stop.NOW, Version(1, 18)), signal_for(Stop.NOW, Version(1, 24))
    ('TERM', 'QUIT')
    """
    if how is Stop.NOW:
        return "QUIT" if version >= EXITS_ON_SIGQUIT else "TERM"
    return "TERM"


def of_inventory(process: Process) -> Supervision:
    """Return what `[bouncers.process]` says."""
    name = {"systemd": process.unit, "docker": process.container, "swarm": process.service}.get(process.kind)
    return Supervision(
        kind=Kind(process.kind),
        name=name or "",
        start_command=process.start_command or (),
        pid_file=str(process.pid_file) if process.pid_file is not None else None,
        sudo=process.sudo,
    )


def detected(facts: ProcessFacts) -> Supervision | None:
    """Return what the process itself tells; None: neither a unit nor a container, nor a daemon.

    The command line of a daemon (`-d`) is shown; whether it is the one to start it with is for people to say.
    """
    container = _DOCKER.search(facts.cgroup)
    if container is not None:
        return Supervision(Kind.DOCKER, container[1][:12], detected=True)
    unit = _UNIT.search(facts.cgroup)
    if unit is not None and not _NO_UNIT.search(facts.cgroup):
        return Supervision(Kind.SYSTEMD, unit[1], detected=True)
    if any(_is_program(word) for word in facts.process.argv) and _is_daemon(facts.process.argv):
        return Supervision(Kind.COMMAND, "", facts.process.argv, detected=True)
    return None


def unit_facts(text: str) -> dict[str, str]:
    """Read `systemctl show`; a key that this systemd does not have is missing.

    >>> unit_facts("MainPID=7")
    {'MainPID': '7'}
    """
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, sign, value in pairs if sign and key in UNIT_KEYS}


def unit_program(unit: dict[str, str]) -> str | None:
    """Return the executable that a unit starts, when it is a pgbouncer."""
    found = re.search(r"path=([^ ;]+)", unit.get("ExecStart", ""))
    return found[1] if found is not None and _is_program(found[1]) else None


def unit_config_file(unit: Mapping[str, str]) -> str | None:
    """Return the configuration file that a unit's pgbouncer is started with; None: not told.

    >>> unit_config_file({"ExecStart": "{ path=/bin/pgbouncer ; argv[]=/bin/pgbouncer /etc/a.ini ; x=y }"})
    '/etc/a.ini'
    """
    found = re.search(r"argv\[\]=(.*?) ;", unit.get("ExecStart", ""))
    words = found[1].split() if found is not None else []
    named = len(words) > 1 and _is_program(words[0]) and words[-1].startswith("/")
    return words[-1] if named else None


def _is_program(word: str) -> bool:
    return _PROGRAM.fullmatch(posixpath.basename(word)) is not None


def _is_daemon(words: tuple[str, ...]) -> bool:
    short = [word for word in words if word.startswith("-") and not word.startswith("--")]
    return any("d" in word for word in short) or "--daemon" in words
