"""From a bouncer's name to a session: route, role, password, and whose fault a failure is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from console.config.schema import Bouncer, Defaults, Inventory
from console.errors import CredentialError, DeadlineError, NodeError, Phase, UsageError
from console.lab.simulator import SimulatedFleet
from console.poolers.admin import AdminReader, AdminWriter
from console.poolers.connect import PoolerConnector, route_of
from console.transport.base import Endpoint, Route, TcpAddress, UnixAddress
from console.transport.fake import FakeTransport
from tests.harness.faults import refusing_port, silent_port


class Asked:
    """Credentials that note what they were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, dict[str, Any]]] = []

    async def password(self, source: str | None, **wanted: Any) -> SecretStr | None:
        self.asked.append((source, wanted))
        return None


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with SimulatedFleet(bouncers=1) as fleet:
        yield fleet.ports[0]


def connector(
    bouncer: Bouncer,
    port: int,
    credentials: Asked | None = None,
    reason: NodeError | None = None,
) -> PoolerConnector:
    """A connector whose transport ends at `port`, and knows `reason` when that fails."""
    endpoint = Endpoint("127.0.0.1", port)
    transport = FakeTransport(
        endpoints={route_of(bouncer): endpoint}, failures={} if reason is None else {endpoint: reason}
    )
    inventory = Inventory(
        fleet="t",
        environment="development",
        defaults=Defaults(),
        bouncers=(bouncer,),
    )
    return PoolerConnector(inventory, transport, credentials or Asked())


def bouncer(**changes: Any) -> Bouncer:
    given = {
        "name": "edge-1",
        "tcp": "10.0.0.7:6432",
        "sslmode": "disable",
        "monitor_user": "monitor",
        "admin_user": "admin",
        **changes,
    }
    return Bouncer(**{key: value for key, value in given.items() if value is not None})


async def test_each_kind_of_session_logs_in_as_its_role(port: int) -> None:
    credentials = Asked()
    entry = bouncer(password_from="pgpass", admin_password_from="env:ADMIN_PW")
    made = connector(entry, port, credentials)
    reader, admin, writer = (
        await made.reader("edge-1"),
        await made.reader("edge-1", as_admin=True),
        await made.writer("edge-1"),
    )
    assert (type(reader), type(admin), type(writer)) == (AdminReader, AdminReader, AdminWriter)
    assert [(source, wanted["user"]) for source, wanted in credentials.asked] == [
        ("pgpass", "monitor"),
        ("env:ADMIN_PW", "admin"),
        ("env:ADMIN_PW", "admin"),
    ]
    # The address the inventory names, not the near end: that is what a line of ~/.pgpass holds.
    assert {(wanted["host"], wanted["port"]) for _, wanted in credentials.asked} == {("10.0.0.7", 6432)}
    assert await writer.execute("RELOAD", 5) == "RELOAD"
    for session in (reader, admin, writer):
        await session.close()


async def test_without_a_monitor_user_the_admin_reads(port: int) -> None:
    credentials = Asked()
    made = connector(bouncer(monitor_user=None), port, credentials)
    reader = await made.reader("edge-1")
    assert credentials.asked[0][1]["user"] == "admin"
    await reader.close()


async def test_without_an_admin_user_nothing_can_be_changed() -> None:
    made = connector(bouncer(admin_user=None), 1)
    with pytest.raises(CredentialError, match="names no admin user") as caught:
        await made.writer("edge-1")
    assert caught.value.where == "edge-1"
    assert "admin_user" in (caught.value.hint or "")


async def test_without_any_user_the_inventory_is_blamed() -> None:
    made = connector(bouncer(admin_user=None, monitor_user=None), 1)
    with pytest.raises(CredentialError, match="names no user"):
        await made.reader("edge-1")


async def test_an_unknown_name_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match='no bouncer "edge-9"'):
        await connector(bouncer(), 1).reader("edge-9")


async def test_a_tunnels_own_reason_is_told_instead_of_a_closed_socket() -> None:
    reason = NodeError(Phase.TUNNEL, "the far end refused", where="host a")
    with refusing_port() as refused:
        made = connector(bouncer(host="a"), refused, reason=reason)
        with pytest.raises(NodeError) as caught:
            await made.reader("edge-1")
    assert caught.value is reason


async def test_a_tunnel_that_knows_nothing_leaves_the_drivers_reason() -> None:
    with refusing_port() as refused:
        made = connector(bouncer(host="a"), refused)
        with pytest.raises(NodeError, match="Connection refused"):
            await made.reader("edge-1")


async def test_the_inventorys_limit_holds() -> None:
    with silent_port() as silent:
        made = connector(bouncer(connect_timeout_s=0.2), silent)
        with pytest.raises(DeadlineError) as caught:
            await made.reader("edge-1")
    assert caught.value.limit_s == 0.2


@pytest.mark.parametrize(
    ("changes", "route"),
    [
        ({}, Route(None, TcpAddress("10.0.0.7", 6432), tls=False)),
        ({"sslmode": None, "host": "a"}, Route("a", TcpAddress("10.0.0.7", 6432), tls=False)),
        ({"sslmode": "verify-full"}, Route(None, TcpAddress("10.0.0.7", 6432), tls=True)),
        ({"sslmode": "require", "host": "a"}, Route("a", TcpAddress("10.0.0.7", 6432), tls=True)),
        ({"tcp": "[::1]:7000"}, Route(None, TcpAddress("::1", 7000), tls=False)),
        (
            {"tcp": None, "unix": Path("/run/pgb"), "port": 6433, "host": "a", "sslmode": "require"},
            Route("a", UnixAddress("/run/pgb", 6433), tls=False),
        ),
    ],
)
def test_a_route_follows_from_the_inventory(changes: dict[str, Any], route: Route) -> None:
    assert route_of(bouncer(**changes)) == route
