"""Why a pooler is left alone, and what ends that.

A pooler that shuts down cannot exit while a console is open (trap T13), so ours is closed and stays closed
until another process answers. Who shuts it down may tell us; of others nothing in SHOW does, so a pooler that
only consoles keep is knocked at from time to time. Nothing here opens or closes a session.

Seen on 1.24 and 1.26: from SHUTDOWN on no TCP login is accepted. Over its Unix socket 1.25 and later still
lets consoles in, and the socket is gone with the process; before 1.25 it is gone at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from console.errors import DeadlineError, NodeError, Phase
from console.model.derive import ADMIN_DATABASE, application_pools
from console.model.rows import Stats
from console.model.sample import Sample
from console.poolers.base import Capability, Dialect

NOBODY_IS_LET_IN = "seems to shut down: no client is left, and nothing listens at its address any more"
_REFUSED = frozenset({Phase.CONNECT, Phase.TUNNEL})


@dataclass(slots=True)
class Knocks:
    """When to see whether a pooler still lets clients in."""

    period_s: float
    last_s: float | None = None
    """None: not since it had a client."""

    def due(self, sample: Sample, dialect: Dialect, now_s: float) -> bool:
        """Say whether to knock now, and count that as done: it can wait for clients, and has none."""
        version = sample.version
        waits = version is not None and dialect.has(version, Capability.SHUTDOWN_MODES)
        pools = application_pools(sample)
        in_use = any(pool.cl_active + pool.cl_waiting for pool in pools) or sample.lists.get("login_clients")
        if not waits or in_use:
            self.last_s = None
            return False
        if self.last_s is not None and now_s - self.last_s < self.period_s:
            return False
        self.last_s = now_s
        return True


@dataclass(slots=True)
class Rest:
    """One pooler's."""

    reason: str
    """For people."""
    lets_consoles_in: bool
    """The old process accepts our logins until its end: an accepted one proves nothing."""
    stats: tuple[Stats, ...] = ()
    """As last read; () when they were not."""
    insisted: bool = False
    """A person wants whoever answers."""

    def ended_with(self, refusal: NodeError) -> bool:
        """Say whether a login that was not accepted proves that the process has exited."""
        refused = refusal.phase in _REFUSED and not isinstance(refusal, DeadlineError)
        return self.lets_consoles_in and refused

    @property
    def needs_evidence(self) -> bool:
        """Whether SHOW STATS has to tell if a login was accepted by another process; see `is_another`."""
        return self.lets_consoles_in and not self.insisted

    def is_another(self, stats: tuple[Stats, ...]) -> bool:
        """Say whether another process has answered SHOW STATS: it counts from 0 again.

        The bytes of applications are the evidence, and of a process that served none the logins to its
        console, its only query there. A database may lose its counters without a restart: all must be fewer.
        """
        before, self.stats = self.stats, stats
        carried = {name: count for name, count in _bytes(before).items() if count}
        now = _bytes(stats)
        fewer_bytes = bool(carried) and all(now.get(name, 0) < count for name, count in carried.items())
        logins_then, logins_now = _logins(before), _logins(stats)
        fewer_logins = logins_then is not None and logins_now is not None and logins_now < logins_then
        return fewer_bytes or fewer_logins


def _bytes(stats: Iterable[Stats]) -> dict[str, int]:
    rows = (row for row in stats if row.database != ADMIN_DATABASE)
    return {row.database: row.total_received_bytes + row.total_sent_bytes for row in rows}


def _logins(stats: Iterable[Stats]) -> int | None:
    return next((row.total_query_count for row in stats if row.database == ADMIN_DATABASE), None)
