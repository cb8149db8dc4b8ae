"""Sessions on an admin console: `AdminReader` can only SHOW; `AdminWriter` carries out operations.

`AdminReader` has no way to send anything but one of `SHOWS`: words outside that set never reach the
connection. `SHOW FDS` is not in it (it stops the pooler and tells secrets; reference, T16).
`AdminWriter` is for `console.operations` alone; a session that ran a blocking command is thrown away.

Both speak the simple query protocol only, since an admin console drops whoever prepares a statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

from psycopg import pq
from pydantic import SecretStr

from console.clock import Clock, SystemClock
from console.errors import AdminError, DeadlineError, LostConnection, NodeError, Phase
from console.model.table import ResultTable
from console.poolers.failures import VERIFY_FAILED, login_deadline, login_failure, not_a_pooler
from console.poolers.results import RowLoader
from console.poolers.tls_reason import refused_because
from console.poolers.wire import Link, LoginProgress, log_in, message_of, sqlstate_of
from console.transport.base import Endpoint
from console.transport.resolve import addresses

ADMIN_DATABASE: Final = "pgbouncer"
APPLICATION_NAME: Final = "pooldeck"
SHOWS: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        word: f"SHOW {word}".encode()
        for word in (
            "VERSION",
            "STATE",
            "POOLS",
            "DATABASES",
            "LISTS",
            "STATS",
            "STATS_TOTALS",
            "STATS_AVERAGES",
            "TOTALS",
            "CONFIG",
            "USERS",
            "SERVERS",
            "CLIENTS",
            "SOCKETS",
            "ACTIVE_SOCKETS",
            "PEERS",
            "PEER_POOLS",
            "MEM",
            "DNS_HOSTS",
            "DNS_ZONES",
        )
    }
)
"""Everything a reader may ask, by its word."""
_NO_FILE: Final = "/nonexistent/pooldeck"
_FIXED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "client_encoding": "UTF8",
        # Consoles refuse `options` (reference, section 5); "" keeps $PGOPTIONS out.
        "options": "",
        "gssencmode": "disable",
        "target_session_attrs": "any",
        # Our own Credentials read pgpass; libpq must not find another password by itself.
        "passfile": _NO_FILE,
        "keepalives": "1",
        "keepalives_idle": "15",
        "keepalives_interval": "5",
        "keepalives_count": "3",
    }
)
_ERROR: Final = pq.ExecStatus.FATAL_ERROR


@dataclass(frozen=True, slots=True)
class Login:
    """What a session needs to log in to one admin console."""

    node: str
    """The bouncer's name in the inventory, for messages."""
    endpoint: Endpoint
    user: str
    password: SecretStr | None
    """None: log in without one (trust, peer, certificate)."""
    tls: Mapping[str, str] = field(default_factory=dict)
    """libpq's `sslmode`, `sslrootcert`, `sslcert`, `sslkey`; empty leaves libpq's defaults in force."""
    database: str = ADMIN_DATABASE
    """Another one than the admin console's is for `probe` only."""
    application_name: str = APPLICATION_NAME
    """What the pooler's lists of clients call the session."""


class _Session:
    """What both kinds of session share: logging in, asking, reading an answer."""

    __slots__ = ("_answer_us", "_clock", "_link", "_loader", "_turn", "version_text")

    def __init__(self, link: Link, version_text: str, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._loader = RowLoader()
        self._turn = asyncio.Lock()
        self._answer_us = 0
        self.version_text = version_text
        """What the pooler said it is at login, e.g. `PgBouncer 1.24.1`."""

    @classmethod
    async def connect(cls, login: Login, *, timeout_s: float, clock: Clock | None = None) -> Self:
        """Log in to the admin console; all of it within `timeout_s`.

        Raises:
            NodeError: phase connect, tls, auth, or protocol (not a pooler); DeadlineError when time is up.
        """
        progress = LoginProgress()
        try:
            async with asyncio.timeout(timeout_s):
                link = await open_link(login, progress, timeout_s)
        except TimeoutError:
            raise login_deadline(progress.stage, where=login.node, limit_s=timeout_s) from None
        try:
            version_text = _pooler_version(link)
        except NodeError:
            link.close()
            raise
        return cls(link, version_text, clock or SystemClock())

    @property
    def answer_us(self) -> int:
        """Time the last complete answer took from the question to its last byte; 0 before the first."""
        return self._answer_us

    @property
    def lost(self) -> str | None:
        """Why the session is over; None while it is usable. Known at once when the pooler hangs up."""
        return self._link.lost

    async def show(self, what: str, *, timeout_s: float) -> ResultTable:
        """Ask `SHOW what`, one of `SHOWS`, and return the answer as text.

        Raises:
            ValueError: `what` is not one of `SHOWS`; nothing was sent.
            AdminError: the console refused; the session stays usable.
            DeadlineError: no complete answer in time; the session is closed.
            LostConnection: the link broke; NodeError: it was gone before.
        """
        statement = SHOWS.get(what)
        if statement is None:
            raise ValueError(f"not something a reader may ask: SHOW {what}")
        result = await self._ask(statement, timeout_s)
        return await self._loader.table(result, self._answer_us)

    async def close(self) -> None:
        """Hang up. Safe to call twice."""
        self._link.close()

    async def _ask(self, statement: bytes, timeout_s: float | None) -> pq.abc.PGresult:
        async with self._turn:
            started = self._clock.monotonic_s()
            results = await self._link.query(statement, timeout_s)
            self._answer_us = int((self._clock.monotonic_s() - started) * 1_000_000)
        for result in results:
            if result.status == _ERROR:
                raise AdminError(message_of(result), sqlstate=sqlstate_of(result), where=self._link.where)
        if not results:
            raise NodeError(Phase.PROTOCOL, "answered with nothing at all", where=self._link.where)
        return results[0]


class AdminReader(_Session):
    """A long-lived session that can only SHOW. Several callers may ask at once; they take turns."""

    __slots__ = ()


class AdminWriter(_Session):
    """A session for operations; only `console.operations` may hold one."""

    __slots__ = ()

    async def execute(self, statement: str, timeout_s: float | None) -> str:
        """Send one statement as it stands and return its command tag, e.g. `PAUSE`.

        `timeout_s` None waits for ever: PAUSE has no limit of its own. Cancelling closes the session,
        and the statement may still take effect.

        Raises:
            AdminError: the console refused; the session stays usable.
            DeadlineError: no answer in time; the session is closed, the statement may still take effect.
            LostConnection: the link broke after sending: the outcome is unknown.
            NodeError: the session was over before; nothing was sent.
        """
        if "\0" in statement:
            raise ValueError("a statement cannot hold a zero byte")
        self._link.notices.clear()
        result = await self._ask(statement.encode(), timeout_s)
        tag = result.command_status
        return "" if tag is None else tag.decode("utf-8", "replace")

    @property
    def notices(self) -> tuple[str, ...]:
        """NOTICEs that came with the last statement, oldest first."""
        return tuple(self._link.notices)


async def open_link(login: Login, progress: LoginProgress, timeout_s: float) -> Link:
    """Log in; the endpoint's addresses are tried in turn, each with an equal share of the time left."""
    end = asyncio.get_running_loop().time() + timeout_s
    host = login.endpoint.host
    is_socket = host.startswith(("/", "@"))
    if is_socket or login.endpoint.hostaddr is not None:
        found: tuple[str | None, ...] = (login.endpoint.hostaddr,)
    else:
        found = await addresses(host, where=login.node)
    failure: NodeError | None = None
    for index, address in enumerate(found):
        share_s = (end - asyncio.get_running_loop().time()) / (len(found) - index)
        progress.stage = Phase.CONNECT
        try:
            async with asyncio.timeout(share_s):
                return await log_in(_parameters(login, address), login.password, progress, where=login.node)
        except TimeoutError:
            failure = login_deadline(progress.stage, where=login.node, limit_s=timeout_s)
        except NodeError as found_failure:
            failure = found_failure
            if VERIFY_FAILED in failure.message:
                failure = await _with_reason(failure, login, address, end)
        if failure.phase is not Phase.CONNECT:
            break
    if failure is None:
        raise NodeError(Phase.CONNECT, f'the name "{host}" has no address', where=login.node)
    raise failure


async def _with_reason(failure: NodeError, login: Login, address: str | None, end: float) -> NodeError:
    """Add why the certificate was refused, if that can be had in the time left."""
    root_cert = login.tls.get("sslrootcert")
    left_s = end - asyncio.get_running_loop().time()
    if address is None or root_cert is None or left_s <= 0:
        return failure
    reason = await refused_because(address, login.endpoint.port, root_cert=root_cert, limit_s=left_s)
    if reason is None:
        return failure
    return login_failure(Phase.TLS, f"{VERIFY_FAILED}: {reason}", where=login.node, user=login.user)


def _parameters(login: Login, address: str | None) -> dict[str, str]:
    parameters = {
        **_FIXED,
        "dbname": login.database,
        "host": login.endpoint.host,
        "port": str(login.endpoint.port),
        "user": login.user,
        "application_name": login.application_name,
        **login.tls,
    }
    if address is not None:
        parameters["hostaddr"] = address
    else:
        # A Unix socket: libpq speaks no TLS there, and must not look for its files.
        parameters["sslmode"] = "disable"
    return parameters


def _pooler_version(link: Link) -> str:
    """Return `PgBouncer X.Y.Z`, or refuse a server that is no PgBouncer.

    PgBouncer reports server_version `X.Y.Z/bouncer`; 1.26 adds `pgbouncer.version` (reference, section 5).
    """
    server_version = link.parameter("server_version") or ""
    if server_version.endswith("/bouncer"):
        return f"PgBouncer {server_version.removesuffix('/bouncer')}"
    own = link.parameter("pgbouncer.version")
    if own:
        # 1.26 sends it to application databases as well; the admin console is asked for by name.
        return f"PgBouncer {own.removeprefix('PgBouncer ')}"
    raise not_a_pooler(server_version, where=link.where)


__all__ = [
    "ADMIN_DATABASE",
    "SHOWS",
    "AdminError",
    "AdminReader",
    "AdminWriter",
    "DeadlineError",
    "Login",
    "LostConnection",
]
