"""Reading real PgBouncers: rates under load, and every way a bouncer can go and come back."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from console.errors import Phase
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.lab.secrets import ADMIN, MONITOR
from console.model.fleet import PoolerSnapshot, PoolerState, Stale, Unreachable
from console.model.version import Version
from tests.harness.faults import FaultProxy, stopped
from tests.harness.servers import MakePgBouncer
from tests.servers.collector_kit import fresh, inventory_of, pgbench, watching


def admin(server: PgBouncerServer, statement: str) -> None:
    with server.admin(ADMIN) as console:
        console.execute(statement.encode())


def unreachable(pooler: PoolerSnapshot) -> bool:
    return isinstance(pooler.freshness, Unreachable)


def xact_per_s(pooler: PoolerSnapshot) -> float:
    return sum(rate.xact_per_s for rate in (pooler.rates or {}).values())


async def test_rates_follow_the_load_on_every_version(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, tmp_path: Path
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    async with watching(inventory_of({"edge": server.port}), server.secrets, tmp_path) as watched:
        with pgbench(server, tmp_path, per_s=200):
            seen = await watched.until("edge", lambda one: 120 < xact_per_s(one) < 280)
        assert fresh(seen)
        assert seen.state is PoolerState.UP
        assert seen.sample is not None
        assert str(seen.sample.version) == pgbouncer_version
        assert seen.sample.answer_us > 0
        assert not seen.sample.unread
        rate = (seen.rates or {})["app"]
        assert rate.query_per_s == pytest.approx(rate.xact_per_s, rel=0.05)
        assert rate.mean_query_time_us is not None
        assert 0 < rate.mean_query_time_us < 1e6
        assert list(seen.rates or {}) == ["app"], "the admin console's own questions are no load"
        idle = await watched.until("edge", lambda one: bool(one.rates) and xact_per_s(one) == 0)
    assert (idle.rates or {})["app"].mean_query_time_us is None
    assert max(value or 0 for value in idle.xact_trend) > 100
    assert max(value or 0 for value in watched.collector.history("edge").series("clients_active")) == 4


async def test_a_killed_bouncer_is_unreachable_and_comes_back_without_negative_rates(
    make_pgbouncer: MakePgBouncer, tmp_path: Path
) -> None:
    gone, other = make_pgbouncer(name="gone"), make_pgbouncer(name="other")
    fleet = inventory_of({"gone": gone.port, "other": other.port})
    async with watching(fleet, gone.secrets, tmp_path) as watched:
        with pgbench(gone, tmp_path):
            await watched.until("gone", lambda one: xact_per_s(one) > 50)
            start = watched.store.generation
            gone.kill()
            down = await watched.until("gone", unreachable, limit_s=5)
        assert isinstance(down.freshness, Unreachable)
        assert down.freshness.phase is Phase.CONNECT
        assert "refused" in down.freshness.error
        assert down.freshness.age_s is not None
        assert down.sample is not None, "its last numbers stay, with their age"
        await watched.until("gone", lambda one: one.waiting_trend[-1] is None)
        gone.start()
        await watched.until("gone", fresh)
        back = await watched.until("gone", lambda one: fresh(one) and one.rates is not None)
    assert None in back.waiting_trend
    assert all(fresh(one) for one in watched.past("other", since=start))
    rates = [rate for one in watched.past("gone") for rate in (one.rates or {}).values()]
    assert min(rate.xact_per_s for rate in rates) >= 0


async def test_a_held_bouncer_is_stale_then_unreachable_while_others_stay_fresh(
    make_pgbouncer: MakePgBouncer, tmp_path: Path
) -> None:
    held, other = make_pgbouncer(name="held"), make_pgbouncer(name="other")
    fleet = inventory_of({"held": held.port, "other": other.port}, limit_s=1.0)
    async with watching(fleet, held.secrets, tmp_path) as watched:
        await watched.until("held", fresh)
        await watched.until("other", fresh)
        start = watched.store.generation
        with stopped(held):
            late = await watched.until("held", lambda one: isinstance(one.freshness, Stale), limit_s=5)
            assert late.state is PoolerState.STALE
            missed = await watched.until(
                "held", lambda one: isinstance(one.freshness, Stale) and "1 s" in one.freshness.error
            )
            down = await watched.until("held", unreachable, limit_s=5)
        back = await watched.until("held", fresh)
    assert isinstance(late.freshness, Stale)
    assert "no answer to SHOW" in late.freshness.error
    assert isinstance(missed.freshness, Stale)
    assert missed.freshness.phase is Phase.PROTOCOL
    assert isinstance(down.freshness, Unreachable)
    assert "no answer within 1 s" in down.freshness.error
    assert back.state is not PoolerState.UNREACHABLE
    assert all(fresh(one) for one in watched.past("other", since=start))


async def test_an_answer_cut_in_the_middle_ends_the_session_and_the_next_one_reads_on(
    make_pgbouncer: MakePgBouncer, tmp_path: Path
) -> None:
    server = make_pgbouncer()
    with FaultProxy(server.port) as proxy:
        async with watching(inventory_of({"edge": proxy.port}), server.secrets, tmp_path) as watched:
            await watched.until("edge", fresh)
            proxy.cut_after = 300
            cut = await watched.until("edge", lambda one: isinstance(one.freshness, Stale | Unreachable))
            proxy.cut_after = None
            back = await watched.until("edge", fresh)
    assert isinstance(cut.freshness, Stale | Unreachable)
    assert cut.freshness.error
    assert back.sample is not None
    assert {pool.database for pool in back.sample.pools} == {"pgbouncer"}
    assert proxy.connections >= 2


async def test_pauses_show_as_what_they_are(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, tmp_path: Path
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    tells_global_pause = server.version >= Version(1, 19)
    async with watching(inventory_of({"edge": server.port}), server.secrets, tmp_path) as watched:
        with server.connect() as client:
            client.execute("SELECT 1")
            await watched.until("edge", lambda one: one.state is PoolerState.UP)
            admin(server, 'PAUSE "app"')
            await watched.until("edge", lambda one: one.state is PoolerState.PARTLY_PAUSED)
            admin(server, 'RESUME "app"')
            expected = PoolerState.UP if tells_global_pause else PoolerState.REACHABLE
            await watched.until("edge", lambda one: one.state is expected)
            admin(server, "PAUSE")
            if tells_global_pause:
                await watched.until("edge", lambda one: one.state is PoolerState.PAUSED)
            else:
                waiter = asyncio.create_task(asyncio.to_thread(client.execute, "SELECT 1"))
                await watched.until("edge", lambda one: one.state is PoolerState.MAYBE_PAUSED)
                admin(server, "RESUME")
                await waiter
                await watched.until("edge", lambda one: one.state is PoolerState.UP)
                return
            admin(server, "RESUME")
            await watched.until("edge", lambda one: one.state is PoolerState.UP)


async def test_a_wrong_password_is_told_as_auth_and_not_tried_in_a_hurry(
    make_pgbouncer: MakePgBouncer, tmp_path: Path
) -> None:
    server = make_pgbouncer()
    fleet = inventory_of({"edge": server.port})
    async with watching(fleet, server.secrets, tmp_path, wrong_password=True) as watched:
        seen = await watched.until("edge", unreachable)
    assert isinstance(seen.freshness, Unreachable)
    assert seen.freshness.phase is Phase.AUTH
    assert seen.freshness.age_s is None
    assert seen.sample is None
    assert "not the password" not in str(seen)


async def test_a_reload_shows_at_once_when_it_is_told(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> None:
    server = make_pgbouncer()
    async with watching(inventory_of({"edge": server.port}), server.secrets, tmp_path) as watched:
        seen = await watched.until("edge", lambda one: bool(one.sample and one.sample.config))
        assert seen.sample is not None
        assert seen.sample.config is not None
        assert seen.sample.config.value["default_pool_size"].value == "10"
        server.settings["default_pool_size"] = "17"
        server.write_config()
        admin(server, "RELOAD")
        watched.collector.reread("edge")
        await watched.until(
            "edge",
            lambda one: bool(
                one.sample
                and one.sample.config
                and one.sample.config.value["default_pool_size"].value == "17"
            ),
            limit_s=5,
        )


async def test_clients_are_listed_while_someone_watches(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, pgbouncer_version: str, tmp_path: Path
) -> None:
    assert postgres.running
    server = make_pgbouncer(pgbouncer_version)
    async with watching(inventory_of({"edge": server.port}), server.secrets, tmp_path) as watched:
        await watched.until("edge", fresh)
        with server.connect(application_name="checkout") as client, watched.collector.watch_clients("edge"):
            client.execute("SELECT 1")
            seen = await watched.until("edge", lambda one: bool(one.sample and one.sample.clients))
        await watched.until("edge", lambda one: bool(one.sample and one.sample.clients is None))
    assert seen.sample is not None
    assert seen.sample.clients is not None
    names = {client.application_name for client in seen.sample.clients.value}
    assert {"checkout", "pooldeck"} <= names
    ours = {one.user for one in seen.sample.clients.value if one.application_name == "pooldeck"}
    assert ours == {MONITOR}, "reading never needs more than the monitor role"


@pytest.mark.trap("T28")
@pytest.mark.parametrize("version", ["1.18", "1.26"])
async def test_one_session_asks_for_ever_and_is_refused_nothing(
    make_pgbouncer: MakePgBouncer, tmp_path: Path, version: str
) -> None:
    server = make_pgbouncer(version, log_connections=1)
    async with watching(inventory_of({"edge": server.port}), server.secrets, tmp_path) as watched:
        await watched.until("edge", fresh)
        start = watched.store.generation
        await watched.until("edge", lambda one: fresh(one) and watched.store.generation >= start + 15)
    log = server.log_path.read_text()
    # The harness asks over the Unix socket whether it is up.
    assert len(re.findall(rf"@127\.0\.0\.1:\d+ login attempt: db=pgbouncer user={MONITOR}", log)) == 1
    assert "pooler error" not in log
