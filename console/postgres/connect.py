"""Sessions with Postgres nodes, by asyncpg, through the same transport as the poolers'.

Sessions are read-only (`default_transaction_read_only`) and every statement has a time limit on the server
too, so that a question never outlives its asker. One kind may write, for `roles` alone; nothing is changed
here.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Mapping
from pathlib import Path

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from pydantic import SecretStr

from console.config.credentials import Passwords
from console.config.schema import Inventory, PostgresNode
from console.errors import Phase, PooldeckError, UsageError
from console.model.fleet import PostgresReading
from console.postgres.failures import connect_failure, query_failure
from console.postgres.queries import BACKENDS, NODE, reading_from
from console.postgres.tls import TlsArgument, tls_argument, wants_tls
from console.transport.base import Endpoint, Route, TcpAddress, Transport, UnixAddress
from console.transport.resolve import addresses

_CLOSE_LIMIT_S = 1.0
_FAILURES = (
    PooldeckError,
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_READ_ONLY: Mapping[bool | None, Mapping[str, str]] = {
    None: {},
    True: {"default_transaction_read_only": "on"},
    False: {"default_transaction_read_only": "off"},
}
_MAY_BE_THE_TUNNEL = frozenset({Phase.CONNECT, Phase.TLS, Phase.PROTOCOL})


class PostgresReader:
    """One session with a Postgres node; it can only read."""

    def __init__(self, name: str, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.name = name
        self._connection = connection

    async def read(self, *, timeout_s: float) -> PostgresReading:
        """Ask for everything a snapshot shows of the node, within `timeout_s`.

        Raises:
            NodeError: phase `protocol` or `parse`; LostConnection, DeadlineError. Close the session after it.
        """
        try:
            async with asyncio.timeout(timeout_s):
                node = await self._connection.fetchrow(NODE)
                backends = await self._connection.fetch(BACKENDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise query_failure(error, where=self.name, limit_s=timeout_s) from None
        if node is None:
            raise query_failure(OSError("no row"), where=self.name, limit_s=timeout_s)
        return reading_from(dict(node), [dict(row) for row in backends], where=self.name)

    async def close(self) -> None:
        """End the session; a server that does not answer is cut off after a second."""
        try:
            await self._connection.close(timeout=_CLOSE_LIMIT_S)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()
        except asyncio.CancelledError:
            self._connection.terminate()
            raise


class PostgresConnector:
    """Logs in to the Postgres nodes of an inventory."""

    def __init__(self, inventory: Inventory, transport: Transport, credentials: Passwords) -> None:
        self._nodes = {node.name: node for node in inventory.postgres}
        self._connect_limit_s = inventory.defaults.connect_timeout_s
        self._query_limit_s = inventory.defaults.query_timeout_s
        self._transport = transport
        self._credentials = credentials

    async def reader(self, name: str, /) -> PostgresReader:
        """Log in to the first of a node's `databases`; each phase within its `connect_timeout_s`.

        Raises:
            NodeError: the phase that failed; UsageError: no node has that name.
        """
        node = self._node(name)
        user = node.user or getpass.getuser()
        return PostgresReader(name, await self._log_in(node, user, node.password_from, read_only=True))

    async def admin(self, name: str) -> asyncpg.Connection[asyncpg.Record]:
        """Log in as the node's `admin_user`, or as its `user` where it has none; it may write.

        Raises:
            NodeError, UsageError: as `reader`.
        """
        node = self._node(name)
        user = node.admin_user or node.user or getpass.getuser()
        own = node.admin_password_from if node.admin_user is not None else None
        return await self._log_in(node, user, own or node.password_from, read_only=False)

    async def plain(self, name: str) -> asyncpg.Connection[asyncpg.Record]:
        """Log in as `admin` does, with the server's own word on whether transactions are read-only."""
        node = self._node(name)
        user = node.admin_user or node.user or getpass.getuser()
        own = node.admin_password_from if node.admin_user is not None else None
        return await self._log_in(node, user, own or node.password_from, read_only=None)

    async def plain_at(
        self, name: str, host: str | None, address: tuple[str, int]
    ) -> asyncpg.Connection[asyncpg.Record]:
        """Log in as `plain` does, but to another address, as it is reached from a host (None: from here).

        Raises:
            NodeError, UsageError: as `reader`.
        """
        node = self._node(name)
        user = node.admin_user or node.user or getpass.getuser()
        own = node.admin_password_from if node.admin_user is not None else None
        there = node.model_copy(update={"host": host, **_listening(*address)})
        return await self._log_in(node, user, own or node.password_from, read_only=None, at=there)

    async def as_role(
        self, name: str, user: str, password: SecretStr, database: str
    ) -> asyncpg.Connection[asyncpg.Record]:
        """Log in with a given password, to see that it is let in; read-only.

        Raises:
            NodeError, UsageError: as `reader`.
        """
        return await self._dial(self._node(name), user, password, database, read_only=True)

    def _node(self, name: str) -> PostgresNode:
        node = self._nodes.get(name)
        if node is None:
            raise UsageError(f"no Postgres node is called {name!r}", hint="names are in the inventory")
        return node

    async def _log_in(
        self,
        node: PostgresNode,
        user: str,
        source: str | None,
        *,
        read_only: bool | None,
        at: PostgresNode | None = None,
    ) -> asyncpg.Connection[asyncpg.Record]:
        """Log in with what the inventory has for a node; `at`: the same one where it is to be dialled."""
        name = node.name
        limit_s = node.connect_timeout_s or self._connect_limit_s
        password = await self._credentials.password(
            source,
            user=user,
            node=name,
            host=node.tcp_host or str(node.unix),
            port=node.listen_port,
            database=node.databases[0],
            timeout_s=limit_s,
        )
        return await self._dial(at or node, user, password, node.databases[0], read_only=read_only)

    async def _dial(
        self,
        node: PostgresNode,
        user: str,
        password: SecretStr | None,
        database: str,
        *,
        read_only: bool | None,
    ) -> asyncpg.Connection[asyncpg.Record]:
        name = node.name
        limit_s = node.connect_timeout_s or self._connect_limit_s
        endpoint = await self._transport.endpoint(route_of(node), timeout_s=limit_s)
        try:
            async with asyncio.timeout(limit_s):
                dialled = await _dialled(endpoint, name)
            tls = await asyncio.to_thread(tls_argument, node, endpoint.host)
            return await self._connect(
                *(node, user, password, database, dialled, endpoint.port, tls, limit_s),
                read_only=read_only,
            )
        except _FAILURES as error:
            failure = connect_failure(error, where=name, user=user, limit_s=limit_s)
        if node.host is not None and failure.phase in _MAY_BE_THE_TUNNEL:
            # Through a tunnel a driver sees no more than a closed socket; the tunnel knows why.
            raise self._transport.failure_of(endpoint) or failure from None
        raise failure from None

    async def _connect(
        self,
        node: PostgresNode,
        user: str,
        password: SecretStr | None,
        database: str,
        hosts: list[str],
        port: int,
        tls: TlsArgument,
        limit_s: float,
        *,
        read_only: bool | None,
    ) -> asyncpg.Connection[asyncpg.Record]:
        query_limit_s = node.query_timeout_s or self._query_limit_s
        return await asyncpg.connect(
            host=hosts,
            port=port,
            user=user,
            # "" and not None: asyncpg would go and look in $PGPASSWORD and ~/.pgpass by itself.
            password=password.get_secret_value() if password is not None else "",
            database=database,
            ssl=tls,
            direct_tls=False,
            timeout=limit_s,
            # Two statements every five seconds gain nothing from a cache, and without one they also pass a
            # pooler in transaction mode.
            statement_cache_size=0,
            target_session_attrs=SessionAttribute.any,
            server_settings={
                "application_name": "pooldeck",
                **_READ_ONLY[read_only],
                "statement_timeout": str(round(query_limit_s * 1000)),
            },
        )


async def _dialled(endpoint: Endpoint, where: str) -> list[str]:
    """Return what to dial: a socket's directory, or addresses, so that no driver looks a name up."""
    if endpoint.hostaddr is not None:
        return [endpoint.hostaddr]
    if endpoint.host.startswith("/"):
        return [endpoint.host]
    return list(await addresses(endpoint.host, where=where))


def _listening(host: str, port: int) -> dict[str, object]:
    """Return the fields of an entry that listens there."""
    if host.startswith("/"):
        return {"tcp": None, "unix": Path(host), "port": port}
    return {"tcp": f"[{host}]:{port}" if ":" in host else f"{host}:{port}", "unix": None, "port": None}


def route_of(node: PostgresNode) -> Route:
    """Return how to reach a node."""
    if node.unix is not None:
        return Route(node.host, UnixAddress(str(node.unix), node.listen_port), tls=False)
    return Route(node.host, TcpAddress(node.tcp_host or "", node.listen_port), tls=wants_tls(node))
