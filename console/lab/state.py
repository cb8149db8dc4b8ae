"""`lab.json`: what a lab consists of and which processes are its, kept so that any crash can be cleaned up.

It holds no secret. A process's identity is also in its own file in `run/` (see `process`), written by the
process itself, so a lab.json that is a moment old loses nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from console.errors import LabError
from console.lab.process import Launcher, ProcessId, wait_until

FORMAT = 1
STATE_FILE = "lab.json"
LOCK_FILE = "lab.lock"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """One process of the lab.

    Attributes:
        kind: `postgres`, `pgbouncer`, `sshd` or `load`.
        port: its TCP port; None for load, which has none.
        version: the program's version; "" when not known yet.
        stop_signal: the signal that ends it without waiting for its clients.
        config: its configuration file; "" for load.
    """

    name: str
    kind: str
    port: int | None
    version: str = ""
    pid: int | None = None
    start_ticks: int | None = None
    stop_signal: int = 15
    config: str = ""

    @property
    def process(self) -> ProcessId | None:
        """Its identity when it was last written down; None when it had not started."""
        if self.pid is None or self.start_ticks is None:
            return None
        return ProcessId(self.pid, self.start_ticks)

    def running_as(self, process: ProcessId | None) -> ServerRecord:
        """Return this record with another identity."""
        if process is None:
            return replace(self, pid=None, start_ticks=None)
        return replace(self, pid=process.pid, start_ticks=process.start_ticks)


@dataclass(frozen=True, slots=True)
class LabState:
    """A whole lab.json.

    Attributes:
        boot_id: the machine's run; identities of an earlier one mean nothing.
        pgbouncer: executables as given with `--pgbouncer`, used in turn; empty: the machine's own.
        load_ends_at_s: wall clock, seconds since the epoch; None: no load was started.
    """

    account: str
    bouncers: int
    pgbouncer: tuple[str, ...] = ()
    servers: tuple[ServerRecord, ...] = ()
    load_ends_at_s: float | None = None
    boot_id: str = field(default_factory=lambda: boot_id())
    format: int = FORMAT

    def of(self, name: str) -> ServerRecord | None:
        """Return a server's record; None when there is none."""
        return next((record for record in self.servers if record.name == name), None)


def boot_id() -> str:
    """Return the kernel's name for this run of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read_state(directory: Path) -> LabState | None:
    """Read lab.json; None when there is none. Identities from before a reboot are dropped.

    Raises:
        LabError: it cannot be read or is of another format.
    """
    path = directory / STATE_FILE
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise LabError(f"made by another Pooldeck (format {raw['format']})", where=str(path), hint=_HINT)
        servers = tuple(ServerRecord(**record) for record in raw.pop("servers"))
        state = LabState(**{**raw, "pgbouncer": tuple(raw["pgbouncer"]), "servers": servers})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"not a lab's state file: {error}", where=str(path), hint=_HINT) from error
    if state.boot_id != boot_id():
        gone = tuple(record.running_as(None) for record in state.servers)
        state = replace(state, servers=gone, boot_id=boot_id(), load_ends_at_s=None)
    return state


_HINT = "take the lab down with the Pooldeck that made it, or delete the folder"


def write_state(directory: Path, launcher: Launcher, state: LabState) -> None:
    """Write lab.json as a whole."""
    launcher.write_file(directory / STATE_FILE, json.dumps(asdict(state), indent=2) + "\n")


@contextmanager
def locked(directory: Path, *, timeout_s: float) -> Iterator[int]:
    """Hold the lab's lock, so that only one `up` or `down` works on it; a crash lets it go.

    Yields the open file: a process that inherits it holds the lock as well.

    Raises:
        LabError: another one held it for `timeout_s`.
    """
    path = directory / LOCK_FILE
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def taken() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        if not wait_until(taken, timeout_s=timeout_s):
            raise LabError(
                "another `pooldeck lab` works on this lab", where=str(directory), hint="wait for it to end"
            )
        yield handle
    finally:
        os.close(handle)
