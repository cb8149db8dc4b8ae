"""What every lab server has in common: one process, one port, one log; start, stop, kill, adopt.

A server object can be made for a server that another run started: `adopt` finds its process again.
"""

from __future__ import annotations

import contextlib
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from console.errors import LabError
from console.lab.ports import LOOPBACK, PortLease, is_free, lease_port
from console.lab.process import Launcher, ProcessId, end_family, log_tail, wait_until
from console.lab.tools import find_tool

START_LIMIT_S = 20.0
CLASH_ATTEMPTS = 5


class Server(ABC):
    """A server process on loopback.

    Attributes:
        name: unique in its lab; also the name of its folder and of its identity file.
        port: its TCP port. It changes when someone else took it while the server was down.
        log_path: what it wrote to standard output and error.
    """

    kind = "server"
    polite_signal: int = signal.SIGTERM
    patience_s = 5.0
    host = LOOPBACK

    def __init__(self, name: str, directory: Path, launcher: Launcher, *, port: int | None = None) -> None:
        self.name = name
        self.directory = launcher.make_dir(directory)
        self.launcher = launcher
        self.log_path = directory / f"{self.kind}.log"
        self.process: ProcessId | None = None
        self._lease: PortLease | None = None
        if port is None:
            self._lease = lease_port()
            port = self._lease.number
        self.port = port

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} port={self.port} pid={self.pid}>"

    @property
    def pid(self) -> int | None:
        """The running server's pid; None when it does not run."""
        return self.process.pid if self.process is not None and self._alive() else None

    @property
    def running(self) -> bool:
        """True while the process exists, ready or not."""
        return self._alive()

    def adopt(self) -> bool:
        """Find the process an earlier run started; True when it runs."""
        self.process = self.launcher.recorded(self.name)
        return self.running

    def start(self, timeout_s: float = START_LIMIT_S) -> None:
        """Start it and return when it answers; nothing happens when it runs already.

        A port that was taken meanwhile is replaced, unless the port is shared on purpose.

        Raises:
            LabError: it ended or did not answer in time; the message ends with its log.
        """
        if self._alive():
            return
        for attempt in range(CLASH_ATTEMPTS):
            if not self.shares_port and not is_free(self.port):
                self._change_port()
            self.prepare()
            before = self.log_path.stat().st_size if self.log_path.exists() else 0
            self.process = self.launcher.spawn(
                self.name, self.argv(), log=self.log_path, cwd=self.directory, env=self.environment()
            )
            if wait_until(lambda: not self._alive() or self.ready(), timeout_s=timeout_s) and self._alive():
                if self._lease is not None:
                    self._lease.release()
                return
            ended = not self._alive()
            clash = ended and not self.shares_port and (not is_free(self.port) or self._was_clash(before))
            if clash and attempt + 1 < CLASH_ATTEMPTS:
                continue
            self.kill()
            what = "ended at once" if ended else f"did not answer within {timeout_s:g} s"
            raise LabError(
                f"{self.kind} {self.name} {what}\n{log_tail(self.log_path)}",
                where=str(self.log_path),
                hint=None if self.log_path.stat().st_size > before else "it wrote nothing to its log",
            )

    def _was_clash(self, log_start: int) -> bool:
        """Say whether the log from byte `log_start` on tells that somebody, gone by now, had the port."""
        return b"ddress already in use" in self.log_path.read_bytes()[log_start:]

    def stop(self) -> bool:
        """End it politely, and by force when that takes too long. True when it ran."""
        return self._end(self.polite_signal, self.patience_s)

    def kill(self) -> bool:
        """End it and its children with SIGKILL, as a crash would. True when it ran."""
        return self._end(signal.SIGKILL, 1.0)

    def send_signal(self, signum: int) -> None:
        """Send a signal to the server process.

        Raises:
            LabError: it does not run.
        """
        if self.process is None or not self.process.send(signum, owner_uid=self.launcher.account.uid):
            raise LabError(f"{self.kind} {self.name} does not run")

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Hold the process with SIGSTOP: its sockets accept, nothing answers."""
        self.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send_signal(signal.SIGCONT)

    @property
    def shares_port(self) -> bool:
        """True when other servers listen on the same port on purpose (`so_reuseport`)."""
        return False

    @property
    def leaving(self) -> bool:
        """True when it runs and takes nobody new: it was told to end once its clients are gone."""
        return False

    @abstractmethod
    def prepare(self) -> None:
        """Write what the server reads at its start; called before every start."""

    @abstractmethod
    def argv(self) -> Sequence[str | Path]:
        """Return the command that becomes the server, in the foreground."""

    @abstractmethod
    def ready(self) -> bool:
        """Say whether it answers; must not raise for a server that is still starting."""

    def environment(self) -> Mapping[str, str]:
        """Return what to add to the account's environment."""
        return {}

    def _alive(self) -> bool:
        return self.process is not None and self.process.alive

    def _change_port(self) -> None:
        self._lease = lease_port()
        self.port = self._lease.number

    def _end(self, signum: int, patience_s: float) -> bool:
        if self._lease is not None:
            self._lease.release()
        if self.process is None:
            return False
        uid = self.launcher.account.uid
        return end_family(self.process, owner_uid=uid, polite=signum, patience_s=patience_s)


def program(name: str, package: str) -> Path:
    """Return the path of a program of the machine's, installed or unpacked.

    Raises:
        LabError: it is not there; the hint names the Debian package.
    """
    found = find_tool(name)
    if found is None:
        raise LabError(f"the program {name} is missing", hint=f"install the package {package}")
    return found
