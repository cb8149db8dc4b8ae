"""Many databases of one bouncer, paused and resumed together: trap T4's setting is changed once for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from console.lab.postgres import APP_DATABASE, PostgresServer
from console.operations.outcome import Outcome, TargetReceipt
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import Desk

NAMES = tuple(f"db{number}" for number in range(12))
SELECTOR = ",".join(f"edge/{name}" for name in NAMES)
RETRY = "SET server_login_retry = "


@pytest.fixture
async def desk(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator[Desk]:
    place = f"host={postgres.host} port={postgres.port} dbname={APP_DATABASE}"
    server = make_pgbouncer(databases=dict.fromkeys(NAMES, place), server_login_retry="7")
    made = Desk(server, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


def _statements(receipts: Iterable[TargetReceipt]) -> Counter[str]:
    return Counter(exchange.statement for receipt in receipts for exchange in receipt.exchanges)


def _login_retry(desk: Desk) -> str:
    with desk.server.admin() as console:
        rows = console.execute("SHOW CONFIG").fetchall()
    return next(str(row[1]) for row in rows if row[0] == "server_login_retry")


async def test_a_pause_of_many_databases_shields_them_once(desk: Desk) -> None:
    with desk.server.connect(database=NAMES[3]) as client:
        client.execute("SELECT 1")
    run = await desk.hold(SELECTOR)
    assert all(desk.is_paused(name) for name in NAMES)
    run.end_hold()
    receipts = (await run.receipt()).targets
    assert [receipt.outcome for receipt in receipts] == [Outcome.OK] * len(NAMES), receipts
    assert not any(desk.is_paused(name) for name in NAMES)
    sent = _statements(receipts)
    assert (sent[f"{RETRY}0"], sent[f"{RETRY}7"]) == (1, 1), "one for all of the bouncer"
    assert sum(count for text, count in sent.items() if text.startswith("RESUME ")) == len(NAMES)
    assert _login_retry(desk) == "7"


async def test_many_databases_are_resumed_side_by_side(desk: Desk) -> None:
    with desk.server.admin() as console:
        for name in NAMES:
            console.execute(f"PAUSE {name}")
    run = await desk.start("resume", SELECTOR)
    receipts = (await run.receipt()).targets
    assert [receipt.outcome for receipt in receipts] == [Outcome.OK] * len(NAMES), receipts
    assert not any(desk.is_paused(name) for name in NAMES)
    sent = _statements(receipts)
    assert sent[f"{RETRY}0"] == sent[f"{RETRY}7"] >= 1
    assert _login_retry(desk) == "7"
