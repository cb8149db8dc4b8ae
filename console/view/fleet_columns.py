"""Columns of the fleet table. The first ones are what a terminal of 80 columns shows."""

from __future__ import annotations

from collections.abc import Callable

from console.model.fleet import PoolerSnapshot
from console.view import states
from console.view.cells import (
    Cell,
    Kind,
    Tone,
    Trend,
    ViewColumn,
    maxwait_tone,
    rate_of,
    use_tone,
    waiting_tone,
)
from console.view.fleet import BouncerRow, address


def _total(field: str) -> Callable[[BouncerRow], int | None]:
    return lambda row: row.total(field)


def _trend(
    key: str,
    title: str,
    read: Callable[[PoolerSnapshot], Trend],
    help_: str,
    tone: Callable[[float], Tone] | None = None,
) -> ViewColumn[BouncerRow]:
    def last(row: BouncerRow) -> float | None:
        values = read(row.pooler)
        return values[-1] if values else None

    return ViewColumn(key, title, 12, Kind.TREND, last, help_, trend=lambda row: read(row.pooler), tone=tone)


def _name_cell(row: BouncerRow) -> Cell:
    return Cell(row.key, Tone.DIM if row.old else Tone.STRONG)


FLEET_COLUMNS: tuple[ViewColumn[BouncerRow], ...] = (
    ViewColumn(
        "name",
        "bouncer",
        14,
        Kind.TEXT,
        lambda row: row.key,
        "The name in the inventory.",
        cell=_name_cell,
        names=("bouncer",),
        letter="N",
    ),
    ViewColumn(
        "state",
        "state",
        states.STATE_WIDTH,
        Kind.TEXT,
        lambda row: row.state,
        "up, paused, db paused, suspended, stale, unreachable … `! paused`: by nobody alive, M mends it. "
        "`held 23 s`: somebody's run ends it then. `pausing`: servers are still held. `reachable`: answers, "
        "but below 1.19 nothing says whether it is paused. `paused?`: below 1.19, inferred. `shutdown`: told "
        "to shut down, and our own session on it is closed.",
        cell=lambda row: row.state_cell,
        letter="S",
    ),
    ViewColumn(
        "waiting",
        "waiting",
        7,
        Kind.COUNT,
        _total("cl_waiting"),
        "Clients waiting for a server connection now (SHOW POOLS cl_waiting, all pools).",
        tone=waiting_tone,
        names=("cl_waiting",),
        letter="W",
    ),
    ViewColumn(
        "maxwait",
        "maxwait",
        8,
        Kind.DURATION_US,
        lambda row: row.maxwait_us,
        "How long the oldest waiting client has waited. Over 1 s is shown as a warning, over 5 s as bad.",
        tone=maxwait_tone,
        names=("wait", "max"),
        letter="X",
    ),
    ViewColumn(
        "clients",
        "cl act",
        7,
        Kind.COUNT,
        _total("cl_active"),
        "Clients linked to a server or idle (cl_active): a client that holds no server counts too.",
        names=("cl_active", "active"),
        letter="C",
    ),
    ViewColumn(
        "servers",
        "sv act",
        6,
        Kind.COUNT,
        _total("sv_active"),
        "Server connections in use by a client (sv_active).",
        names=("sv_active",),
        letter="V",
    ),
    ViewColumn(
        "use",
        "use",
        6,
        Kind.SHARE,
        lambda row: row.use,
        "Busy servers over pool size, of the fullest pool. n/a when the size is unlimited or unknown.",
        tone=use_tone,
        letter="U",
    ),
    ViewColumn(
        "tps",
        "tx/s",
        7,
        Kind.RATE,
        rate_of("xact_per_s"),
        "Transactions a second, from two readings of SHOW STATS 5 s apart.",
        names=("xact", "tx"),
        letter="T",
    ),
    ViewColumn(
        "qps",
        "query/s",
        7,
        Kind.RATE,
        rate_of("query_per_s"),
        "Queries a second, from two readings of SHOW STATS 5 s apart.",
        names=("queries", "query"),
        letter="Q",
    ),
    ViewColumn(
        "idle",
        "idle",
        5,
        Kind.COUNT,
        _total("sv_idle"),
        "Server connections ready for a client (sv_idle).",
        names=("sv_idle",),
        letter="I",
    ),
    ViewColumn(
        "query_time",
        "query t",
        8,
        Kind.DURATION_US,
        rate_of("mean_query_time_us"),
        "Mean time of a query in the last interval; n/a when none ran.",
        names=("querytime",),
        letter="E",
    ),
    ViewColumn(
        "wait_time",
        "wait t",
        8,
        Kind.DURATION_US,
        rate_of("mean_wait_time_us"),
        "Mean time a transaction waited for its server in the last interval; n/a when none ran.",
        names=("waittime",),
        letter="H",
    ),
    _trend(
        "waiting_trend",
        "wait trend",
        lambda pooler: pooler.waiting_trend,
        "Waiting clients, one step a tick, newest on the right; a gap where nothing was read.",
        waiting_tone,
    ),
    _trend(
        "xact_trend",
        "tx/s trend",
        lambda pooler: pooler.xact_trend,
        "Transactions a second, one step a tick, newest on the right.",
    ),
    ViewColumn(
        "age",
        "age",
        6,
        Kind.DURATION_US,
        lambda row: None if (age := states.age_s(row.pooler.freshness)) is None else age * 1e6,
        "Age of the numbers. Old numbers are dim; an unreachable bouncer's are n/a.",
        cell=lambda row: states.age_cell(row.pooler.freshness),
        letter="A",
    ),
    ViewColumn("version", "version", 8, Kind.TEXT, lambda row: row.version, "From SHOW VERSION."),
    ViewColumn(
        "pools",
        "pools",
        5,
        Kind.COUNT,
        lambda row: None if row.pools is None else len(row.pools),
        "Pools of applications: (database, user) pairs used since the bouncer started.",
        letter="O",
    ),
    ViewColumn(
        "answer",
        "answer",
        8,
        Kind.DURATION_US,
        lambda row: None if row.sample is None else row.sample.answer_us,
        "Time from our questions to their last byte in the last tick: an upper bound of what watching costs.",
    ),
    ViewColumn(
        "address",
        "address",
        24,
        Kind.TEXT,
        lambda row: address(row.pooler.info),
        "Where it listens; `host > address` when it is reached over SSH.",
        names=("host", "addr"),
    ),
)
