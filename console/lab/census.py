"""Which of a lab's processes run now, and how to end them: works from files alone, whatever crashed.

It starts nothing, and ends only processes whose identity the lab wrote down.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from console.errors import LabError
from console.lab.bouncer import find_daemon
from console.lab.process import ProcessId, end, end_family, owner_of, read_stat, recorded
from console.lab.sockets import command_line, holders, listeners, socket_inodes
from console.lab.state import LabState, ServerRecord, read_state

ProcessState = Literal["running", "draining", "held", "dead", "not started", "ended"]
RUN_DIR = "run"
END_ORDER = ("tool", "load", "pgbouncer", "sshd", "replica", "postgres")
PATIENCE_S = {"postgres": 10.0, "replica": 10.0, "load": 2.0}


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process of a lab, now.

    Attributes:
        state: `running`; `draining` (a bouncer that shuts down: it serves its last clients and takes no new
            ones); `held` (SIGSTOP); `dead` (it ended without being told); `not started`;
            `ended` (load whose time is over).
        pid: None unless it runs or is held.
    """

    name: str
    kind: str
    state: ProcessState
    pid: int | None
    port: int | None
    version: str


@dataclass(frozen=True, slots=True)
class LabStatus:
    """A lab, now. No processes: there is no lab in this folder.

    Attributes:
        load_ends_at_s: wall clock, seconds since the epoch; None when no load runs.
    """

    directory: Path
    inventory: Path
    processes: tuple[ProcessStatus, ...]
    load_ends_at_s: float | None = None

    @property
    def running(self) -> bool:
        """True when any process of the lab exists."""
        return any(process.pid is not None for process in self.processes)

    @property
    def healthy(self) -> bool:
        """True when every server runs; load that has ended is no fault."""
        servers = [process for process in self.processes if process.kind != "load"]
        return bool(servers) and all(process.state == "running" for process in servers)


def find_process(directory: Path, record: ServerRecord, *, owner_uid: int) -> ProcessId | None:
    """Return the running process of a record; None when it does not run."""
    for known in (recorded(directory / RUN_DIR, record.name), record.process):
        if known is not None and known.alive and owner_of(known.pid) == owner_uid:
            return known
    if record.kind == "pgbouncer":
        config = Path(record.config)
        return find_daemon(config.with_name("pgbouncer.pid"), config, owner_uid=owner_uid)
    return None


def status_of(directory: Path, state: LabState, *, owner_uid: int) -> LabStatus:
    """Look at every process of a lab."""
    found: list[ProcessStatus] = []
    for record in state.servers:
        process = find_process(directory, record, owner_uid=owner_uid)
        stat = None if process is None else read_stat(process.pid)
        word: ProcessState = "running"
        if stat is None:
            started = recorded(directory / RUN_DIR, record.name) is not None
            word = "not started" if not started else "ended" if record.kind == "load" else "dead"
        elif stat.state in "Tt":
            word = "held"
        elif record.kind == "pgbouncer" and _drains(stat.pid, record.port):
            word = "draining"
        pid = None if stat is None else stat.pid
        found.append(ProcessStatus(record.name, record.kind, word, pid, record.port, record.version))
    loaded = any(process.kind == "load" and process.pid is not None for process in found)
    return LabStatus(
        directory, directory / "fleet.toml", tuple(found), state.load_ends_at_s if loaded else None
    )


def _drains(pid: int, port: int | None) -> bool:
    """Say whether a bouncer has closed its port; not of one whose sockets may not be seen."""
    return bool(socket_inodes(pid)) and all(one.port != port for one in listeners([pid]))


def end_all(directory: Path, *, owner_uid: int) -> tuple[str, ...]:
    """End every process the lab in `directory` has started, clients before servers; return their names.

    A lab.json that is missing or broken does not matter: each process wrote its own identity.

    Raises:
        LabError: a process survives SIGKILL.
    """
    records = _records(directory)
    ended: list[str] = []
    for kind in END_ORDER:
        group = [record for record in records if _group(record) == kind]
        ended += _end_group(directory, group, owner_uid=owner_uid)
    for path in (directory / RUN_DIR).glob("*.stat"):
        path.unlink(missing_ok=True)
    return tuple(ended)


def _records(directory: Path) -> tuple[ServerRecord, ...]:
    try:
        state = read_state(directory)
    except LabError:
        state = None
    known = () if state is None else state.servers
    names = {record.name for record in known}
    others = (path.stem for path in sorted((directory / RUN_DIR).glob("*.stat")) if path.stem not in names)
    return (*known, *(ServerRecord(name, "tool", None) for name in others))


def _group(record: ServerRecord) -> str:
    return record.name if record.name == "replica" else record.kind


def _end_group(directory: Path, group: Sequence[ServerRecord], *, owner_uid: int) -> list[str]:
    def end_one(record: ServerRecord) -> bool:
        patience_s = PATIENCE_S.get(_group(record), 3.0)
        process = find_process(directory, record, owner_uid=owner_uid)
        ran = process is not None and end_family(
            process, owner_uid=owner_uid, polite=record.stop_signal, patience_s=patience_s
        )
        if record.kind == "sshd" and record.port is not None:
            _end_orphaned_sessions(record.port, owner_uid=owner_uid)
        return ran

    if not group:
        return []
    with ThreadPoolExecutor(max_workers=8) as pool:
        return [record.name for record, ran in zip(group, pool.map(end_one, group), strict=True) if ran]


def _end_orphaned_sessions(port: int, *, owner_uid: int) -> None:
    """End the sessions of an sshd that crashed: they live on, and nothing but their port leads to them."""
    for pid in holders(port):
        stat = read_stat(pid)
        title = " ".join(command_line(pid))
        if stat is not None and title.startswith(("sshd:", "sshd-session:")):
            end(ProcessId(pid, stat.start_ticks), owner_uid=owner_uid, polite=signal.SIGTERM, patience_s=2.0)
