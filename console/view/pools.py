"""Rows of the pools table: one a (bouncer, database, user), and the note under the cursor.

Rates belong to a database of a bouncer, not to a pool: SHOW STATS sums the pools of a database. No IO.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from console.model.derive import application_pools, pool_size, pool_use
from console.model.fleet import FleetSnapshot, PoolerSnapshot
from console.model.rows import Database, Pool, User
from console.model.sample import DatabaseRates
from console.view import states
from console.view.cells import Cell, Tone
from console.view.numbers import NOT_AVAILABLE, needs

PoolKey = tuple[str, str, str]
"""Bouncer, database, user."""


class PoolRow:
    """One pool of a snapshot. Numbers are None when the bouncer does not answer."""

    __slots__ = ("__dict__", "bouncer", "database", "key", "known", "pool", "pooler", "users")

    def __init__(
        self,
        pooler: PoolerSnapshot,
        pool: Pool | None,
        database: Database | None,
        users: tuple[User, ...] | None,
        known: bool,
    ) -> None:
        self.pooler = pooler
        self.pool = pool
        """None in the one row of a bouncer that was never read."""
        self.database = database
        self.users = users
        self.known = known
        """True when the numbers may be shown."""
        self.bouncer = pooler.info.name
        self.key: PoolKey = (self.bouncer, pool.database if pool else "", pool.user if pool else "")

    @property
    def old(self) -> bool:
        """True when the numbers are not from the last tick."""
        return states.is_old(self.pooler.freshness)

    @property
    def state(self) -> str:
        """`up`, or what keeps this pool from working: the bouncer's state, or its database's."""
        if not self.known or self.pooler.state in ("stale", "paused", "suspended"):
            return str(self.pooler.state)
        if self.database is not None and self.database.paused:
            return "db paused"
        if self.database is not None and self.database.disabled:
            return "disabled"
        return "up" if self.pooler.state in ("db paused", "db disabled") else str(self.pooler.state)

    @property
    def paused(self) -> bool:
        """True when clients of this pool get no server because of a pause."""
        return self.state in ("paused", "paused?", "db paused", "suspended")

    def number(self, field: str) -> int | None:
        """Return one counter; None when the bouncer does not answer or its version lacks the column."""
        if not self.known or self.pool is None:
            return None
        value: int | None = getattr(self.pool, field)
        return value

    @cached_property
    def size(self) -> int | None:
        """Server connections this pool may open; 0 = unlimited (1.24+); None when not known."""
        if not self.known or self.pool is None:
            return None
        return pool_size(self.pool, (self.database,) if self.database else (), self.users)

    @cached_property
    def use(self) -> float | None:
        """Busy servers over size."""
        return None if not self.known or self.pool is None else pool_use(self.pool, self.size)

    @property
    def rates(self) -> DatabaseRates | None:
        """Movement of this pool's database, all of its pools together."""
        if not self.known or self.pooler.rates is None:
            return None
        return self.pooler.rates.get(self.key[1])

    @property
    def mode(self) -> str | None:
        """`transaction`, `session`, `statement`."""
        if self.pool is None:
            return None
        return self.pool.pool_mode or (self.database.pool_mode if self.database else None)

    @property
    def faulty(self) -> bool:
        """True when somebody should look at this pool."""
        return self.state in states.FAULTS or (self.number("maxwait_us") or 0) > states.HURT_US

    @property
    def labels(self) -> dict[str, str]:
        """The bouncer's labels."""
        return dict(self.pooler.info.labels)

    @property
    def search_text(self) -> str:
        """What a regular expression in the filter is matched with."""
        return f"{self.bouncer}/{self.key[1]} {self.key[2]} {self.state} {self.mode or ''}"


def pool_rows(snapshot: FleetSnapshot, bouncers: Collection[str] | None = None) -> list[PoolRow]:
    """Return the pools of the named bouncers (None: of all), worst first, ties by name.

    A bouncer that does not answer keeps the pools it last had, with their numbers n/a; one that was never
    read is one row.
    """
    rows: list[PoolRow] = []
    for pooler in snapshot.poolers:
        if bouncers is None or pooler.info.name in bouncers:
            rows.extend(_rows_of(pooler))
    rows.sort(key=_urgency)
    return rows


def _rows_of(pooler: PoolerSnapshot) -> list[PoolRow]:
    sample = pooler.sample
    known = states.current_sample(pooler) is not None
    if sample is None:
        return [PoolRow(pooler, None, None, None, known)]
    databases = {database.name: database for database in sample.databases}
    users: dict[str, tuple[User, ...]] = {}
    for user in sample.users.value if sample.users else ():
        users[user.name] = (user,)
    return [
        PoolRow(pooler, pool, databases.get(pool.database), users.get(pool.user), known)
        for pool in application_pools(sample)
    ]


def _urgency(row: PoolRow) -> tuple[tuple[float, int], PoolKey]:
    return states.urgency(row.state, row.pool.maxwait_us if row.known and row.pool else None), row.key


def note(row: PoolRow) -> Cell:
    """Explain a row in one line: what is wrong, or which of its columns this version lacks."""
    place = "/".join(part for part in row.key if part)
    wrong = states.trouble(row.pooler.freshness)
    if wrong is not None:
        return Cell(f"{place}: {wrong}", Tone.BAD if row.pooler.state == "unreachable" else Tone.WARN)
    if row.paused:
        return Cell(f"{place}: {row.state}; clients wait until it is resumed", Tone.WARN)
    unread = states.unread(row.pooler)
    if unread is not None:
        return Cell(f"{place}: {unread}", Tone.WARN)
    sample = row.pooler.sample
    lacking = [
        f"{name.partition('.')[2]} {needs(version)}"
        for name, version in (sample.missing.items() if sample else ())
        if name.startswith("pools.")
    ]
    if lacking:
        version = sample.version if sample else None
        return Cell(f"{place}: PgBouncer {version or ''}: {', '.join(lacking)}", Tone.DIM)
    return Cell(f"{place}: {row.mode or NOT_AVAILABLE} mode", Tone.DIM)
