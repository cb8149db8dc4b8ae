"""What tests of operations on the command line share: `pooldeck` as a process, and terminals to run it in."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import psycopg

from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, MONITOR
from tests.servers.operations_kit import is_paused

LIMIT_S = 30.0
NOWHERE = "127.0.0.1:1"
"""Nothing listens on port 1."""


class Shell:
    """Runs `pooldeck` with an inventory of some bouncers.

    Attributes:
        servers: by the inventory's names.
        fleet: the inventory's file.
        environ: of the processes.
    """

    limit_s = LIMIT_S
    """For one command."""

    def __init__(
        self,
        servers: Mapping[str, PgBouncerServer],
        folder: Path,
        environment: str = "development",
        *,
        nowhere: tuple[str, ...] = (),
        more: str = "",
    ) -> None:
        self.servers = dict(servers)
        self.started = contextlib.ExitStack()
        self.fleet = folder / "fleet.toml"
        self.state = folder / "state"
        secrets = next(iter(servers.values())).secrets
        addresses = {name: f"{server.host}:{server.port}" for name, server in servers.items()}
        addresses |= dict.fromkeys(nowhere, NOWHERE)
        entries = [
            f'[[bouncers]]\nname = "{name}"\ntcp = "{address}"\nsslmode = "disable"\n'
            for name, address in addresses.items()
        ]
        self.fleet.write_text(
            f"""
fleet = "test"
environment = "{environment}"
[defaults]
admin_user = "{ADMIN}"
monitor_user = "{MONITOR}"
admin_password_from = "env:ADMIN_WORD"
monitor_password_from = "env:MONITOR_WORD"
connect_timeout_s = 3
{more}
{"".join(entries)}
"""
        )
        self.environ = {
            **os.environ,
            "XDG_STATE_HOME": str(self.state),
            "ADMIN_WORD": secrets.password(ADMIN),
            "MONITOR_WORD": secrets.password(MONITOR),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.started.close()

    @property
    def server(self) -> PgBouncerServer:
        """The first one."""
        return next(iter(self.servers.values()))

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "console.cli.main", "--fleet", str(self.fleet), *words]

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.limit_s,
            check=False,
        )

    def run_in_shell(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run with redirections: `"$@"` is the command."""
        return subprocess.run(
            ["sh", "-c", script, "sh", *self.argv(*words)],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def start(self, *words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start it; what still runs at the test's end is killed."""
        process = subprocess.Popen(
            self.argv(*words),
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.callback(_end, process)
        return process

    def json_lines(self, *words: str) -> tuple[int, list[dict[str, Any]]]:
        """Run with --json and return the exit code and what was printed."""
        ended = self(*words, "--json")
        return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()]

    def paused(self, name: str | None = None) -> bool:
        """Ask a bouncer itself; None: the first one."""
        server = self.server if name is None else self.servers[name]
        with server.admin() as console:
            return is_paused(console)

    def tell(self, name: str, statement: str) -> None:
        """Do something behind Pooldeck's back."""
        with self.servers[name].admin() as console:
            console.execute(statement.encode())

    def records(self, kind: str) -> list[dict[str, Any]]:
        """The journal's records of a kind."""
        path = self.state / "pooldeck" / "journal.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [record for record in map(json.loads, lines) if record["kind"] == kind]


@contextlib.contextmanager
def open_transaction(server: PgBouncerServer, database: str = "app") -> Iterator[psycopg.Connection[Any]]:
    """A client that keeps its server, so that a pause cannot complete."""
    with server.connect(database) as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        yield client


class Terminal:
    """A terminal that the command line is run in; closing it is what a lost SSH session does."""

    def __init__(self, columns: int = 80) -> None:
        self._ours, self._theirs = pty.openpty()
        termios.tcsetwinsize(self._theirs, (24, columns))
        self.seen = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, shell: Shell, *words: str) -> subprocess.Popen[bytes]:
        """Start a command whose controlling terminal this is."""

        def adopt() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            shell.argv(*words),
            env=shell.environ,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
            preexec_fn=adopt,
        )
        shell.started.callback(_end, process)
        os.close(self._theirs)
        self._theirs = -1
        return process

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def read_until(self, words: str) -> str:
        """Read until `words` are there; return all that was seen."""
        end = time.monotonic() + LIMIT_S
        while words.encode() not in self.seen:
            assert time.monotonic() < end, self.seen.decode()
            self._read_once()
        return self.seen.decode()

    def read_to_end(self, process: subprocess.Popen[bytes]) -> str:
        """Read until the command has ended; return all that was seen."""
        end = time.monotonic() + LIMIT_S
        while process.poll() is None:
            assert time.monotonic() < end, self.seen.decode()
            self._read_once()
        while self._read_once():
            pass
        return self.seen.decode()

    def close(self) -> None:
        """Hang up."""
        for descriptor in (self._ours, self._theirs):
            if descriptor >= 0:
                os.close(descriptor)
        self._ours = self._theirs = -1

    def _read_once(self) -> bool:
        if not select.select([self._ours], [], [], 0.1)[0]:
            return False
        try:
            self.seen += os.read(self._ours, 65_536)
        except OSError:
            return False  # EIO: nobody has it open any more
        return True


def _end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait(LIMIT_S)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition()` holds."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)
