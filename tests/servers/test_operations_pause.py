"""PAUSE and RESUME against real PgBouncers of each supported line: nobody is ever left stranded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from console.audit.journal import verify_journal
from console.errors import UsageError
from console.guard.verdict import Allow
from console.lab.bouncer import PgBouncerServer
from console.operations.outcome import EventKind, Outcome
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import LIMIT_S, Desk, until


@pytest.fixture
def server(make_pgbouncer: MakePgBouncer, pgbouncer_version: str) -> PgBouncerServer:
    return make_pgbouncer(pgbouncer_version)


@pytest_asyncio.fixture
async def desk(server: PgBouncerServer, tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(server, tmp_path / "state" / "journal.jsonl")
    async with made.service:
        yield made


async def _query(client: psycopg.Connection[tuple[object, ...]]) -> object:
    def ask() -> object:
        row = client.execute("SELECT 42").fetchone()
        return row and row[0]

    async with asyncio.timeout(LIMIT_S):
        return await asyncio.to_thread(ask)


@pytest.mark.parametrize("selector", ["edge", "edge/app"])
async def test_a_drained_target_is_paused_held_and_resumed(desk: Desk, selector: str) -> None:
    database = "app" if "/" in selector else None
    with desk.server.connect() as client:
        client.execute("SELECT 1")
        run = await desk.hold(selector)
        assert desk.is_paused(database)
        waiting = asyncio.create_task(_query(client))
        await until(lambda: _waiting(desk.server) == 1)

        receipt = await desk.let_go(run)
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "running"), receipt.detail
        assert "held for" in receipt.detail
        assert not desk.is_paused(database)
        assert await waiting == 42
    kinds = [(record["kind"], record["op"]) for record in desk.records()]
    assert kinds == [("intent", "pause"), ("outcome", "pause")]
    (lease,) = desk.leases.armed  # type: ignore[attr-defined]
    assert lease.told_held == lease.released == lease.exposed
    assert lease.closed


@pytest.mark.parametrize("selector", ["edge", "edge/app"])
async def test_a_pause_ends_by_itself_when_its_time_is_up(desk: Desk, selector: str) -> None:
    receipt = await desk.do("pause", selector, hold_s=0.3)
    assert (receipt.outcome, receipt.after) == (Outcome.OK, "running"), receipt.detail
    assert not desk.is_paused("app" if "/" in selector else None)


@pytest.mark.parametrize("selector", ["edge", "edge/app"])
async def test_resume_ends_a_held_pause_early(desk: Desk, selector: str) -> None:
    run = await desk.hold(selector)
    with desk.server.admin() as console:
        console.execute('RESUME "app"' if "/" in selector else "RESUME")
        receipt = await desk.finish(run)
    assert (receipt.outcome, receipt.after) == (Outcome.OK, "running"), receipt.detail
    assert "resumed by somebody else" in receipt.detail
    assert [exchange.statement for exchange in receipt.exchanges][1:] == [], "it is theirs: nothing is sent"
    assert verify_journal(desk.journal_path) == ()


@pytest.mark.parametrize("selector", ["edge", "edge/app"])
@pytest.mark.trap("T10")
async def test_an_open_transaction_makes_pause_fail_and_resume(desk: Desk, selector: str) -> None:
    with desk.server.connect(application_name="slowpoke") as client, desk.server.connect() as other:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        receipt = await desk.do("pause", selector, timeout_s=0.8)

        assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "running"), receipt.detail
        assert "not complete within 0.8 s" in receipt.detail
        sent = [exchange.statement.partition(" ")[0] for exchange in receipt.exchanges]
        assert sent[0] == "PAUSE"
        assert "RESUME" in sent
        assert any("app/app" in pool for pool in receipt.still_active)
        assert [holder.application_name for holder in receipt.holders] == ["slowpoke"]
        assert not desk.is_paused("app" if "/" in selector else None)
        assert await _query(other) == 42, "others go on"
        assert await _query(client) == 42, "the open transaction was not hurt"
        client.execute("COMMIT")
    assert desk.records()[-1]["outcome"] == "failed"


async def test_cancelling_a_pending_pause_leaves_it_running(desk: Desk) -> None:
    with desk.server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("pause", timeout_s=10)
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if event.kind is EventKind.WAITING:
                    run.cancel()
        receipt = await desk.finish(run)
        assert receipt.outcome is Outcome.FAILED
        assert receipt.interrupted
        assert not desk.is_paused()
        assert await _query(client) == 42


async def test_cancelling_right_after_pause_was_sent_leaves_it_running(desk: Desk) -> None:
    with desk.server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("pause", timeout_s=10)
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if event.kind is EventKind.SENT:
                    run.cancel()
        receipt = await desk.finish(run)
        assert receipt.interrupted, receipt
        assert not desk.is_paused()


async def test_closing_the_service_undoes_a_pending_pause(desk: Desk) -> None:
    with desk.server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("pause", timeout_s=10)
        await until(desk.is_paused)
        async with asyncio.timeout(LIMIT_S):
            await desk.service.close()
        assert run.done
        assert not desk.is_paused()


async def test_cancelling_the_runs_own_task_undoes_a_pending_pause(desk: Desk) -> None:
    with desk.server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("pause", timeout_s=10)
        await until(desk.is_paused)
        task = next(task for task in asyncio.all_tasks() if task.get_name() == f"run {run.id}")
        task.cancel()
        task.cancel()
        receipt = await desk.finish(run)
        assert receipt.interrupted
        assert not desk.is_paused()


@pytest.mark.trap("T10")
async def test_a_session_pool_with_a_client_cannot_be_paused_and_the_plan_says_so(desk: Desk) -> None:
    with desk.server.connect("app_session") as client:
        client.execute("SELECT 1")
        plan = await desk.service.plan("pause", "edge", timeout_s=0.6)
        assert any("session mode" in warning for warning in plan.targets[0].warnings)
        receipt = await desk.finish(desk.submit(plan))
        assert receipt.outcome is Outcome.FAILED
        assert not desk.is_paused()


async def test_already_so_is_no_change_and_asks_nobody(desk: Desk) -> None:
    running = await desk.service.plan("resume", "edge")
    assert isinstance(desk.service.judge(running), Allow)
    assert (await desk.finish(desk.submit(running))).outcome is Outcome.NO_CHANGE

    with desk.server.admin() as console:
        console.execute("PAUSE")
        again = await desk.do("pause")
        assert again.outcome is Outcome.NO_CHANGE
        assert desk.is_paused(), "somebody else's pause is not ours to end"
        assert again.exchanges == ()
        console.execute("RESUME")


async def test_a_global_resume_says_which_database_stays_paused(desk: Desk) -> None:
    with desk.server.connect() as client, desk.server.admin() as console:
        client.execute("SELECT 1")
        console.execute('PAUSE "app"')
    plan = await desk.service.plan("resume", "edge")
    assert not plan.changes
    assert any("pooldeck resume edge/app" in warning for warning in plan.targets[0].warnings)
    assert (await desk.finish(desk.submit(plan))).outcome is Outcome.NO_CHANGE
    assert desk.is_paused("app")
    assert (await desk.do("resume", "edge/app")).outcome is Outcome.OK
    assert not desk.is_paused("app")


@pytest.mark.trap("T4")
async def test_resuming_a_database_puts_server_login_retry_back(desk: Desk) -> None:
    desk.server.settings["min_pool_size"] = 2
    desk.server.write_config()
    with desk.server.admin() as console, desk.server.connect() as client:
        console.execute("RELOAD")
        client.execute("SELECT 1")
        console.execute('PAUSE "app"')
        waiting = asyncio.create_task(_query(client))
        await until(lambda: _waiting(desk.server) == 1)
        receipt = await desk.do("resume", "edge/app")
        sent = [exchange.statement for exchange in receipt.exchanges]
        assert sent == ["SET server_login_retry = 0", 'RESUME "app"', "SET server_login_retry = 15"]
        assert receipt.warnings == ()
        assert await waiting == 42, "no client fails after a database's resume"
        settings = {row[0]: row[1] for row in console.execute("SHOW CONFIG")}
        assert settings["server_login_retry"] == "15"


async def test_a_pause_by_somebody_between_plan_and_run_is_refused(desk: Desk) -> None:
    plan = await desk.service.plan("pause", "edge")
    with desk.server.admin() as console:
        console.execute("PAUSE")
        receipt = await desk.finish(desk.submit(plan))
        assert receipt.outcome is Outcome.SKIPPED
        assert receipt.refused_by == "guard.observed"
        assert "pooler paused: no → yes" in receipt.detail
        assert desk.is_paused(), "their pause stays theirs"
        console.execute("RESUME")
    assert [record["kind"] for record in desk.records()] == ["refused"]


async def test_somebodys_resume_of_a_pending_pause_is_told_and_ends_it(desk: Desk) -> None:
    with desk.server.connect() as client, desk.server.admin() as console:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("pause", "edge/app", timeout_s=10)
        seen = 0
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                seen += event.kind is EventKind.WAITING
                if seen == 2:
                    await asyncio.to_thread(console.execute, 'RESUME "app"')
                    seen += 1
        receipt = await desk.finish(run)
        assert receipt.outcome is Outcome.FAILED
        assert "somebody resumed it" in receipt.detail
        assert not desk.is_paused("app")


@pytest.mark.trap("T23")
async def test_names_that_are_not_databases_are_refused(desk: Desk) -> None:
    for selector, words in {
        "edge/apq": "lists no database apq",
        "edge/pgbouncer": "the admin console itself",
        "edge/nothing*": "lists no database nothing",
        "edgy": "edgy",
    }.items():
        with pytest.raises(UsageError, match=words):
            await desk.service.plan("pause", selector)
    with desk.server.admin() as console:
        names = [row[0] for row in console.execute("SHOW DATABASES")]
    assert "apq" not in names


def _waiting(server: PgBouncerServer) -> int:
    with server.admin() as console:
        cursor = console.execute("SHOW POOLS")
        names = [column.name for column in cursor.description or ()]
        return sum(int(dict(zip(names, row, strict=True))["cl_waiting"]) for row in cursor.fetchall())
