"""Opens admin sessions by a bouncer's name: inventory → route → local endpoint → login.

It holds no session: who asks for one closes it. Time limits are the inventory's `connect_timeout_s`, for
each phase by itself (password, SSH and tunnel, login), so a slow phase is told by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import SecretStr

from console.clock import Clock, SystemClock
from console.config.credentials import Passwords
from console.config.schema import Bouncer, Inventory
from console.errors import CredentialError, NodeError, Phase, UsageError
from console.model.rows import Setting
from console.poolers.admin import ADMIN_DATABASE, APPLICATION_NAME, AdminReader, AdminWriter, Login
from console.poolers.door import refuses, tcp_door
from console.poolers.probe import log_in_only, query_as_client
from console.transport.base import Endpoint, Route, TcpAddress, Transport, UnixAddress

S = TypeVar("S", AdminReader, AdminWriter)
_TLS_MODES: Final = frozenset({"allow", "prefer", "require", "verify-ca", "verify-full"})
KNOCK_LIMIT_S: Final = 1.0
"""A door that is shut says so at once."""
_MAY_BE_THE_TUNNEL: Final = frozenset({Phase.CONNECT, Phase.TLS, Phase.PROTOCOL})


class PoolerConnector:
    """Opens admin sessions on the bouncers of one inventory. Safe to call concurrently."""

    def __init__(
        self,
        inventory: Inventory,
        transport: Transport,
        credentials: Passwords,
        *,
        clock: Clock | None = None,
        application_name: str = APPLICATION_NAME,
    ) -> None:
        self._bouncers = {bouncer.name: bouncer for bouncer in inventory.bouncers}
        self._default_timeout_s = inventory.defaults.connect_timeout_s
        self._transport = transport
        self._credentials = credentials
        self._clock = clock or SystemClock()
        self._application_name = application_name

    async def reader(self, name: str, *, as_admin: bool = False) -> AdminReader:
        """Return a session that can only SHOW, logged in as the monitor user.

        `as_admin`, or a bouncer without a monitor user, takes the admin user instead.

        Raises:
            NodeError: with the phase that failed: credentials, ssh, tunnel, connect, tls, auth, protocol.
        """
        return await self._open(AdminReader, name, as_admin=as_admin)

    async def writer(self, name: str) -> AdminWriter:
        """Return a session for operations, logged in as the admin user.

        Raises:
            NodeError: as `reader`; phase credentials when the inventory names no admin user.
        """
        return await self._open(AdminWriter, name, as_admin=True)

    async def lets_nobody_in(self, name: str, config: Mapping[str, Setting]) -> bool:
        """Say whether nothing listens any more at the TCP address of a bouncer that we are logged in to.

        False also when that cannot be told. Nothing is logged in, and the pooler logs nothing.

        Args:
            name: the bouncer's.
            config: as it told it; names the TCP address of one that is reached by its Unix socket.
        """
        bouncer = self._bouncer(name)
        route = route_of(bouncer)
        if bouncer.unix is not None:
            address = tcp_door(config)
            if address is None:
                return False
            route = Route(bouncer.host, address, tls=False)
        return await refuses(self._transport, route, KNOCK_LIMIT_S)

    async def probe(self, name: str) -> str:
        """Log in as a client would, run a query, and say in words what was tried.

        With a `probe_user` that is its login to `probe_database`; else only the admin console's.

        Raises:
            NodeError: with the phase that failed.
        """
        bouncer = self._bouncer(name)
        if bouncer.probe_user is None:
            await (await self.reader(name)).close()
            return "a login to the admin console"
        database = bouncer.probe_database or bouncer.probe_user
        await self.ask_as_client(name, database, "SELECT 1")
        return f"a query as {bouncer.probe_user} on {database}"

    async def ask_as_client(self, name: str, database: str, query: str) -> tuple[str | None, ...]:
        """Log in to a database as `probe_user` and return the first row of a query that changes nothing.

        Raises:
            NodeError: with the phase that failed; credentials without a `probe_user`.
        """
        bouncer = self._bouncer(name)
        if bouncer.probe_user is None:
            raise CredentialError("the inventory names no probe_user", where=name)
        source = bouncer.probe_password_from or bouncer.password_from
        login, timeout_s = await self._login(bouncer, bouncer.probe_user, source, database)
        try:
            return await query_as_client(login, timeout_s=timeout_s, query=query)
        except NodeError as failure:
            raise self._reason(bouncer, login.endpoint, failure) from None

    async def log_in_as(
        self, name: str, database: str, user: str, password: SecretStr, *, query: bool, timeout_s: float
    ) -> None:
        """Log in through a bouncer with a given password, and run a query when `query`; all in `timeout_s`.

        Raises:
            NodeError: phase `auth` when it is refused; DeadlineError: neither let in nor refused in time.
        """
        bouncer, login = await self._given(name, database, user, password)
        try:
            await (query_as_client if query else log_in_only)(login, timeout_s=timeout_s)
        except NodeError as failure:
            raise self._reason(bouncer, login.endpoint, failure) from None

    async def ask_as(
        self, name: str, database: str, user: str, password: SecretStr, query: str, *, timeout_s: float
    ) -> tuple[str | None, ...]:
        """Log in as `log_in_as` does, and return the first row of a query that changes nothing.

        Raises:
            NodeError: likewise.
        """
        bouncer, login = await self._given(name, database, user, password)
        try:
            return await query_as_client(login, timeout_s=timeout_s, query=query)
        except NodeError as failure:
            raise self._reason(bouncer, login.endpoint, failure) from None

    async def _given(self, name: str, database: str, user: str, password: SecretStr) -> tuple[Bouncer, Login]:
        bouncer = self._bouncer(name)
        limit_s = bouncer.connect_timeout_s or self._default_timeout_s
        endpoint = await self._transport.endpoint(route_of(bouncer), timeout_s=limit_s)
        return bouncer, Login(name, endpoint, user, password, _tls_parameters(bouncer, endpoint), database)

    async def _open(self, kind: type[S], name: str, *, as_admin: bool) -> S:
        bouncer = self._bouncer(name)
        user, source = _role(bouncer, as_admin=as_admin)
        login, timeout_s = await self._login(bouncer, user, source, ADMIN_DATABASE)
        try:
            return await kind.connect(login, timeout_s=timeout_s, clock=self._clock)
        except NodeError as failure:
            raise self._reason(bouncer, login.endpoint, failure) from None

    def _bouncer(self, name: str) -> Bouncer:
        bouncer = self._bouncers.get(name)
        if bouncer is None:
            raise UsageError(f'no bouncer "{name}" in this inventory')
        return bouncer

    async def _login(
        self, bouncer: Bouncer, user: str, source: str | None, database: str
    ) -> tuple[Login, float]:
        """Return a login and how long it may take."""
        timeout_s = bouncer.connect_timeout_s or self._default_timeout_s
        password = await self._credentials.password(
            source,
            user=user,
            node=bouncer.name,
            host=bouncer.tcp_host or (str(bouncer.unix) if bouncer.unix else None),
            port=bouncer.listen_port,
            database=database,
            timeout_s=timeout_s,
        )
        endpoint = await self._transport.endpoint(route_of(bouncer), timeout_s=timeout_s)
        tls = _tls_parameters(bouncer, endpoint)
        login = Login(bouncer.name, endpoint, user, password, tls, database, self._application_name)
        return login, timeout_s

    def _reason(self, bouncer: Bouncer, endpoint: Endpoint, failure: NodeError) -> NodeError:
        """Through a tunnel a driver sees no more than a closed socket; the tunnel knows why."""
        if bouncer.host is not None and failure.phase in _MAY_BE_THE_TUNNEL:
            return self._transport.failure_of(endpoint) or failure
        return failure


def route_of(bouncer: Bouncer) -> Route:
    """Return how to reach a bouncer's admin console."""
    if bouncer.unix is not None:
        return Route(bouncer.host, UnixAddress(str(bouncer.unix), bouncer.listen_port), tls=False)
    address = TcpAddress(bouncer.tcp_host or "", bouncer.listen_port)
    return Route(bouncer.host, address, tls=bouncer.sslmode in _TLS_MODES)


def _role(bouncer: Bouncer, *, as_admin: bool) -> tuple[str, str | None]:
    """Return the user to log in as and where its password comes from."""
    if as_admin:
        if bouncer.admin_user is None:
            raise CredentialError(
                "the inventory names no admin user, so nothing can be changed here",
                where=bouncer.name,
                hint="set admin_user for this bouncer or in [defaults]: one of its admin_users",
            )
        return bouncer.admin_user, bouncer.admin_password_from or bouncer.password_from
    if bouncer.monitor_user is not None:
        return bouncer.monitor_user, bouncer.monitor_password_from or bouncer.password_from
    if bouncer.admin_user is not None:
        return bouncer.admin_user, bouncer.admin_password_from or bouncer.password_from
    raise CredentialError(
        "the inventory names no user to log in as",
        where=bouncer.name,
        hint="set monitor_user for this bouncer or in [defaults]: one of its stats_users",
    )


def _tls_parameters(bouncer: Bouncer, endpoint: Endpoint) -> dict[str, str]:
    """Return libpq's TLS keys; none for a Unix socket, where `admin` turns TLS off."""
    if endpoint.host.startswith("/"):
        return {}
    given = {
        "sslmode": bouncer.sslmode,
        "sslrootcert": bouncer.sslrootcert,
        "sslcert": bouncer.sslcert,
        "sslkey": bouncer.sslkey,
    }
    return {key: str(value) for key, value in given.items() if value is not None}
