"""Fakes for tests of radii: a console that answers from cells, Postgres nodes that say what they are told."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from console.lab.simulator_columns import HEADERS
from console.model.rows import Database, PauseState, Pool, Setting
from console.model.table import ResultTable
from console.model.version import Version
from console.operations.observe import Observation
from console.operations.radius import BackendSource, Radius, read_radius
from console.operations.target import Target
from console.poolers.pgbouncer import PgBouncerDialect
from console.postgres.activity import Backend, BackendGap

VERSIONS = ("1.17.0", "1.18.0", "1.24.1", "1.26.1")
WHOLE = Target("edge")
LIMIT_S = 5.0
STARTED = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
SOCKETS = ("database", "ptr", "recv_pos", "pkt_avail")


def header(version: str, what: str) -> tuple[str, ...]:
    """Names of the columns of one SHOW; 1.17 had all of 1.18's CLIENTS but application_name."""
    if version == "1.17.0":
        return tuple(name for name in header("1.18.0", what) if name != "application_name")
    return tuple(name for name, _ in HEADERS[version][what])


def row(names: Sequence[str], **cells: object) -> tuple[str | None, ...]:
    values: dict[str, object] = dict.fromkeys(names, "0")
    values |= {"type": "C", "link": "", "tls": "", "replication": "none", "local_addr": "127.0.0.1"}
    values |= {"connect_time": "2026-11-21 09:00:00 UTC", "request_time": "2026-11-21 09:30:00 UTC"}
    values |= {"application_name": "", "user": "app", "database": "app", "state": "active"}
    values |= cells
    return tuple(None if values[name] is None else str(values[name]) for name in names)


@dataclass
class Console:
    """A session on an admin console that answers from lists of cells."""

    version: str = "1.24.1"
    clients: list[dict[str, object]] = field(default_factory=list)
    servers: list[dict[str, object]] = field(default_factory=list)
    lists: dict[str, int] = field(default_factory=dict)
    active: list[tuple[str, str, str, str]] = field(default_factory=list)
    fails: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def show(self, what: str, *, timeout_s: float) -> ResultTable:
        assert 0 < timeout_s <= LIMIT_S
        self.asked.append(what)
        if what in self.fails:
            raise self.fails[what]
        if what == "LISTS":
            counts = {
                "used_clients": len(self.clients),
                "used_servers": len(self.servers),
                "login_clients": 0,
            }
            counts |= self.lists
            return ResultTable(("list", "items"), tuple((key, str(n)) for key, n in counts.items()))
        if what == "ACTIVE_SOCKETS":
            return ResultTable(SOCKETS, tuple(self.active))
        names = header(self.version, what)
        rows = self.clients if what == "CLIENTS" else self.servers
        return ResultTable(names, tuple(row(names, **cells) for cells in rows))

    async def close(self) -> None:
        return


class Nodes:
    """Postgres nodes that say what the test put in."""

    def __init__(self, *found: Backend | BackendGap) -> None:
        self.found = found
        self.pids: list[set[int]] = []

    async def backends(self, pids: Collection[int]) -> tuple[Backend | BackendGap, ...]:
        self.pids.append(set(pids))
        return self.found


def backend(pid: int, port: int | None, *, node: str = "pg-1", **fields: Any) -> Backend:
    plain: dict[str, Any] = {
        "started_at": STARTED,
        "database": "shop",
        "user": "app",
        "application_name": "billing",
        "client_address": "127.0.0.1",
        "state": "active",
        "wait_event_type": None,
        "wait_event": None,
        "xact_started_at": STARTED,
        "query_started_at": STARTED,
        "xact_age_s": 34.1,
        "query_age_s": 33.0,
        "state_age_s": 33.0,
        "blocked_by": (),
    }
    return Backend(node=node, pid=pid, client_port=port, **{**plain, **fields})


def database(name: str, real: str = "shop") -> Database:
    return Database(
        name=name,
        host="10.0.0.2",
        port=5432,
        database=real,
        force_user=None,
        pool_size=20,
        pool_mode="transaction",
        max_connections=0,
        current_connections=0,
        paused=False,
        disabled=False,
    )


def observation(version: str = "1.24.1", *pools: Pool, **config: str) -> Observation:
    settings = {"admin_users": "admin, root", **config}
    return Observation(
        bouncer="edge",
        version=Version.parse(version) or Version(0, 0),
        state=PauseState(paused=False, suspended=None),
        databases=(database("app"), database("tiny")),
        pools=pools,
        config={key: Setting(key, value, None, True) for key, value in settings.items()},
    )


def pool(database: str, active: int, waiting: int, *, maxwait_us: int = 0, user: str = "app") -> Pool:
    return Pool(database, user, active, waiting, 1, 0, 0, 0, 0, maxwait_us)


async def radius_of(
    console: Console,
    target: Target = WHOLE,
    backends: BackendSource | None = None,
    seen: Observation | None = None,
    timeout_s: float = LIMIT_S,
) -> Radius:
    return await read_radius(
        console,
        PgBouncerDialect(),
        seen or observation(console.version),
        target,
        backends=backends,
        timeout_s=timeout_s,
    )


def busy(version: str = "1.24.1") -> Console:
    """Two clients that hold a server, one that waits, one idle, one of another database, three consoles."""
    return Console(
        version,
        clients=[
            {"application_name": "billing", "addr": "10.0.0.7", "port": 51, "ptr": "c1", "link": "s1"},
            {"application_name": "web", "addr": "10.0.0.8", "port": 52, "ptr": "c2", "link": "s2"},
            {
                "application_name": "web",
                "addr": "10.0.0.8",
                "port": 53,
                "ptr": "c3",
                "state": "waiting",
                "wait": 1,
                "wait_us": 200_000,
            },
            {"user": "worker", "addr": "unix", "port": 6432, "ptr": "c4"},
            {"database": "tiny", "application_name": "batch", "addr": "10.0.0.9", "port": 54, "ptr": "c5"},
            {"database": "pgbouncer", "user": "stats", "ptr": "k1", "application_name": "pooldeck"},
            {
                "database": "pgbouncer",
                "user": "root",
                "ptr": "k2",
                "addr": "unix",
                "application_name": "psql",
            },
            {"database": "pgbouncer", "user": "stats", "ptr": "k3", "addr": "10.0.0.5", "port": 99},
        ],
        servers=[
            {
                "addr": "10.0.0.2",
                "port": 5432,
                "local_port": 4001,
                "ptr": "s1",
                "link": "c1",
                "remote_pid": 71,
            },
            {
                "addr": "10.0.0.2",
                "port": 5432,
                "local_port": 4002,
                "ptr": "s2",
                "link": "c2",
                "remote_pid": 72,
            },
            {"addr": "10.0.0.2", "port": 5432, "local_port": 4003, "ptr": "s3", "remote_pid": 73},
        ],
        active=[("app", "c2", "9", "9"), ("pgbouncer", "k1", "25", "25")],
    )


def counts(groups: Any) -> dict[str, int]:
    return {group.name: group.clients for group in groups.top}
