"""Rows of the fleet table: one a bouncer, and the note that explains the row under the cursor.

Rows are made lazily from a snapshot: a number is summed when it is first asked for. No IO, no colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from console.model.derive import application_pools, merged_rates, pool_size, pool_use
from console.model.fleet import FleetSnapshot, PoolerInfo, PoolerSnapshot
from console.model.rows import Pool
from console.model.sample import DatabaseRates, Sample
from console.view import states
from console.view.cells import Cell, Tone


class BouncerRow:
    """One bouncer of a snapshot, its pools summed. Numbers are None when it does not answer."""

    def __init__(self, pooler: PoolerSnapshot) -> None:
        self.pooler = pooler
        self.key = pooler.info.name

    @property
    def state(self) -> str:
        """The state word."""
        return str(self.pooler.state)

    @property
    def old(self) -> bool:
        """True when the numbers are not from the last tick."""
        return states.is_old(self.pooler.freshness)

    @cached_property
    def sample(self) -> Sample | None:
        """The sample whose numbers may be shown."""
        return states.current_sample(self.pooler)

    @cached_property
    def pools(self) -> tuple[Pool, ...] | None:
        """The applications' pools; None when they are not known."""
        return None if self.sample is None else application_pools(self.sample)

    def total(self, field: str) -> int | None:
        """Sum one counter over the pools; None when not known."""
        return None if self.pools is None else sum(getattr(pool, field) for pool in self.pools)

    @cached_property
    def maxwait_us(self) -> int | None:
        """The longest current wait of a client in any pool; 0 when none waits."""
        return None if self.pools is None else max((pool.maxwait_us for pool in self.pools), default=0)

    @cached_property
    def rates(self) -> DatabaseRates | None:
        """Movement of all databases together; None until two readings of SHOW STATS lie apart."""
        if self.sample is None or self.pooler.rates is None:
            return None
        return merged_rates(rate for name, rate in self.pooler.rates.items() if name != "pgbouncer")

    @cached_property
    def use(self) -> float | None:
        """The use of the fullest pool: an average would hide the one that is full."""
        if self.sample is None or self.pools is None:
            return None
        databases = {database.name: (database,) for database in self.sample.databases}
        users = self.sample.users.value if self.sample.users else None
        shares = (
            pool_use(pool, pool_size(pool, databases.get(pool.database, ()), users)) for pool in self.pools
        )
        return max((share for share in shares if share is not None), default=None)

    @property
    def version(self) -> str | None:
        """`1.24.1`; None until read."""
        version = self.pooler.sample.version if self.pooler.sample else None
        return None if version is None else str(version)

    @property
    def faulty(self) -> bool:
        """True when somebody should look: a state that is a fault, or clients waiting for over a second."""
        return self.state in states.FAULTS or (self.maxwait_us or 0) > states.HURT_US

    @property
    def labels(self) -> dict[str, str]:
        """The inventory's labels."""
        return dict(self.pooler.info.labels)

    @property
    def search_text(self) -> str:
        """What a regular expression in the filter is matched with."""
        info = self.pooler.info
        labels = " ".join(f"{key}={value}" for key, value in info.labels.items())
        return f"{self.key} {self.state} {self.version or ''} {info.host or ''} {info.address} {labels}"

    @property
    def paused_databases(self) -> tuple[str, ...]:
        """Databases with a pause of their own; () when not known."""
        databases = self.sample.databases if self.sample else ()
        return tuple(database.name for database in databases if database.paused)

    @property
    def paused(self) -> bool:
        """True when the bouncer or one of its databases is, or seems, paused or suspended."""
        return self.state in ("paused", "paused?", "db paused", "suspended")


def address(info: PoolerInfo) -> str:
    """Where a bouncer listens; `host > address` when it is reached over SSH."""
    return info.address if info.host is None else f"{info.host} > {info.address}"


def bouncer_rows(snapshot: FleetSnapshot) -> list[BouncerRow]:
    """Return a row for every bouncer, worst first, ties in the inventory's order."""
    return faults_first([BouncerRow(pooler) for pooler in snapshot.poolers])


def faults_first(rows: Sequence[BouncerRow]) -> list[BouncerRow]:
    """Sort by urgency, see `states.urgency`; ties stay in their order."""
    return sorted(rows, key=lambda row: states.urgency(row.state, row.maxwait_us))


def note(row: BouncerRow) -> Cell:
    """Explain a row in one line: what is wrong, what is paused, else where it is."""
    wrong = states.trouble(row.pooler.freshness)
    if wrong is not None:
        return Cell(f"{row.key}: {wrong}", Tone.BAD if row.state == "unreachable" else Tone.WARN)
    sample = row.sample
    if row.state == "paused?":
        return Cell(
            f"{row.key}: seems paused: clients wait, no server is left ({row.version} has no SHOW STATE); "
            "R plans the resume",
            Tone.WARN,
        )
    if row.state in ("paused", "suspended"):
        return Cell(f"{row.key}: {row.state}: clients wait until it is resumed; R plans it", Tone.WARN)
    if row.paused_databases:
        names = ", ".join(row.paused_databases)
        return Cell(
            f"{row.key}: paused databases: {names}: their clients wait; R plans the resume", Tone.WARN
        )
    disabled = [database.name for database in sample.databases if database.disabled] if sample else []
    if disabled:
        return Cell(f"{row.key}: disabled databases: {', '.join(disabled)}", Tone.WARN)
    unread = states.unread(row.pooler)
    if unread is not None:
        return Cell(f"{row.key}: {unread}", Tone.WARN)
    if row.state == "reachable":
        return Cell(f"{row.key}: {row.version} has no SHOW STATE (needs 1.19), so a pause cannot be read")
    labels = " ".join(f"{key}={value}" for key, value in row.labels.items())
    return Cell(f"{row.key}: {address(row.pooler.info)} {labels}".rstrip(), Tone.DIM)
