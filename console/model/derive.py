"""Pure arithmetic on samples that more than one reader needs: sizes, use, totals, the state word.

Sources: PgBouncer's config manual for sizes; our own runs for what a pause looks like below 1.19.
"""

from __future__ import annotations

from collections.abc import Iterable

from console.model.fleet import PoolerState
from console.model.rows import Database, Pool, User
from console.model.sample import DatabaseRates, Sample

ADMIN_DATABASE = "pgbouncer"


def application_pools(sample: Sample) -> tuple[Pool, ...]:
    """Return the pools of applications: all but the admin console's own fake pool."""
    return tuple(pool for pool in sample.pools if pool.database != ADMIN_DATABASE)


def pool_size(pool: Pool, databases: Iterable[Database], users: Iterable[User] | None) -> int | None:
    """Return how many server connections the pool may open, reserve not counted; None when not known.

    A user's own `pool_size` (1.23+) wins over the database's. A pool whose forced user differs is listed
    under that user, so the row's user is the right key.
    """
    for user in users or ():
        if user.name == pool.user and user.pool_size:
            return user.pool_size
    for database in databases:
        if database.name == pool.database:
            return database.pool_size
    return None


def pool_use(pool: Pool, size: int | None) -> float | None:
    """Return busy servers over size, 0.0–1.0 and above.

    None when the size is unknown or 0 (unlimited since 1.24).
    """
    if not size:
        return None
    busy = pool.sv_active + (pool.sv_active_cancel or 0) + (pool.sv_being_canceled or 0)
    return busy / size


def state_of(sample: Sample) -> PoolerState:
    """Return the state word for a sample that is fresh."""
    if sample.state.suspended:
        return PoolerState.SUSPENDED
    if sample.state.paused:
        return PoolerState.PAUSED
    if any(database.paused for database in sample.databases):
        return PoolerState.PARTLY_PAUSED
    if sample.state.paused is None:
        return _state_without_show_state(application_pools(sample))
    if any(database.disabled for database in sample.databases):
        return PoolerState.DISABLED
    return PoolerState.UP


def _state_without_show_state(pools: tuple[Pool, ...]) -> PoolerState:
    """Infer below 1.19.

    PAUSE closes idle, used and logging-in servers at once, so one of those proves that it runs.
    """
    if any(pool.sv_idle + pool.sv_used + pool.sv_login for pool in pools):
        return PoolerState.UP
    if any(pool.cl_waiting for pool in pools) and not any(pool.servers for pool in pools):
        return PoolerState.MAYBE_PAUSED
    return PoolerState.REACHABLE


def merged_rates(rates: Iterable[DatabaseRates]) -> DatabaseRates:
    """Add the rates of several databases up; means are weighted by what ran.

    No database at all means that nothing ran: the sums are 0.0 and the means None.
    """
    listed = list(rates)
    return DatabaseRates(
        database="",
        interval_s=max((rate.interval_s for rate in listed), default=0.0),
        xact_per_s=sum(rate.xact_per_s for rate in listed),
        query_per_s=sum(rate.query_per_s for rate in listed),
        received_bytes_per_s=sum(rate.received_bytes_per_s for rate in listed),
        sent_bytes_per_s=sum(rate.sent_bytes_per_s for rate in listed),
        mean_xact_time_us=_weighted((rate.mean_xact_time_us, rate.xact_per_s) for rate in listed),
        mean_query_time_us=_weighted((rate.mean_query_time_us, rate.query_per_s) for rate in listed),
        mean_wait_time_us=_weighted((rate.mean_wait_time_us, rate.xact_per_s) for rate in listed),
    )


def _weighted(pairs: Iterable[tuple[float | None, float]]) -> float | None:
    known = [(value, weight) for value, weight in pairs if value is not None and weight > 0]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
