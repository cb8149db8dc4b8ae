"""How many more backends two roles side by side may open on a Postgres node, against what it can give. Pure.

A pool is a pair of database and user, limited on each pooler by itself: for the time in which both roles are
used, every pool of the old one may stand beside one of the new one (pooling-facts.md, 2; trap T20).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from console.operations.observe import Observation


@dataclass(frozen=True, slots=True)
class Growth:
    """Backends of a fleet on one Postgres node, at the most."""

    node: str
    now: int
    """If every live pool fills."""
    then: int
    """If every pool of the new role fills besides."""
    available: int
    """max_connections less what is reserved."""
    unlimited: tuple[str, ...] = ()
    """Pools without a limit, as `bouncer/database`: no sum can be told."""

    @property
    def refused(self) -> str | None:
        """Why both roles cannot be used side by side; None: there is room."""
        if self.unlimited:
            return f"pools without a limit lead to {self.node} ({', '.join(self.unlimited)})"
        if self.then <= self.available:
            return None
        return (
            f"with both roles in use {self.then} backends could be open on {self.node}, which gives "
            f"{self.available} (max_connections less reserved ones)"
        )

    @property
    def warning(self) -> str | None:
        """What is narrow although it fits; None: nothing."""
        if self.refused is None and self.then == self.available:
            return f"{self.then} backends on {self.node} are all it gives: none is left for direct logins"
        return None


def growth(
    node: str,
    seen: Iterable[tuple[Observation, frozenset[str], Mapping[str, int]]],
    *,
    available: int,
) -> Growth:
    """Add up what the poolers of a fleet may open on a node.

    Args:
        node: its name.
        seen: each pooler, which of its databases lead there, and how many pools each of these would get more.
        available: max_connections of the node less what is reserved.
    """
    now = then = 0
    unlimited: list[str] = []
    for observation, databases, more in seen:
        for name in sorted(databases):
            row = observation.database(name)
            if row is None:
                continue
            if not row.pool_size:
                unlimited.append(f"{observation.bouncer}/{name}")
                continue
            size = row.pool_size + (row.reserve_pool_size or 0)
            live = sum(pool.database == name for pool in observation.pools)
            now += _capped(live * size, row.max_connections)
            then += _capped((live + more.get(name, 0)) * size, row.max_connections)
    return Growth(node, now, then, available, tuple(unlimited))


def _capped(backends: int, limit: int | None) -> int:
    return min(backends, limit) if limit else backends
