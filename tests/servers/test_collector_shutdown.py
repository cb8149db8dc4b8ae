"""A bouncer that shuts down, and the session that watches it (trap T13): it is closed, and comes back."""

from __future__ import annotations

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


def read_in_full(pooler: PoolerSnapshot) -> bool:
    sample = pooler.sample
    return fresh(pooler) and sample is not None and sample.stats is not None and sample.config is not None


def has_a_client(pooler: PoolerSnapshot) -> bool:
    pools = pooler.sample.pools if pooler.sample is not None else ()
    return read_in_full(pooler) and any(pool.cl_active for pool in pools if pool.database == "app")


def shutdown(pooler: PoolerSnapshot) -> bool:
    return pooler.state is PoolerState.SHUTDOWN


def shut_down(server: PgBouncerServer) -> None:
    with server.admin() as console:
        console.execute("SHUTDOWN WAIT_FOR_CLIENTS")


@pytest.mark.parametrize(("version", "way"), WAYS)
@pytest.mark.trap("T13")
async def test_whoever_shuts_it_down_it_exits_and_is_watched_again_when_it_is_started(
    make_pgbouncer: MakePgBouncer, tmp_path: Path, version: str, way: str
) -> None:
    server = make_pgbouncer(version)
    async with watching(fleet_of(server, way), server.secrets, tmp_path) as watched:
        with server.connect() as client:
            client.execute("SELECT 1")
            await watched.until("edge", has_a_client)
            shut_down(server)
            start = watched.store.generation
            await watched.until("edge", lambda _: watched.store.generation >= start + 5)
            assert all(fresh(one) for one in watched.past("edge", since=start)), "it still has clients"
        await until(lambda: not server.running)
        server.start()
        await watched.until("edge", fresh)


@pytest.mark.parametrize(("version", "way"), WAYS)
async def test_no_session_of_ours_stays_on_one_that_is_known_to_shut_down(
    make_pgbouncer: MakePgBouncer, tmp_path: Path, version: str, way: str
) -> None:
    server = make_pgbouncer(version)
    async with watching(fleet_of(server, way), server.secrets, tmp_path) as watched:
        with server.connect() as client, server.admin() as console:
            client.execute("SELECT 1")
            await watched.until("edge", has_a_client)
            console.execute("SHUTDOWN WAIT_FOR_CLIENTS")
            watched.collector.rest("edge", "shutting down")
            seen = await watched.until("edge", shutdown)
            assert seen.freshness == Resting("shutting down", seen.freshness.age_s)  # type: ignore[union-attr]
            start = watched.store.generation
            await watched.until("edge", lambda _: watched.store.generation >= start + 8)
            assert all(shutdown(one) for one in watched.past("edge", since=start))
            # Over a Unix socket 1.26 lets us in for a moment, to see whether it is another one by now.
            await until(lambda: not any(MONITOR in row for row in console.execute("SHOW CLIENTS")))
            assert client.execute("SELECT 42").fetchone() == (42,)
        await until(lambda: not server.running)


async def test_one_without_a_tcp_port_is_left_alone_by_who_knows(
    make_pgbouncer: MakePgBouncer, tmp_path: Path
) -> None:
    server = make_pgbouncer("1.26", listen_addr="")
    async with watching(fleet_of(server, "unix"), server.secrets, tmp_path) as watched:
        await watched.until("edge", read_in_full)
        shut_down(server)
        start = watched.store.generation
        await watched.until("edge", lambda _: watched.store.generation >= start + 5)
        assert all(fresh(one) for one in watched.past("edge", since=start))
        watched.collector.rest("edge", "shutting down")
        await watched.until("edge", lambda one: isinstance(one.freshness, Unreachable))
        assert not server.running
        server.start()
        await watched.until("edge", fresh)


async def test_what_was_seen_to_exit_is_unreachable_as_any_other(
    make_pgbouncer: MakePgBouncer, tmp_path: Path
) -> None:
    server = make_pgbouncer("1.26")
    async with watching(fleet_of(server, "tcp"), server.secrets, tmp_path) as watched:
        await watched.until("edge", read_in_full)
        shut_down(server)
        await watched.until("edge", shutdown)
        await until(lambda: not server.running)
        watched.collector.rest_over("edge")
        down = await watched.until("edge", lambda one: isinstance(one.freshness, Unreachable))
    assert isinstance(down.freshness, Unreachable)
    assert "refused" in down.freshness.error


async def test_who_insists_is_let_in_again(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> None:
    server = make_pgbouncer("1.26")
    async with watching(fleet_of(server, "unix"), server.secrets, tmp_path) as watched:
        with server.connect() as client, server.admin() as console:
            client.execute("SELECT 1")
            await watched.until("edge", has_a_client)
            console.execute("SHUTDOWN WAIT_FOR_CLIENTS")
            watched.collector.rest("edge", "shutting down")
            await watched.until("edge", shutdown)
            watched.collector.retry("edge")
            await watched.until("edge", has_a_client)
