"""Sessions for verbs on Postgres nodes: to see backends and what is around them, and to signal them.

`activity` reads and signals; this adds what a plan tells besides: what kind of process it is, whom it blocks,
what our role may do to it, and whether its client's address is a pooler's of the inventory. It decides
nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from console.config.schema import Bouncer, Inventory, PostgresNode
from console.errors import NodeError
from console.postgres.activity import ActivitySession, PostgresActivity
from console.postgres.connect import PostgresConnector
from console.postgres.failures import query_failure
from console.transport.resolve import addresses

WAITERS_ASKED: Final = 50
"""Of so many lock waiters, oldest query first, it is asked who blocks them."""
RESOLVE_LIMIT_S: Final = 2.0
_LOCAL: Final = frozenset({"127.0.0.1", "::1"})
_SURROUNDINGS = """
WITH waiters AS MATERIALIZED (
  SELECT pid, pg_blocking_pids(pid) AS blockers
    FROM (SELECT pid FROM pg_stat_activity
           WHERE wait_event_type = 'Lock' ORDER BY query_start LIMIT $2) AS oldest
)
SELECT pid, backend_type,
       ARRAY(SELECT waiters.pid FROM waiters WHERE activity.pid = ANY(blockers) ORDER BY 1) AS blocks,
       (SELECT rolsuper FROM pg_roles WHERE oid = activity.usesysid) AS owner_is_superuser,
       pg_has_role(current_user, activity.usesysid, 'USAGE') AS owner_is_ours
  FROM pg_stat_activity AS activity
 WHERE pid = ANY($1::int[])
"""
_RIGHTS = """
SELECT current_user AS role, rolsuper AS superuser,
       pg_has_role(current_user, 'pg_signal_backend', 'USAGE') AS signals,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees,
       (SELECT pg_has_role(current_user, oid, 'USAGE')
          FROM pg_roles WHERE rolname = 'pg_signal_autovacuum_worker') AS signals_autovacuum
  FROM pg_roles
 WHERE rolname = current_user
"""
"""pg_signal_autovacuum_worker came with PostgreSQL 18."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plan tells of a backend besides its own row."""

    kind: str | None
    """backend_type: `client backend`, `walsender`, `autovacuum worker` …; None: not visible to our role."""
    blocks: tuple[int, ...]
    """Pids that wait for a lock it holds or waits for itself."""
    owner_is_superuser: bool | None = None
    """Whether the role it runs as is a superuser; None: it runs as none, as autovacuum does."""
    owner_is_ours: bool | None = None
    """Whether our role has the privileges of that role; None: it runs as none."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What our role may do to backends, by its memberships; see PostgreSQL manual, "Predefined Roles"."""

    role: str
    superuser: bool
    signals: bool
    """As pg_signal_backend: any backend that is no superuser's."""
    sees: bool
    """As pg_read_all_stats, which pg_monitor includes: the rows of others' backends."""
    signals_autovacuum: bool | None
    """As pg_signal_autovacuum_worker; None below PostgreSQL 18, which has no such role."""


class NodeActivitySession(ActivitySession):
    """A session with a node. Satisfies operations' NodeSession."""

    async def surroundings(self, pids: Collection[int], *, timeout_s: float) -> Mapping[int, Surroundings]:
        """Return what is around those of `pids` that are there.

        Raises:
            NodeError: it did not answer. Close the session after it.
        """
        rows = await self._rows(_SURROUNDINGS, list(pids), WAITERS_ASKED, timeout_s=timeout_s)
        return {
            row["pid"]: Surroundings(
                row["backend_type"], tuple(row["blocks"]), row["owner_is_superuser"], row["owner_is_ours"]
            )
            for row in rows
        }

    async def rights(self, *, timeout_s: float) -> Rights:
        """Return what our role may do. Raises as `surroundings`."""
        (row,) = await self._rows(_RIGHTS, timeout_s=timeout_s)
        return Rights(**dict(row))

    async def _rows(self, query: str, *values: Any, timeout_s: float) -> list[asyncpg.Record]:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._connection.fetch(query, *values)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise query_failure(error, where=self.name, limit_s=timeout_s) from None


class PostgresNodes:
    """Opens sessions by the inventory's names, and knows its poolers. Satisfies operations' Nodes."""

    def __init__(self, connector: PostgresConnector, inventory: Inventory) -> None:
        self._activity = PostgresActivity(connector)
        self._inventory = inventory
        self._nodes = {node.name: node for node in inventory.postgres}

    async def session(self, name: str) -> NodeActivitySession:
        """Log in; each phase within the node's `connect_timeout_s`. Raises as `PostgresConnector.reader`."""
        return NodeActivitySession.of(await self._activity.session(name))

    async def poolers_at(self, name: str, address: str | None) -> tuple[str, ...]:
        """Return the bouncers on the machine with `address`, as the Postgres node `name` sees it.

        Args:
            name: of the node.
            address: of a client; None: a Unix socket, on the node's own machine as a loopback address is.

        It goes by names and addresses of the inventory: behind address translation none is found, and
        several bouncers of one machine are all named.
        """
        try:
            async with asyncio.timeout(RESOLVE_LIMIT_S):
                if address is None or address in _LOCAL:
                    node = self._nodes[name]
                    here = await self._machine(node)
                    found = [
                        bouncer.name
                        for bouncer in self._inventory.bouncers
                        if (bouncer.host is not None and bouncer.host == node.host)
                        or not here.isdisjoint(await self._machine(bouncer))
                    ]
                else:
                    found = [
                        bouncer.name
                        for bouncer in self._inventory.bouncers
                        if address in await self._machine(bouncer)
                    ]
        except TimeoutError:
            return ()
        return tuple(found)

    async def _machine(self, entry: Bouncer | PostgresNode) -> frozenset[str]:
        """Return the addresses of the machine that an entry runs on; none when they cannot be had."""
        name = entry.tcp_host
        if (name is None or _is_loopback(name)) and entry.host is not None:
            host = self._inventory.hosts.get(entry.host)
            name = (host.hostname if host is not None else None) or entry.host
        try:
            found = await addresses(name or "127.0.0.1", where=entry.name)
        except NodeError:
            return frozenset()
        return frozenset("127.0.0.1" if _is_loopback(address) else address for address in found)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
