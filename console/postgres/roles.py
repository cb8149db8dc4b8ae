"""A role's password on a Postgres node: read what is stored, and store another verifier.

What is sent is a verifier, never a password. The statement log and pg_stat_statements are told to look away
where our role may say so; where it may not, they keep the verifier, which is no password either.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import asyncpg
from pydantic import SecretStr

from console.config.scram import DEFAULT_ITERATIONS, SecretKind, secret_kind
from console.errors import NodeError, PasswordRefused, Phase
from console.model.role import RoleReading
from console.postgres.connect import PostgresConnector
from console.postgres.failures import query_failure

_CLOSE_LIMIT_S: Final = 1.0
QUIET: Final = (
    "SET log_statement = 'none'",
    "SET log_min_duration_statement = -1",
    "SET log_min_error_statement = 'panic'",
    "SET pg_stat_statements.track_utility = off",
)
"""Only a superuser may; the last one only where that module is loaded."""
_READ: Final = """
SELECT current_setting('server_version_num')::int AS version_num,
       pg_is_in_recovery() AS in_recovery,
       current_setting('max_connections')::int AS max_connections,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
       current_setting('scram_iterations', true)::int AS iterations,
       role.oid IS NOT NULL AS exists,
       coalesce(role.rolcanlogin, false) AS can_log_in,
       coalesce(role.rolsuper, false) AS superuser,
       coalesce(role.rolvaliduntil < now(), false) AS expired,
       me.rolsuper AS i_am_superuser,
       me.rolcreaterole AS i_create_roles,
       me.oid = role.oid AS it_is_me,
       has_table_privilege('pg_authid', 'SELECT') AS reads_secrets,
       ARRAY(SELECT datname::text FROM pg_database
              WHERE role.oid IS NOT NULL AND datallowconn
                AND has_database_privilege(role.oid, oid, 'CONNECT')) AS databases
  FROM pg_roles AS me
  LEFT JOIN pg_roles AS role ON role.rolname = $1
 WHERE me.rolname = current_user
"""
_SYSTEM: Final = "SELECT system_identifier::text FROM pg_control_system()"
STORED: Final = "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = $1"
MANNERS: Final = "SET lock_timeout = {0}; SET idle_in_transaction_session_timeout = {0}"
"""Neither waits for long nor holds others up should we hang."""
DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'local', false) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)
"""A commit that is not written yet is lost in a crash, and no part of what replicas are waited for."""
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class PostgresRoles:
    """Roles of the inventory's Postgres nodes. Satisfies operations' Roles."""

    def __init__(self, connector: PostgresConnector) -> None:
        self._connector = connector

    async def read(self, node: str, role: str, *, timeout_s: float) -> RoleReading:
        """Read a role.

        Raises:
            NodeError: the node did not answer.
        """
        async with self._asking(node, timeout_s) as session:
            row = await session.fetchrow(_READ, role)
            assert row is not None, "our own role is there"
            stored = await session.fetchval(STORED, role) if row["reads_secrets"] else None
            system_id = None
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
                system_id = await session.fetchval(_SYSTEM)
        why_not = _why_not(row)
        return RoleReading(
            node=node,
            version_num=row["version_num"],
            in_recovery=row["in_recovery"],
            system_id=system_id,
            max_connections=row["max_connections"],
            reserved=row["reserved"],
            iterations=row["iterations"] or DEFAULT_ITERATIONS,
            exists=row["exists"],
            can_log_in=row["can_log_in"],
            may_alter=why_not is None,
            why_not=why_not,
            databases=frozenset(row["databases"]),
            expired=row["expired"],
            stored=stored,
            superuser=row["superuser"],
        )

    @asynccontextmanager
    async def change(
        self, node: str, role: str, verifier: str, *, timeout_s: float
    ) -> AsyncIterator[_Pending]:
        """Give a role another password by its verifier; in force once `commit` of what this yields is over.

        Left without that, or by a process that dies, nothing has changed.

        Raises:
            ValueError: it is no verifier: a password is never sent. NodeError: refused, or no answer.
        """
        if secret_kind(verifier) not in (SecretKind.SCRAM, SecretKind.MD5):
            raise ValueError("only verifiers are sent to Postgres")
        name = '"' + role.replace('"', '""') + '"'
        async with self._session(node) as session:
            try:
                async with asyncio.timeout(timeout_s):
                    for statement in QUIET:
                        with contextlib.suppress(asyncpg.PostgresError):
                            await session.execute(statement)
                    await session.execute(MANNERS.format(round(timeout_s * 1000)))
                    await session.execute(DURABLE)
                    await session.execute("BEGIN")
                    await session.execute(f"ALTER ROLE {name} PASSWORD '{verifier}'")
            except _FAILURES as error:
                raise change_failure(error, node, timeout_s) from None
            yield _Pending(session, node, role, verifier, timeout_s)

    async def lets_in(
        self, node: str, role: str, secret: SecretStr, *, database: str, timeout_s: float
    ) -> bool:
        """Log in to a node as a role and hang up; False: the password was refused.

        Raises:
            NodeError: neither, e.g. pg_hba.conf has no line for us.
        """
        try:
            async with asyncio.timeout(timeout_s):
                session = await self._connector.as_role(node, role, secret, database)
        except PasswordRefused:
            return False
        except TimeoutError as error:
            raise change_failure(error, node, timeout_s) from None
        async with closing(session):
            return True

    async def position(self, node: str, *, timeout_s: float) -> str:
        """Return how far the log of a primary has come, as `pg_lsn`."""
        async with self._asking(node, timeout_s) as session:
            return str(await session.fetchval("SELECT pg_current_wal_lsn()::text"))

    async def replayed(self, node: str, position: str, *, timeout_s: float) -> bool:
        """Say whether a replica has replayed up to `position`."""
        async with self._asking(node, timeout_s) as session:
            query = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
            return bool(await session.fetchval(query, position))

    @asynccontextmanager
    async def _asking(self, node: str, timeout_s: float) -> AsyncIterator[Connection]:
        """Yield a session for questions, all of them within `timeout_s`."""
        async with self._session(node) as session:
            try:
                async with asyncio.timeout(timeout_s):
                    yield session
            except _FAILURES as error:
                raise change_failure(error, node, timeout_s) from None

    @asynccontextmanager
    async def _session(self, node: str) -> AsyncIterator[Connection]:
        session = await self._connector.admin(node)
        async with closing(session):
            yield session


class _Pending:
    """A change that is not committed. Satisfies operations' PendingChange."""

    def __init__(self, session: Connection, node: str, role: str, verifier: str, timeout_s: float) -> None:
        self._session = session
        self._node = node
        self._role = role
        self._verifier = verifier
        self._timeout_s = timeout_s

    async def commit(self) -> bool | None:
        """Commit, and say whether it reads back so; None: our role may not read that.

        Raises:
            NodeError: no answer: whether it is in force is not known.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._session.execute("COMMIT")
                try:
                    stored = await self._session.fetchval(STORED, self._role)
                except asyncpg.InsufficientPrivilegeError:
                    return None
        except _FAILURES as error:
            raise change_failure(error, self._node, self._timeout_s) from None
        return bool(stored == self._verifier)


@asynccontextmanager
async def closing(session: Connection) -> AsyncIterator[None]:
    """End a session when this is left; a server that does not answer is cut off."""
    try:
        yield
    finally:
        try:
            await session.close(timeout=_CLOSE_LIMIT_S)
        except _FAILURES:
            session.terminate()


def change_failure(error: BaseException, node: str, timeout_s: float) -> NodeError:
    """Return what a failed question or change was; what our role may not do comes with the remedy."""
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return NodeError(
            Phase.AUTH,
            str(error),
            where=node,
            hint="give the node an admin_user in the inventory: a superuser, or one with CREATEROLE",
        )
    return query_failure(error, where=node, limit_s=timeout_s)


def _why_not(row: asyncpg.Record) -> str | None:
    """Say why our role may not set the password; None when it may, as far as can be told before."""
    if not row["exists"]:
        return "there is no such role"
    if row["in_recovery"]:
        return "it is a replica"
    if row["i_am_superuser"] or row["it_is_me"]:
        return None
    if row["superuser"]:
        return "it is a superuser, and only another one may change its password"
    return None if row["i_create_roles"] else "our role there is no superuser and has no CREATEROLE"
