"""Databases that the line `*` makes as they are asked for: no typo makes one, none stays paused unseen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from console.errors import UsageError
from console.lab.postgres import APP_DATABASE, PostgresServer
from console.operations.outcome import Outcome
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import until
from tests.servers.verbs_kit import VerbDesk, shown


@pytest_asyncio.fixture
async def desk(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator[VerbDesk]:
    target = f"host={postgres.host} port={postgres.port} dbname={APP_DATABASE} pool_mode=transaction"
    server = make_pgbouncer(pgbouncer_version, databases={"app": target, "*": target})
    made = VerbDesk(server, postgres, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


def listed(desk: VerbDesk) -> set[str]:
    return {row["name"] for row in shown(desk.server, "DATABASES")}


@pytest.mark.trap("T23")
@pytest.mark.parametrize("op", ["pause", "kill", "disable", "reconnect"])
async def test_a_typo_makes_no_database(desk: VerbDesk, op: str) -> None:
    with pytest.raises(UsageError, match="lists no database appp"):
        await desk.service.plan(op, "edge/appp")
    assert "appp" not in listed(desk)


@pytest.mark.trap("T2", "T30")
async def test_one_that_nobody_uses_is_told_to_vanish(desk: VerbDesk) -> None:
    with desk.server.connect("shop"):
        pass
    for op, words in (("pause", "vanish from the list while paused"), ("disable", "is forgotten with it")):
        with desk.server.admin() as console:
            # Named, and so listed, by hand; it has no pool.
            console.execute(f'DISABLE "{op}ed"')
            console.execute(f'ENABLE "{op}ed"')
        planned = await desk.one(op, f"edge/{op}ed")
        assert any(words in warning for warning in planned.warnings), planned.warnings


@pytest.mark.trap("T2")
async def test_one_whose_clients_leave_while_it_is_paused_is_resumed_although_it_is_hidden(
    desk: VerbDesk,
) -> None:
    with desk.server.connect("shop") as client:
        client.execute("SELECT 1")
        run = await desk.hold("edge/shop", hold_s=20)
        assert desk.is_paused("shop")
    await until(lambda: "shop" not in listed(desk))
    receipt = await desk.let_go(run)
    assert (receipt.outcome, receipt.after) == (Outcome.OK, "running"), receipt.detail
    with desk.server.connect("shop") as client:
        assert client.execute("SELECT 42").fetchone() == (42,)
