"""A pooler that answers as the facts of pgbouncer-admin.md say, for faults that no real one makes on demand.

Real servers prove everything they can (tests/servers); this stands in for lost answers at a chosen moment,
refused RESUMEs, and for thousands of random runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from console.errors import AdminError, LostConnection, NodeError, Phase
from console.model.table import ResultTable

POOLS = [
    *("database", "user", "cl_active", "cl_waiting", "cl_active_cancel_req", "cl_waiting_cancel_req"),
    *("sv_active", "sv_active_cancel", "sv_being_canceled", "sv_idle", "sv_used", "sv_tested", "sv_login"),
    *("maxwait", "maxwait_us", "pool_mode"),
]
DATABASES = [
    *("name", "host", "port", "database", "force_user", "pool_size", "min_pool_size", "reserve_pool"),
    *("pool_mode", "max_connections", "current_connections", "paused", "disabled"),
]
CONFIG = {
    "admin_users": ("admin", ""),
    "auth_file": ("users.txt", ""),
    "conffile": ("/etc/pgbouncer.ini", ""),
    "default_pool_size": ("30", "20"),
    "logfile": ("/var/log/pgbouncer.log", ""),
    "pool_mode": ("transaction", "session"),
    "query_wait_timeout": ("120", "120"),
    "server_login_retry": ("15", "15"),
    "server_tls_sslmode": ("disable", "prefer"),
}


@dataclass
class FakePooler:
    """State and behaviour; sessions are `FakeSession`."""

    version: str = "1.24.1"
    paused: bool = False
    suspended: bool = False
    paused_databases: set[str] = field(default_factory=set)
    databases: tuple[str, ...] = ("app", 'odd "name"')
    disabled_databases: set[str] = field(default_factory=set)
    busy_servers: int = 0
    """Server connections of pool app/app that are never released."""
    mode: str = "transaction"
    config: dict[str, tuple[str, str]] = field(default_factory=lambda: dict(CONFIG))
    executed: list[str] = field(default_factory=list)
    opened: int = 0
    before_execute: Callable[[str], None] = lambda _: None
    """Called with each statement before it takes effect; may raise."""
    after_execute: Callable[[str], None] = lambda _: None
    """Called once it took effect, before the answer; may raise."""
    answers_early: bool = False
    """Answer PAUSE although servers are busy, as after a WAIT_CLOSE (trap T1)."""
    pause_lag: asyncio.Event | None = None
    """When given: a PAUSE takes effect only once it is set."""

    def lives_in(self, folder: Path) -> Path:
        """Write the ini that gives what it runs with, and return its path."""
        path = folder / "pgbouncer.ini"
        self.config["conffile"] = (str(path), self.config["conffile"][1])
        settings = "".join(f"{key} = {value}\n" for key, (value, _) in self.config.items())
        like = "host=db pool_size=0 min_pool_size=0 reserve_pool=0"
        path.write_text(
            f"[databases]\napp = {like} pool_mode={self.mode}\n* = {like}\n[pgbouncer]\n{settings}"
        )
        return path

    async def reader(self, name: str, *, as_admin: bool = False) -> FakeSession:  # noqa: ARG002
        self.opened += 1
        return FakeSession(self)

    async def writer(self, name: str) -> FakeSession:  # noqa: ARG002
        self.opened += 1
        return FakeSession(self)

    def changing(self) -> list[str]:
        """Statements that reached it, the harmless probe left out."""
        return [statement for statement in self.executed if statement != "PAUSE pgbouncer"]

    def show(self, what: str) -> ResultTable:
        rows: dict[str, Callable[[], tuple[list[str], list[list[str | None]]]]] = {
            "VERSION": lambda: (["version"], [[f"PgBouncer {self.version}"]]),
            "STATE": self._state,
            "POOLS": self._pools,
            "DATABASES": self._databases,
            "CONFIG": self._config,
            "LISTS": lambda: (["list", "items"], [["login_clients", "0"]]),
            "CLIENTS": lambda: ([], []),
            "PEERS": lambda: (["peer_id", "host", "port", "pool_size"], []),
        }
        names, cells = rows[what]()
        return ResultTable(tuple(names), tuple(tuple(row) for row in cells))

    def _state(self) -> tuple[list[str], list[list[str | None]]]:
        word = {True: "yes", False: "no"}
        running = not (self.paused or self.suspended)
        return ["key", "value"], [
            ["active", word[running]],
            ["paused", word[self.paused]],
            ["suspended", word[self.suspended]],
        ]

    def _pools(self) -> tuple[list[str], list[list[str | None]]]:
        held = self.paused or "app" in self.paused_databases
        values: dict[str, str | None] = dict.fromkeys(POOLS, "0")
        values |= {
            "database": "app",
            "user": "app",
            "cl_active": "3",
            "sv_active": str(self.busy_servers),
            "sv_idle": "0" if held else "2",
            "pool_mode": self.mode,
        }
        return POOLS, [[values[name] for name in POOLS]]

    def _databases(self) -> tuple[list[str], list[list[str | None]]]:
        rows = []
        for name in (*self.databases, "pgbouncer"):
            values: dict[str, str | None] = dict.fromkeys(DATABASES, "0")
            values |= {"name": name, "host": "db", "port": "5432", "database": name, "force_user": None}
            values |= {"pool_mode": self.mode, "paused": "1" if name in self.paused_databases else "0"}
            values["disabled"] = "1" if name in self.disabled_databases else "0"
            rows.append([values[column] for column in DATABASES])
        return DATABASES, rows

    def _config(self) -> tuple[list[str], list[list[str | None]]]:
        rows: list[list[str | None]] = [[key, *pair, "yes"] for key, pair in sorted(self.config.items())]
        return ["key", "value", "default", "changeable"], rows

    async def take(self, statement: str) -> str:
        self.executed.append(statement)
        self.before_execute(statement)
        verb, _, name = statement.partition(" ")
        database = (name[1:-1].replace('""', '"') if name.startswith('"') else name) or None
        if verb == "PAUSE":
            await self._pause(database)
        elif verb == "RESUME":
            self._resume(database)
        elif verb == "SET":
            key, value = (part.strip() for part in name.split("=", 1))
            self.config[key] = (value, self.config[key][1])
        self.after_execute(statement)
        if verb == "PAUSE" and self.busy_servers and not self.answers_early:
            await asyncio.Event().wait()
        return statement if verb == "SET" else verb

    async def _pause(self, database: str | None) -> None:
        if database == "pgbouncer":
            word = "already suspended/paused" if self.paused else "cannot pause admin db: pgbouncer"
            raise AdminError(word, sqlstate="08P01")
        if self.paused or self.suspended:
            raise AdminError("already suspended/paused", sqlstate="08P01")
        if self.pause_lag is not None:
            await self.pause_lag.wait()
        if database is None:
            self.paused = True
        else:
            self.paused_databases.add(database)

    def _resume(self, database: str | None) -> None:
        if database is None:
            if not (self.paused or self.suspended):
                raise AdminError("pooler is not paused/suspended", sqlstate="08P01")
            self.paused = self.suspended = False
        elif database not in self.paused_databases:
            raise AdminError(f"database {database} is not paused", sqlstate="08P01")
        else:
            self.paused_databases.discard(database)

    @property
    def anything_paused(self) -> bool:
        """Whether any client would be held."""
        return self.paused or self.suspended or bool(self.paused_databases)


class FakeSession:
    """One session on it."""

    def __init__(self, pooler: FakePooler) -> None:
        self._pooler = pooler
        self._closed = asyncio.Event()
        self.version_text = f"PgBouncer {pooler.version}"

    async def show(self, what: str, *, timeout_s: float) -> ResultTable:  # noqa: ARG002
        self._require_open()
        await asyncio.sleep(0)
        return self._pooler.show(what)

    async def execute(self, statement: str, timeout_s: float | None) -> str:  # noqa: ARG002
        self._require_open()
        answer = asyncio.ensure_future(self._pooler.take(statement))
        closed = asyncio.ensure_future(self._closed.wait())
        await asyncio.wait({answer, closed}, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        if answer.done():
            return answer.result()
        # The server goes on with what it was sent; only the answer is lost.
        if self._pooler.pause_lag is None:
            answer.cancel()
        raise LostConnection(Phase.PROTOCOL, "the connection was closed")

    async def close(self) -> None:
        self._closed.set()

    def _require_open(self) -> None:
        if self._closed.is_set():
            raise NodeError(Phase.PROTOCOL, "the session is over")
