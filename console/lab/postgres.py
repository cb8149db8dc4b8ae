"""A real PostgreSQL server on loopback: a primary, or a streaming replica of one.

Made for tests and demos: `fsync` is off, so a machine crash may lose it. Clients log in with SCRAM over
TCP and over the Unix socket alike; nothing is trusted.
"""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from console.errors import LabError
from console.lab.ports import LOOPBACK
from console.lab.process import Launcher, ProcessId, read_stat
from console.lab.secrets import APP_USERS, MONITOR, REPLICATOR, SUPERUSER, Secrets
from console.lab.server import Server, program

APP_DATABASE = "app"
PACKAGE = "postgresql"
SETTINGS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "replica",
    "max_wal_size": "256MB",
    "wal_keep_size": "128MB",
    "max_wal_senders": "6",
    "hot_standby_feedback": "on",
    "wal_receiver_status_interval": "1s",
    "password_encryption": "scram-sha-256",
    "jit": "off",
    "log_line_prefix": "%m [%p] %q%u@%d/%a ",
}
_HBA = f"""\
local all all scram-sha-256
host all all {LOOPBACK}/32 scram-sha-256
host replication {REPLICATOR} {LOOPBACK}/32 scram-sha-256
"""


class PostgresServer(Server):
    """One PostgreSQL server; with `primary` a streaming replica of it.

    A primary is created with the lab's roles and the database `app`; a replica is copied from its primary,
    which must run. Superuser: `postgres`.
    """

    kind = "postgres"
    polite_signal = signal.SIGINT  # "fast shutdown": does not wait for clients
    patience_s = 10.0

    def __init__(
        self,
        name: str,
        directory: Path,
        launcher: Launcher,
        secrets: Secrets,
        *,
        port: int | None = None,
        primary: PostgresServer | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, directory, launcher, port=port)
        self.secrets = secrets
        self.primary = primary
        self.settings = {**SETTINGS, **(settings or {})}
        self.data_dir = directory / "data"
        self.socket_dir = launcher.make_dir(directory / "sock")
        self.config_path = directory / "postgresql.conf"
        self.hba_path = directory / "pg_hba.conf"
        self.pgpass_path = directory / "pgpass"

    @property
    def role(self) -> str:
        """`primary` or `replica`."""
        return "primary" if self.primary is None else "replica"

    @property
    def is_standby(self) -> bool:
        """Whether its data folder is a replica's; a promotion ends that."""
        return (self.data_dir / "standby.signal").exists()

    @property
    def timeline(self) -> int:
        """The timeline it is on: 1, and one more for each promotion of it or of what it was copied from."""
        histories = (self.data_dir / "pg_wal").glob("????????.history")
        return max((int(path.stem, 16) for path in histories), default=1)

    def discard(self) -> None:
        """Stop it and forget its data; the next start copies its primary."""
        self.stop()
        shutil.rmtree(self.data_dir, ignore_errors=True)

    @property
    def version(self) -> str:
        """The server's version, `15.18`, as its program says."""
        said = self.launcher.tool(
            f"{self.name}-version", [program("postgres", PACKAGE), "-V"], cwd=self.directory
        )
        found = re.search(r"\d+(\.\d+)+|\d+", said)
        return found[0] if found else said.strip()

    def prepare(self) -> None:
        """Write the configuration; make the data folder when there is none yet."""
        self.launcher.write_file(self.pgpass_path, self.secrets.pgpass())
        self.launcher.write_file(self.hba_path, _HBA)
        self.write_config()
        if not self.data_dir.exists():
            # Made beside its place and renamed: a run that was killed leaves no half-made data folder.
            for leftover in self.directory.glob("making-*"):
                shutil.rmtree(leftover)
            making = self.launcher.make_dir(self.directory / f"making-{self.port}")
            if self.primary is None:
                self._initdb(making)
            else:
                self._copy_primary(making)
            making.rename(self.data_dir)
        self._drop_stale_lock()

    def argv(self) -> Sequence[str | Path]:
        """See `Server.argv`."""
        return self._postgres(self.data_dir)

    def ready(self) -> bool:
        """True when a login works; a replica must also have caught up with a consistent state."""
        try:
            with self.connect():
                return True
        except psycopg.Error:
            return False

    def connect(
        self, database: str = "postgres", *, user: str = SUPERUSER, **options: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommit connection over TCP; the caller closes it."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            dbname=database,
            user=user,
            password=self.secrets.password(user),
            autocommit=True,
            **{"connect_timeout": 3, **options},
        )

    def value(self, query: str, database: str = "postgres") -> Any:
        """Run a query as superuser and return the first column of its first row; None without a row."""
        with self.connect(database) as connection:
            row = connection.execute(sql.SQL(query)).fetchone()
        return None if row is None else row[0]

    def _postgres(self, data_dir: Path) -> list[str | Path]:
        return [program("postgres", PACKAGE), "-D", data_dir, "-c", f"config_file={self.config_path}"]

    def write_config(self) -> bool:
        """Write its configuration; True when that changed it. A running server takes it at a SIGHUP."""
        values = {
            **self.settings,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
            "hba_file": str(self.hba_path),
            "cluster_name": self.name,
        }
        if self.primary is not None:
            values["primary_conninfo"] = (
                f"host={LOOPBACK} port={self.primary.port} user={REPLICATOR} passfile={self.pgpass_path} "
                f"application_name={self.name}"
            )
        lines = (f"{key} = '{value}'\n" for key, value in values.items())
        return self.launcher.write_file(self.config_path, "".join(lines))

    def _initdb(self, data_dir: Path) -> None:
        initdb: list[str | Path] = [
            program("initdb", PACKAGE),
            "-D",
            data_dir,
            "-U",
            SUPERUSER,
            "-E",
            "UTF8",
            "--no-locale",
        ]
        # `trust` is only in the pg_hba.conf that initdb writes, and ours is the one in force.
        self.launcher.tool(f"{self.name}-initdb", [*initdb, "--no-sync", "--auth=trust"], cwd=self.directory)
        single = self._postgres(data_dir)
        single.insert(1, "--single")
        self.launcher.tool(
            f"{self.name}-roles", [*single, "postgres"], cwd=self.directory, stdin=self._roles_sql().encode()
        )

    def _roles_sql(self) -> str:
        """Return one statement a line, as a single-user backend wants them."""

        def word(role: str) -> str:
            return f"PASSWORD '{self.secrets.verifier(role)}'"

        owner = APP_USERS[0]
        lines = [f"ALTER ROLE {SUPERUSER} {word(SUPERUSER)}"]
        lines += [f"CREATE ROLE {REPLICATOR} LOGIN REPLICATION {word(REPLICATOR)}"]
        lines += [f"CREATE ROLE {MONITOR} LOGIN IN ROLE pg_monitor, pg_signal_backend {word(MONITOR)}"]
        lines += [f"CREATE ROLE {owner} LOGIN {word(owner)}"]
        lines += [f"CREATE ROLE {role} LOGIN IN ROLE {owner} {word(role)}" for role in APP_USERS[1:]]
        lines += [f"CREATE DATABASE {APP_DATABASE} OWNER {owner}"]
        return "".join(f"{line};\n" for line in lines)

    def _copy_primary(self, data_dir: Path) -> None:
        if self.primary is None:
            raise LabError(f"{self.name} has no primary to be copied from")
        source = f"host={LOOPBACK} port={self.primary.port} user={REPLICATOR}"
        copy: list[str | Path] = [
            program("pg_basebackup", PACKAGE),
            "-d",
            source,
            "-w",
            "-D",
            data_dir,
            "-X",
            "stream",
        ]
        self.launcher.tool(
            f"{self.name}-basebackup",
            [*copy, "-c", "fast", "--no-sync", "--no-manifest"],
            cwd=self.directory,
            env={"PGPASSFILE": str(self.pgpass_path)},
        )
        self.launcher.write_file(data_dir / "standby.signal", "")

    def _drop_stale_lock(self) -> None:
        """Remove a crashed server's postmaster.pid when its pid now belongs to something else.

        Postgres sees only that the pid exists and refuses to start.
        """
        lock = self.data_dir / "postmaster.pid"
        try:
            pid = int(lock.read_text(encoding="utf-8").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        stat = read_stat(pid)
        recorded = self.launcher.recorded(self.name)
        if stat is not None and recorded != ProcessId(pid, stat.start_ticks):
            lock.unlink()
