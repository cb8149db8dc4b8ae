"""What PgBouncer's SHOW answers consist of: one declarative table for each, from 1.16 to 1.26.

Only facts live here; `tabular` reads answers by them. Source: PgBouncer's `src/admin.c`, `src/stats.c`
at each release and our own runs on 1.18.0, 1.24.1, 1.25.2 and 1.26.1 (reference `pgbouncer-admin.md`,
section 1). Columns were inserted mid-row in 1.16, 1.18, 1.23, 1.24 and 1.26: position means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from console.model.rows import Client, Database, Pool, Server, Stats, User

OLDEST = "1.16"
"""Columns that 1.16 has carry no `since`; 1.18 is the oldest version the contract tests run."""


class Kind(Enum):
    """How a column's text becomes a value. NULL becomes None wherever the field may be None."""

    TEXT = auto()
    """As sent; NULL is ""."""
    TEXT_OR_NULL = auto()
    INT = auto()
    INT_OR_NULL = auto()
    """Padding is ignored; NULL and "" are None."""
    FLAG = auto()
    """0 or 1."""
    SECONDS_PART = auto()
    """Whole seconds, to be added to the `_us` column of the same name."""
    IGNORED = auto()
    """Known and of no use: neither a field nor `extra`."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a SHOW and the field it fills."""

    name: str
    """Its name in the newest version that has it."""
    field: str
    """The field of our row class; for SECONDS_PART the field it is added to; "" for IGNORED."""
    kind: Kind
    since: str | None = None
    """The version that brought it; None: every supported version has it, so its absence is an error."""
    older: tuple[str, ...] = ()
    """Names it had before, newest first."""


@dataclass(frozen=True, slots=True)
class Show:
    """One SHOW: its word, our row class and its columns."""

    what: str
    row: type[Any]
    columns: tuple[Column, ...]


def _same(kind: Kind, *names: str, since: str | None = None) -> tuple[Column, ...]:
    """Columns whose field has the column's own name."""
    return tuple(Column(name, name, kind, since) for name in names)


POOLS = Show(
    "POOLS",
    Pool,
    (
        *_same(Kind.TEXT, "database", "user"),
        *_same(Kind.INT, "cl_active", "cl_waiting"),
        *_same(Kind.INT_OR_NULL, "cl_active_cancel_req", since="1.18"),
        # 1.16–1.17 counted one kind only: cancel requests not forwarded yet (usage.md of 1.16).
        Column(
            "cl_waiting_cancel_req",
            "cl_waiting_cancel_req",
            Kind.INT_OR_NULL,
            since="1.16",
            older=("cl_cancel_req",),
        ),
        *_same(Kind.INT, "sv_active"),
        *_same(Kind.INT_OR_NULL, "sv_active_cancel", "sv_being_canceled", since="1.18"),
        *_same(Kind.INT, "sv_idle", "sv_used", "sv_tested", "sv_login"),
        Column("maxwait", "maxwait_us", Kind.SECONDS_PART),
        Column("maxwait_us", "maxwait_us", Kind.INT),
        *_same(Kind.TEXT_OR_NULL, "pool_mode"),
        *_same(Kind.TEXT_OR_NULL, "load_balance_hosts", since="1.24"),
    ),
)

DATABASES = Show(
    "DATABASES",
    Database,
    (
        *_same(Kind.TEXT, "name"),
        *_same(Kind.TEXT_OR_NULL, "host"),
        *_same(Kind.INT_OR_NULL, "port"),
        *_same(Kind.TEXT_OR_NULL, "database", "force_user"),
        *_same(Kind.INT_OR_NULL, "pool_size"),
        *_same(Kind.INT_OR_NULL, "min_pool_size", since="1.16"),
        Column("reserve_pool_size", "reserve_pool_size", Kind.INT_OR_NULL, older=("reserve_pool",)),
        Column("server_lifetime", "server_lifetime_s", Kind.INT_OR_NULL, since="1.23"),
        *_same(Kind.TEXT_OR_NULL, "pool_mode"),
        *_same(Kind.TEXT_OR_NULL, "load_balance_hosts", since="1.24"),
        *_same(Kind.INT_OR_NULL, "max_connections", "current_connections"),
        *_same(Kind.INT_OR_NULL, "max_client_connections", "current_client_connections", since="1.24"),
        *_same(Kind.FLAG, "paused", "disabled"),
    ),
)

STATS = Show(
    "STATS",
    Stats,
    (
        *_same(Kind.TEXT, "database"),
        *_same(Kind.INT_OR_NULL, "total_server_assignment_count", since="1.23"),
        *_same(Kind.INT, "total_xact_count", "total_query_count"),
        Column("total_received", "total_received_bytes", Kind.INT),
        Column("total_sent", "total_sent_bytes", Kind.INT),
        Column("total_xact_time", "total_xact_time_us", Kind.INT),
        Column("total_query_time", "total_query_time_us", Kind.INT),
        Column("total_wait_time", "total_wait_time_us", Kind.INT),
        *_same(
            Kind.INT_OR_NULL,
            "total_client_parse_count",
            "total_server_parse_count",
            "total_bind_count",
            since="1.24",
        ),
        *_same(Kind.INT_OR_NULL, "total_client_login_count", since="1.26"),
    ),
)
"""The `avg_*` columns are left to `extra`: they cover the last one to two `stats_period`s, not now."""

USERS = Show(
    "USERS",
    User,
    (
        *_same(Kind.TEXT, "name"),
        *_same(Kind.TEXT_OR_NULL, "pool_mode"),
        *_same(Kind.INT_OR_NULL, "pool_size", since="1.23"),
        *_same(Kind.INT_OR_NULL, "reserve_pool_size", since="1.24"),
        *_same(Kind.INT_OR_NULL, "max_user_connections", "current_connections", since="1.23"),
        *_same(Kind.INT_OR_NULL, "max_user_client_connections", "current_client_connections", since="1.24"),
    ),
)

_PEER = (
    Column("type", "", Kind.IGNORED),
    *_same(Kind.TEXT, "user", "database"),
    *_same(Kind.TEXT_OR_NULL, "replication", since="1.23"),
    *_same(Kind.TEXT, "state", "addr"),
    *_same(Kind.INT_OR_NULL, "port"),
    *_same(Kind.TEXT, "local_addr"),
    *_same(Kind.INT_OR_NULL, "local_port"),
    *_same(Kind.TEXT, "connect_time", "request_time"),
    Column("wait", "wait_us", Kind.SECONDS_PART),
    *_same(Kind.INT, "wait_us"),
    *_same(Kind.FLAG, "close_needed"),
    *_same(Kind.TEXT, "ptr", "link"),
    *_same(Kind.INT_OR_NULL, "remote_pid"),
    *_same(Kind.TEXT, "tls"),
    *_same(Kind.TEXT_OR_NULL, "application_name", since="1.18"),
    *_same(Kind.INT_OR_NULL, "prepared_statements", since="1.21"),
    # Declared int4 and 64 bits inside: opaque.
    *_same(Kind.TEXT_OR_NULL, "id", since="1.24"),
)
CLIENTS = Show("CLIENTS", Client, _PEER)
SERVERS = Show("SERVERS", Server, _PEER)

ALL = (POOLS, DATABASES, STATS, USERS, CLIENTS, SERVERS)
