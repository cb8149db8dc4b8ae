"""A pooler that shuts down accepts PAUSE and refuses RESUME (traps T12, T14): it is not paused as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.config.schema import Bouncer, Inventory
from console.errors import NodeError
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, MONITOR
from console.operations.outcome import Outcome
from console.operations.reach import Reach
from console.operations.service import OperationService
from console.poolers.connect import PoolerConnector
from console.transport.base import Transport
from tests.harness.leases import FakeLeases
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import Desk, Direct, LabPasswords
from tests.servers.ssh_kit import SshKit, kit

__all__ = ["kit"]


class UnixDesk(Desk):
    """A service that reaches `edge` by its Unix socket, straight or over SSH."""

    def __init__(
        self, server: PgBouncerServer, journal: Path, transport: Transport, host: str | None
    ) -> None:
        self.server = server
        self.journal_path = journal
        edge = Bouncer(
            name="edge",
            host=host,
            unix=server.socket_dir,
            port=server.port,
            admin_user=ADMIN,
            monitor_user=MONITOR,
            query_timeout_s=2,
        )
        self.inventory = Inventory.model_validate(
            {
                "fleet": "test",
                "environment": "development",
                "bouncers": [edge],
                "hosts": {host: {}} if host else {},
            }
        )
        self.clock = SystemClock()
        self.read_only = False
        self.journal = Journal(journal, self.clock, Actor.current({}))
        self.connector = PoolerConnector(self.inventory, transport, LabPasswords(server.secrets))
        self.leases = FakeLeases()
        self.service = OperationService(
            self.inventory,
            Reach(self.connector, transport=transport, leases=self.leases),
            self.journal,
            self.clock,
            read_only=False,
        )


@pytest_asyncio.fixture(params=["direct", "ssh"])
async def desk(
    make_pgbouncer: MakePgBouncer, kit: SshKit, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[UnixDesk]:
    server = make_pgbouncer("1.26")
    journal = tmp_path / "state" / "journal.jsonl"
    if request.param == "direct":
        desk = UnixDesk(server, journal, Direct(), None)
        async with desk.service:
            yield desk
        return
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        desk = UnixDesk(server, journal, transport, "a")
        async with desk.service:
            yield desk


@pytest.mark.trap("T12", "T14")
async def test_one_that_shuts_down_is_not_paused(desk: UnixDesk) -> None:
    planned = (await desk.service.plan("pause", "edge")).targets[0]
    assert planned.blocked is None
    with desk.server.connect() as client, desk.server.admin() as console:
        client.execute("SELECT 1")
        console.execute("SHUTDOWN WAIT_FOR_CLIENTS")
        plan = await desk.service.plan("pause", "edge")
        assert "it shuts down" in (plan.targets[0].blocked or "")
        assert f"nothing listens on 127.0.0.1:{desk.server.port}" in (plan.targets[0].blocked or "")
        assert client.execute("SELECT 42").fetchone() == (42,)


async def test_a_plan_made_before_the_shutdown_is_refused(desk: UnixDesk) -> None:
    plan = await desk.service.plan("pause", "edge", hold_s=0)
    with desk.server.connect() as client, desk.server.admin() as console:
        client.execute("SELECT 1")
        console.execute("SHUTDOWN WAIT_FOR_CLIENTS")
        receipt = await desk.finish(desk.submit(plan))
        assert (receipt.outcome, receipt.exchanges) == (Outcome.SKIPPED, ())
        assert "shutting down: absent → yes" in receipt.detail
        assert client.execute("SELECT 42").fetchone() == (42,)


async def test_one_of_its_databases_can_be_paused_since_that_pause_can_be_ended(desk: UnixDesk) -> None:
    with desk.server.connect() as client, desk.server.admin() as console:
        client.execute("SELECT 1")
        console.execute("SHUTDOWN WAIT_FOR_CLIENTS")
        receipt = await desk.do("pause", "edge/app")
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "running"), receipt.detail
        assert client.execute("SELECT 42").fetchone() == (42,)


@pytest.mark.parametrize("way", ["tcp", "unix"])
@pytest.mark.trap("T12", "T14")
async def test_an_older_one_lets_nobody_in_so_nothing_can_be_sent(
    make_pgbouncer: MakePgBouncer, tmp_path: Path, way: str
) -> None:
    server = make_pgbouncer("1.24")
    journal = tmp_path / "journal.jsonl"
    desk = Desk(server, journal) if way == "tcp" else UnixDesk(server, journal, Direct(), None)
    async with desk.service:
        with server.connect() as client, server.admin() as console:
            client.execute("SELECT 1")
            console.execute("SHUTDOWN WAIT_FOR_CLIENTS")
            with pytest.raises(NodeError, match=r"refused|No such file"):
                await desk.service.plan("pause", "edge")
            assert client.execute("SELECT 42").fetchone() == (42,)
