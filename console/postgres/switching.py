"""What a switchover asks of Postgres nodes and does to them: states, positions, the fence, the promotion.

The fence is `default_transaction_read_only`, set for the whole server by ALTER SYSTEM, which no replica takes
over. It stops whoever does not mean harm: a session may still say READ WRITE for itself. Sources: PostgreSQL
manual, "ALTER SYSTEM" (not in a transaction; takes effect at a reload), "Recovery Control Functions",
"Backup Control Functions"; PostgreSQL 12-18.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from console.errors import AdminError
from console.model.switching import NodeState, Writing
from console.postgres.connect import PostgresConnector
from console.postgres.failures import query_failure

_CLOSE_LIMIT_S: Final = 1.0
_FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_BEGINNING: Final = "'0/0'::pg_lsn"
_STATE: Final = f"""
SELECT pg_is_in_recovery() AS in_recovery,
       extract(epoch FROM pg_postmaster_start_time())::text AS started,
       current_setting('default_transaction_read_only')::bool AS read_only,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
             ELSE pg_current_wal_insert_lsn() END - {_BEGINNING})::bigint AS position,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() END - {_BEGINNING})::bigint AS received,
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) AS streams,
       has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE') AS may_promote,
       has_function_privilege('pg_reload_conf()', 'EXECUTE') AS may_reload,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       current_setting('server_version_num')::int >= 150000 AS has_grants,
       has_function_privilege('pg_control_system()', 'EXECUTE') AS sees_system,
       current_user AS role
"""
_MAY_SET: Final = "SELECT has_parameter_privilege('default_transaction_read_only', 'ALTER SYSTEM')"
"""Since PostgreSQL 15; before it only a superuser may."""
_SYSTEM: Final = "SELECT system_identifier::text FROM pg_control_system()"
_FLUSH: Final = (
    "SET default_transaction_read_only = off",
    "SET synchronous_commit = local",
    "SELECT pg_logical_emit_message(true, 'pooldeck', 'switchover')",
)
"""A commit that is flushed, and all before it: what is not flushed is not sent to replicas either, and with
`synchronous_commit = off`, or when only hint bits were logged, it stays so while nobody writes."""
_WRITING: Final = f"""
SELECT (pg_current_wal_flush_lsn() - {_BEGINNING})::bigint AS position,
       (SELECT count(*) FROM pg_stat_activity
         WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid())::int AS writers
"""
_FENCED: Final = "SELECT current_setting('default_transaction_read_only')::bool"
FENCE: Final = (
    "ALTER SYSTEM SET default_transaction_read_only = on",
    "SELECT pg_reload_conf()",
)
UNFENCE: Final = ("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
PROMOTE: Final = "SELECT pg_promote(false)"
"""It does not wait: the statement must not outlast our patience and then take effect unseen."""


class PostgresSwitching:
    """Nodes of the inventory. Satisfies operations' SwitchNodes. Each call logs in anew, as `admin_user`.

    All raise NodeError when the node did not answer (for what changes something: it may have taken effect),
    AdminError when it refused and nothing has happened.
    """

    def __init__(self, connector: PostgresConnector) -> None:
        self._connector = connector

    async def state(self, node: str, *, timeout_s: float) -> NodeState:
        """Read a node."""
        async with self._session(node, timeout_s) as session:
            return await _state(session, node)

    async def state_at(
        self, node: str, host: str | None, address: tuple[str, int], *, timeout_s: float
    ) -> NodeState:
        """Read whatever answers at an address, as it is reached from a host, with the node's login."""
        async with self._session(node, timeout_s, (host, address)) as session:
            return await _state(session, node)

    async def mark(self, node: str, *, timeout_s: float) -> Writing:
        """Flush the log of a primary, and read how far it has come and who writes."""
        async with self._session(node, timeout_s) as session:
            fenced = await session.fetchval(_FENCED)
            for statement in _FLUSH:
                await session.execute(statement)
            row = await session.fetchrow(_WRITING)
            assert row is not None, "it has no FROM"
        return Writing(row["position"], fenced, row["writers"])

    async def fence(self, node: str, *, timeout_s: float) -> None:
        """Make new transactions read-only on the whole server; sessions take it at their next statement."""
        await self._execute(node, FENCE, timeout_s)

    async def unfence(self, node: str, *, timeout_s: float) -> None:
        """Take the fence back."""
        await self._execute(node, UNFENCE, timeout_s)

    async def promote(self, node: str, *, timeout_s: float) -> None:
        """Ask a replica to become a primary; returns before it is one."""
        async with self._session(node, timeout_s) as session:
            if not await session.fetchval(PROMOTE):
                raise AdminError("pg_promote() could not signal the server", sqlstate=None, where=node)

    async def _execute(self, node: str, statements: tuple[str, ...], timeout_s: float) -> None:
        async with self._session(node, timeout_s) as session:
            for statement in statements:
                await session.execute(statement)

    @asynccontextmanager
    async def _session(
        self, node: str, timeout_s: float, at: tuple[str | None, tuple[str, int]] | None = None
    ) -> AsyncIterator[asyncpg.Connection[Any]]:
        connector = self._connector
        session = await (connector.plain(node) if at is None else connector.plain_at(node, *at))
        try:
            async with asyncio.timeout(timeout_s):
                yield session
        except asyncpg.PostgresError as error:
            if isinstance(error, asyncpg.PostgresConnectionError | asyncpg.OperatorInterventionError):
                raise query_failure(error, where=node, limit_s=timeout_s) from None
            raise AdminError(str(error), sqlstate=error.sqlstate, where=node) from None
        except _FAILURES as error:
            raise query_failure(error, where=node, limit_s=timeout_s) from None
        finally:
            try:
                await session.close(timeout=_CLOSE_LIMIT_S)
            except _FAILURES:
                session.terminate()


async def _state(session: asyncpg.Connection[Any], node: str) -> NodeState:
    row = await session.fetchrow(_STATE)
    assert row is not None, "it has no FROM"
    may_set = row["superuser"] or (row["has_grants"] and await session.fetchval(_MAY_SET))
    system_id = await session.fetchval(_SYSTEM) if row["sees_system"] else None
    return NodeState(
        name=node,
        in_recovery=row["in_recovery"],
        started=row["started"],
        system_id=system_id,
        read_only=row["read_only"],
        position=row["position"] or 0,
        received=row["received"],
        streams=row["streams"],
        may_fence=bool(may_set and row["may_reload"]),
        may_promote=row["may_promote"],
        role=row["role"],
    )
