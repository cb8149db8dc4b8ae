"""Poolers and Postgres nodes that answer, hang, drop or lie on command; no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from console.config.schema import Inventory
from console.errors import AdminError, DeadlineError, LostConnection, NodeError, Phase
from console.model.fleet import PostgresReading
from console.model.rows import Setting, Stats
from console.model.table import ResultTable
from console.model.version import Version


def _names(text: str) -> list[str]:
    return text.split()


POOLS = _names(
    "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel"
    " sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode"
)
DATABASES = _names(
    "name host port database force_user pool_size min_pool_size reserve_pool pool_mode max_connections"
    " current_connections paused disabled"
)
STATS = _names(
    "database total_xact_count total_query_count total_received total_sent total_xact_time total_query_time"
    " total_wait_time avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time avg_query_time"
    " avg_wait_time"
)
SOCKETS = _names(
    "type user database state addr port local_addr local_port connect_time request_time wait wait_us"
    " close_needed ptr link remote_pid tls application_name"
)


def table(names: list[str], *rows: Mapping[str, str], answer_us: int = 0) -> ResultTable:
    """Return a table; a cell that a row leaves out is "0"."""
    cells = tuple(tuple(row.get(name, "0") for name in names) for row in rows)
    return ResultTable(tuple(names), cells, answer_us=answer_us)


def stats(database: str, **totals: Any) -> Stats:
    """Return a row of SHOW STATS whose totals are 0 unless told."""
    counters = dict.fromkeys(
        (
            "total_xact_count",
            "total_query_count",
            "total_received_bytes",
            "total_sent_bytes",
            "total_xact_time_us",
            "total_query_time_us",
            "total_wait_time_us",
        ),
        0,
    )
    return Stats(database=database, **{**counters, **totals})


@dataclass
class FakePooler:
    """One pooler's behaviour, to be changed while it is polled."""

    version: str = "1.18.0"
    xacts: int = 0
    xacts_a_question: int = 100
    waiting: int = 0
    clients: int = 3
    connect_error: NodeError | None = None
    hang_connect: bool = False
    hang: set[str] = field(default_factory=set)
    """Questions that are never answered."""
    errors: dict[str, Exception] = field(default_factory=dict)
    """What a question raises."""
    tables: dict[str, ResultTable] = field(default_factory=dict)
    """Answers that replace the usual ones."""
    answer_us: int = 0
    asked: list[str] = field(default_factory=list)
    sessions: int = 0
    open_sessions: int = 0
    shut: bool = False
    """Nobody new is let in."""
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_asked(self, what: str, times: int = 1) -> None:
        """Return when `what` was asked so often since the start."""
        while self.asked.count(what) < times:
            self.was_asked.clear()
            await self.was_asked.wait()

    def answer(self, what: str) -> ResultTable:
        """Return what PgBouncer would answer to SHOW `what`."""
        if what in self.tables:
            return self.tables[what]
        match what:
            case "VERSION":
                return ResultTable(("version",), ((f"PgBouncer {self.version}",),))
            case "STATE":
                rows = (("active", "yes"), ("paused", "no"), ("suspended", "no"))
                return ResultTable(("key", "value"), rows)
            case "POOLS":
                pool = {"database": "app", "user": "web", "cl_active": "3", "sv_active": "2", "sv_idle": "1"}
                pool |= {"cl_waiting": str(self.waiting), "pool_mode": "transaction"}
                own = {
                    "database": "pgbouncer",
                    "user": "pgbouncer",
                    "cl_active": "1",
                    "pool_mode": "statement",
                }
                return table(POOLS, pool, own, answer_us=self.answer_us)
            case "DATABASES":
                return table(DATABASES, {"name": "app", "host": "db", "pool_size": "20"})
            case "LISTS":
                return ResultTable(("list", "items"), (("used_clients", str(self.clients)),))
            case "STATS":
                self.xacts += self.xacts_a_question
                total = str(self.xacts)
                app = {"database": "app", "total_xact_count": total, "total_query_count": total}
                return table(STATS, app, {"database": "pgbouncer", "total_query_count": total})
            case "CONFIG":
                return ResultTable(
                    ("key", "value", "default", "changeable"), (("listen_port", "1", "1", "no"),)
                )
            case "USERS":
                return ResultTable(("name", "pool_mode"), (("web", None),))
            case "SERVERS" | "CLIENTS":
                return table(SOCKETS, {"type": what[0], "database": "app", "user": "web"})
        raise AdminError(f"invalid command 'SHOW {what}'", sqlstate="08P01")


class FakeReader:
    """A session with a `FakePooler`; like the real one it is over after a missed answer."""

    def __init__(self, pooler: FakePooler) -> None:
        self.pooler = pooler
        self.closed = False
        pooler.sessions += 1
        pooler.open_sessions += 1

    async def show(self, what: str, /, *, timeout_s: float) -> ResultTable:
        assert not self.closed, "asked on a closed session"
        self.pooler.asked.append(what)
        self.pooler.was_asked.set()
        await asyncio.sleep(0)
        if what in self.pooler.hang:
            await asyncio.sleep(timeout_s)
            raise DeadlineError(Phase.PROTOCOL, f"no answer to SHOW {what}", limit_s=timeout_s)
        if what in self.pooler.errors:
            raise self.pooler.errors[what]
        return self.pooler.answer(what)

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.pooler.open_sessions -= 1


class FakeSource:
    """Gives readers of fake poolers by name."""

    def __init__(self, poolers: Mapping[str, FakePooler]) -> None:
        self.poolers = poolers

    async def reader(self, name: str, /) -> FakeReader:
        pooler = self.poolers[name]
        await asyncio.sleep(0)
        if pooler.hang_connect:
            await asyncio.Event().wait()
        if pooler.connect_error is not None:
            raise pooler.connect_error
        return FakeReader(pooler)

    async def lets_nobody_in(self, name: str, config: Mapping[str, Setting], /) -> bool:
        del config
        return self.poolers[name].shut


@dataclass
class FakeNode:
    """One Postgres node's behaviour."""

    error: NodeError | None = None
    lag_s: float | None = None


class FakePostgresReader:
    """A session with a `FakeNode`."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node

    async def read(self, *, timeout_s: float) -> PostgresReading:
        assert timeout_s > 0
        await asyncio.sleep(0)
        if self.node.error is not None:
            raise self.node.error
        return PostgresReading(
            Version(15, 18), False, 100, 3, None, {"active": 2, "idle": 5}, self.node.lag_s
        )

    async def close(self) -> None: ...


class FakePostgresSource:
    """Gives readers of fake nodes by name."""

    def __init__(self, nodes: Mapping[str, FakeNode] | None = None) -> None:
        self.nodes = dict(nodes or {})

    async def reader(self, name: str, /) -> FakePostgresReader:
        return FakePostgresReader(self.nodes[name])


def lost() -> LostConnection:
    """Return what a killed pooler looks like to its session."""
    return LostConnection(Phase.PROTOCOL, "the pooler closed the connection")


def refused() -> NodeError:
    """Return what connecting to a dead pooler looks like."""
    return NodeError(Phase.CONNECT, "connection refused", hint="is it running?")


def inventory(
    *bouncers: str,
    postgres: tuple[str, ...] = (),
    query_timeout_s: float = 0.2,
    connect_timeout_s: float = 5.0,
) -> Inventory:
    """Return a fleet of the names given."""
    return Inventory.model_validate(
        {
            "fleet": "test",
            "environment": "development",
            "defaults": {
                "query_timeout_s": query_timeout_s,
                "connect_timeout_s": connect_timeout_s,
                "monitor_user": "monitor",
            },
            "bouncers": [
                {"name": name, "tcp": f"127.0.0.1:{6432 + number}"} for number, name in enumerate(bouncers)
            ],
            "postgres": [{"name": name, "role": "primary", "tcp": "127.0.0.1:5432"} for name in postgres],
        }
    )
