"""A server login that PAUSE interrupts counts as failed: RESUME alone keeps clients waiting (trap T4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import APP_DATABASE, PostgresServer
from console.operations.outcome import EventKind, Outcome
from tests.harness.faults import FaultProxy
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import LIMIT_S, Desk, until
from tests.servers.verbs_kit import setting, shown

RETRY_S = 60
"""No test could wait for so long."""


@pytest.fixture
def proxy(postgres: PostgresServer) -> Any:
    with FaultProxy(postgres.port) as made:
        yield made


@pytest.fixture
def server(make_pgbouncer: MakePgBouncer, pgbouncer_version: str, proxy: FaultProxy) -> PgBouncerServer:
    target = f"host=127.0.0.1 port={proxy.port} dbname={APP_DATABASE} pool_mode=transaction"
    return make_pgbouncer(pgbouncer_version, databases={"app": target}, server_login_retry=RETRY_S)


@pytest_asyncio.fixture
async def desk(server: PgBouncerServer, tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(server, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


def logging_in(server: PgBouncerServer) -> bool:
    return any(row["sv_login"] for row in shown(server, "POOLS"))


async def answer(client: psycopg.Connection[tuple[Any, ...]]) -> object:
    async with asyncio.timeout(LIMIT_S):
        return (await asyncio.to_thread(client.execute, "SELECT 42")).fetchone()


@pytest.mark.trap("T4")
async def test_clients_are_served_at_once_after_a_pause_that_interrupted_a_login(
    desk: Desk, proxy: FaultProxy
) -> None:
    with desk.server.connect() as busy, desk.server.connect() as client:
        busy.execute("BEGIN")
        busy.execute("SELECT 1")
        proxy.black_hole = True
        waiting = asyncio.create_task(answer(client))
        await until(lambda: logging_in(desk.server))
        run = await desk.start("pause", "edge", timeout_s=LIMIT_S, hold_s=20)
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if event.kind is EventKind.WAITING:
                    break
            proxy.black_hole = False
            busy.execute("COMMIT")
            async for event in run.events():
                if event.kind is EventKind.HOLDING:
                    break
        receipt = await desk.let_go(run)
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "running"), receipt.detail
        assert await waiting == (42,)
    with desk.server.connect() as late:
        assert await answer(late) == (42,)
    assert setting(desk.server, "server_login_retry") == str(RETRY_S)
