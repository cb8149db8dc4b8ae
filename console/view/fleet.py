"""Rows of the fleet table: one a bouncer, and the note that explains the row under the cursor.

Rows are made lazily from a snapshot: a number is summed when it is first asked for. No IO, no colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from console.model.derive import application_pools, merged_rates, pool_size, pool_use
from console.model.fleet import FleetSnapshot, PoolerInfo, PoolerSnapshot, PoolerState
from console.model.rows import Pool
from console.model.sample import DatabaseRates, Sample
from console.view import states
from console.view.cells import Cell, Tone
from console.view.pauses import NOTHING_KNOWN, Disguise, Known, Mark, mark_cell, mark_note, marks_of


class BouncerRow:
    """One bouncer of a snapshot, its pools summed. Numbers are None when it does not answer."""

    def __init__(
        self,
        pooler: PoolerSnapshot,
        known: Known = NOTHING_KNOWN,
        *,
        wall_s: float = 0.0,
        monotonic_s: float = 0.0,
    ) -> None:
        """Take a pooler of a snapshot, what is known of leases, and the snapshot's clocks."""
        self.pooler = pooler
        self.key = pooler.info.name
        self._known = known
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s

    @property
    def state(self) -> str:
        """The state word."""
        return str(self.pooler.state)

    @property
    def old(self) -> bool:
        """True when the numbers are not from the last tick."""
        return states.is_old(self.pooler.freshness)

    @cached_property
    def marks(self) -> tuple[Mark, ...]:
        """What keeps its clients waiting or out, the most urgent first."""
        if self.state not in _MARKED:
            return ()
        return marks_of(self.pooler, self._known, wall_s=self._wall_s, monotonic_s=self._monotonic_s)

    @property
    def forgotten(self) -> bool:
        """True when clients wait and nobody alive will let them go."""
        return any(mark.forgotten for mark in self.marks)

    @property
    def state_cell(self) -> Cell:
        """The state, with who answers for it where clients are kept waiting."""
        marks = self.marks
        if not marks or self.old or marks[0].stop.disguise is Disguise.DISABLED:
            return states.state_cell(self.state)
        return mark_cell(marks[0])

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
        state = f"{self.state} {self.state_cell.text}"
        return f"{self.key} {state} {self.version or ''} {info.host or ''} {info.address} {labels}"

    @property
    def paused_databases(self) -> tuple[str, ...]:
        """Databases with a pause of their own; () when not known."""
        databases = self.sample.databases if self.sample else ()
        return tuple(database.name for database in databases if database.paused)

    @property
    def paused(self) -> bool:
        """True when the bouncer or one of its databases is, or seems, paused or suspended."""
        return self.state in ("paused", "paused?", "db paused", "suspended")


_NOTES = 2
"""So many stops of one bouncer are explained in its note."""


def address(info: PoolerInfo) -> str:
    """Where a bouncer listens; `host > address` when it is reached over SSH."""
    return info.address if info.host is None else f"{info.host} > {info.address}"


def bouncer_rows(snapshot: FleetSnapshot, known: Known = NOTHING_KNOWN) -> list[BouncerRow]:
    """Return a row for every bouncer, worst first, ties in the inventory's order."""
    wall_s, monotonic_s = snapshot.taken_at_s, snapshot.monotonic_s
    return faults_first(
        [BouncerRow(pooler, known, wall_s=wall_s, monotonic_s=monotonic_s) for pooler in snapshot.poolers]
    )


def faults_first(rows: Sequence[BouncerRow]) -> list[BouncerRow]:
    """Sort by urgency, see `states.urgency`; pauses that nobody will end come before all else."""
    return sorted(rows, key=lambda row: (not row.forgotten, states.urgency(row.state, row.maxwait_us)))


_MARKED = frozenset(
    word.value
    for word in (
        PoolerState.PAUSED,
        PoolerState.MAYBE_PAUSED,
        PoolerState.PARTLY_PAUSED,
        PoolerState.SUSPENDED,
        PoolerState.DISABLED,
        PoolerState.STALE,
    )
)
"""States of a pooler that may stop clients; the others are not looked at twice."""


def note(row: BouncerRow) -> Cell:
    """Explain a row in one line: what is wrong, what is paused, else where it is."""
    wrong = states.trouble(row.pooler.freshness)
    if wrong is not None:
        return Cell(f"{row.key}: {wrong}", Tone.BAD if row.state == "unreachable" else Tone.WARN)
    if row.marks:
        notes = [mark_note(mark) for mark in row.marks[:_NOTES]]
        more = len(row.marks) - len(notes)
        texts = [note.text for note in notes] + ([f"and {more} more (d tells all)"] if more else [])
        return Cell(f"{row.key}: {'. '.join(texts)}", notes[0].tone)
    unread = states.unread(row.pooler)
    if unread is not None:
        return Cell(f"{row.key}: {unread}", Tone.WARN)
    if row.state == "reachable":
        return Cell(f"{row.key}: {row.version} has no SHOW STATE (needs 1.19), so a pause cannot be read")
    labels = " ".join(f"{key}={value}" for key, value in row.labels.items())
    return Cell(f"{row.key}: {address(row.pooler.info)} {labels}".rstrip(), Tone.DIM)
