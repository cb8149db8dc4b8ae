"""What the tests of operations share: a service on one real bouncer, its journal, its truth by psycopg."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import psycopg
from pydantic import SecretStr

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.config.schema import Bouncer, Inventory
from console.errors import NodeError
from console.guard.verdict import Confirm
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, MONITOR, Secrets
from console.operations.lease.base import Leases
from console.operations.outcome import EventKind, TargetReceipt
from console.operations.plan import Plan
from console.operations.reach import Reach
from console.operations.service import OperationService, Run
from console.operations.sessions import Connector
from console.poolers.connect import PoolerConnector
from console.transport.base import CommandResult, Endpoint, Route, TcpAddress
from tests.harness.leases import FakeLeases

LIMIT_S = 15.0


class Direct:
    """A transport that goes nowhere but straight."""

    async def endpoint(self, route: Route, *, timeout_s: float) -> Endpoint:  # noqa: ARG002
        address = route.address
        host = address.host if isinstance(address, TcpAddress) else address.directory
        return Endpoint(host=host, port=address.port)

    def failure_of(self, endpoint: Endpoint) -> NodeError | None:  # noqa: ARG002
        return None

    async def run(self, *_: Any, **__: Any) -> CommandResult:
        raise AssertionError("operations of this version run no remote command")

    async def close(self) -> None:
        return


class LabPasswords:
    """Passwords of the lab's roles."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def password(self, source: str | None, *, user: str, **_: Any) -> SecretStr:  # noqa: ARG002
        return SecretStr(self._secrets.password(user))


class Desk:
    """An operations service in front of one bouncer, called `edge`."""

    def __init__(
        self,
        server: PgBouncerServer,
        journal: Path,
        *,
        environment: Literal["development", "staging", "production"] = "development",
        read_only: bool = False,
        port: int | None = None,
    ) -> None:
        self.server = server
        self.journal_path = journal
        bouncer = Bouncer(
            name="edge",
            tcp=f"{server.host}:{port or server.port}",
            sslmode="disable",
            admin_user=ADMIN,
            monitor_user=MONITOR,
            connect_timeout_s=2,
            query_timeout_s=2,
        )
        self.inventory = Inventory(fleet="test", environment=environment, bouncers=(bouncer,))
        self.clock = SystemClock()
        self.read_only = read_only
        self.journal = Journal(journal, self.clock, Actor.current({}))
        self.use(PoolerConnector(self.inventory, Direct(), LabPasswords(server.secrets)))

    def use(self, connector: Connector) -> None:
        """Make the service on `connector`."""
        self.connector = connector
        self.leases: Leases = FakeLeases()
        self.service = OperationService(
            self.inventory,
            Reach(connector, leases=self.leases),
            self.journal,
            self.clock,
            read_only=self.read_only,
        )

    async def start(self, op: str, selector: str = "edge", **parameters: Any) -> Run:
        """Plan, confirm and submit. A pause may hold for 10 s: with a long timeout 30 s would be too long."""
        if op == "pause":
            parameters.setdefault("hold_s", 10)
        return self.submit(await self.service.plan(op, selector, **parameters))

    def submit(self, plan: Plan) -> Run:
        """Confirm and submit a plan."""
        verdict = self.service.judge(plan)
        phrase = verdict.phrase if isinstance(verdict, Confirm) else None
        return self.service.submit(plan, self.service.permit(plan, verdict, phrase))

    async def hold(self, selector: str = "edge", **parameters: Any) -> Run:
        """Pause and return the run once it holds; `let_go` ends it."""
        run = await self.start("pause", selector, **parameters)
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if event.kind is EventKind.HOLDING:
                    return run
        raise AssertionError(f"not held: {(await run.receipt()).targets}")

    async def let_go(self, run: Run) -> TargetReceipt:
        """End a hold and return the receipt."""
        run.end_hold()
        return await self.finish(run)

    async def do(self, op: str, selector: str = "edge", **parameters: Any) -> TargetReceipt:
        """Carry an operation out and return its receipt. A pause is held for no time."""
        if op == "pause":
            parameters.setdefault("hold_s", 0)
        return await self.finish(await self.start(op, selector, **parameters))

    async def finish(self, run: Run) -> TargetReceipt:
        """Wait for a run's receipt."""
        async with asyncio.timeout(LIMIT_S * 2):
            return (await run.receipt()).targets[0]

    def records(self) -> list[dict[str, Any]]:
        """The journal's records."""
        if not self.journal_path.exists():
            return []
        return [json.loads(line) for line in self.journal_path.read_text().splitlines()]

    def is_paused(self, database: str | None = None) -> bool:
        """Ask the bouncer itself, by a session of the test's own."""
        with self.server.admin() as console:
            return is_paused(console, database)


def is_paused(console: psycopg.Connection[Any], database: str | None = None) -> bool:
    """Say whether a bouncer, or one of its databases, is paused."""
    if database is None:
        try:
            console.execute("PAUSE pgbouncer")
        except psycopg.Error as error:
            return "already" in str(error)
        raise AssertionError("the probe was not refused")
    cursor = console.execute("SHOW DATABASES")
    names = [column.name for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return next(bool(row["paused"]) for row in rows if row["name"] == database)


async def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Wait until `condition()` holds; it is asked in a thread."""
    async with asyncio.timeout(limit_s):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - the condition is another process
            await asyncio.sleep(0.02)
