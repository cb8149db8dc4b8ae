"""One client against a server that misbehaves: what is counted where, and that times are true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.harness.clients.client import Client
from tests.harness.clients.record import Record
from tests.harness.clients.report import Figures
from tests.harness.clients.wish import NEW, Group
from tests.unit.clients.fake_server import FakeServer, Script

LIMIT_S = 10.0


def _group(
    server: FakeServer, tmp_path: Path, lifetime_s: float | None = None, patience_s: float = 5.0
) -> Group:
    return Group(
        "fake",
        "127.0.0.1",
        server.port,
        str(tmp_path / "none"),
        lifetime_s=lifetime_s,
        interval_ms=1,
        patience_s=patience_s,
    )


async def _run(
    script: Script, tmp_path: Path, until: Callable[[Record], bool], *, lifetime_s: float | None = None
) -> Record:
    async with FakeServer(script) as server:
        stop = asyncio.Event()
        client = Client(1, _group(server, tmp_path, lifetime_s), stop)
        task = asyncio.create_task(client.run())
        async with asyncio.timeout(LIMIT_S):
            while not until(client.record):  # noqa: ASYNC110 - the client knows nothing of who watches it
                await asyncio.sleep(0.005)
            stop.set()
            await task
        return client.record


def _worked(record: Record) -> bool:
    return len(record.done_s) >= 5


async def test_a_connect_that_is_reset_and_succeeds_when_retried_is_no_failure(tmp_path: Path) -> None:
    record = await _run(Script(resets=2), tmp_path, _worked, lifetime_s=NEW)
    assert record.failures == []
    assert (record.retries, record.retried) == ({"reset": 2}, 1)


async def test_an_answer_to_a_login_is_a_failure_however_soon_it_would_have_worked(tmp_path: Path) -> None:
    record = await _run(Script(refusals=1), tmp_path, _worked)
    assert [kind for _, kind in record.failures] == ["connect: FATAL:  the database system is starting up"]
    assert (record.retries, record.retried) == ({}, 0)


async def test_a_commit_cut_off_has_failed_and_may_have_happened(tmp_path: Path) -> None:
    record = await _run(Script(commits=iter(["drop"])), tmp_path, _worked)
    assert [kind for _, kind in record.failures] == ["COMMIT: connection reset"]
    assert record.unknown == 1


async def test_a_connection_closed_between_two_transactions_is_counted_apart(tmp_path: Path) -> None:
    record = await _run(Script(commits=iter(["leave"])), tmp_path, _worked)
    assert record.failures == []
    assert sum(record.lost_idle.values()) == 1
    assert record.lost_idle == {"idle: 57P01 terminating connection": 1}


async def test_a_transaction_never_answered_fails_at_the_end_of_the_run(tmp_path: Path) -> None:
    async with FakeServer(Script(commits=iter([0.0, "silent"]))) as server:
        stop = asyncio.Event()
        client = Client(1, _group(server, tmp_path), stop)
        task = asyncio.create_task(client.run())
        async with asyncio.timeout(LIMIT_S):
            await client.first_success.wait()
            await asyncio.sleep(0.1)
            stop.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert [kind for _, kind in client.record.failures] == ["COMMIT: no answer when the run ended"]
    assert client.record.gaps_s()[-1][1] > 0.09, "the open end counts as a stall"


async def test_and_one_that_outlasts_its_patience_fails_then(tmp_path: Path) -> None:
    async with FakeServer(Script(commits=iter(["silent"]))) as server:
        stop = asyncio.Event()
        client = Client(1, _group(server, tmp_path, patience_s=0.2), stop)
        task = asyncio.create_task(client.run())
        async with asyncio.timeout(LIMIT_S):
            await client.first_success.wait()
            stop.set()
            await task
    assert [kind for _, kind in client.record.failures] == ["COMMIT: no answer within N s"]


async def test_a_stall_is_as_long_as_it_was(tmp_path: Path) -> None:
    record = await _run(Script(commits=iter([0.0, 0.4])), tmp_path, _worked)
    stall_ms = Figures.of("fake", [record]).stall_ms.max
    assert stall_ms is not None
    assert stall_ms >= 400, "never shorter than it was; later only by what the machine is late"


async def test_nobody_there_is_refused_and_tried_again(tmp_path: Path) -> None:
    async with FakeServer(Script()) as server:
        group = _group(server, tmp_path)
    stop = asyncio.Event()
    client = Client(1, group, stop)
    task = asyncio.create_task(client.run())
    async with asyncio.timeout(LIMIT_S):
        while client.record.retries["refused"] < 2:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [kind for _, kind in client.record.failures] == ["connect: no answer when the run ended"]
    assert client.record.retried == 0
