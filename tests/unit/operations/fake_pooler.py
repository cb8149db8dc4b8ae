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
PEER = [
    *("type", "user", "database", "state", "addr", "port", "local_addr", "local_port", "connect_time"),
    *("request_time", "wait", "wait_us", "close_needed", "ptr", "link", "remote_pid", "tls"),
    "application_name",
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
    waiting: int = 0
    """Clients of pool app/app that wait."""
    longest_s: int = 0
    """How long the oldest of them has waited."""
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
    clients: dict[str, str] = field(default_factory=lambda: {"7": "web", "8": "web", "9": "report"})
    """Clients of pool app/app: id → application name."""
    lists_clients: bool = False
    """False: SHOW CLIENTS cannot be read."""
    generation: int = 1
    """Of its server connections; RECONNECT makes the next one."""
    unreleased: int = 0
    """So many connections of the generation before are never released."""
    closing: bool = False
    """A SHUTDOWN was taken."""
    gone: bool = False
    """Its process has ended: every session is over, and no login is let in."""

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
        return self._session()

    async def writer(self, name: str) -> FakeSession:  # noqa: ARG002
        return self._session()

    async def probe(self, name: str) -> str:
        self._session()
        return f"nothing but a login to {name}"

    def _session(self) -> FakeSession:
        if self.gone or self.closing:
            raise NodeError(Phase.CONNECT, "Connection refused")
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
            "CLIENTS": self._clients,
            "SERVERS": self._servers,
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
            "cl_active": str(len(self.clients)),
            "cl_waiting": str(self.waiting),
            "maxwait": str(self.longest_s),
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

    def _peer(self, **values: str) -> list[str | None]:
        """Return a row of SHOW CLIENTS or SERVERS."""
        row = {**dict.fromkeys(PEER, ""), "database": "app", "user": "app", "wait": "0", "wait_us": "0"}
        row |= {
            "close_needed": "0",
            "addr": "10.0.0.1",
            "connect_time": "then",
            "request_time": "now",
            **values,
        }
        return [row[name] for name in self._peer_columns]

    @property
    def _peer_columns(self) -> list[str]:
        return PEER if self.version.startswith("1.18") else [*PEER, "id"]

    def _clients(self) -> tuple[list[str], list[list[str | None]]]:
        if not self.lists_clients:
            return [], []
        rows = [
            self._peer(type="C", state="active", port=f"500{number}", id=number, application_name=name)
            for number, name in self.clients.items()
        ]
        return self._peer_columns, rows

    def _servers(self) -> tuple[list[str], list[list[str | None]]]:
        held = self.paused or "app" in self.paused_databases
        new = [f"{self.generation}-{number}" for number in range(0 if held else 2)]
        old = [f"{self.generation - 1}-{number}" for number in range(self.unreleased)]
        rows = [self._peer(type="S", state="idle", port="5432", ptr=ptr, id=ptr) for ptr in new]
        rows += [self._peer(type="S", state="active", close_needed="1", ptr=ptr, id=ptr) for ptr in old]
        return self._peer_columns, rows

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
            self._set(name)
        else:
            self._do(verb, name, database)
        self.after_execute(statement)
        if verb == "PAUSE" and self.busy_servers and not self.answers_early:
            await asyncio.Event().wait()
        return statement if verb == "SET" else verb

    def _set(self, text: str) -> None:
        key, value = (part.strip() for part in (text.split(" TO ") if " TO " in text else text.split("=")))
        if value.startswith("'"):
            value = value[1:-1].replace("''", "'")
        self.config[key] = (value, self.config[key][1])

    def _do(self, verb: str, name: str, database: str | None) -> None:
        """Carry out what neither pauses nor sets."""
        if verb == "DISABLE" and database is not None:
            self.disabled_databases.add(database)
        elif verb == "ENABLE" and database is not None:
            self.disabled_databases.discard(database)
        elif verb == "RECONNECT":
            self.generation += 1
        elif verb == "KILL" and database is not None:
            if self.paused or self.suspended:
                raise AdminError("already suspended/paused", sqlstate="08P01")
            self.clients.clear()
            self.paused_databases.add(database)
        elif verb == "KILL_CLIENT" and self.clients.pop(name, None) is None:
            raise AdminError("client not found", sqlstate="08P01")
        elif verb == "SHUTDOWN":
            self.closing, self.gone = True, not name
            if self.gone:
                raise LostConnection(Phase.PROTOCOL, "the connection was closed")

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
        if self._closed.is_set() or self._pooler.gone:
            raise NodeError(Phase.PROTOCOL, "the session is over")
