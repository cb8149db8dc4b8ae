"""Starting and ending the lab's server processes, whoever we are and whatever crashed before.

Each process writes its own identity (pid and start time) into a file before it becomes the server, so
nothing is lost when the one who started it is killed at any moment. A pid is signalled only while its start
time and its owner are still those recorded: a recycled pid is never hit. Linux only (/proc).

It knows nothing of Postgres, PgBouncer or sshd.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from console.clock import Clock, SystemClock
from console.errors import LabError

POLL_S = 0.02
LOG_TAIL_LINES = 12
_RECORD = 'ulimit -c 0; IFS= read -r stat </proc/$$/stat && printf "%s\\n" "$stat" >"$0" && '
_RECORD_AND_EXEC = _RECORD + 'exec "$@"'
_RECORD_AND_EXEC_SERVER = _RECORD + 'exec "$@" </dev/null'
"""A server's standard input is the lab's lock until its identity is written: see `Launcher.lock`."""
_NO_LOGIN = ("nologin", "false")
_children: dict[int, subprocess.Popen[bytes]] = {}
_children_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Account:
    """Who the servers run as. Postgres and PgBouncer refuse to be root."""

    name: str
    uid: int
    gid: int
    home: Path
    switch: bool
    """True when we are root and have to become this account."""

    def environment(self) -> dict[str, str]:
        """Return a small environment for a server: nothing of ours leaks into it."""
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "LC_ALL": "C.UTF-8",
            **{key: os.environ[key] for key in ("TZ",) if key in os.environ},
        }


def server_account() -> Account:
    """Return the account servers run as: the invoking user, or for root an account with a shell.

    sshd runs remote commands through that account's shell, so `nologin` accounts are of no use.

    Raises:
        LabError: we are root and there is neither `postgres` nor the user behind sudo.
    """
    if os.geteuid() != 0:
        entry = pwd.getpwuid(os.geteuid())
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), switch=False)
    for name in ("postgres", os.environ.get("SUDO_USER", "")):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0 and not entry.pw_shell.endswith(_NO_LOGIN):
                return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), switch=True)
    raise LabError(
        "no unprivileged account to run the lab's servers as",
        hint="install the package postgresql, which brings the account `postgres`; or do not be root",
    )


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process for as long as this machine runs: its pid and when it started."""

    pid: int
    start_ticks: int
    """Clock ticks from boot to the start of the process: field 22 of /proc/PID/stat."""

    @property
    def alive(self) -> bool:
        """True while this very process runs; a zombie or a recycled pid does not count."""
        stat = read_stat(self.pid)
        if stat is None or stat.start_ticks != self.start_ticks:
            return False
        # A zombie of ours keeps its pid until we take its status, and others would take it for running.
        return stat.state not in "ZX" or not _reaped(self.pid)

    def send(self, signum: int, *, owner_uid: int) -> bool:
        """Send a signal to this very process; False when it is gone or is not `owner_uid`'s."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # From here on the handle cannot come to mean another process, so the check is not a race.
            if not self.alive or owner_of(self.pid) != owner_uid:
                return False
            signal.pidfd_send_signal(handle, signum)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


def _reaped(pid: int) -> bool:
    """Take the exit status of a dead child; False when it cannot be had yet. True for others' children."""
    with _children_lock:
        child = _children.get(pid)
        if child is None:
            return True
        if child.poll() is None:
            return False
        del _children[pid]
        return True


class _Detached(subprocess.Popen[bytes]):
    """A child that outlives us on purpose, so no warning about that when the object goes."""

    def __del__(self) -> None:
        return


@dataclass(frozen=True, slots=True)
class Stat:
    """What we read of /proc/PID/stat."""

    pid: int
    state: str
    """One letter: `R`, `S`, `T` stopped, `Z` zombie …"""
    parent: int
    start_ticks: int


def parse_stat(text: str) -> Stat | None:
    """Parse a line of /proc/PID/stat; None when it is cut off.

    >>> parse_stat("7 (a b) c) S 1 " + " ".join("0" * 17) + " 4242 0").start_ticks
    4242
    """
    head, closed, rest = text.rpartition(")")
    fields = rest.split()
    if not closed or len(fields) < 20:
        return None
    return Stat(int(head.split(" ", 1)[0]), fields[0], int(fields[1]), int(fields[19]))


def read_stat(pid: int) -> Stat | None:
    """Read /proc/PID/stat; None when there is no such process."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def owner_of(pid: int) -> int | None:
    """Return the real uid of a process; None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    for line in status.splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1])
    return None


def descendants(root: ProcessId) -> tuple[ProcessId, ...]:
    """Return the children of a process, and theirs, children first; empty when it is gone."""
    if not root.alive:
        return ()
    by_parent: dict[int, list[Stat]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := read_stat(int(entry.name))) is not None:
            by_parent.setdefault(stat.parent, []).append(stat)
    found: list[ProcessId] = []
    pending = [root.pid]
    while pending:
        for stat in by_parent.get(pending.pop(), ()):
            found.append(ProcessId(stat.pid, stat.start_ticks))
            pending.append(stat.pid)
    return tuple(reversed(found))


def wait_until(
    check: Callable[[], bool], *, timeout_s: float, clock: Clock | None = None, poll_s: float = POLL_S
) -> bool:
    """Poll `check` until it is true; False when `timeout_s` passed first."""
    clock = clock or SystemClock()
    deadline = clock.monotonic_s() + timeout_s
    while not check():
        if clock.monotonic_s() >= deadline:
            return False
        time.sleep(poll_s)
    return True


def end(process: ProcessId, *, owner_uid: int, polite: int = signal.SIGTERM, patience_s: float = 5.0) -> bool:
    """End a process: `polite` first, SIGKILL after `patience_s`. True when it ran and was ended by us.

    Raises:
        LabError: it survives SIGKILL for five seconds (stuck in the kernel).
    """
    if not process.send(polite, owner_uid=owner_uid):
        return False
    process.send(signal.SIGCONT, owner_uid=owner_uid)  # a stopped process does not see the polite signal
    if wait_until(lambda: not process.alive, timeout_s=patience_s):
        return True
    process.send(signal.SIGKILL, owner_uid=owner_uid)
    if wait_until(lambda: not process.alive, timeout_s=5.0):
        return True
    raise LabError(
        f"process {process.pid} does not end", hint="it is stuck in the kernel; see its /proc/PID/stack"
    )


def end_family(process: ProcessId, *, owner_uid: int, polite: int, patience_s: float) -> bool:
    """End a process and then what is left of its descendants; True when it ran.

    Postgres' children end with it; the sessions of an sshd, and what a shell started, would not.
    """
    family = descendants(process)
    ended = end(process, owner_uid=owner_uid, polite=polite, patience_s=patience_s)
    for child in family:
        end(child, owner_uid=owner_uid, polite=polite, patience_s=2.0)
    return ended


def recorded(run_dir: Path, name: str) -> ProcessId | None:
    """Return the identity the process `name` wrote, running or not; None when it never started."""
    try:
        stat = parse_stat((run_dir / f"{name}.stat").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return None if stat is None else ProcessId(stat.pid, stat.start_ticks)


def log_tail(path: Path) -> str:
    """Return the last lines of a log for an error message; "" when there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(f"  | {line}" for line in lines[-LOG_TAIL_LINES:])


class Launcher:
    """Starts processes as `account` and keeps one identity file for each in `run_dir`.

    Directories and files it makes belong to the account: 0700 and 0600.
    """

    def __init__(self, run_dir: Path, account: Account | None = None) -> None:
        self.account = account or server_account()
        self.run_dir = run_dir
        self.lock: int | None = None
        """The file that holds the lab's lock, while it is held. A process on its way to become a server
        holds it too, so whoever waits for the lock finds its identity written, whatever became of us."""
        self.make_dir(run_dir)

    def make_dir(self, path: Path) -> Path:
        """Make a 0700 directory of the account's, and missing parents likewise."""
        for folder in reversed([path, *path.parents]):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
                if self.account.switch:
                    os.chown(folder, self.account.uid, self.account.gid)
        return path

    def write_file(self, path: Path, content: str | bytes) -> bool:
        """Write a whole 0600 file of the account's; readers see the old or the new one, never half.

        False, and nothing is written, when it holds `content` already.
        """
        data = content.encode() if isinstance(content, str) else content
        if path.is_file() and path.read_bytes() == data:
            return False
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            if self.account.switch:
                os.fchown(handle, self.account.uid, self.account.gid)
            file.write(data)
        fresh.rename(path)
        return True

    def spawn(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
    ) -> ProcessId:
        """Start a process in its own session, its output appended to `log`; it outlives us.

        `env` is added to the account's own small environment. Returns once the process exists; whether it
        is ready is the caller's to see.
        """
        record = self.run_dir / f"{name}.stat"
        self.write_file(record, "")
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            if self.account.switch:
                os.fchown(handle, self.account.uid, self.account.gid)
            child = self._popen(record, argv, cwd=cwd, env=env, output=handle)
        finally:
            os.close(handle)
        stat = read_stat(child.pid)
        if stat is None:  # a child of ours stays in /proc until we reap it
            raise LabError(f"{name}: the new process vanished from /proc", where=str(log))
        with _children_lock:
            _children[child.pid] = child
        return ProcessId(child.pid, stat.start_ticks)

    def tool(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
    ) -> str:
        """Run a helper program to its end and return its standard output.

        Raises:
            LabError: it failed (with its last lines) or did not end in time (it is killed).
        """
        record = self.run_dir / f"tool-{name}.stat"
        self.write_file(record, "")
        try:
            with self._popen(record, argv, cwd=cwd, env=env, output=subprocess.PIPE) as child:
                try:
                    out, _ = child.communicate(stdin, timeout=timeout_s)
                except BaseException:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGKILL)
                    raise
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{name} did not end within {timeout_s:g} s", where=str(argv[0])) from error
        finally:
            record.unlink(missing_ok=True)
        text = out.decode(errors="replace")
        if child.returncode:
            tail = "\n".join(f"  | {line}" for line in text.splitlines()[-LOG_TAIL_LINES:])
            raise LabError(f"{name} failed with status {child.returncode}\n{tail}", where=str(argv[0]))
        return text

    def recorded(self, name: str) -> ProcessId | None:
        """See the function `recorded`."""
        return recorded(self.run_dir, name)

    def _popen(
        self,
        record: Path,
        argv: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str] | None,
        output: int,
    ) -> subprocess.Popen[bytes]:
        account = self.account
        tool = output == subprocess.PIPE
        script = _RECORD_AND_EXEC if tool else _RECORD_AND_EXEC_SERVER
        kept = subprocess.DEVNULL if self.lock is None else self.lock
        try:
            return _Detached(
                ["/bin/sh", "-c", script, str(record), *map(str, argv)],
                stdin=subprocess.PIPE if tool else kept,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**account.environment(), **(env or {})},
                start_new_session=True,
                umask=0o077,
                user=account.uid if account.switch else None,
                group=account.gid if account.switch else None,
                extra_groups=[] if account.switch else None,
            )
        except OSError as error:
            raise LabError(f"cannot start {argv[0]}: {error.strerror}", where=str(cwd)) from error
