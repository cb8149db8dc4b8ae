"""Runs on a fake pooler: the moments that a real one cannot be made to have."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from console.errors import AdminError, LostConnection, NodeError, Phase, RefusedError, UsageError
from console.guard.verdict import Deny
from console.operations.control import Control, Stopped, insist
from console.operations.outcome import EventKind, Outcome
from tests.unit.operations.conftest import Bench
from tests.unit.operations.fake_pooler import FakePooler


@pytest.mark.parametrize("moment", ["before_execute", "after_execute"])
async def test_a_pause_whose_connection_breaks_is_taken_back(
    bench: Bench, pooler: FakePooler, moment: str
) -> None:
    def breaks(statement: str) -> None:
        if statement == "PAUSE":
            raise LostConnection(Phase.PROTOCOL, "the connection broke")

    setattr(pooler, moment, breaks)
    receipt = await bench.do("pause")
    assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "running")
    assert "the connection broke" in receipt.detail
    assert not pooler.anything_paused


async def test_an_answer_is_not_believed_while_servers_are_busy(bench: Bench, pooler: FakePooler) -> None:
    pooler.busy_servers, pooler.answers_early = 1, True
    receipt = await bench.do("pause", timeout_s=0.5)
    assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "running")
    assert "1 server connection not released" in receipt.detail
    assert "who holds the servers could not be read" in receipt.warnings[0], "which must not end the pause"
    assert not pooler.anything_paused


async def test_a_pause_counts_once_the_last_server_is_released(bench: Bench, pooler: FakePooler) -> None:
    pooler.busy_servers, pooler.answers_early = 1, True
    run = bench.submit(await bench.service.plan("pause", "edge", timeout_s=5))
    async with asyncio.timeout(10):
        async for event in run.events():
            if event.kind is EventKind.WAITING:
                pooler.busy_servers = 0
            if event.kind is EventKind.HOLDING:
                assert pooler.paused
                run.end_hold()
    assert (await run.receipt()).outcome is Outcome.OK
    assert not pooler.anything_paused


async def test_an_internal_error_after_pause_was_sent_still_resumes(
    bench: Bench, pooler: FakePooler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("console.operations.pausing.Pausing._tell_waiting", bug)
    pooler.busy_servers = 1
    receipt = await bench.do("pause")
    assert receipt.outcome is Outcome.FAILED
    assert "ZeroDivisionError" in receipt.detail
    assert receipt.after == "running"
    assert not pooler.anything_paused
    assert bench.records()[-1]["outcome"] == "failed"
    assert "ended by an internal error" in caplog.text


async def test_a_pause_that_arrives_after_its_resume_is_caught(bench: Bench, pooler: FakePooler) -> None:
    """The two travel on different connections; cancelled early, RESUME may overtake PAUSE."""
    pooler.pause_lag = asyncio.Event()
    run = bench.submit(await bench.service.plan("pause", "edge"))
    async with asyncio.timeout(10):
        async for event in run.events():
            if event.kind is EventKind.SENT and event.text == "→ PAUSE":
                run.cancel()
            if event.kind is EventKind.ANSWERED and "is not paused" in event.text:
                pooler.pause_lag.set()
        receipt = (await run.receipt()).targets[0]
    assert receipt.interrupted
    assert pooler.executed.count("RESUME") == 2
    assert not pooler.anything_paused
    assert receipt.after == "running"


async def test_a_pooler_that_shuts_down_and_cannot_be_resumed_is_told(
    bench: Bench, pooler: FakePooler
) -> None:
    def refuses(statement: str) -> None:
        if statement == "RESUME":
            raise AdminError("pooler is shutting down", sqlstate="08P01")

    pooler.before_execute = refuses
    pooler.busy_servers = 1
    receipt = await bench.do("pause", timeout_s=0.3)
    assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "paused")
    assert "could NOT be resumed (pooler is shutting down)" in receipt.detail
    assert "shuts down" in receipt.next_steps[0]
    assert receipt.clients_cut_at_s is not None


async def test_a_pause_refused_by_the_pooler_resumes_nobody_elses(bench: Bench, pooler: FakePooler) -> None:
    def somebody_is_faster(statement: str) -> None:
        if statement == "PAUSE":
            pooler.paused = True

    pooler.before_execute = somebody_is_faster
    receipt = await bench.do("pause")
    assert receipt.outcome is Outcome.FAILED
    assert "PAUSE was refused: already suspended/paused" in receipt.detail
    assert "RESUME" not in pooler.executed
    assert pooler.paused


async def test_somebody_elses_undrained_pause_is_waited_for_and_left_alone(
    bench: Bench, pooler: FakePooler
) -> None:
    pooler.paused, pooler.busy_servers = True, 1
    receipt = await bench.do("pause", timeout_s=0.3)
    assert receipt.outcome is Outcome.FAILED
    assert "left alone" in receipt.detail
    assert pooler.changing() == []


async def test_a_pause_that_somebody_ended_just_before_its_own_end_is_not_told_as_held(
    bench: Bench, pooler: FakePooler
) -> None:
    async with bench.service:
        run = bench.submit(await bench.service.plan("pause", "edge", hold_s=20))
        async with asyncio.timeout(10):
            async for event in run.events():
                if event.kind is EventKind.HOLDING:
                    pooler.paused = False
                    run.end_hold()
                    break
        receipt = (await run.receipt()).targets[0]
    assert (receipt.outcome, receipt.after) == (Outcome.OK, "running")
    assert "somebody else" in receipt.detail
    assert any("somebody else" in warning for warning in receipt.warnings)


async def test_a_setting_put_to_zero_is_put_back_although_resume_fails(
    bench: Bench, pooler: FakePooler
) -> None:
    pooler.paused_databases = {"app"}

    def refuses(statement: str) -> None:
        if statement.startswith("RESUME"):
            raise AdminError("pooler is shutting down", sqlstate="08P01")

    pooler.before_execute = refuses
    receipt = await bench.do("resume", "edge/app")
    assert receipt.outcome is Outcome.FAILED
    assert pooler.executed[-1] == "SET server_login_retry = 15"


async def test_a_setting_is_put_back_over_a_new_session_when_the_old_one_broke(
    bench: Bench, pooler: FakePooler
) -> None:
    pooler.paused_databases = {"app"}
    failures = iter([True])

    def breaks_once(statement: str) -> None:
        if statement == "SET server_login_retry = 15" and next(failures, False):
            raise LostConnection(Phase.PROTOCOL, "the connection broke")

    pooler.before_execute = breaks_once
    receipt = await bench.do("resume", "edge/app")
    assert pooler.executed.count("SET server_login_retry = 15") == 2
    assert receipt.outcome is Outcome.OK


async def test_a_lost_reload_that_changed_nothing_is_unknown(bench: Bench, pooler: FakePooler) -> None:
    def breaks(statement: str) -> None:
        raise LostConnection(Phase.PROTOCOL, f"the connection broke at {statement}")

    pooler.after_execute = breaks
    receipt = await bench.do("reload")
    assert receipt.outcome is Outcome.UNKNOWN
    assert "not known" in receipt.detail


async def test_a_pooler_without_admin_user_can_be_planned_and_not_changed(
    pooler: FakePooler, tmp_path: Path
) -> None:
    bench = Bench(pooler, tmp_path / "j.jsonl", admin_user=None)
    plan = await bench.service.plan("pause", "edge")
    verdict = bench.service.judge(plan)
    assert isinstance(verdict, Deny)
    assert "names no admin_user" in verdict.reason
    with pytest.raises(RefusedError):
        bench.service.permit(plan, verdict, "edge")


@pytest.mark.parametrize(
    ("op", "selector", "parameters", "words"),
    [
        ("drop", "edge", {}, "no operation drop"),
        ("pause", "nobody*", {}, "nobody"),
        ("pause", "edge", {"timeout_s": 0}, "timeout must be"),
        ("pause", "edge", {"force": True}, "force"),
        ("reload", "edge/app", {}, "acts on a whole bouncer"),
        ("pause", "edge/pgbouncer", {}, "the admin console itself"),
        ("pause", "edge/ap", {}, "lists no database ap"),
    ],
)
async def test_what_cannot_be_planned_is_a_usage_error(
    bench: Bench, pooler: FakePooler, op: str, selector: str, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        await bench.service.plan(op, selector, **parameters)
    assert pooler.executed == []


async def test_a_run_outlives_whoever_asked_and_its_events_can_be_read_again(
    bench: Bench, pooler: FakePooler
) -> None:
    pooler.busy_servers = 1
    run = bench.submit(await bench.service.plan("pause", "edge", timeout_s=0.4))
    asker = asyncio.create_task(run.receipt())
    await asyncio.sleep(0)
    asker.cancel()
    await asyncio.gather(asker, return_exceptions=True)
    assert not run.done
    assert (await run.receipt()).outcome is Outcome.FAILED
    kinds = [event.kind async for event in run.events()]
    assert kinds[0] is EventKind.STARTED
    assert kinds[-1] is EventKind.FINISHED
    assert bench.service.runs == (run,)


async def test_a_service_that_ends_takes_no_more_runs(bench: Bench) -> None:
    plan = await bench.service.plan("pause", "edge")
    permit = bench.service.permit(plan, bench.service.judge(plan), "edge")
    await bench.service.close()
    with pytest.raises(RefusedError, match="ending"):
        bench.service.submit(plan, permit)


async def test_an_unreachable_pooler_cannot_be_planned(bench: Bench, pooler: FakePooler) -> None:
    async def refuse(name: str, *, as_admin: bool = False) -> None:
        raise NodeError(Phase.CONNECT, "connection refused", where=name)

    pooler.reader = refuse  # type: ignore[assignment, method-assign]
    with pytest.raises(NodeError, match="connection refused"):
        await bench.service.plan("pause", "edge")


async def test_insisting_survives_being_cancelled_again_and_again() -> None:
    gate, done = asyncio.Event(), []

    async def undo() -> str:
        await gate.wait()
        done.append(True)
        return "undone"

    task = asyncio.create_task(insist(undo))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await task == "undone"
    assert done == [True]


async def test_stopping_does_not_cancel_what_was_sent() -> None:
    control, gate = Control(), asyncio.Event()
    ended = []

    async def statement() -> None:
        await gate.wait()
        ended.append("answered")

    waiting = asyncio.create_task(control.wait(statement()))
    await asyncio.sleep(0)
    control.stop()
    with pytest.raises(Stopped):
        await waiting
    gate.set()
    await control.reap()
    assert ended == ["answered"]
