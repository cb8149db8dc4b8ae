"""What the tests of keepers share: a host that is this machine, orders for real poolers, psycopg's truth."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from console.errors import DeadlineError, NodeError, Phase
from console.lab.bouncer import PgBouncerServer
from console.lab.process import read_stat
from console.lab.secrets import ADMIN, MONITOR
from console.operations.lease.keeper_order import KeeperOrder
from console.operations.lease.keepers import Keeper, KeeperOutcome, KeeperReport, KeeperResult, Keepers
from console.operations.sessions import IDENTITY_KEYS
from console.transport.base import CommandResult, Endpoint, Route, TcpAddress, UnixAddress
from console.transport.shell import command_line
from tests.harness.faults import FaultProxy
from tests.servers.operations_kit import is_paused

LIMIT_S = 20.0
"""For what must come; generous, since the machine may be busy."""
LONG_S = 600.0
"""A lease that does not end during a test."""


class ThisMachine:
    """A transport whose every host is this machine: it runs a command as sshd would, by a shell."""

    def __init__(self, runtime: Path | None = None) -> None:
        self.environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
        if runtime is not None:
            self.environment["XDG_RUNTIME_DIR"] = str(runtime)

    async def endpoint(self, route: Route, *, timeout_s: float) -> Endpoint:  # noqa: ARG002
        raise AssertionError("keepers need no tunnel")

    def failure_of(self, endpoint: Endpoint) -> NodeError | None:  # noqa: ARG002
        return None

    async def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        max_output_bytes: int = 1_048_576,  # noqa: ARG002
    ) -> CommandResult:
        def call() -> subprocess.CompletedProcess[bytes]:
            words = ["sh", "-c", command_line(argv)]
            return subprocess.run(
                words, input=stdin, capture_output=True, env=self.environment, timeout=timeout_s, check=False
            )

        try:
            done = await asyncio.to_thread(call)
        except subprocess.TimeoutExpired:
            raise DeadlineError(Phase.SSH, "too late", limit_s=timeout_s, where=host) from None
        return CommandResult(done.returncode, done.stdout, done.stderr, truncated=False)

    async def close(self) -> None:
        return


class Post:
    """One host with keepers, and the poolers they are for."""

    def __init__(self, keepers: Keepers, host: str = "here") -> None:
        self.keepers = keepers
        self.host = host
        self.armed: list[Keeper] = []
        self.way: FaultProxy | None = None
        """What can cut the way to the host."""

    async def arm(
        self,
        server: PgBouncerServer,
        database: str | None = None,
        *,
        password: str | None = None,
        **changes: Any,
    ) -> Keeper:
        """Arm a keeper; it lifts in ten minutes unless `ttl_s` says otherwise."""
        word = server.secrets.password(ADMIN) if password is None else password
        order = order_for_server(server, database, **changes)
        keeper = await self.keepers.arm(self.host, order, SecretStr(word), timeout_s=LIMIT_S)
        self.armed.append(keeper)
        return keeper

    async def report(self, keeper: Keeper) -> KeeperReport:
        """What a living or ended keeper says of itself."""
        found = await keeper.status(timeout_s=LIMIT_S)
        assert found is not None
        return found

    async def until(self, keeper: Keeper, check: Callable[[KeeperReport], bool]) -> KeeperReport:
        """Wait until a keeper's report is as wanted."""
        async with asyncio.timeout(LIMIT_S):
            while not check(report := await self.report(keeper)):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        return report

    async def until_found(self, keeper: Keeper) -> KeeperReport:
        """Wait until a keeper whose folder was lost is found again."""
        async with asyncio.timeout(LIMIT_S):
            while (report := await keeper.status(timeout_s=LIMIT_S)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return report

    async def result(self, keeper: Keeper) -> KeeperResult:
        """Wait for a keeper to end by itself."""
        report = await self.until(keeper, lambda report: report.result is not None and not report.alive)
        assert report.result is not None
        return report.result

    async def outcome(self, keeper: Keeper) -> KeeperOutcome | None:
        """How a keeper ended, found and taken away as by another console; tried until the way is there."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                with contextlib.suppress(NodeError):
                    reports = await self.keepers.collect(self.host, timeout_s=LIMIT_S)
                    found = [
                        each.result.outcome for each in reports if each.key == keeper.key and each.result
                    ]
                    # Only its own: other tests have keepers of this account.
                    await self.keepers.discard(self.host, [keeper.key], timeout_s=LIMIT_S)
                    return found[0]
                await asyncio.sleep(0.1)

    async def left(self, server: PgBouncerServer, *, remove: bool = False) -> list[KeeperReport]:
        """What is there of the keepers of one pooler."""
        reports = await self.keepers.collect(self.host, timeout_s=LIMIT_S, remove=remove)
        return [
            each for each in reports if each.bouncer == server.name and each.folder.startswith(_runtime())
        ]

    async def end(self) -> None:
        """Leave nothing on the host."""
        for keeper in self.armed:
            with contextlib.suppress(NodeError):
                await keeper.release(timeout_s=LIMIT_S)


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    """A post on this machine; import it to use it."""
    made = Post(Keepers(ThisMachine(Path(os.environ["XDG_RUNTIME_DIR"]))))
    yield made
    await made.end()


def order_for_server(server: PgBouncerServer, database: str | None = None, **changes: Any) -> KeeperOrder:
    """An order for a pooler of the test, over its Unix socket, with the statements a plan would have."""
    with server.admin(user=MONITOR) as console:
        settings = {row["key"]: row["value"] for row in rows(console, "CONFIG")}
    quoted = "" if database is None else f' "{database}"'
    lift = [f"RESUME{quoted}"]
    if database is not None:
        lift = [
            "SET server_login_retry = 0",
            *lift,
            f"SET server_login_retry = {settings['server_login_retry']}",
        ]
    order = KeeperOrder(
        lease_id=secrets.token_hex(8),
        bouncer=server.name,
        database=database,
        address=UnixAddress(str(server.socket_dir), server.port),
        user=ADMIN,
        sslmode="prefer",
        ca_pem=None,
        lift=tuple(lift),
        identity={key: settings[key] or "" for key in IDENTITY_KEYS if key in settings},
        ttl_s=LONG_S,
        connect_timeout_s=2.0,
        query_timeout_s=2.0,
    )
    return replace(order, **changes)


def over_tcp(server: PgBouncerServer, port: int | None = None) -> TcpAddress:
    """Its TCP address, or that of a proxy before it."""
    return TcpAddress(server.host, port or server.port)


def rows(console: psycopg.Connection[Any], what: str) -> list[dict[str, Any]]:
    """The answer to SHOW, by column names."""
    cursor = console.execute(f"SHOW {what}")
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def carried(console: psycopg.Connection[Any], database: str | None = None) -> int:
    """What went between clients and servers, as `keepers.carried_bytes` counts it."""
    return sum(
        int(row["total_received"] + row["total_sent"])
        for row in rows(console, "STATS")
        if row["database"] != "pgbouncer" and database in (None, row["database"])
    )


def paused(server: PgBouncerServer, database: str | None = None) -> bool:
    """The pooler's own word."""
    with server.admin() as console:
        return is_paused(console, database)


async def until_gone(pid: int | None) -> None:
    """Wait until a process has ended."""
    async with asyncio.timeout(LIMIT_S):
        while runs(pid):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


def runs(pid: int | None) -> bool:
    """Whether a process is there and no zombie."""
    stat = None if pid is None else read_stat(pid)
    return stat is not None and stat.state not in "ZX"


@contextlib.contextmanager
def serving(server: PgBouncerServer, database: str = "app") -> Iterator[psycopg.Connection[Any]]:
    """A client that has been served once, so that the pooler has carried something."""
    with server.connect(database) as client:
        client.execute("select 1")
        yield client


@contextlib.asynccontextmanager
async def cutting(server: PgBouncerServer, statement: str, *, answered: bool) -> AsyncIterator[TcpAddress]:
    """Stand before a pooler and cut, once, whoever sends `statement`; `answered`: after it took effect."""
    armed = True

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)

    async def serve(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        nonlocal armed
        answers, far = await asyncio.open_connection(server.host, server.port)
        pumping = asyncio.create_task(pump(answers, back))
        with contextlib.closing(back), contextlib.closing(far), contextlib.suppress(ConnectionError):
            while data := await near.read(65_536):
                if armed and statement.encode() in data:
                    armed = False
                    pumping.cancel()
                    if answered:
                        far.write(data)
                        await asyncio.gather(pumping, return_exceptions=True)
                        await answers.read(1)
                    return
                far.write(data)

    proxy = await asyncio.start_server(serve, server.host, 0)
    async with proxy:
        yield over_tcp(server, proxy.sockets[0].getsockname()[1])


def _runtime() -> str:
    """The folder of this test alone: in the other one, others' keepers may be."""
    return os.environ["XDG_RUNTIME_DIR"]
