"""Operations while things break: the bouncer ends as it was, or the receipt says that nobody can know."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from console.errors import LostConnection, Phase, RefusedError
from console.guard.verdict import Deny
from console.lab.bouncer import PgBouncerServer
from console.model.table import ResultTable
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.service import Run
from console.operations.sessions import Connector, ReadSession, WriteSession
from tests.harness.faults import FaultProxy
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import LIMIT_S, Desk


@pytest.fixture
def server(make_pgbouncer: MakePgBouncer, pgbouncer_version: str) -> PgBouncerServer:
    return make_pgbouncer(pgbouncer_version)


@pytest.fixture
def proxy(server: PgBouncerServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as made:
        yield made


@pytest.fixture
def short_rescue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.operations.resume.RESCUE_LIMIT_S", 1.5)


@pytest_asyncio.fixture
async def desk(server: PgBouncerServer, proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(server, tmp_path / "state" / "journal.jsonl", port=proxy.port)
    async with made.service:
        yield made


async def _while_pending(desk: Desk, run: Run) -> None:
    async with asyncio.timeout(LIMIT_S):
        async for event in run.events():
            if event.kind is EventKind.WAITING:
                return
    raise AssertionError("the pause was over before it was waited for")


async def _receipt(desk: Desk, run: Run) -> TargetReceipt:
    receipt = await desk.finish(run)
    assert desk.records()[-1]["outcome"] == receipt.outcome.value, "the journal tells what the receipt tells"
    return receipt


@pytest.mark.parametrize("selector", ["edge", "edge/app"])
async def test_every_connection_cut_mid_pause_ends_resumed(
    desk: Desk, proxy: FaultProxy, selector: str
) -> None:
    with desk.server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("pause", selector, timeout_s=30)
        await _while_pending(desk, run)
        await asyncio.to_thread(proxy.cut)
        receipt = await _receipt(desk, run)
        assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "running"), receipt.detail
        assert not desk.is_paused("app" if "/" in selector else None)


async def test_a_pooler_that_cannot_be_reached_again_is_unknown(
    desk: Desk, proxy: FaultProxy, short_rescue: None
) -> None:
    with desk.server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("pause", timeout_s=30)
        await _while_pending(desk, run)
        with proxy.refusing():
            receipt = await _receipt(desk, run)
        assert receipt.outcome is Outcome.UNKNOWN
        assert "still is paused is not known" in receipt.detail
        assert "pooldeck resume edge" in receipt.next_steps
        assert desk.is_paused(), "the receipt was right not to promise anything"


async def test_a_bouncer_killed_mid_pause_is_told_truthfully(desk: Desk, short_rescue: None) -> None:
    with contextlib.closing(desk.server.connect()) as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("pause", timeout_s=30)
        await _while_pending(desk, run)
        await asyncio.to_thread(desk.server.kill)
        receipt = await _receipt(desk, run)
        assert receipt.outcome is Outcome.UNKNOWN
        assert receipt.after is None


async def test_a_bouncer_restarted_mid_pause_is_read_back_as_running(desk: Desk) -> None:
    with contextlib.closing(desk.server.connect()) as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        run = await desk.start("pause", timeout_s=30)
        await _while_pending(desk, run)
        await asyncio.to_thread(desk.server.kill)
        await asyncio.to_thread(desk.server.start)
        receipt = await _receipt(desk, run)
        assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "running"), receipt.detail


class _AnswerLost:
    """A writing session that breaks after the pooler took a statement and before its answer arrives."""

    def __init__(self, real: WriteSession, statement: str) -> None:
        self._real = real
        self._statement = statement

    async def show(self, what: str, *, timeout_s: float) -> ResultTable:
        return await self._real.show(what, timeout_s=timeout_s)

    async def execute(self, statement: str, timeout_s: float | None) -> str:
        tag = await self._real.execute(statement, timeout_s)
        if statement == self._statement:
            await self._real.close()
            raise LostConnection(Phase.PROTOCOL, "the connection broke before the answer")
        return tag

    async def close(self) -> None:
        await self._real.close()


class _LosesAnswers:
    def __init__(self, real: Connector, statement: str) -> None:
        self._real = real
        self._statement = statement

    async def reader(self, name: str, *, as_admin: bool = False) -> ReadSession:
        return await self._real.reader(name, as_admin=as_admin)

    async def writer(self, name: str) -> WriteSession:
        return _AnswerLost(await self._real.writer(name), self._statement)

    async def probe(self, name: str) -> str:
        return await self._real.probe(name)


@pytest.mark.parametrize(
    ("op", "statement", "outcome"),
    [
        ("resume", "RESUME", Outcome.OK),
        ("pause", "PAUSE", Outcome.FAILED),
        ("reload", "RELOAD", Outcome.UNKNOWN),
    ],
)
async def test_when_an_answer_is_lost_reading_back_decides(
    server: PgBouncerServer, tmp_path: Path, op: str, statement: str, outcome: Outcome
) -> None:
    desk = Desk(server, tmp_path / "journal.jsonl")
    if op == "resume":
        with server.admin() as console:
            console.execute("PAUSE")
    desk.use(_LosesAnswers(desk.connector, statement))
    async with desk.service:
        receipt = await _receipt(desk, await (desk.start(op, hold_s=0) if op == "pause" else desk.start(op)))
    assert (receipt.outcome, receipt.after) == (outcome, "running"), receipt.detail
    assert not desk.is_paused()


@pytest.mark.parametrize("op", ["pause", "reload"])
async def test_an_unwritable_journal_sends_nothing(desk: Desk, op: str) -> None:
    folder = desk.journal_path.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file where the state folder should be")
    log_before = desk.server.log_path.stat().st_size
    receipt = await desk.do(op)
    assert receipt.outcome is Outcome.FAILED
    assert "journal cannot be written" in receipt.detail
    assert receipt.exchanges == ()
    assert not desk.is_paused()
    log = desk.server.log_path.read_bytes()[log_before:].decode()
    assert "PAUSE command issued" not in log
    assert "RELOAD command issued" not in log


async def test_a_full_disk_sends_nothing_and_leaves_no_half_record(desk: Desk) -> None:
    assert (await desk.do("reload")).outcome is Outcome.OK
    before = desk.journal_path.read_bytes()
    plan = await desk.service.plan("pause", "edge")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        receipt = await desk.finish(desk.submit(plan))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert receipt.outcome is Outcome.FAILED
    assert "journal cannot be written" in receipt.detail
    assert receipt.exchanges == ()
    assert desk.journal_path.read_bytes() == before
    assert not desk.is_paused()


@pytest.mark.trap("T1")
async def test_wait_close_in_the_past_is_seen_through(desk: Desk) -> None:
    """Trap T1: after one WAIT_CLOSE a later PAUSE is answered at once although nothing is drained."""
    with desk.server.connect() as client, desk.server.admin() as console:
        client.execute("SELECT 1")
        console.execute("RECONNECT app")
        console.execute("WAIT_CLOSE app")
        client.execute("BEGIN")
        client.execute("SELECT 1")
        receipt = await desk.do("pause", timeout_s=3)
        assert receipt.outcome is Outcome.FAILED
        assert "WAIT_CLOSE" in receipt.detail
        assert not desk.is_paused()


async def test_read_only_refuses_whatever_the_driver_does(server: PgBouncerServer, tmp_path: Path) -> None:
    reader = Desk(server, tmp_path / "r.jsonl", read_only=True)
    writer = Desk(server, tmp_path / "w.jsonl")
    async with reader.service, writer.service:
        plan = await writer.service.plan("pause", "edge")
        assert isinstance(reader.service.judge(plan), Deny)
        permit = writer.service.permit(plan, writer.service.judge(plan), "edge")
        with pytest.raises(RefusedError, match="read-only"):
            reader.service.submit(plan, permit)
        assert not writer.is_paused()


async def test_two_runs_on_one_bouncer_are_refused(desk: Desk) -> None:
    with desk.server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        plan = await desk.service.plan("pause", "edge/tiny")
        run = await desk.start("pause", "edge/app", timeout_s=30)
        with pytest.raises(RefusedError, match="still running on edge"):
            desk.submit(plan)
        run.cancel()
        await desk.finish(run)


class _TwoProcesses:
    """A connector as a so_reuseport port makes it: every second login meets the other process."""

    def __init__(self, one: Connector, other: Connector) -> None:
        self._one = one
        self._writers = itertools.cycle((one, other))

    async def reader(self, name: str, *, as_admin: bool = False) -> ReadSession:
        return await self._one.reader(name, as_admin=as_admin)

    async def writer(self, name: str) -> WriteSession:
        return await next(self._writers).writer(name)

    async def probe(self, name: str) -> str:
        return await self._one.probe(name)


@pytest.mark.trap("T21")
async def test_logins_that_meet_two_processes_send_nothing(
    make_pgbouncer: MakePgBouncer, tmp_path: Path
) -> None:
    """Trap T21: behind one port a RESUME could reach another process than the PAUSE did."""
    desk = Desk(make_pgbouncer("1.26"), tmp_path / "journal.jsonl")
    twin = Desk(make_pgbouncer("1.26"), tmp_path / "twin.jsonl")
    desk.use(_TwoProcesses(desk.connector, twin.connector))
    async with desk.service:
        receipt = await desk.do("pause")
    assert receipt.outcome is Outcome.FAILED
    assert "two different processes" in receipt.detail
    assert receipt.exchanges == ()
    assert not desk.is_paused()
    assert not twin.is_paused()
