"""KILL_CLIENT against real PgBouncers that have it: exactly the clients named are cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from console.errors import RefusedError, UsageError
from console.lab.postgres import PostgresServer
from console.model.version import Version
from console.operations.outcome import Outcome
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import until
from tests.servers.verbs_kit import (
    Sleeper,
    VerbDesk,
    backends_asleep,
    client_row,
    end_backends,
    message_of,
    shown,
)


@pytest_asyncio.fixture(params=["1.24", "1.26"])
async def desk(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[VerbDesk]:
    made = VerbDesk(make_pgbouncer(request.param), postgres, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


async def test_an_old_bouncer_says_what_it_needs(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path
) -> None:
    desk = VerbDesk(make_pgbouncer("1.18"), postgres, tmp_path / "journal.jsonl")
    async with desk.service:
        planned = await desk.one("kill-client", "edge", ids=("1",))
    assert planned.blocked == "kill-client needs pgbouncer 1.24; this is 1.18.0"


async def test_exactly_the_clients_named_are_cut(desk: VerbDesk) -> None:
    with (
        desk.server.connect(application_name="first") as first,
        desk.server.connect(application_name="second") as second,
        desk.server.connect(application_name="third") as third,
    ):
        ids = tuple(str(client_row(desk.server, name)["id"]) for name in ("first", "third"))
        planned = await desk.one("kill-client", "edge", ids=ids)
        assert planned.statements == tuple(f"KILL_CLIENT {number}" for number in ids)
        assert any("first" in note and "app@127.0.0.1" in note for note in planned.notes)
        receipt = await desk.do("kill-client", "edge", ids=ids)
        assert receipt.outcome is Outcome.OK, receipt.detail
        assert "2 clients cut" in receipt.detail
        for client in (first, third):
            with pytest.raises(psycopg.OperationalError) as cut:
                client.execute("SELECT 1")
            assert message_of(cut.value) == "admin forced disconnect"
        assert second.execute("SELECT 42").fetchone() == (42,)


@pytest.mark.trap("T18")
async def test_the_query_of_a_cut_client_runs_on(desk: VerbDesk, postgres: PostgresServer) -> None:
    sleeper = Sleeper(desk.server, "long-query")
    try:
        await until(lambda: len(backends_asleep(postgres)) == 1)
        (pid,) = backends_asleep(postgres)
        row = client_row(desk.server, "long-query")
        planned = await desk.one("kill-client", "edge", ids=(str(row["id"]),))
        assert any(f"backend {pid} on" in note for note in planned.notes)
        receipt = await desk.do("kill-client", "edge", ids=(str(row["id"]),))
        assert await sleeper.ended() == "admin forced disconnect"
        assert backends_asleep(postgres) == {pid}
        assert receipt.next_steps == (f"pooldeck cancel primary {pid}",)
    finally:
        end_backends(postgres)
        await sleeper.ended()


async def test_an_id_that_nobody_has_stops_the_plan(desk: VerbDesk) -> None:
    with desk.server.connect(application_name="there"):
        there = str(client_row(desk.server, "there")["id"])
        planned = await desk.one("kill-client", "edge", ids=(there, "99999"))
        assert planned.blocked is not None
        assert "no client of edge has the id 99999" in planned.blocked
        with pytest.raises(RefusedError):
            await desk.do("kill-client", "edge", ids=(there, "99999"))
        assert client_row(desk.server, "there")


async def test_a_client_that_left_since_the_plan_is_told_and_nothing_is_sent(desk: VerbDesk) -> None:
    client = desk.server.connect(application_name="brief")
    number = str(client_row(desk.server, "brief")["id"])
    plan = await desk.service.plan("kill-client", "edge", ids=(number,))
    client.close()
    await until(lambda: not [r for r in shown(desk.server, "CLIENTS") if str(r["id"]) == number])
    receipt = await desk.finish(desk.submit(plan))
    assert (receipt.outcome, receipt.refused_by) == (Outcome.SKIPPED, "guard.observed")
    assert f"client {number}: app@127.0.0.1" in receipt.detail
    assert "→ not there" in receipt.detail
    assert receipt.exchanges == ()


@pytest.mark.trap("T27")
async def test_a_version_that_lets_anyone_do_it_is_told(desk: VerbDesk) -> None:
    with desk.server.connect(application_name="there"):
        number = str(client_row(desk.server, "there")["id"])
        planned = await desk.one("kill-client", "edge", ids=(number,))
    told = any("CVE-2026-6667" in warning for warning in planned.warnings)
    assert told == (desk.server.version < Version(1, 25, 2))


@pytest.mark.parametrize("wrong", ["x", "", "1;2", "1 2"])
async def test_what_is_no_id_is_refused(desk: VerbDesk, wrong: str) -> None:
    with pytest.raises(UsageError):
        await desk.service.plan("kill-client", "edge", ids=(wrong,))
