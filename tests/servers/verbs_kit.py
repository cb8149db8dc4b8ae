"""What the tests of verbs share: a desk that also knows a Postgres node, and clients that keep working."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.config.schema import Bouncer, Inventory, PostgresNode, Process
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.lab.secrets import ADMIN, MONITOR, SUPERUSER
from console.operations.plan import TargetPlan
from console.operations.reach import Reach
from console.operations.service import OperationService
from console.poolers.connect import PoolerConnector
from console.postgres.activity import PostgresActivity, PostgresBackends
from console.postgres.connect import PostgresConnector
from console.postgres.sessions import PostgresNodes
from console.transport.base import Transport
from tests.harness.leases import FakeLeases
from tests.servers.operations_kit import LIMIT_S, Desk, Direct, LabPasswords, until

BETWEEN_S = 0.02
JOIN_S = 10.0


class VerbDesk(Desk):
    """A service in front of one bouncer, `edge`, and the Postgres node behind it, `primary`."""

    def __init__(
        self,
        server: PgBouncerServer,
        postgres: PostgresServer,
        journal: Path,
        *,
        node_user: str = SUPERUSER,
        unix: bool = False,
        host: str | None = None,
        transport: Transport | None = None,
        patience_s: float = 2.0,
        process: Process | None = None,
    ) -> None:
        """`host` is one of `transport`'s; `patience_s` is how long a login may take."""
        self.server = server
        self.journal_path = journal
        where: dict[str, Any] = (
            {"unix": server.socket_dir, "port": server.port}
            if unix
            else {"tcp": f"{server.host}:{server.port}"}
        )
        bouncer = Bouncer(
            name="edge",
            host=host,
            sslmode="disable",
            admin_user=ADMIN,
            monitor_user=MONITOR,
            connect_timeout_s=patience_s,
            query_timeout_s=2,
            process=process,
            **where,
        )
        node = PostgresNode(
            name="primary",
            role="primary",
            tcp=f"{postgres.host}:{postgres.port}",
            sslmode="disable",
            user=node_user,
            connect_timeout_s=3,
            query_timeout_s=3,
        )
        self.inventory = Inventory(
            fleet="test", environment="development", bouncers=(bouncer,), postgres=(node,)
        )
        self.clock = SystemClock()
        self.read_only = False
        self.journal = Journal(journal, self.clock, Actor.current({}))
        passwords = LabPasswords(server.secrets)
        nodes = PostgresConnector(self.inventory, Direct(), passwords)
        self.connector = PoolerConnector(self.inventory, transport or Direct(), passwords)
        self.leases = FakeLeases()
        self.service = OperationService(
            self.inventory,
            Reach(
                self.connector,
                transport=transport,
                nodes=PostgresNodes(nodes, self.inventory),
                backends=PostgresBackends(PostgresActivity(nodes), ["primary"], limit_s=3),
                leases=self.leases,
            ),
            self.journal,
            self.clock,
            read_only=False,
        )

    async def one(self, op: str, selector: str = "edge", **parameters: Any) -> TargetPlan:
        """Return the plan of a verb's only target."""
        plan = await self.service.plan(op, selector, **parameters)
        return plan.targets[0]


class Sleeper:
    """A client in the middle of a long query; `error` is what ended it."""

    def __init__(self, server: PgBouncerServer, name: str, database: str = "app") -> None:
        self.client = server.connect(database, application_name=name)
        self.client.execute("SELECT 1")
        self.error: str | None = None
        self._thread = threading.Thread(target=self._sleep)
        self._thread.start()

    def _sleep(self) -> None:
        try:
            self.client.execute("SELECT pg_sleep(60)")
        except psycopg.Error as error:
            self.error = message_of(error)

    async def ended(self) -> str | None:
        """Wait for its end and return what it was told."""
        await asyncio.to_thread(self._thread.join, LIMIT_S)
        self.client.close()
        return self.error


@contextmanager
def without_signals(postgres: PostgresServer) -> Iterator[None]:
    """Take pg_signal_backend from the role that the lab gives Pooldeck."""
    with postgres.connect() as session:
        session.execute(f"REVOKE pg_signal_backend FROM {MONITOR}")
        try:
            yield
        finally:
            session.execute(f"GRANT pg_signal_backend TO {MONITOR}")


def backends_asleep(postgres: PostgresServer) -> set[int]:
    with postgres.connect() as session:
        rows = session.execute(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%' AND state = 'active'"
        ).fetchall()
    return {row[0] for row in rows}


def end_backends(postgres: PostgresServer) -> None:
    with postgres.connect() as session:
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE 'SELECT pg_sleep(60)%' AND state = 'active'"
        )


class Load:
    """Clients that run short transactions through a bouncer, each again after an error, until the end."""

    def __init__(self, server: PgBouncerServer, database: str = "app", clients: int = 3) -> None:
        self.errors: list[str] = []
        self.done = 0
        self._server = server
        self._database = database
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._began = [threading.Event() for _ in range(clients)]
        self._threads = [threading.Thread(target=self._work, args=(began,)) for began in self._began]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        for began in self._began:
            assert began.wait(JOIN_S), f"a client could not begin: {self.errors}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(JOIN_S)

    async def works_on(self, count: int = 20) -> None:
        """Wait until so many more transactions are done."""
        wanted = self.done + count
        await until(lambda: self.done >= wanted)

    def _work(self, began: threading.Event) -> None:
        client: psycopg.Connection[Any] | None = None
        while not self._stop.is_set():
            try:
                if client is None:
                    client = self._server.connect(self._database)
                with client.transaction():
                    client.execute("SELECT pg_sleep(0.01)")
                with self._lock:
                    self.done += 1
                began.set()
            except psycopg.Error as error:
                with self._lock:
                    self.errors.append(message_of(error))
                if client is not None:
                    client.close()
                client = None
            self._stop.wait(BETWEEN_S)
        if client is not None:
            client.close()


def message_of(error: psycopg.Error) -> str:
    """Return what the pooler or server said, without libpq's words around it."""
    text = error.diag.message_primary or str(error).strip().splitlines()[0]
    return text.rpartition("FATAL:  ")[2].strip()


def table(console: psycopg.Connection[Any], what: str) -> list[dict[str, Any]]:
    """Return the answer to `SHOW what`."""
    cursor = console.execute(f"SHOW {what}")
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def shown(server: PgBouncerServer, what: str) -> list[dict[str, Any]]:
    """Return the answer to `SHOW what`, over a session of its own."""
    with server.admin() as console:
        return table(console, what)


def setting(server: PgBouncerServer, key: str) -> str:
    """Return a setting's value."""
    return str(next(row["value"] for row in shown(server, "CONFIG") if row["key"] == key))


def client_row(server: PgBouncerServer, application_name: str) -> dict[str, Any]:
    """Return the row of SHOW CLIENTS of the client with this application name."""
    (row,) = [row for row in shown(server, "CLIENTS") if row["application_name"] == application_name]
    return row
