"""DISABLE and ENABLE against real PgBouncers of each supported line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from console.errors import UsageError
from console.guard.verdict import Allow
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.operations.outcome import Outcome
from tests.harness.servers import MakePgBouncer
from tests.servers.verbs_kit import Load, VerbDesk, message_of, shown


@pytest_asyncio.fixture
async def desk(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator[VerbDesk]:
    made = VerbDesk(make_pgbouncer(pgbouncer_version), postgres, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


def _disabled(server: PgBouncerServer, database: str = "app") -> bool:
    return next(bool(row["disabled"]) for row in shown(server, "DATABASES") if row["name"] == database)


async def test_new_clients_are_refused_and_connected_ones_go_on(desk: VerbDesk) -> None:
    with Load(desk.server) as load:
        receipt = await desk.do("disable", "edge/app")
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "disabled"), receipt.detail
        assert [sent.statement for sent in receipt.exchanges] == ['DISABLE "app"']
        assert _disabled(desk.server)
        with pytest.raises(psycopg.OperationalError) as refused:
            desk.server.connect()
        assert message_of(refused.value) == 'database "app" is disabled'
        await load.works_on()

        receipt = await desk.do("enable", "edge/app")
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "enabled"), receipt.detail
        assert [sent.statement for sent in receipt.exchanges] == ['ENABLE "app"']
        desk.server.connect().close()
    assert load.errors == []


async def test_a_database_that_is_so_already_is_no_change(desk: VerbDesk) -> None:
    plan = await desk.service.plan("enable", "edge/app")
    assert desk.service.judge(plan) == Allow(plan.tier)
    assert (await desk.do("enable", "edge/app")).outcome is Outcome.NO_CHANGE
    await desk.do("disable", "edge/app")
    again = await desk.do("disable", "edge/app")
    assert (again.outcome, again.exchanges) == (Outcome.NO_CHANGE, ())


async def test_several_databases_are_named_by_a_pattern(desk: VerbDesk) -> None:
    run = await desk.start("disable", "edge/app*")
    receipt = await run.receipt()
    assert {str(one.target) for one in receipt.targets} == {"edge/app", "edge/app_session"}
    assert receipt.outcome is Outcome.OK, receipt.targets
    assert not _disabled(desk.server, "tiny")


@pytest.mark.trap("T30")
async def test_what_is_remembered_and_what_not_is_as_the_plan_says(desk: VerbDesk) -> None:
    plan = await desk.service.plan("disable", "edge/app")
    assert "a restart of the pooler enables it again; RELOAD does not" in plan.targets[0].notes
    await desk.do("disable", "edge/app")
    with desk.server.admin() as console:
        console.execute("RELOAD")
    assert _disabled(desk.server)
    desk.server.stop()
    desk.server.start()
    assert not _disabled(desk.server)


async def test_a_whole_bouncer_cannot_be_disabled(desk: VerbDesk) -> None:
    with pytest.raises(UsageError, match="acts on databases"):
        await desk.service.plan("disable", "edge")


async def test_a_database_with_an_odd_name_is_quoted(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path
) -> None:
    target = f"host={postgres.host} port={postgres.port} dbname=app"
    server = make_pgbouncer(databases={"App.v2-x": target, "app": target})
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl")
    async with desk.service:
        receipt = await desk.do("disable", "edge/App.v2-x")
    assert receipt.outcome is Outcome.OK, receipt.detail
    assert receipt.exchanges[0].statement == 'DISABLE "App.v2-x"'
    assert not _disabled(server, "app")
