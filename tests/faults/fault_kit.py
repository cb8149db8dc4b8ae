"""What tests of faults share: consoles that are killed, guardians, the truth by psycopg and the journal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from console.audit.verify import verify_journal
from console.lab.bouncer import PgBouncerServer
from console.lab.fleet import Lab
from console.operations.lease.store import LeaseRecord, LeaseStore
from tests.servers.cli_kit import LIMIT_S, Shell, until
from tests.servers.operations_kit import is_paused


class FaultShell(Shell):
    """A `Shell` that knows guardians and leases."""

    @property
    def pooldeck(self) -> Path:
        """The state folder."""
        return self.state / "pooldeck"

    def leases(self) -> tuple[LeaseRecord, ...]:
        """The lease files there are."""
        return LeaseStore(self.pooldeck).list_leases()

    def guardian(self) -> int:
        """The guardian of the only lease."""
        until(lambda: bool(self.leases()))
        (lease,) = self.leases()
        return lease.guardian.pid

    def processes(self) -> dict[int, list[str]]:
        """Every process with this state folder, and its command line."""
        mark = f"XDG_STATE_HOME={self.state}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found[int(entry.name)] = (entry / "cmdline").read_text().split("\0")
        return found

    def guardians(self, console: int) -> list[int]:
        """The guardians of a console, ready or not; also when it is gone."""
        owned = {lease.guardian.pid for lease in self.leases() if lease.owner.pid == console}
        return [
            pid
            for pid, argv in self.processes().items()
            if "console.cli.guardian" in argv and (pid in owned or parent_of(pid) == console)
        ]

    def hold(self, *words: str) -> subprocess.Popen[str]:
        """Start a pause of `edge` and return once it holds."""
        process = self.start("pause", *(words or ("edge", "--for", "40s")), "--yes")
        assert process.stderr is not None
        told = seen = ""
        while "holding" not in told:
            told = process.stderr.readline()
            seen += told
            assert told, f"it ended before it held: {seen}"
        return process

    def outcomes(self) -> list[dict[str, Any]]:
        """The journal's outcomes."""
        return self.records("outcome")

    def assert_settled_within(self, limit_s: float) -> None:
        """As `assert_settled`, but a guardian that cannot reach its bouncer tries again for a while."""
        end = time.monotonic() + limit_s
        while self.leases():
            assert time.monotonic() < end, self.leases()
            time.sleep(0.1)
        self.assert_settled()

    def assert_settled(self) -> None:
        """Nothing is paused or held; the journal is whole and tells a true end of all that was begun."""
        until(lambda: not self.leases())
        for name, server in self.servers.items():
            assert paused_parts(server) == set(), f"{name} is paused"
        assert verify_journal(self.pooldeck / "journal.jsonl") == ()
        begun = {(r["run"], r["target"]) for r in self.records("intent")}
        last = {(r["run"], r["target"]): r for r in self.outcomes()}
        assert begun <= last.keys()
        for record in last.values():
            # What was only looked at was as it was; what was acted on ended running, or nobody knew.
            if record["outcome"] == "ok":
                assert record["after"] in ("running", "enabled"), record
            elif record["outcome"] != "no change":
                assert record["after"] in ("running", None), record


class LabShell(FaultShell):
    """Runs `pooldeck` on a lab, whose bouncers are reached over SSH."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.servers = dict(lab.bouncers)
        self.started = contextlib.ExitStack()
        self.fleet = lab.inventory_path
        self.state = folder / "state"
        self.environ = {**os.environ, "XDG_STATE_HOME": str(self.state)}


def paused_parts(server: PgBouncerServer) -> set[str]:
    """Return what of a bouncer is paused: its databases, "" for the whole."""
    with server.admin() as console:
        whole = {""} if is_paused(console) else set()
        return whole | {name for name in server.databases if is_paused(console, name)}


def parent_of(pid: int) -> int | None:
    """Return the process above one, by /proc; None: it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def descendants(pid: int) -> list[int]:
    """Return the processes below one, by /proc."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                below.setdefault(parent, []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        children = below.get(left.pop(), [])
        found += children
        left += children
    return found


def cut_sessions(listener: int) -> None:
    """End every session of an sshd; it goes on listening."""
    for pid in descendants(listener):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def held_still(pid: int) -> Iterator[None]:
    """Stop a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def running(server: PgBouncerServer, database: str | None = None) -> bool:
    """Ask a bouncer itself; one that cannot be asked is not running."""
    try:
        with server.admin() as console:
            return not is_paused(console, database)
    except psycopg.OperationalError:
        return False


def until_running(server: PgBouncerServer, database: str | None = None, *, limit_s: float = LIMIT_S) -> None:
    """Wait until a bouncer serves its clients again."""
    end = time.monotonic() + limit_s
    while not running(server, database):
        assert time.monotonic() < end, "it still is paused"
        time.sleep(0.05)


def jumping_clock(folder: Path) -> tuple[dict[str, str], Path]:
    """Return an environment in which wall clocks jump a day ahead once the file that is returned exists.

    A fake: setting the machine's clock would be felt by everything on it.
    """
    flag = folder / "jumped"
    place = folder / "clock"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import os, time\n"
        "_real = time.time\n"
        f"_flag = {json.dumps(str(flag))}\n"
        "time.time = lambda: _real() + (86_400 if os.path.exists(_flag) else 0)\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])}, flag
