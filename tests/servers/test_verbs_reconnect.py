"""RECONNECT against real PgBouncers of each supported line, while clients work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from console.lab.postgres import PostgresServer
from console.operations.outcome import EventKind, Outcome
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import LIMIT_S, until
from tests.servers.verbs_kit import Load, VerbDesk, shown


@pytest_asyncio.fixture
async def desk(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator[VerbDesk]:
    made = VerbDesk(make_pgbouncer(pgbouncer_version), postgres, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


def _pids(desk: VerbDesk, database: str) -> set[int]:
    return {row["remote_pid"] for row in shown(desk.server, "SERVERS") if row["database"] == database}


@pytest.mark.trap("T1")
async def test_working_clients_get_new_servers_and_notice_nothing(desk: VerbDesk) -> None:
    with Load(desk.server) as load, desk.server.connect("tiny") as other:
        other.execute("SELECT 1")
        before, of_tiny = _pids(desk, "app"), _pids(desk, "tiny")
        assert before
        receipt = await desk.do("reconnect", "edge/app")
        assert receipt.outcome is Outcome.OK, receipt.detail
        assert receipt.exchanges[0].statement == 'RECONNECT "app"'
        assert "pool app/app has a new server connection" in receipt.verified
        assert not before & _pids(desk, "app")
        assert _pids(desk, "tiny") == of_tiny, "another database was touched"
        await load.works_on()
    assert load.errors == []


async def test_a_whole_bouncer_is_reconnected_and_unused_pools_are_told(desk: VerbDesk) -> None:
    with desk.server.connect("tiny") as idle:
        idle.execute("SELECT 1")
        before = _pids(desk, "tiny")
        receipt = await desk.do("reconnect")
        assert receipt.outcome is Outcome.OK, receipt.detail
        assert receipt.exchanges[0].statement == "RECONNECT"
        assert any("nobody asked for a server since in tiny/app" in text for text in receipt.warnings)
        idle.execute("SELECT 1")
        assert not before & _pids(desk, "tiny")


async def test_it_waits_for_an_open_transaction_and_names_who_holds_it(desk: VerbDesk) -> None:
    with desk.server.connect(application_name="slow-report") as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("reconnect", "edge/app", timeout_s=LIMIT_S)
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if event.kind is EventKind.WAITING and event.data["holders"]:
                    break
        assert (event.data["servers"], event.data["of"]) == (1, 1)
        assert "slow-report" in event.text
        assert client.execute("SELECT 42").fetchone() == (42,)
        client.execute("COMMIT")
        receipt = await desk.finish(run)
    assert receipt.outcome is Outcome.OK, receipt.detail


async def test_who_has_let_go_is_no_longer_named(desk: VerbDesk) -> None:
    names = ("first", "second")
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(contextlib.closing(desk.server.connect(application_name=name)))
            for name in names
        )
        for client in (first, second):
            client.execute("BEGIN")
            client.execute("SELECT 1")
        run = await desk.start("reconnect", "edge/app", timeout_s=LIMIT_S)
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if event.kind is not EventKind.WAITING:
                    continue
                if len(event.data["holders"]) == 2 and not first.closed:
                    first.close()
                elif event.data["servers"] == 1:
                    break
        assert [name.rpartition(" ")[2] for name in event.data["holders"]] == ["second"]
        second.execute("COMMIT")
        receipt = await desk.finish(run)
    assert receipt.outcome is Outcome.OK, receipt.detail


async def test_old_connections_left_at_the_end_fail_it_and_are_closed_all_the_same(desk: VerbDesk) -> None:
    with desk.server.connect(application_name="slow-report") as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        receipt = await desk.do("reconnect", "edge/app", timeout_s=0.5)
        assert receipt.outcome is Outcome.FAILED
        assert "1 of 1 server connection not released" in receipt.detail
        (holder,) = receipt.holders
        assert (holder.application_name, holder.database) == ("slow-report", "app")
        assert client.execute("SELECT 42").fetchone() == (42,)
        client.execute("COMMIT")
        await until(lambda: not _pids(desk, "app"))
        assert client.execute("SELECT 42").fetchone() == (42,)


async def test_a_second_ctrl_c_ends_the_wait(desk: VerbDesk) -> None:
    with desk.server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("reconnect", "edge/app")
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if event.kind is EventKind.WAITING:
                    break
        run.cancel()
        run.cancel()
        receipt = await desk.finish(run)
    assert (receipt.outcome, receipt.interrupted) == (Outcome.FAILED, True)
    assert "interrupted" in receipt.detail


@pytest.mark.trap("T31")
async def test_new_logins_that_fail_are_found_at_once(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Trap T31: a wrong password of the server shows only when the next connection is needed."""
    target = f"host={postgres.host} port={postgres.port} dbname=app user=app password="
    server = make_pgbouncer(
        pgbouncer_version,
        databases={"app": target + postgres.secrets.password("app")},
        auth_type="trust",
    )
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl")
    async with desk.service:
        with Load(server) as load:
            server.databases["app"] = target + "wrong"
            server.write_config()
            with server.admin() as console:
                console.execute("RELOAD")
            assert load.errors == [], "the wrong password is not seen yet"
            receipt = await desk.do("reconnect", "edge/app")
            assert receipt.outcome is Outcome.FAILED
            assert "pool app/app has no server connection and" in receipt.detail
            server.databases["app"] = target + postgres.secrets.password("app")
            server.write_config()
            with server.admin() as console:
                console.execute("RELOAD")
                console.execute("SET server_login_retry = 0")
            await load.works_on()


async def test_a_paused_bouncer_is_said_to_open_nothing_yet(desk: VerbDesk) -> None:
    with desk.server.admin() as console:
        console.execute("PAUSE")
        plan = await desk.service.plan("reconnect", "edge")
        assert any("only once it is resumed" in text for text in plan.targets[0].warnings)
        receipt = await desk.do("reconnect")
        assert receipt.outcome is Outcome.OK
        console.execute("RESUME")
