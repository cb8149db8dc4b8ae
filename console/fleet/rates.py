"""Movement between two readings of SHOW STATS. Pure; it must not guess what it was not told.

Counters belong to a pool's life, not to the pooler's: they restart with the process, and shrink when a pool
is removed (1.26 `pool_idle_timeout`, idle auto-databases). Any counter that went back voids its database's
interval.
"""

from __future__ import annotations

from collections.abc import Mapping

from console.model.derive import ADMIN_DATABASE
from console.model.rows import Stats
from console.model.sample import DatabaseRates, Reading

StatsReading = Reading[tuple[Stats, ...]]

_COUNTERS = (
    "total_xact_count",
    "total_query_count",
    "total_received_bytes",
    "total_sent_bytes",
    "total_xact_time_us",
    "total_query_time_us",
    "total_wait_time_us",
)


def database_rates(before: Stats, after: Stats, interval_s: float) -> DatabaseRates | None:
    """Return one database's movement, or None when a counter went back or no time passed.

    Waiting is per server assignment where both readings count them (PgBouncer 1.23), else per transaction.
    """
    if interval_s <= 0:
        return None
    xacts, queries, received, sent, xact_us, query_us, wait_us = (
        getattr(after, name) - getattr(before, name) for name in _COUNTERS
    )
    if min(xacts, queries, received, sent, xact_us, query_us, wait_us) < 0:
        return None
    waits = xacts
    if before.total_server_assignment_count is not None and after.total_server_assignment_count is not None:
        waits = after.total_server_assignment_count - before.total_server_assignment_count
        if waits < 0:
            return None
    return DatabaseRates(
        database=after.database,
        interval_s=interval_s,
        xact_per_s=xacts / interval_s,
        query_per_s=queries / interval_s,
        received_bytes_per_s=received / interval_s,
        sent_bytes_per_s=sent / interval_s,
        mean_xact_time_us=xact_us / xacts if xacts else None,
        mean_query_time_us=query_us / queries if queries else None,
        mean_wait_time_us=wait_us / waits if waits else None,
    )


def rates_between(
    before: StatsReading | None, after: StatsReading | None
) -> Mapping[str, DatabaseRates] | None:
    """Return the movement of each application database that both readings have, in order of the later one.

    A database that is new, or whose counters went back, is left out. The admin console's own database is
    too: its traffic is our questions. None when nothing can be said of any database that is there; an
    empty mapping when there is no application database at all, so that nothing can have run.
    """
    if before is None or after is None:
        return None
    interval_s = after.monotonic_s - before.monotonic_s
    if interval_s <= 0:
        return None
    earlier = {stats.database: stats for stats in before.value}
    rates: dict[str, DatabaseRates] = {}
    there = 0
    for stats in after.value:
        if stats.database == ADMIN_DATABASE:
            continue
        there += 1
        old = earlier.get(stats.database)
        found = database_rates(old, stats, interval_s) if old is not None else None
        if found is not None:
            rates[stats.database] = found
    return rates if rates or not there else None


def total_per_s(rates: Mapping[str, DatabaseRates] | None) -> tuple[float | None, float | None]:
    """Return (transactions, queries) per second of all databases; None while there are no rates."""
    if rates is None:
        return None, None
    return (
        sum((rate.xact_per_s for rate in rates.values()), 0.0),
        sum((rate.query_per_s for rate in rates.values()), 0.0),
    )
