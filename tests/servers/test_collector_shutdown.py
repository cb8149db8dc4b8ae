"""A bouncer that shuts down, and the session that watches it (trap T13): it is closed, and comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from console.config.schema import Inventory
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import MONITOR
from console.model.fleet import PoolerSnapshot, PoolerState, Resting, Unreachable
from tests.harness.servers import MakePgBouncer
from tests.servers.collector_kit import fresh, inventory_of, watching
from tests.servers.operations_kit import until

WAYS = [("1.24", "tcp"), ("1.24", "unix"), ("1.26", "tcp"), ("1.26", "unix")]


def fleet_of(server: PgBouncerServer, way: str) -> Inventory:
    if way == "tcp":
        return inventory_of({"edge": server.port})
    bouncer = {"name": "edge", "unix": str(server.socket_dir), "port": server.port, "monitor_user": MONITOR}
    return Inventory.model_validate({"fleet": "test", "environment": "development", "bouncers": [bouncer]})


def shutdown(pooler: PoolerSnapshot) -> bool:
    return pooler.state is PoolerState.SHUTDOWN


def shut_down(server: PgBouncerServer) -> None:
    with server.admin() as console:
        console.execute("SHUTDOWN WAIT_FOR_CLIENTS")


@pytest.mark.parametrize(("version", "way"), WAYS)
async def test_it_exits_although_it_was_watched_and_is_watched_again_when_it_is_started(
    make_pgbouncer: MakePgBouncer, tmp_path: Path, version: str, way: str
) -> None:
    server = make_pgbouncer(version)
    async with watching(fleet_of(server, way), server.secrets, tmp_path) as watched:
        await watched.until(
            "edge", lambda one: fresh(one) and one.sample is not None and bool(one.sample.stats)
        )
        shut_down(server)
        await asyncio.sleep(1)
        assert server.running, "a console keeps it: ours"
        watched.collector.rest("edge", "shutting down")
        await watched.until("edge", lambda one: not fresh(one))
        await until(lambda: not server.running)
        server.start()
        await watched.until("edge", fresh)


@pytest.mark.parametrize(("version", "way"), WAYS)
async def test_while_a_client_keeps_it_no_session_of_ours_stays(
    make_pgbouncer: MakePgBouncer, tmp_path: Path, version: str, way: str
) -> None:
    server = make_pgbouncer(version)
    async with watching(fleet_of(server, way), server.secrets, tmp_path) as watched:
        await watched.until(
            "edge", lambda one: fresh(one) and one.sample is not None and bool(one.sample.stats)
        )
        with server.connect() as client, server.admin() as console:
            client.execute("SELECT 1")
            console.execute("SHUTDOWN WAIT_FOR_CLIENTS")
            watched.collector.rest("edge", "shutting down")
            await watched.until("edge", shutdown)
            start = watched.store.generation
            await watched.until("edge", lambda _: watched.store.generation >= start + 8)
            assert all(shutdown(one) for one in watched.past("edge", since=start))
            # Over a Unix socket 1.26 lets us in for a moment, to see whether it is another one by now.
            await until(lambda: not any(MONITOR in row for row in console.execute("SHOW CLIENTS")))
            assert client.execute("SELECT 42").fetchone() == (42,)
        await until(lambda: not server.running)


async def test_a_socket_that_is_gone_says_that_the_process_is(
    make_pgbouncer: MakePgBouncer, tmp_path: Path
) -> None:
    server = make_pgbouncer("1.26")
    async with watching(fleet_of(server, "unix"), server.secrets, tmp_path) as watched:
        await watched.until("edge", fresh)
        shut_down(server)
        watched.collector.rest("edge", "shutting down")
        await watched.until("edge", lambda one: isinstance(one.freshness, Unreachable))
        assert not server.running


async def test_what_was_seen_to_exit_is_unreachable_as_any_other(
    make_pgbouncer: MakePgBouncer, tmp_path: Path
) -> None:
    server = make_pgbouncer("1.26")
    async with watching(fleet_of(server, "tcp"), server.secrets, tmp_path) as watched:
        await watched.until("edge", fresh)
        shut_down(server)
        watched.collector.rest("edge", "shutting down")
        seen = await watched.until("edge", shutdown)
        assert isinstance(seen.freshness, Resting)
        await until(lambda: not server.running)
        watched.collector.rest_over("edge")
        down = await watched.until("edge", lambda one: isinstance(one.freshness, Unreachable))
    assert isinstance(down.freshness, Unreachable)
    assert "refused" in down.freshness.error
