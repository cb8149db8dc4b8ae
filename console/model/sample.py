"""One pooler at one instant, as read; and what was computed from two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

from console.model.rows import Client, Database, PauseState, Pool, Server, Setting, Stats, User
from console.model.version import Version

T = TypeVar("T")
NOTHING_MISSING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """A value that is read less often than every tick, and when it was read."""

    value: T
    monotonic_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What one pooler said in one tick. Compared by identity: a sample is never edited.

    `pools`, `databases`, `lists` and `state` belong to this tick; the `Reading`s may be older
    (design.md 3, poll budget) and are None until first read.
    """

    pooler: str
    taken_at_s: float
    """Wall clock, seconds since the epoch."""
    monotonic_s: float
    version: Version | None
    state: PauseState
    pools: tuple[Pool, ...]
    databases: tuple[Database, ...]
    lists: Mapping[str, int]
    stats: Reading[tuple[Stats, ...]] | None = None
    servers: Reading[tuple[Server, ...]] | None = None
    clients: Reading[tuple[Client, ...]] | None = None
    users: Reading[tuple[User, ...]] | None = None
    config: Reading[Mapping[str, Setting]] | None = None
    unread: Mapping[str, str] = field(default_factory=lambda: NOTHING_MISSING)
    """What was due and could not be read, or is not asked for, and why: `"CLIENTS" -> "60,000 clients …"`."""
    missing: Mapping[str, str] = field(default_factory=lambda: NOTHING_MISSING)
    """Columns this version does not have, as `"pools.load_balance_hosts" -> "1.24"`."""
    answer_us: int = 0
    """Time from our question to its last byte, summed over this tick's questions: an upper bound of
    what the tick cost the pooler."""


@dataclass(frozen=True, slots=True)
class DatabaseRates:
    """Movement of one database of one pooler between two readings of SHOW STATS.

    A mean is None when nothing ran in the interval (no transaction has no mean time).
    """

    database: str
    interval_s: float
    xact_per_s: float
    query_per_s: float
    received_bytes_per_s: float
    sent_bytes_per_s: float
    mean_xact_time_us: float | None
    mean_query_time_us: float | None
    mean_wait_time_us: float | None
    """Waiting for a server, per server assignment where the version counts them (1.23), else per
    transaction."""
