"""Backends of Postgres nodes: who runs what since when, who blocks it, and signals to exactly one of them.

It reads and signals backends, and opens sessions only for that. The text of a query is not even asked for:
it may hold literals, and what is read here ends in plans, files and records. Sources: PostgreSQL manual,
"pg_stat_activity", "System Administration Functions" (pg_blocking_pids, pg_cancel_backend); PostgreSQL 12-18.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import asyncpg

from console.errors import AdminError, NodeError, PooldeckError
from console.postgres.connect import PostgresConnector, PostgresReader
from console.postgres.failures import query_failure

BLOCKERS_ASKED: Final = 20
"""For so many lock waiters, longest transaction first, the server is asked who blocks them: each answer
holds its lock table for a moment."""
_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_ACTIVITY = """
WITH activity AS MATERIALIZED (
  SELECT pid, backend_start, datname, usename, application_name, host(client_addr) AS client_addr,
         client_port, state, wait_event_type, wait_event, xact_start, query_start,
         extract(epoch FROM clock_timestamp() - xact_start)::float8 AS xact_age_s,
         extract(epoch FROM clock_timestamp() - query_start)::float8 AS query_age_s,
         extract(epoch FROM clock_timestamp() - state_change)::float8 AS state_age_s
    FROM pg_stat_activity
), wanted AS MATERIALIZED (
  SELECT activity.*,
         CASE WHEN wait_event_type = 'Lock'
               AND row_number() OVER (PARTITION BY wait_event_type ORDER BY xact_start) <= $2
              THEN pg_blocking_pids(pid) END AS blocking_pids
    FROM activity
   WHERE pid = ANY($1::int[])
)
SELECT wanted.*, true AS asked_for
  FROM wanted
 UNION ALL
SELECT activity.*, NULL, false
  FROM activity
 WHERE pid IN (SELECT unnest(blocking_pids) FROM wanted)
"""
_CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"
_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"


@dataclass(frozen=True, slots=True)
class Blocker:
    """A backend that another one waits for. Everything but `pid` is None when it is not visible or gone."""

    pid: int
    """0: a prepared transaction, which no backend runs."""
    user: str | None
    application_name: str | None
    state: str | None
    xact_age_s: float | None


@dataclass(frozen=True, slots=True)
class Backend:
    """One row of pg_stat_activity; without pg_read_all_stats a role sees little more of others than names."""

    node: str
    """The inventory's name of the server."""
    pid: int
    started_at: datetime | None
    """backend_start: with `pid` it names this backend and no later one. None: not visible."""
    database: str | None
    user: str | None
    application_name: str | None
    client_address: str | None
    """None: over a Unix socket, or not visible."""
    client_port: int | None
    """-1: over a Unix socket; None: not visible."""
    state: str | None
    """`active`, `idle`, `idle in transaction` …; None: not visible."""
    wait_event_type: str | None
    wait_event: str | None
    xact_started_at: datetime | None
    """None: no transaction is open, or it is not visible."""
    query_started_at: datetime | None
    xact_age_s: float | None
    """Ages are by the server's own clock."""
    query_age_s: float | None
    state_age_s: float | None
    """How long `state` has lasted, e.g. how long it has been idle in its transaction."""
    blocked_by: tuple[Blocker, ...] | None
    """Empty: it waits for no lock; None: not asked (beyond `BLOCKERS_ASKED`), or not visible."""

    @property
    def hidden(self) -> bool:
        """Whether our role may not see it; every backend of a client has a port."""
        return self.client_port is None


@dataclass(frozen=True, slots=True)
class BackendGap:
    """Backends that could not be had."""

    node: str
    """"" when no node in particular is to blame."""
    why: str


async def read_backends(
    connection: asyncpg.Connection[Any], pids: Collection[int], *, where: str, timeout_s: float
) -> tuple[Backend, ...]:
    """Return those of `pids` that are backends now, in one statement.

    Args:
        connection: a session with the node.
        pids: any numbers; what is no pid is not found.
        where: the node's name.
        timeout_s: for the answer.

    Raises:
        NodeError: it did not answer, LostConnection and DeadlineError among them. Close the session after it.
    """
    possible = [pid for pid in pids if 0 < pid < 2**31]
    try:
        async with asyncio.timeout(timeout_s):
            rows = await connection.fetch(_ACTIVITY, possible, BLOCKERS_ASKED)
    except _ERRORS as error:
        raise query_failure(error, where=where, limit_s=timeout_s) from None
    return backends_from([dict(row) for row in rows], node=where)


async def read_backend(
    connection: asyncpg.Connection[Any], pid: int, *, where: str, timeout_s: float
) -> Backend | None:
    """Return one backend; None when no process has that pid. Raises as `read_backends`."""
    found = await read_backends(connection, [pid], where=where, timeout_s=timeout_s)
    return found[0] if found else None


async def signal_backend(
    connection: asyncpg.Connection[Any],
    pid: int,
    backend_start: datetime,
    terminate: bool,
    *,
    where: str,
    timeout_s: float,
) -> bool:
    """Cancel the query of a backend, or end it; False when no such backend is there any more.

    One statement compares pid and backend_start and sends the signal, so a pid that was reused is never hit.
    A cancel of a backend that runs nothing does nothing and is True all the same: read back what came of it.

    Privileges: the role of the backend or a member of it, or a member of pg_signal_backend (which may not
    signal superusers); and backend_start must be visible to it, else nothing is ever found: a member of
    pg_read_all_stats or pg_monitor.

    Raises:
        AdminError: the server refused; nothing was signalled and the session stays usable.
        LostConnection, DeadlineError: the signal may have been sent. NodeError: any other failure.
    """
    statement = _TERMINATE if terminate else _CANCEL
    try:
        async with asyncio.timeout(timeout_s):
            return bool(await connection.fetchval(statement, pid, backend_start))
    except asyncpg.InsufficientPrivilegeError as error:
        raise AdminError(
            str(error),
            sqlstate=error.sqlstate,
            where=where,
            hint="the role needs pg_signal_backend, and a superuser's backend needs a superuser",
        ) from None
    except _ERRORS as error:
        raise query_failure(error, where=where, limit_s=timeout_s) from None


def backends_from(rows: Sequence[Mapping[str, Any]], *, node: str) -> tuple[Backend, ...]:
    """Return the backends of the rows of `_ACTIVITY`."""
    known = {row["pid"]: row for row in rows}
    return tuple(_backend(row, known, node) for row in rows if row["asked_for"])


def _backend(row: Mapping[str, Any], known: Mapping[int, Mapping[str, Any]], node: str) -> Backend:
    pids = row["blocking_pids"]
    if pids is not None:
        blocked_by: tuple[Blocker, ...] | None = tuple(_blocker(pid, known.get(pid)) for pid in pids)
    elif row["client_port"] is None or row["wait_event_type"] == "Lock":
        blocked_by = None
    else:
        blocked_by = ()
    return Backend(
        node=node,
        pid=row["pid"],
        started_at=row["backend_start"],
        database=row["datname"],
        user=row["usename"],
        application_name=row["application_name"],
        client_address=row["client_addr"],
        client_port=row["client_port"],
        state=row["state"],
        wait_event_type=row["wait_event_type"],
        wait_event=row["wait_event"],
        xact_started_at=row["xact_start"],
        query_started_at=row["query_start"],
        xact_age_s=row["xact_age_s"],
        query_age_s=row["query_age_s"],
        state_age_s=row["state_age_s"],
        blocked_by=blocked_by,
    )


def _blocker(pid: int, row: Mapping[str, Any] | None) -> Blocker:
    if row is None:
        return Blocker(pid, None, None, None, None)
    return Blocker(pid, row["usename"], row["application_name"], row["state"], row["xact_age_s"])


class ActivitySession(PostgresReader):
    """A session with a node that sees its backends and can signal them. Satisfies operations' NodeSession."""

    @classmethod
    def of(cls, reader: PostgresReader) -> Self:
        """Take a session over; close this one, not the one it came from."""
        return cls(reader.name, reader._connection)

    async def backends(self, pids: Collection[int], *, timeout_s: float) -> tuple[Backend, ...]:
        """See `read_backends`."""
        return await read_backends(self._connection, pids, where=self.name, timeout_s=timeout_s)

    async def signal(self, pid: int, started_at: datetime, *, terminate: bool, timeout_s: float) -> bool:
        """See `signal_backend`."""
        return await signal_backend(
            self._connection, pid, started_at, terminate, where=self.name, timeout_s=timeout_s
        )


class PostgresActivity:
    """Opens activity sessions by the inventory's names. Satisfies operations' Nodes."""

    def __init__(self, connector: PostgresConnector) -> None:
        self._connector = connector

    async def session(self, name: str) -> ActivitySession:
        """Log in; each phase within the node's `connect_timeout_s`. Raises as `PostgresConnector.reader`."""
        return ActivitySession.of(await self._connector.reader(name))


class PostgresBackends:
    """Finds backends on every node at once. Satisfies operations' BackendSource.

    A node has at most one session of this object, however many ask at a time, and none when nobody does: a
    plan for a hundred poolers must not fill the server it asks about.
    """

    def __init__(self, activity: PostgresActivity, nodes: Collection[str], *, limit_s: float) -> None:
        """Take names of the inventory; `limit_s` is for one node, login and queueing included."""
        self._nodes = [_Node(activity, name, limit_s) for name in nodes]

    async def backends(self, pids: Collection[int]) -> tuple[Backend | BackendGap, ...]:
        """Return the backends that have one of `pids`, and a gap for each node that could not be read.

        Several nodes may have the same pid: who asks must compare more than that.
        """
        if not self._nodes:
            return (BackendGap("", "the inventory names no Postgres node"),)
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(node.backends(pids)) for node in self._nodes]
        return tuple(found for task in asked for found in task.result())


class _Node:
    """One node and its session, which lives as long as somebody asks."""

    def __init__(self, activity: PostgresActivity, name: str, limit_s: float) -> None:
        self._activity = activity
        self._name = name
        self._limit_s = limit_s
        self._turn = asyncio.Lock()
        self._asking = 0
        self._session: ActivitySession | None = None

    async def backends(self, pids: Collection[int]) -> tuple[Backend | BackendGap, ...]:
        self._asking += 1
        try:
            async with asyncio.timeout(self._limit_s), self._turn:
                return await self._ask(pids)
        except TimeoutError:
            return (BackendGap(self._name, f"no answer within {self._limit_s:g} s"),)
        except PooldeckError as error:
            phase = f" ({error.phase})" if isinstance(error, NodeError) else ""
            return (BackendGap(self._name, f"{error.message}{phase}"),)
        finally:
            self._asking -= 1
            if not self._asking:
                await self._drop()

    async def _ask(self, pids: Collection[int]) -> tuple[Backend, ...]:
        if self._session is None:
            self._session = await self._activity.session(self._name)
        try:
            return await self._session.backends(pids, timeout_s=self._limit_s)
        except BaseException:
            # A late answer must never be taken for the next one's.
            await self._drop()
            raise

    async def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
