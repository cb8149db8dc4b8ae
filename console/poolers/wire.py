"""One libpq connection on the running event loop: log in, then one simple query at a time.

It drives `psycopg.pq` (libpq) itself, for three reasons. A failed login must name its phase, and only
the connection's own states tell it. An admin console takes the simple query protocol and nothing else,
so nothing that could prepare, bind or open a transaction stands between us and the socket. And a fleet
is polled every second: the socket stays registered with the loop, and rows are loaded by psycopg's C
code in slices (`rows_of`), so that neither a cursor nor a per-cell call is paid for.

It must not know what a statement means; `admin` says what may be sent. Every wait has a deadline.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from console.errors import DeadlineError, LostConnection, NodeError, Phase
from console.poolers.failures import login_failure, tidy

_OK: Final = pq.ConnStatus.OK
_BAD: Final = pq.ConnStatus.BAD
_FATAL: Final = pq.ExecStatus.FATAL_ERROR
_TLS_RECHECK_S: Final = 0.02
_TLS_RECHECKS: Final = 3
_GRAVE: Final = frozenset({b"ERROR", b"FATAL", b"PANIC"})
_STAGES: Final = {
    pq.ConnStatus.STARTED: Phase.CONNECT,
    pq.ConnStatus.NEEDED: Phase.CONNECT,
    pq.ConnStatus.MADE: Phase.CONNECT,
    pq.ConnStatus.SSL_STARTUP: Phase.TLS,
    pq.ConnStatus.AWAITING_RESPONSE: Phase.PROTOCOL,
    pq.ConnStatus.AUTHENTICATING: Phase.AUTH,
    pq.ConnStatus.AUTH_OK: Phase.AUTH,
}


class LoginProgress:
    """The phase a login has reached: kept outside it, so that it can be told when time runs out."""

    __slots__ = ("stage",)

    def __init__(self) -> None:
        self.stage: Phase = Phase.CONNECT


async def log_in(
    parameters: Mapping[str, str],
    password: SecretStr | None,
    progress: LoginProgress,
    *,
    where: str,
) -> Link:
    """Connect and log in with libpq `parameters`; the caller holds the deadline.

    Raises:
        NodeError: phase connect, tls, auth or protocol.
    """
    pgconn = pq.PGconn.connect_start(_conninfo(parameters, password))
    try:
        await _poll(pgconn, progress, where=where, user=parameters.get("user", ""))
        pgconn.nonblocking = 1
        return Link(pgconn, where=where)
    except BaseException:
        pgconn.finish()
        raise


def _conninfo(parameters: Mapping[str, str], password: SecretStr | None) -> bytes:
    # The only place a password is in clear; it is kept in no variable that a traceback could show.
    if password is None:
        return make_conninfo("", **parameters).encode()
    return make_conninfo("", **parameters, password=password.get_secret_value()).encode()


async def _poll(pgconn: pq.abc.PGconn, progress: LoginProgress, *, where: str, user: str) -> None:
    loop = asyncio.get_running_loop()
    # As PQconnectPoll's manual says: behave as if it had last asked for a writable socket.
    wanted: int = pq.PollingStatus.WRITING
    while True:
        if pgconn.status == _BAD:
            raise login_failure(progress.stage, pgconn.get_error_message(), where=where, user=user)
        before = pgconn.status
        progress.stage = _stage(before, progress.stage)
        await _ready(loop, pgconn.socket, for_writing=wanted == pq.PollingStatus.WRITING)
        wanted = pgconn.connect_poll()
        if wanted == pq.PollingStatus.OK:
            return
        if wanted == pq.PollingStatus.FAILED:
            raise login_failure(progress.stage, pgconn.get_error_message(), where=where, user=user)
        if before == pgconn.status == pq.ConnStatus.AWAITING_RESPONSE:
            # It was readable and the login goes on: the server has asked for a proof of who we are.
            progress.stage = Phase.AUTH


def _stage(status: int, reached: Phase) -> Phase:
    stage = _STAGES.get(pq.ConnStatus(status), reached)
    if reached is Phase.AUTH and stage is Phase.PROTOCOL:
        return reached
    return stage


async def _ready(loop: asyncio.AbstractEventLoop, descriptor: int, *, for_writing: bool) -> None:
    waiter: asyncio.Future[None] = loop.create_future()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if for_writing else (loop.add_reader, loop.remove_reader)
    )
    add(descriptor, _set, waiter)
    try:
        await waiter
    finally:
        remove(descriptor)


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Link:
    """A logged-in connection. Not safe for two queries at once: the caller queues them.

    A query that fails for any reason but an ERROR answer closes the link, since a late answer could be
    taken for the next one's.
    """

    __slots__ = (
        "_descriptor",
        "_farewell",
        "_loop",
        "_lost",
        "_pgconn",
        "_recheck",
        "_rechecks_left",
        "_results",
        "_tls",
        "_waiter",
        "notices",
        "where",
    )

    def __init__(self, pgconn: pq.abc.PGconn, *, where: str) -> None:
        self.where = where
        self.notices: deque[str] = deque(maxlen=16)
        """What the pooler said beside its answers, oldest first."""
        self._pgconn = pgconn
        self._loop = asyncio.get_running_loop()
        self._descriptor = pgconn.socket
        self._tls = pgconn.ssl_in_use
        self._lost: str | None = None
        self._results: list[pq.abc.PGresult] = []
        self._waiter: asyncio.Future[list[pq.abc.PGresult]] | None = None
        self._farewell: str | None = None
        self._recheck: asyncio.TimerHandle | None = None
        self._rechecks_left = 0
        pgconn.notice_handler = self._on_notice
        self._loop.add_reader(self._descriptor, self._on_readable)

    @property
    def lost(self) -> str | None:
        """Why the link is gone; None while it is up. Seen at once, also while nothing is asked."""
        return self._lost

    def parameter(self, name: str) -> str | None:
        """Return a parameter the server reported at login."""
        value = self._pgconn.parameter_status(name.encode())
        return None if value is None else value.decode("utf-8", "replace")

    async def query(self, statement: bytes, timeout_s: float | None) -> list[pq.abc.PGresult]:
        """Send one statement and return its results, an ERROR answer included.

        Raises:
            NodeError: phase `protocol`; the link was already gone, nothing was sent.
            LostConnection: the link broke after sending.
            DeadlineError: no complete answer within `timeout_s`; the link is closed.
        """
        if self._lost is not None:
            raise NodeError(
                Phase.PROTOCOL,
                f"the session had ended before the question was sent: {self._lost}",
                where=self.where,
            )
        waiter = self._waiter = self._loop.create_future()
        self._results = []
        try:
            self._pgconn.send_query(statement)
            self._flush()
        except psycopg.Error:
            self._fail(self._why())
        expiry = None if timeout_s is None else self._loop.call_later(timeout_s, self._expire, timeout_s)
        try:
            results: list[pq.abc.PGresult] = await waiter
            return results
        except asyncio.CancelledError:
            self._fail("the question was given up")
            raise
        finally:
            self._waiter = None
            self._results = []
            if expiry is not None:
                expiry.cancel()

    def close(self) -> None:
        """Hang up. Safe to call twice; a waiting query gets LostConnection."""
        self._fail("closed by Pooldeck")

    def _flush(self) -> None:
        if self._pgconn.flush():
            self._loop.add_writer(self._descriptor, self._on_writable)

    def _on_writable(self) -> None:
        try:
            if not self._pgconn.flush():
                self._loop.remove_writer(self._descriptor)
        except psycopg.Error:
            self._fail(self._why())

    def _on_readable(self) -> None:
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                if self._waiter is None:
                    # An idle link: libpq has handed what came to the notice handler.
                    break
                result = pgconn.get_result()
                if result is None:
                    if not self._waiter.done():
                        self._waiter.set_result(self._results)
                    return
                self._results.append(result)
        except psycopg.Error:
            self._fail(self._why())
            return
        if pgconn.status == _BAD:
            self._fail(self._why())
        elif self._tls and self._waiter is not None:
            # OpenSSL may hold decrypted bytes, which do not make the socket readable again, and libpq
            # takes only as much at a time as its buffer has room for: look again, a bounded number of times.
            self._rechecks_left = _TLS_RECHECKS
            if self._recheck is None:
                self._recheck = self._loop.call_later(_TLS_RECHECK_S, self._look_again)

    def _look_again(self) -> None:
        self._recheck = None
        left = self._rechecks_left - 1
        if left < 0 or self._lost is not None or self._waiter is None or self._waiter.done():
            return
        self._on_readable()
        self._rechecks_left = left

    def _on_notice(self, result: pq.abc.PGresult) -> None:
        message = message_of(result)
        self.notices.append(message)
        if result.error_field(pq.DiagnosticField.SEVERITY) in _GRAVE:
            # libpq reports an ERROR or FATAL that nobody asked for as a notice: why an idle link ends.
            self._farewell = message

    def _why(self) -> str:
        for result in self._results:
            if result.status == _FATAL:
                return message_of(result)
        return self._farewell or tidy(self._pgconn.get_error_message())

    def _expire(self, limit_s: float) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(
                DeadlineError(
                    Phase.PROTOCOL,
                    f"no complete answer within {limit_s:g} s",
                    limit_s=limit_s,
                    where=self.where,
                    hint="the pooler may hang, or be busy with a large answer",
                )
            )
        self._fail(f"no complete answer within {limit_s:g} s")

    def _fail(self, why: str) -> None:
        """Close once; whoever waits is told why."""
        if self._lost is not None:
            return
        self._lost = why
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        if self._recheck is not None:
            self._recheck.cancel()
        self._pgconn.notice_handler = None
        self._pgconn.finish()
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(
                LostConnection(
                    Phase.PROTOCOL,
                    f"the connection broke before the answer was complete: {why}",
                    where=self.where,
                )
            )


def message_of(result: pq.abc.PGresult) -> str:
    """Return the primary message of an ERROR or NOTICE; libpq's own text when there is none."""
    raw = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
    if raw is None:
        return tidy(result.get_error_message())
    return raw.decode("utf-8", "replace")


def sqlstate_of(result: pq.abc.PGresult) -> str | None:
    """Return the five characters of an ERROR the server sent; None for one that libpq made itself."""
    raw = result.error_field(pq.DiagnosticField.SQLSTATE)
    return None if raw is None else raw.decode("ascii", "replace")
