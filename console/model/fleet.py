"""The whole fleet at one instant: what every view, check and report reads.

A snapshot is immutable and complete: a node that does not answer is in it, with its phase and error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from console.errors import Phase
from console.model.sample import DatabaseRates, Sample
from console.model.version import Version

Environment = Literal["development", "staging", "production"]


class PoolerState(StrEnum):
    """What a pooler is doing, as the word shown to people. Worst first in `SEVERITY`."""

    UP = "up"
    REACHABLE = "reachable"
    """Answers, but this version cannot say whether it is paused (below 1.19) and nothing proves it runs."""
    PAUSED = "paused"
    MAYBE_PAUSED = "paused?"
    """Below 1.19: clients wait and no server connection is left. Inferred, not read."""
    PARTLY_PAUSED = "db paused"
    """At least one database is paused; the pooler as a whole is not."""
    SUSPENDED = "suspended"
    DISABLED = "db disabled"
    CONNECTING = "connecting"
    STALE = "stale"
    UNREACHABLE = "unreachable"
    SHUTDOWN = "shutdown"
    """It was told to shut down, and nobody asks it: it drains, or has exited."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """The last tick was answered."""

    age_s: float


@dataclass(frozen=True, slots=True)
class Stale:
    """Ticks were missed; the numbers shown are `age_s` old."""

    age_s: float
    phase: Phase
    error: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No connection. `age_s` is the age of the last sample, None when there never was one."""

    phase: Phase
    error: str
    age_s: float | None
    retry_in_s: float | None
    """Seconds to the next try; None while one is under way."""
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Connecting:
    """The first connection is being made."""


@dataclass(frozen=True, slots=True)
class Resting:
    """Our own session was closed on purpose: a console keeps a pooler that shuts down from exiting."""

    reason: str
    age_s: float | None
    """Of the last sample; None when there never was one."""


Freshness = Fresh | Stale | Unreachable | Connecting | Resting


@dataclass(frozen=True, slots=True)
class PoolerInfo:
    """What the inventory says of a pooler: it does not change while we run."""

    name: str
    kind: str
    host: str | None
    """The inventory's host name when reached over SSH; None when reached directly."""
    address: str
    """For people: `127.0.0.1:6432` or `/run/pgbouncer:6432`."""
    labels: Mapping[str, str]
    peer_group: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PoolerSnapshot:
    """One pooler in a fleet snapshot."""

    info: PoolerInfo
    freshness: Freshness
    state: PoolerState
    sample: Sample | None
    """The last one that was read, however old; None when there never was one."""
    rates: Mapping[str, DatabaseRates] | None
    """By database; None until two readings of SHOW STATS lie apart, or after a counter reset."""
    waiting_trend: tuple[float | None, ...] = ()
    """Waiting clients, oldest first, one value a tick; None where no sample was read."""
    xact_trend: tuple[float | None, ...] = ()
    """Transactions per second, oldest first, one value a tick."""


class PostgresState(StrEnum):
    """What a Postgres node is doing."""

    UP = "up"
    CONNECTING = "connecting"
    STALE = "stale"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class PostgresReading:
    """What one Postgres node said."""

    version: Version
    in_recovery: bool
    max_connections: int
    superuser_reserved_connections: int
    reserved_connections: int | None
    """None before PostgreSQL 16."""
    backends_by_state: Mapping[str, int]
    """Client backends by `pg_stat_activity.state` (`active`, `idle`, `idle in transaction` …)."""
    replication_lag_s: float | None
    """Replicas: seconds since the last replayed transaction, 0.0 when all received WAL is replayed.
    None on a primary."""
    replicas: tuple[str, ...] = ()
    """Primary: names of connected standbys."""

    @property
    def backends(self) -> int:
        """Client backends in any state."""
        return sum(self.backends_by_state.values())


@dataclass(frozen=True, slots=True, eq=False)
class PostgresSnapshot:
    """One Postgres node in a fleet snapshot."""

    name: str
    role: str
    """As the inventory says (`primary`, `replica`); `reading.in_recovery` is the truth."""
    address: str
    labels: Mapping[str, str]
    freshness: Freshness
    state: PostgresState
    reading: PostgresReading | None


@dataclass(frozen=True, slots=True, eq=False)
class FleetSnapshot:
    """The fleet at one instant. `generation` grows by one with every snapshot of a run."""

    fleet: str
    environment: Environment
    taken_at_s: float
    monotonic_s: float
    generation: int
    poolers: tuple[PoolerSnapshot, ...]
    postgres: tuple[PostgresSnapshot, ...] = ()
    by_name: Mapping[str, PoolerSnapshot] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        index = MappingProxyType({pooler.info.name: pooler for pooler in self.poolers})
        object.__setattr__(self, "by_name", index)
