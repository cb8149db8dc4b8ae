"""A real PgBouncer on loopback, of any version from 1.18 on: writes its ini and auth_file, starts it.

The executable may be a wrapper script that ends in `exec`. It holds no knowledge of the admin protocol
beyond one SHOW VERSION.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from console.lab.ports import LOOPBACK
from console.lab.process import Launcher, ProcessId, owner_of, read_stat
from console.lab.secrets import ADMIN, APP_USERS, MONITOR, Secrets
from console.lab.server import Server
from console.lab.sockets import command_line, listeners
from console.model.version import Version

SETTINGS: Mapping[str, str] = {
    "listen_addr": LOOPBACK,
    "auth_type": "scram-sha-256",
    "admin_users": ADMIN,
    "stats_users": MONITOR,
    "pool_mode": "transaction",
    "default_pool_size": "10",
    "max_client_conn": "500",
    "server_tls_sslmode": "disable",
    "ignore_startup_parameters": "extra_float_digits",
    "log_connections": "0",
    "log_disconnections": "0",
}
EXITS_ON_SIGQUIT = Version(1, 23)
"""Before 1.23 SIGTERM exits at once and SIGQUIT dumps core; since then SIGTERM waits for every client."""
HAS_PEERS = Version(1, 19)
PEERING_CHANGED = Version(1, 21)
"""Peers must be on the same side of this version: their cancel tokens differ."""


def program_version(executable: Path, launcher: Launcher) -> Version:
    """Return what `executable --version` says.

    Raises:
        LabError: it does not start.
    """
    said = launcher.tool("pgbouncer-version", [executable, "--version"], cwd=launcher.run_dir, timeout_s=20)
    return Version.parse(said) or Version(0, 0, text=said.strip())


def can_peer(versions: Sequence[Version]) -> bool:
    """Say whether PgBouncers of these versions understand each other as peers."""
    newer = {version >= PEERING_CHANGED for version in versions}
    return len(newer) == 1 and all(version >= HAS_PEERS for version in versions)


class PgBouncerServer(Server):
    """One PgBouncer process.

    Attributes:
        databases: `[databases]`, name to connection string; changed ones count from the next `write_config`.
        settings: `[pgbouncer]`, likewise.
        peers: `[peers]`, peer_id to connection string; only for 1.19 and later.
        users: roles in its auth_file.
    """

    kind = "pgbouncer"
    patience_s = 3.0

    def __init__(
        self,
        name: str,
        directory: Path,
        launcher: Launcher,
        secrets: Secrets,
        *,
        executable: Path,
        databases: Mapping[str, str],
        settings: Mapping[str, object] | None = None,
        port: int | None = None,
        version: Version | None = None,
    ) -> None:
        super().__init__(name, directory, launcher, port=port)
        self.secrets = secrets
        self.executable = executable
        self.version = version or program_version(executable, launcher)
        self.databases = dict(databases)
        self.settings: dict[str, object] = {**SETTINGS, **(settings or {})}
        self.peers: dict[int, str] = {}
        self.users: tuple[str, ...] = (ADMIN, MONITOR, *APP_USERS)
        self.socket_dir = launcher.make_dir(directory / "sock")
        self.config_path = directory / "pgbouncer.ini"
        self.userlist_path = directory / "userlist.txt"
        self.pid_path = directory / "pgbouncer.pid"
        self.own_log_path = directory / "pgbouncer-own.log"
        self.polite_signal = signal.SIGQUIT if self.version >= EXITS_ON_SIGQUIT else signal.SIGTERM

    @property
    def shares_port(self) -> bool:
        """See `Server.shares_port`."""
        return str(self.settings.get("so_reuseport", 0)) == "1"

    @property
    def leaving(self) -> bool:
        """See `Server.leaving`: from a SHUTDOWN on nothing listens on its port."""
        return self.running and not self._has_its_port()

    @property
    def start_command(self) -> tuple[str, ...]:
        """The command an operator on its host would start it with; it goes to the background."""
        return (str(self.executable), "-d", str(self.config_path))

    def prepare(self) -> None:
        """Write the ini and the auth_file, and clear what a crashed process left."""
        self.write_config()
        # PgBouncer takes a pid file for a running twin whenever that pid exists, whoever has it now.
        self.pid_path.unlink(missing_ok=True)

    def write_config(self) -> bool:
        """Write the ini and the auth_file from the attributes; True when that changed either.

        A running server takes them at a RELOAD.
        """
        own = {
            "listen_port": self.port,
            "unix_socket_dir": self.socket_dir,
            "auth_file": self.userlist_path,
            "pidfile": self.pid_path,
            "logfile": self.own_log_path,
        }
        parts: dict[str, Mapping[str, object]] = {
            "databases": self.databases,
            "peers": {str(number): where for number, where in self.peers.items()},
            "pgbouncer": {**own, **self.settings},
        }
        text = "\n".join(_section(title, values) for title, values in parts.items() if values)
        users = self.launcher.write_file(self.userlist_path, self.secrets.userlist(self.users))
        return self.launcher.write_file(self.config_path, text) or users

    def argv(self) -> Sequence[str | Path]:
        """See `Server.argv`."""
        return [self.executable, self.config_path]

    def ready(self) -> bool:
        """True when its console answers over its own Unix socket (the port may be a twin's)."""
        try:
            with self.admin(user=MONITOR) as console:
                answers = console.execute("SHOW VERSION").fetchone() is not None
        except psycopg.Error:
            return False
        return answers and self._listens()

    def admin(self, user: str = ADMIN) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a session on its admin console, over the Unix socket; the caller closes it."""
        return self.connect("pgbouncer", user=user, host=str(self.socket_dir))

    def connect(
        self, database: str = "app", *, user: str = APP_USERS[0], **options: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommit client connection, over TCP unless `host` says otherwise."""
        return psycopg.connect(
            **{
                "host": self.host,
                "port": self.port,
                "dbname": database,
                "user": user,
                "password": self.secrets.password(user),
                "autocommit": True,
                "prepare_threshold": None,
                "connect_timeout": 3,
                **options,
            }
        )

    def adopt(self) -> bool:
        """See `Server.adopt`; finds it also when its `start_command` started it anew."""
        if not super().adopt():
            uid = self.launcher.account.uid
            self.process = find_daemon(self.pid_path, self.config_path, owner_uid=uid)
        return self.running

    def _listens(self) -> bool:
        """Say whether it holds its TCP port; end it when it does not.

        When the port is taken PgBouncer goes on with its Unix socket alone: that is no start.
        """
        if self.process is None or self._has_its_port():
            return True
        self.process.send(signal.SIGKILL, owner_uid=self.launcher.account.uid)
        return False

    def _has_its_port(self) -> bool:
        if self.process is None or self.settings["listen_addr"] != LOOPBACK:
            return True
        return any(row.port == self.port for row in listeners([self.process.pid]))


def find_daemon(pid_path: Path, config_path: Path, *, owner_uid: int) -> ProcessId | None:
    """Return the PgBouncer that a pid file names, if it is `owner_uid`'s and runs with `config_path`."""
    try:
        pid = int(pid_path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
    stat = read_stat(pid)
    if stat is None or owner_of(pid) != owner_uid or str(config_path) not in command_line(pid):
        return None
    return ProcessId(pid, stat.start_ticks)


def _section(title: str, values: Mapping[str, object]) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in values.items())
    return f"[{title}]\n{lines}"
