"""SHUTDOWN against real PgBouncers of each supported line: what clients see, and what is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from console.errors import RefusedError, UsageError
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.operations.outcome import EventKind, Outcome
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import LIMIT_S, until
from tests.servers.verbs_kit import VerbDesk, message_of

WAITING = ["1.24", "1.26"]
HUNG_UP = "server closed the connection unexpectedly"


@pytest.fixture(params=WAITING)
def server(make_pgbouncer: MakePgBouncer, request: pytest.FixtureRequest) -> PgBouncerServer:
    """One that has the modes that wait."""
    return make_pgbouncer(request.param)


@pytest_asyncio.fixture
async def desk(server: PgBouncerServer, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[VerbDesk]:
    made = VerbDesk(server, postgres, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


async def _exited(server: PgBouncerServer) -> None:
    await until(lambda: not server.running)


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
async def test_now_cuts_everybody_and_the_process_is_gone(
    make_pgbouncer: MakePgBouncer,
    pgbouncer_version: str,
    postgres: PostgresServer,
    tmp_path: Path,
    unix: bool,
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl", unix=unix)
    async with desk.service:
        with server.connect() as client:
            client.execute("BEGIN")
            client.execute("SELECT 1")
            receipt = await desk.do("shutdown", mode="now")
            assert (receipt.outcome, receipt.after) == (Outcome.OK, "not running"), receipt.detail
            assert [sent.statement for sent in receipt.exchanges] == ["SHUTDOWN"]
            assert receipt.verified == ("every connection was closed", "new logins are refused")
            await _exited(server)
            with pytest.raises(psycopg.OperationalError, match=HUNG_UP):
                client.execute("SELECT 1")


@pytest.mark.trap("T17")
async def test_the_modes_that_wait_need_their_version(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path
) -> None:
    server = make_pgbouncer("1.18")
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl")
    async with desk.service:
        planned = await desk.one("shutdown", mode="wait-for-clients")
        assert planned.blocked is not None
        assert "needs PgBouncer 1.23; this is 1.18.0" in planned.blocked
        with pytest.raises(RefusedError):
            await desk.do("shutdown", mode="wait-for-clients")
        assert server.running


@pytest.mark.trap("T17")
async def test_what_a_signal_does_to_one_that_waits_is_told_and_none_is_sent(desk: VerbDesk) -> None:
    planned = await desk.one("shutdown", mode="wait-for-clients")
    assert any("one more SIGTERM or SIGINT, ends it at once" in note for note in planned.notes)
    assert planned.statements == ("SHUTDOWN WAIT_FOR_CLIENTS",)


async def test_a_mode_must_be_said(desk: VerbDesk) -> None:
    with pytest.raises(UsageError, match="--mode"):
        await desk.service.plan("shutdown", "edge")


async def test_waiting_for_servers_lets_transactions_end_and_cuts_waiting_clients(desk: VerbDesk) -> None:
    with desk.server.connect() as busy, desk.server.connect() as idle:
        idle.execute("SELECT 1")
        busy.execute("BEGIN")
        busy.execute("SELECT 1")
        run = await desk.start("shutdown", mode="wait-for-servers", timeout_s=LIMIT_S)
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if event.kind is EventKind.WAITING:
                    break
        assert event.data["servers"] == 1
        with pytest.raises(psycopg.OperationalError) as cut:
            idle.execute("SELECT 1")
        assert message_of(cut.value) == "server shutting down"
        with pytest.raises(psycopg.OperationalError, match="Connection refused"):
            desk.server.connect()
        assert busy.execute("SELECT 42").fetchone() == (42,)
        busy.execute("COMMIT")
        receipt = await desk.finish(run)
    assert (receipt.outcome, receipt.after) == (Outcome.OK, "not running"), receipt.detail
    assert [sent.statement for sent in receipt.exchanges] == ["SHUTDOWN WAIT_FOR_SERVERS"]
    await _exited(desk.server)


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.trap("T13")
async def test_waiting_for_clients_lets_them_go_on_and_exits_after_the_last(
    server: PgBouncerServer, postgres: PostgresServer, tmp_path: Path, unix: bool
) -> None:
    """Trap T13: our own console would keep it from exiting, so it is closed."""
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl", unix=unix)
    async with desk.service:
        client = server.connect()
        client.execute("SELECT 1")
        run = await desk.start("shutdown", mode="wait-for-clients", timeout_s=LIMIT_S)
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if event.kind is EventKind.WAITING:
                    break
        assert event.data["clients"] == 1
        assert client.execute("SELECT 42").fetchone() == (42,)
        client.close()
        receipt = await desk.finish(run)
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "not running"), receipt.detail
        assert [sent.statement for sent in receipt.exchanges] == ["SHUTDOWN WAIT_FOR_CLIENTS"]
        await _exited(server)


async def test_one_that_still_drains_is_told_and_ends_without_us(desk: VerbDesk) -> None:
    with desk.server.connect() as client:
        client.execute("SELECT 1")
        receipt = await desk.do("shutdown", mode="wait-for-clients", timeout_s=0.5)
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "shutting down"), receipt.detail
        assert "shutting down: 1 client and 1 server connection left" in receipt.detail
        assert "new logins are refused" in receipt.verified
        assert receipt.still_active == ("app/app: 1 client connected, 0 waiting, 1 server",)
        assert client.execute("SELECT 42").fetchone() == (42,)
    await _exited(desk.server)


@pytest.mark.trap("T13")
async def test_an_exporter_that_keeps_it_from_exiting_is_named(desk: VerbDesk) -> None:
    with desk.server.connect("pgbouncer", user="pooldeck_monitor", application_name="exporter") as console:
        planned = await desk.one("shutdown", mode="wait-for-clients")
        assert any("exporter" in warning for warning in planned.warnings)
        receipt = await desk.do("shutdown", mode="wait-for-clients", timeout_s=1)
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "shutting down"), receipt.detail
        assert "2 admin consoles" not in receipt.detail
        assert any("exporter" in line for line in receipt.still_active)
        assert desk.server.running
        console.execute("SHOW VERSION")
    await _exited(desk.server)


@pytest.mark.parametrize("statement", ["PAUSE", 'PAUSE "app"'])
@pytest.mark.trap("T14")
async def test_a_paused_one_is_not_left_to_hold_its_clients_for_ever(desk: VerbDesk, statement: str) -> None:
    """Trap T14: a pooler that shuts down cannot be resumed."""
    with desk.server.connect() as client, desk.server.admin() as console:
        client.execute("SELECT 1")
        console.execute(statement)
        planned = await desk.one("shutdown", mode="wait-for-clients")
        assert planned.blocked is not None
        assert "cannot be resumed" in planned.blocked
        console.execute(statement.replace("PAUSE", "RESUME"))


async def test_a_second_ctrl_c_ends_the_wait_and_not_the_shutdown(desk: VerbDesk) -> None:
    with desk.server.connect() as client:
        client.execute("SELECT 1")
        run = await desk.start("shutdown", mode="wait-for-clients")
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if event.kind is EventKind.WAITING:
                    break
        run.cancel()
        run.cancel()
        receipt = await desk.finish(run)
        assert (receipt.outcome, receipt.after, receipt.interrupted) == (Outcome.OK, "shutting down", True)
        assert "cannot be stopped" in receipt.detail
        assert client.execute("SELECT 42").fetchone() == (42,)
    await _exited(desk.server)
