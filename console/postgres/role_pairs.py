"""Two roles of a Postgres node: one stands in for the other, is taken out again, or the other is shut out.

Every change is one transaction with verifiers only, never passwords; the statement log is told to look away
where our role may say so. The second role's own logins are tried here too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
from pydantic import SecretStr

from console.config.scram import SecretKind, secret_kind
from console.errors import NodeError, Phase
from console.model.role_pair import PairReading, RoleSetting
from console.postgres.connect import PostgresConnector
from console.postgres.role_pair_sql import identifier, stand_down_statements, stand_in_statements
from console.postgres.roles import DURABLE, MANNERS, QUIET, STORED, Connection, change_failure, closing

_FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_NO_WAY_IN: Final = "pg_hba.conf"
"""In the server's words when it has no rule for our address: that says nothing about the password."""
_READ: Final = """
SELECT me.rolsuper AS i_am_superuser,
       me.rolcreaterole AS i_create_roles,
       pg_is_in_recovery() AS in_recovery,
       has_table_privilege('pg_authid', 'SELECT') AS reads_secrets,
       one.oid IS NOT NULL AS old_exists,
       coalesce(one.rolcanlogin, false) AS old_can_log_in,
       coalesce(one.rolconnlimit, -1) AS connection_limit,
       coalesce(one.rolsuper, false) AS old_superuser,
       two.oid IS NOT NULL AS exists,
       coalesce(two.rolcanlogin, false) AS can_log_in,
       coalesce(two.rolsuper, false) AS superuser,
       coalesce(two.rolvaliduntil < now(), false) AS expired,
       EXISTS (SELECT FROM pg_auth_members WHERE roleid = one.oid AND member = two.oid) AS is_member,
       coalesce(two.oid IN (
         WITH RECURSIVE up (roleid) AS (
           SELECT roleid FROM pg_auth_members WHERE member = one.oid
           UNION SELECT next.roleid FROM pg_auth_members AS next JOIN up ON next.member = up.roleid)
         SELECT roleid FROM up), false) AS is_above,
       ARRAY(SELECT joined.rolname::text
               FROM pg_auth_members AS link JOIN pg_roles AS joined ON joined.oid = link.roleid
              WHERE link.member = one.oid AND joined.oid IS DISTINCT FROM two.oid
                AND NOT EXISTS (SELECT FROM pg_auth_members AS own
                                 WHERE own.roleid = link.roleid AND own.member = two.oid)
              ORDER BY 1) AS groups,
       array_remove(ARRAY[
         CASE WHEN one.rolsuper THEN 'SUPERUSER' END,
         CASE WHEN one.rolcreatedb THEN 'CREATEDB' END,
         CASE WHEN one.rolcreaterole THEN 'CREATEROLE' END,
         CASE WHEN one.rolreplication THEN 'REPLICATION' END,
         CASE WHEN one.rolbypassrls THEN 'BYPASSRLS' END], NULL) AS attributes,
       array_remove(ARRAY[
         CASE WHEN one.rolsuper AND NOT two.rolsuper THEN 'SUPERUSER' END,
         CASE WHEN one.rolcreatedb AND NOT two.rolcreatedb THEN 'CREATEDB' END,
         CASE WHEN one.rolcreaterole AND NOT two.rolcreaterole THEN 'CREATEROLE' END,
         CASE WHEN one.rolreplication AND NOT two.rolreplication THEN 'REPLICATION' END,
         CASE WHEN one.rolbypassrls AND NOT two.rolbypassrls THEN 'BYPASSRLS' END,
         CASE WHEN NOT two.rolinherit THEN 'INHERIT' END], NULL) AS lacking,
       (SELECT count(*) FROM pg_shdepend
         WHERE refclassid = 'pg_authid'::regclass AND refobjid = one.oid
           AND deptype IN ('o', 'a'))::int AS owned
  FROM pg_roles AS me
  LEFT JOIN pg_roles AS one ON one.rolname = $1
  LEFT JOIN pg_roles AS two ON two.rolname = $2
 WHERE me.rolname = current_user
"""
_SETTINGS: Final = """
SELECT base.datname::text AS database, unnest(kept.setconfig) AS setting
  FROM pg_db_role_setting AS kept
  LEFT JOIN pg_database AS base ON base.oid = kept.setdatabase
 WHERE kept.setrole = (SELECT oid FROM pg_roles WHERE rolname = $1)
 ORDER BY 1 NULLS FIRST, 2
"""


class PostgresRolePairs:
    """Two roles of the inventory's Postgres nodes. Satisfies operations' RolePairs."""

    def __init__(self, connector: PostgresConnector) -> None:
        self._connector = connector

    async def read_pair(self, node: str, role: str, to: str, *, timeout_s: float) -> PairReading:
        """Read both.

        Raises:
            NodeError: the node did not answer.
        """
        async with self._within(node, timeout_s) as session:
            return await _read(session, node, role, to)

    async def stand_in(
        self, node: str, role: str, to: str, verifier: str, *, existed: bool | None, timeout_s: float
    ) -> bool | None:
        """Give `to` the rights of `role`, LOGIN and a verifier; say whether that reads back so.

        Raises:
            ValueError: it is no verifier: a password is never sent. NodeError: refused, or no answer.
        """
        if secret_kind(verifier) is not SecretKind.SCRAM:
            raise ValueError("only verifiers are sent to Postgres")
        async with self._quietly(node, timeout_s) as session:
            async with session.transaction():
                reading = await _read(session, node, role, to)
                if existed is not None and reading.exists is not existed:
                    word = "made" if reading.exists else "dropped"
                    raise NodeError(Phase.PROTOCOL, f"somebody has {word} {to} meanwhile", where=node)
                for statement in stand_in_statements(reading, role, to, verifier):
                    await session.execute(statement)
            stored = await _stored(session, to)
        return None if stored is None else stored == verifier

    async def stand_down(
        self,
        node: str,
        to: str,
        *,
        verifier: str,
        existed: bool,
        could_log_in: bool,
        stored: str | None,
        granted: Sequence[str],
        timeout_s: float,
    ) -> str | None:
        """Bring the second role back to what it was; return what stays all the same, None: nothing.

        Raises:
            NodeError: refused, or no answer.
        """
        statements = stand_down_statements(
            to, existed=existed, could_log_in=could_log_in, stored=stored, granted=granted
        )
        async with self._quietly(node, timeout_s) as session:
            if not await session.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", to):
                return None
            found = await _stored(session, to)
            if existed and found is not None and found == stored != verifier:
                return None
            if found not in (None, verifier):
                return f"{node}: {to} has another secret than the one it was given here, so it stays as it is"
            try:
                async with session.transaction():
                    for statement in statements:
                        await session.execute(statement)
            except asyncpg.DependentObjectsStillExistError:
                await session.execute(f"ALTER ROLE {identifier(to)} NOLOGIN PASSWORD NULL")
                return f"{node}: {to} owns objects, so it stays, without LOGIN (REASSIGN OWNED BY, DROP ROLE)"
        if existed and stored is None:
            return f"{node}: what secret {to} had is not known, so it has the new one"
        return None

    async def let_log_in(self, node: str, role: str, *, may: bool, timeout_s: float) -> None:
        """ALTER ROLE … LOGIN, or NOLOGIN.

        Raises:
            NodeError: refused, or no answer.
        """
        async with self._quietly(node, timeout_s) as session:
            await session.execute(f"ALTER ROLE {identifier(role)} {'LOGIN' if may else 'NOLOGIN'}")
            found = await session.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", role)
        if found is not may:
            word = "not there" if found is None else "not so afterwards"
            raise NodeError(Phase.PROTOCOL, f"{role} is {word}", where=node)

    async def try_login(
        self, node: str, role: str, secret: SecretStr, databases: Sequence[str], *, timeout_s: float
    ) -> str | None:
        """Log in directly to each database; return why it could not be tried, None: let in everywhere.

        Raises:
            NodeError: it was refused.
        """
        for database in databases:
            try:
                async with self._as(node, role, secret, database, timeout_s) as session:
                    await session.fetchval("SELECT current_user")
            except NodeError as error:
                if error.phase is Phase.AUTH and _NO_WAY_IN in error.message:
                    return f"{node}/{database}: {error.message}"
                raise
        return None

    async def try_auth_query(
        self, node: str, role: str, secret: SecretStr, database: str, query: str, *, timeout_s: float
    ) -> None:
        """Run a pooler's auth_query as `role` would, and look at nothing of the answer.

        Raises:
            NodeError: it was refused, or the login was.
        """
        async with self._as(node, role, secret, database, timeout_s) as session:
            await session.fetch(query, role)

    @asynccontextmanager
    async def _as(
        self, node: str, role: str, secret: SecretStr, database: str, timeout_s: float
    ) -> AsyncIterator[Connection]:
        session = await self._connector.as_role(node, role, secret, database)
        async with closing(session):
            try:
                async with asyncio.timeout(timeout_s):
                    yield session
            except _FAILURES as error:
                raise change_failure(error, node, timeout_s) from None

    @asynccontextmanager
    async def _within(self, node: str, timeout_s: float) -> AsyncIterator[Connection]:
        session = await self._connector.admin(node)
        async with closing(session):
            try:
                async with asyncio.timeout(timeout_s):
                    yield session
            except _FAILURES as error:
                raise change_failure(error, node, timeout_s) from None

    @asynccontextmanager
    async def _quietly(self, node: str, timeout_s: float) -> AsyncIterator[Connection]:
        """Yield a session whose statements no log should keep, and that waits for no lock for long."""
        async with self._within(node, timeout_s) as session:
            for statement in QUIET:
                with contextlib.suppress(asyncpg.PostgresError):
                    await session.execute(statement)
            await session.execute(MANNERS.format(round(timeout_s * 1000)))
            await session.execute(DURABLE)
            yield session


async def _read(session: Connection, node: str, role: str, to: str) -> PairReading:
    row = await session.fetchrow(_READ, role, to)
    assert row is not None, "our own role is there"
    stored: str | None = ""
    if row["exists"]:
        stored = await session.fetchval(STORED, to) if row["reads_secrets"] else None
    settings = []
    for found in await session.fetch(_SETTINGS, role):
        name, _, value = found["setting"].partition("=")
        settings.append(RoleSetting(found["database"], name, value))
    return PairReading(
        node=node,
        old_can_log_in=row["old_can_log_in"],
        exists=row["exists"],
        can_log_in=row["can_log_in"],
        expired=row["expired"],
        stored=stored,
        is_member=row["is_member"],
        is_above=row["is_above"],
        groups=tuple(row["groups"]),
        attributes=tuple(row["attributes"]),
        lacking=tuple(row["lacking"]) if row["exists"] else (),
        connection_limit=row["connection_limit"],
        settings=tuple(settings),
        owned=row["owned"],
        why_not=_why_not(row, role),
    )


async def _stored(session: Connection, role: str) -> str | None:
    """Return a role's secret as pg_authid has it; None: our role may not read that."""
    try:
        stored: str | None = await session.fetchval(STORED, role)
    except asyncpg.InsufficientPrivilegeError:
        return None
    return stored


def _why_not(row: asyncpg.Record, role: str) -> str | None:
    if not row["old_exists"]:
        return f"there is no role {role}"
    if row["in_recovery"]:
        return "it is a replica"
    if row["i_am_superuser"]:
        return None
    if row["old_superuser"] or row["superuser"]:
        return "one of the two is a superuser, and only another one may change that"
    return None if row["i_create_roles"] else "our role there is no superuser and has no CREATEROLE"
