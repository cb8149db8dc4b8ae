"""KILL against real PgBouncers of each supported line: what clients see, to the letter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from console.errors import RefusedError, UsageError
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.operations.outcome import Outcome
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import until
from tests.servers.verbs_kit import Load, Sleeper, VerbDesk, backends_asleep, end_backends, message_of

T4_ERROR = "server login has been failing"
HUNG_UP = "consuming input failed: server closed the connection unexpectedly"
"""What libpq says instead when it was sending just then: the pooler's last words are lost."""


@pytest.fixture
def server(make_pgbouncer: MakePgBouncer, pgbouncer_version: str) -> PgBouncerServer:
    return make_pgbouncer(pgbouncer_version)


@pytest_asyncio.fixture
async def desk(server: PgBouncerServer, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[VerbDesk]:
    made = VerbDesk(server, postgres, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


@pytest.mark.trap("T19")
async def test_every_client_is_cut_once_and_served_again(desk: VerbDesk) -> None:
    with Load(desk.server) as load, Load(desk.server, "tiny", clients=1) as other:
        receipt = await desk.do("kill", "edge/app")
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "running"), receipt.detail
        assert not desk.is_paused("app")
        await load.works_on()
    assert len(load.errors) == 3, "each client is cut once, and none fails afterwards (T4)"
    assert set(load.errors) <= {"database removed", HUNG_UP}
    assert other.errors == []
    (lease,) = desk.leases.armed  # type: ignore[attr-defined]
    assert lease.exposed == lease.released == [receipt.target]
    assert lease.order.covers[0].lift[-2:] == ('RESUME "app"', "SET server_login_retry = 15")


async def test_the_statements_are_those_of_the_plan(desk: VerbDesk) -> None:
    with desk.server.connect() as client:
        client.execute("SELECT 1")
        planned = (await desk.one("kill", "edge/app")).statements
        receipt = await desk.do("kill", "edge/app")
        with pytest.raises(psycopg.OperationalError) as cut:
            client.execute("SELECT 1")
    assert message_of(cut.value) == "database removed"
    assert tuple(sent.statement for sent in receipt.exchanges) == planned
    assert planned[0] == 'KILL "app"'
    assert planned[2] == 'RESUME "app"'


@pytest.mark.trap("T4")
async def test_pools_with_a_minimum_do_not_fail_after_it(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Trap T4: connections launched while the database is paused would mark the pool failed for 15 s."""
    server = make_pgbouncer(pgbouncer_version, min_pool_size=3)
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl")
    async with desk.service:
        with Load(server, clients=4) as load:
            for _ in range(3):
                receipt = await desk.do("kill", "edge/app")
                assert receipt.outcome is Outcome.OK, receipt.detail
                await load.works_on()
    assert not [text for text in load.errors if T4_ERROR in text]


@pytest.mark.trap("T18")
async def test_backends_run_on_and_the_receipt_says_how_to_cancel_them(
    desk: VerbDesk, postgres: PostgresServer
) -> None:
    sleeper = Sleeper(desk.server, "long-query")
    try:
        await until(lambda: len(backends_asleep(postgres)) == 1)
        (pid,) = backends_asleep(postgres)
        planned = await desk.one("kill", "edge/app")
        assert any(f"backend {pid} on" in note for note in planned.notes)
        assert any("does not cancel its query" in warning for warning in planned.warnings)
        receipt = await desk.do("kill", "edge/app")
        assert await sleeper.ended() == "database removed"
        assert receipt.next_steps == (f"pooldeck cancel primary {pid}",)
        assert backends_asleep(postgres) == {pid}
        cancelled = await desk.do("cancel", "primary", pids=(pid,))
        assert cancelled.outcome is Outcome.OK, cancelled.detail
        assert backends_asleep(postgres) == set()
    finally:
        end_backends(postgres)
        await sleeper.ended()


async def test_nobody_connected_is_no_change(desk: VerbDesk) -> None:
    receipt = await desk.do("kill", "edge/app")
    assert (receipt.outcome, receipt.exchanges) == (Outcome.NO_CHANGE, ())


@pytest.mark.parametrize("statement", ["PAUSE", 'PAUSE "app"'])
async def test_somebody_elses_pause_is_never_ended_by_it(desk: VerbDesk, statement: str) -> None:
    with desk.server.connect() as client, desk.server.admin() as console:
        client.execute("SELECT 1")
        console.execute(statement)
        assert (await desk.one("kill", "edge/app")).blocked is not None
        with pytest.raises(RefusedError, match="resume"):
            await desk.do("kill", "edge/app")
        assert desk.is_paused("app" if "app" in statement else None)
        console.execute(statement.replace("PAUSE", "RESUME"))


async def test_a_whole_bouncer_is_not_killed(desk: VerbDesk) -> None:
    with pytest.raises(UsageError, match="acts on databases"):
        await desk.service.plan("kill", "edge")
