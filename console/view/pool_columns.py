"""Columns of the pools table: every counter of SHOW POOLS, sizes, use and rates.

Columns that only some versions have stand last; where a version lacks one the cell is n/a and the note
under the table names the version that brings it.
"""

from __future__ import annotations

from collections.abc import Callable

from console.view import states
from console.view.cells import (
    Cell,
    Kind,
    Tone,
    ViewColumn,
    maxwait_tone,
    rate_of,
    use_tone,
    waiting_tone,
)
from console.view.numbers import NOT_AVAILABLE
from console.view.pools import PoolRow


def _counter(field: str) -> Callable[[PoolRow], int | None]:
    return lambda row: row.number(field)


def _size_cell(row: PoolRow) -> Cell:
    if row.size is None:
        return Cell(NOT_AVAILABLE, Tone.DIM)
    return Cell("no limit" if row.size == 0 else f"{row.size:,}", Tone.DIM if row.old else Tone.PLAIN)


def _text(
    key: str, width: int, value: Callable[[PoolRow], str | None], help_: str, **more: str
) -> ViewColumn[PoolRow]:
    return ViewColumn(
        key,
        more.get("title", key),
        width,
        Kind.TEXT,
        value,
        help_,
        names=tuple(more["names"].split()) if "names" in more else (),
        letter=more.get("letter"),
    )


_COUNT, _US, _RATE = Kind.COUNT, Kind.DURATION_US, Kind.RATE

POOL_COLUMNS: tuple[ViewColumn[PoolRow], ...] = (
    _text("bouncer", 12, lambda row: row.bouncer, "The bouncer's name in the inventory.", letter="N"),
    _text(
        "database",
        12,
        lambda row: row.key[1] or NOT_AVAILABLE,
        "The database as clients name it.",
        names="db",
        letter="D",
    ),
    _text("user", 11, lambda row: row.key[2] or NOT_AVAILABLE, "The role the pool logs in with.", letter="O"),
    ViewColumn(
        "state",
        "state",
        states.STATE_WIDTH,
        Kind.TEXT,
        lambda row: row.state,
        "up, db paused, disabled, or the bouncer's state when that is what counts.",
        cell=lambda row: states.state_cell(row.state),
        letter="S",
    ),
    ViewColumn(
        "waiting",
        "waiting",
        7,
        _COUNT,
        _counter("cl_waiting"),
        "Clients waiting for a server connection (cl_waiting).",
        tone=waiting_tone,
        names=("cl_waiting",),
        letter="W",
    ),
    ViewColumn(
        "maxwait",
        "maxwait",
        8,
        _US,
        _counter("maxwait_us"),
        "How long the oldest waiting client has waited.",
        tone=maxwait_tone,
        names=("wait", "max"),
        letter="X",
    ),
    ViewColumn(
        "clients",
        "cl act",
        7,
        _COUNT,
        _counter("cl_active"),
        "Clients linked to a server or idle (cl_active).",
        names=("cl_active", "active"),
        letter="C",
    ),
    ViewColumn(
        "use",
        "use",
        6,
        Kind.SHARE,
        lambda row: row.use,
        "Busy servers over size. n/a when the size is unlimited or unknown.",
        tone=use_tone,
        letter="U",
    ),
    ViewColumn(
        "size",
        "size",
        8,
        _COUNT,
        lambda row: row.size,
        "Server connections the pool may open, reserve aside: the user's own size, else the database's.",
        cell=_size_cell,
        names=("pool_size",),
    ),
    ViewColumn(
        "sv_active",
        "sv act",
        6,
        _COUNT,
        _counter("sv_active"),
        "Servers linked to a client (sv_active).",
        names=("servers",),
        letter="V",
    ),
    ViewColumn(
        "sv_idle",
        "idle",
        5,
        _COUNT,
        _counter("sv_idle"),
        "Servers ready for a client (sv_idle).",
        names=("idle",),
        letter="I",
    ),
    ViewColumn(
        "sv_used",
        "used",
        5,
        _COUNT,
        _counter("sv_used"),
        "Servers idle for so long that they are checked before use (sv_used).",
        names=("used",),
    ),
    ViewColumn(
        "sv_tested",
        "tested",
        6,
        _COUNT,
        _counter("sv_tested"),
        "Servers running server_reset_query or server_check_query (sv_tested).",
        names=("tested",),
    ),
    ViewColumn(
        "sv_login",
        "login",
        5,
        _COUNT,
        _counter("sv_login"),
        "Servers logging in to Postgres (sv_login).",
        names=("login",),
    ),
    ViewColumn(
        "tps",
        "db tx/s",
        7,
        _RATE,
        rate_of("xact_per_s"),
        "Transactions a second of the database on this bouncer (all its users).",
        names=("xact", "tx"),
        letter="T",
    ),
    ViewColumn(
        "qps",
        "db q/s",
        7,
        _RATE,
        rate_of("query_per_s"),
        "Queries a second of the database on this bouncer (all its users).",
        names=("queries", "query"),
        letter="Q",
    ),
    ViewColumn(
        "query_time",
        "query t",
        8,
        _US,
        rate_of("mean_query_time_us"),
        "Mean time of a query of the database in the last interval; n/a when none ran.",
        names=("querytime",),
        letter="E",
    ),
    ViewColumn(
        "wait_time",
        "wait t",
        8,
        _US,
        rate_of("mean_wait_time_us"),
        "Mean time a transaction of the database waited for its server; n/a when none ran.",
        names=("waittime",),
    ),
    _text(
        "mode",
        11,
        lambda row: row.mode,
        "Pool mode: session, transaction or statement.",
        names="pool_mode",
        letter="Y",
    ),
    ViewColumn(
        "received",
        "db in",
        10,
        Kind.BYTE_RATE,
        rate_of("received_bytes_per_s"),
        "Bytes a second received by the database's pools.",
        names=("in",),
    ),
    ViewColumn(
        "sent",
        "db out",
        10,
        Kind.BYTE_RATE,
        rate_of("sent_bytes_per_s"),
        "Bytes a second sent by the database's pools.",
        names=("out",),
    ),
    ViewColumn(
        "cl_active_cancel_req",
        "cl canc",
        7,
        _COUNT,
        _counter("cl_active_cancel_req"),
        "Clients whose cancel request was forwarded (cl_active_cancel_req, 1.18+).",
    ),
    ViewColumn(
        "cl_waiting_cancel_req",
        "cl wcanc",
        8,
        _COUNT,
        _counter("cl_waiting_cancel_req"),
        "Clients whose cancel request waits to be forwarded (cl_waiting_cancel_req, 1.18+).",
    ),
    ViewColumn(
        "sv_active_cancel",
        "sv canc",
        7,
        _COUNT,
        _counter("sv_active_cancel"),
        "Servers forwarding a cancel request (sv_active_cancel, 1.18+).",
    ),
    ViewColumn(
        "sv_being_canceled",
        "sv being",
        8,
        _COUNT,
        _counter("sv_being_canceled"),
        "Servers that wait for cancel requests in flight before they serve again (sv_being_canceled, 1.18+).",
    ),
    ViewColumn(
        "load_balance_hosts",
        "balance",
        11,
        Kind.TEXT,
        lambda row: row.pool.load_balance_hosts if row.known and row.pool else None,
        "How servers are chosen when the database lists several hosts (load_balance_hosts, 1.24+).",
        names=("load_balance",),
    ),
    ViewColumn(
        "age",
        "age",
        6,
        _US,
        lambda row: None if (age := states.age_s(row.pooler.freshness)) is None else age * 1e6,
        "Age of the numbers. Old numbers are dim; an unreachable bouncer's are n/a.",
        cell=lambda row: states.age_cell(row.pooler.freshness),
        letter="A",
    ),
)
