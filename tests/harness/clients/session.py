"""One libpq connection on the event loop, as thin as can be: what it costs is added to what is measured.

It raises `Trouble` with the phase, and never retries: that is the client's.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Sequence

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

_BAD = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE)


class Trouble(Exception):
    """What went wrong in a transaction.

    Attributes:
        phase: `connect`, or the word of the statement: `BEGIN`, `INSERT`, `COMMIT`.
        sqlstate: None when libpq noticed it, not the server; at connect always.
    """

    def __init__(self, phase: str, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.phase = phase
        self.message = message
        self.sqlstate = sqlstate


class Session:
    """A logged-in connection; one query at a time."""

    def __init__(self, pgconn: pq.abc.PGconn, opened_s: float) -> None:
        self.opened_s = opened_s
        self.prepared = False
        self._pgconn = pgconn
        self._loop = asyncio.get_running_loop()
        # Registered once: adding and removing it at each wait is most of what a round trip would cost us.
        self._descriptor = pgconn.socket
        self._waiter: asyncio.Future[None] | None = None
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._watching = False
        self._farewell: Trouble | None = None
        pgconn.notice_handler = self._noticed

    @classmethod
    async def open(cls, parameters: dict[str, str]) -> Session:
        """Connect and log in; the caller holds the deadline.

        Raises:
            Trouble: phase `connect`.
        """
        pgconn = pq.PGconn.connect_start(make_conninfo("", **parameters).encode())
        try:
            wanted: int = pq.PollingStatus.WRITING
            while wanted != pq.PollingStatus.OK:
                if pgconn.status == pq.ConnStatus.BAD or wanted == pq.PollingStatus.FAILED:
                    raise Trouble("connect", pgconn.get_error_message())
                await _ready(pgconn.socket, for_writing=wanted == pq.PollingStatus.WRITING)
                wanted = pgconn.connect_poll()
            pgconn.nonblocking = 1
            return cls(pgconn, asyncio.get_running_loop().time())
        except BaseException:
            pgconn.finish()
            raise

    def found_closed(self) -> Trouble | None:
        """Say how the far end has closed it since the last query, phase `idle`; None: it is open."""
        if not self._poll.poll(0):
            return None
        try:
            self._pgconn.consume_input()
            self._pgconn.is_busy()  # parses what came, which may be a mere notice
            if not self._poll.poll(0):
                return None
            self._pgconn.consume_input()
        except psycopg.OperationalError as error:
            self._pgconn.is_busy()  # what came before the end is parsed only now
            return self._farewell or Trouble("idle", str(error))
        if self._pgconn.status != pq.ConnStatus.BAD:
            return None
        return self._farewell or Trouble("idle", self._pgconn.get_error_message())

    async def query(self, statement: str) -> None:
        """Run one statement by the simple protocol.

        Raises:
            Trouble: phase is the statement's first word.
        """
        await self._run(statement.split(" ", 1)[0], lambda: self._pgconn.send_query(statement.encode()))

    async def prepare(self, name: str, statement: str, phase: str) -> None:
        """Prepare `statement`."""
        await self._run(phase, lambda: self._pgconn.send_prepare(name.encode(), statement.encode()))
        self.prepared = True

    async def run_prepared(self, name: str, values: Sequence[int], phase: str) -> None:
        """Run a prepared statement."""
        texts = [str(value).encode() for value in values]
        await self._run(phase, lambda: self._pgconn.send_query_prepared(name.encode(), texts))

    def close(self) -> None:
        """Say goodbye and close; never waits."""
        if self._watching:
            self._loop.remove_reader(self._descriptor)
            self._watching = False
        self._pgconn.finish()

    def _noticed(self, notice: pq.abc.PGresult) -> None:
        # libpq takes a FATAL between two queries for a notice.
        if notice.error_field(pq.DiagnosticField.SEVERITY) == b"FATAL":
            state, told = (
                (notice.error_field(which) or b"").decode(errors="replace")
                for which in (pq.DiagnosticField.SQLSTATE, pq.DiagnosticField.MESSAGE_PRIMARY)
            )
            self._farewell = Trouble("idle", told, state or None)

    async def _run(self, phase: str, send: Callable[[], None]) -> None:
        try:
            send()
            while self._pgconn.flush():
                await _ready(self._descriptor, for_writing=True)
            await self._results(phase)
        except psycopg.OperationalError as error:
            raise Trouble(phase, str(error)) from None

    async def _results(self, phase: str) -> None:
        refused: Trouble | None = None
        while True:
            while self._pgconn.is_busy():
                await self._readable()
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
            if result is None:
                break
            if result.status in _BAD and refused is None:
                told = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
                state = result.error_field(pq.DiagnosticField.SQLSTATE)
                text = told.decode(errors="replace") if told else result.get_error_message()
                refused = Trouble(phase, text, state.decode() if state else None)
        if refused is not None:
            raise refused

    async def _readable(self) -> None:
        self._waiter = self._loop.create_future()
        self._loop.add_reader(self._descriptor, self._wake)
        self._watching = True
        await self._waiter

    def _wake(self) -> None:
        # Level-triggered: left registered it would fire until somebody has read.
        self._loop.remove_reader(self._descriptor)
        self._watching = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def _ready(descriptor: int, *, for_writing: bool) -> None:
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if for_writing else (loop.add_reader, loop.remove_reader)
    )

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    add(descriptor, wake)
    try:
        await waiter
    finally:
        remove(descriptor)
