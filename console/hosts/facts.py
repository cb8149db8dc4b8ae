"""What Linux tells of one process besides who it is: CPU, memory, open files, control group (proc(5)).

Parsing is pure. What only the owner and root may see is None for others.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from console.hosts.processes import HostProcesses, Process

READ_FACTS = (
    'for one in stat status cgroup; do echo "== $one"; cat "/proc/$1/$one" || exit 1; done; '
    'echo "== boot"; grep "^btime " /proc/stat; echo "== ticks"; getconf CLK_TCK'
)
"""For `sh -c READ_FACTS sh PID`."""
_DELETED = " (deleted)"
_KIB = 1024
_START, _USER, _SYSTEM = 19, 11, 12
"""Fields 22, 14 and 15 of `/proc/PID/stat`, counted from behind the command's name."""


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One process at one moment. None: the host does not tell, or not to us."""

    process: Process
    cgroup: str = ""
    """The path in the unified hierarchy, or in systemd's own; "": none."""
    started_at_s: float | None = None
    """Wall clock, to about a second."""
    uid: int | None = None
    """Effective."""
    cpu_s: float | None = None
    """Used since its start, user and system."""
    rss_bytes: int | None = None
    """Memory that is resident."""
    open_files: int | None = None
    open_files_limit: int | None = None
    """The soft limit; None: none, or not known."""
    folder: str | None = None
    """Its working folder."""

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended and only waits to be reaped."""
        return self.process.state in "ZX"

    @property
    def executable(self) -> str | None:
        """The path of the file that it was started from."""
        path = self.process.executable
        return path.removesuffix(_DELETED) if path is not None else None

    @property
    def executable_replaced(self) -> bool:
        """Whether that file was deleted or replaced since."""
        return (self.process.executable or "").endswith(_DELETED)


async def read_facts(processes: HostProcesses, pid: int) -> ProcessFacts | None:
    """Read one process; None when there is none.

    Raises:
        NodeError: the machine cannot be asked.
    """
    found, text, files, limit, folder = await asyncio.gather(
        processes.read([pid]),
        processes.text(("sh", "-c", READ_FACTS, "sh", str(pid))),
        processes.files(pid),
        processes.file_limit(pid),
        processes.text(processes.commands.as_owner("readlink", f"/proc/{pid}/cwd")),
    )
    facts = parse_facts(found[0], text) if found else None
    if facts is None:
        return None
    return replace(
        facts,
        open_files=None if files is None else len(files),
        open_files_limit=limit,
        folder=folder.removesuffix("\n") or None,
    )


async def read_cpu_s(processes: HostProcesses, process: Process) -> float | None:
    """Return the CPU time of a process; None when it is gone, or the pid is another one's by now.

    Raises:
        NodeError: the machine cannot be asked.
    """
    text = await processes.text(("sh", "-c", READ_FACTS, "sh", str(process.pid)))
    facts = parse_facts(process, text)
    return None if facts is None else facts.cpu_s


def parse_facts(process: Process, text: str) -> ProcessFacts | None:
    """Read the output of `READ_FACTS`; None when it is of another process, or not whole."""
    section = _sections(text)
    fields = section.get("stat", "").rpartition(")")[2].split()
    if len(fields) <= _START or int(fields[_START]) != process.start_ticks:
        return None
    ticks_a_second = _number(section.get("ticks", ""))
    booted_at_s = _number(section.get("boot", "").strip().removeprefix("btime"))
    status = _fields(section.get("status", ""))
    uids = status.get("Uid", "").split()
    rss = status.get("VmRSS", "").split()
    start_s = process.start_ticks / ticks_a_second if ticks_a_second else None
    return ProcessFacts(
        process=process,
        cgroup=_cgroup(section.get("cgroup", "")),
        started_at_s=None if booted_at_s is None or start_s is None else booted_at_s + start_s,
        uid=int(uids[1]) if len(uids) > 1 else None,
        cpu_s=(int(fields[_USER]) + int(fields[_SYSTEM])) / ticks_a_second if ticks_a_second else None,
        rss_bytes=int(rss[0]) * _KIB if rss else None,
    )


def _sections(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("== "):
            name = line.removeprefix("== ").strip()
        else:
            found[name] = found.get(name, "") + line
    return found


def _fields(status: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in status.splitlines())
    return {key: value.strip() for key, colon, value in pairs if colon}


def _cgroup(text: str) -> str:
    """Return the path that tells the supervisor: systemd's own hierarchy, else the unified one."""
    paths = {}
    for line in text.splitlines():
        number, colon, rest = line.partition(":")
        if colon:
            controllers, _, path = rest.partition(":")
            paths[controllers or number] = path
    return paths.get("name=systemd") or paths.get("0", "")


def _number(text: str) -> int | None:
    word = text.strip()
    return int(word) if word.isdigit() else None
