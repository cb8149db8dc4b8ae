"""Verbs under faults that no real pooler makes on demand: lost answers, refusals, a stop at one moment."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from console.errors import AdminError, DeadlineError, LostConnection, NodeError, Phase
from console.operations import ending
from console.operations.outcome import EventKind, Outcome
from console.operations.render_receipt import receipt_text, run_text
from console.operations.rollout import Rollout, parse_serial
from console.operations.service import Run
from console.operations.target import Target
from tests.harness.leases import FakeLease, FakeLeases
from tests.unit.operations.conftest import Bench
from tests.unit.operations.fake_pooler import FakePooler, FakeSession

APP = Target("edge", "app")


def once(statement: str, fault: Exception) -> Callable[[str], None]:
    """Return a hook that raises `fault` the first time `statement` comes by."""
    left = [fault]

    def hook(seen: str) -> None:
        if seen == statement and left:
            raise left.pop()

    return hook


def lost() -> LostConnection:
    return LostConnection(Phase.PROTOCOL, "the connection was closed")


def lease_of(bench: Bench) -> FakeLease:
    (lease,) = bench.leases.armed
    return lease


# -- KILL: whatever happens, nobody is left waiting -----------------------------------------------------


async def test_a_kill_whose_answer_is_lost_is_resumed_all_the_same(bench: Bench, pooler: FakePooler) -> None:
    pooler.after_execute = once('KILL "app"', lost())
    receipt = await bench.do("kill", "edge/app")
    assert (receipt.outcome, receipt.after) == (Outcome.OK, "running"), receipt.detail
    assert not pooler.anything_paused
    assert not lease_of(bench).left_to_guardian


async def test_a_kill_that_may_still_arrive_stays_with_its_guardian(bench: Bench, pooler: FakePooler) -> None:
    pooler.before_execute = once('KILL "app"', lost())
    receipt = await bench.do("kill", "edge/app")
    assert (receipt.outcome, receipt.after) == (Outcome.UNKNOWN, None)
    assert "KILL did not arrive" in receipt.detail
    assert lease_of(bench).left_to_guardian == {APP}


async def test_a_resume_whose_connection_breaks_is_sent_again(bench: Bench, pooler: FakePooler) -> None:
    pooler.before_execute = once('RESUME "app"', lost())
    receipt = await bench.do("kill", "edge/app")
    assert (receipt.outcome, receipt.after) == (Outcome.OK, "running"), receipt.detail
    assert not pooler.anything_paused
    assert pooler.config["server_login_retry"][0] == "15"


async def test_a_resume_that_is_refused_is_left_to_the_guardian_and_told(
    bench: Bench, pooler: FakePooler
) -> None:
    def refuse(statement: str) -> None:
        if statement.startswith("RESUME"):
            raise AdminError("pooler is shutting down", sqlstate="08P01")

    pooler.before_execute = refuse
    receipt = await bench.do("kill", "edge/app")
    assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "paused")
    assert "pooler is shutting down" in receipt.detail
    assert "its guardian goes on trying" in receipt.detail
    assert "pooldeck resume edge/app" in receipt.next_steps
    assert lease_of(bench).left_to_guardian == {APP}


async def test_a_kill_that_is_refused_did_nothing(bench: Bench, pooler: FakePooler) -> None:
    pooler.before_execute = once('KILL "app"', AdminError("already paused", sqlstate="08P01"))
    receipt = await bench.do("kill", "edge/app")
    assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "running")
    assert len(pooler.clients) == 3
    assert not lease_of(bench).left_to_guardian


async def test_without_a_guardian_nobody_is_killed(bench: Bench, pooler: FakePooler) -> None:
    bench.leases.fails = NodeError(Phase.CONNECT, "no guardian could be started")
    receipt = await bench.do("kill", "edge/app")
    assert receipt.outcome is Outcome.FAILED
    assert pooler.changing() == []


async def test_a_guardian_that_dies_just_before_stops_it(
    bench: Bench, pooler: FakePooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = FakeLeases.arm

    async def doomed(self: FakeLeases, *given: object, **more: object) -> FakeLease:
        lease = await arm(self, *given, **more)  # type: ignore[arg-type]
        lease.lost.set()
        return lease

    monkeypatch.setattr(FakeLeases, "arm", doomed)
    receipt = await bench.do("kill", "edge/app")
    assert receipt.outcome is Outcome.FAILED
    assert "the guardian has ended" in receipt.detail
    assert pooler.changing() == []
    assert lease_of(bench).released == [APP]


async def test_ctrl_c_twice_in_the_middle_of_a_kill_still_resumes(bench: Bench, pooler: FakePooler) -> None:
    runs: list[Run] = []

    def stop(statement: str) -> None:
        if statement == 'KILL "app"':
            runs[0].cancel()
            runs[0].cancel()

    pooler.after_execute = stop
    runs.append(bench.submit(await bench.service.plan("kill", "edge/app")))
    await runs[0].receipt()
    assert not pooler.anything_paused
    assert pooler.changing()[-2:] == ['RESUME "app"', "SET server_login_retry = 15"]


# -- read back decides ----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["disable", "enable"])
async def test_an_answer_that_is_lost_is_decided_by_reading_back(
    bench: Bench, pooler: FakePooler, verb: str
) -> None:
    if verb == "enable":
        pooler.disabled_databases = {"app"}
    pooler.after_execute = once(f'{verb.upper()} "app"', lost())
    receipt = await bench.do(verb, "edge/app")
    assert (receipt.outcome, receipt.after) == (Outcome.OK, f"{verb}d")
    assert "but it reads back as" in receipt.detail


async def test_an_answer_alone_is_not_believed(bench: Bench, pooler: FakePooler) -> None:
    pooler.after_execute = lambda _: pooler.disabled_databases.clear()
    receipt = await bench.do("disable", "edge/app")
    assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "enabled")


async def test_a_pooler_that_is_gone_afterwards_is_unknown(
    bench: Bench, pooler: FakePooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    from console.operations import sending

    monkeypatch.setattr(sending, "READ_BACK_LIMIT_S", 0.2)

    def crash(_: str) -> None:
        pooler.gone = True
        raise lost()

    pooler.after_execute = crash
    receipt = await bench.do("disable", "edge/app")
    assert (receipt.outcome, receipt.after) == (Outcome.UNKNOWN, None)
    assert receipt.next_steps == ("pooldeck status edge", "pooldeck disable edge/app")


@pytest.mark.trap("T9")
async def test_a_set_that_did_nothing_is_a_failure_whatever_was_answered(
    bench: Bench, pooler: FakePooler
) -> None:
    before = pooler.config["default_pool_size"]
    pooler.after_execute = lambda _: pooler.config.update(default_pool_size=before)
    receipt = await bench.do("set", key="default_pool_size", value="7")
    assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "default_pool_size = 30")
    assert "but it still reads as 30" in receipt.detail


async def test_a_set_that_is_taken_another_way_is_told(bench: Bench, pooler: FakePooler) -> None:
    pooler.after_execute = lambda _: pooler.config.update(default_pool_size=("8", "20"))
    receipt = await bench.do("set", key="default_pool_size", value="7")
    assert (receipt.outcome, receipt.after) == (Outcome.OK, "default_pool_size = 8")
    assert "reads back as 8, not as 7" in receipt.warnings[0]


async def test_a_reconnect_that_was_lost_on_the_way_had_no_effect(bench: Bench, pooler: FakePooler) -> None:
    pooler.before_execute = once("RECONNECT", lost())
    receipt = await bench.do("reconnect")
    assert receipt.outcome is Outcome.FAILED
    assert "it had no effect" in receipt.detail


async def test_a_reconnect_whose_answer_was_lost_is_seen_to_have_worked(
    bench: Bench, pooler: FakePooler
) -> None:
    pooler.after_execute = once("RECONNECT", lost())
    receipt = await bench.do("reconnect")
    assert receipt.outcome is Outcome.OK, receipt.detail
    assert "but it took effect" in receipt.detail


async def test_clients_that_left_by_themselves_are_no_change(bench: Bench, pooler: FakePooler) -> None:
    pooler.lists_clients = True
    pooler.before_execute = lambda _: pooler.clients.clear()
    receipt = await bench.do("kill-client", ids=("7", "8"))
    assert (receipt.outcome, receipt.detail) == (Outcome.NO_CHANGE, "they had left by themselves")


async def test_a_client_cut_over_a_connection_that_broke_is_read_back(
    bench: Bench, pooler: FakePooler
) -> None:
    pooler.lists_clients = True
    pooler.after_execute = once("KILL_CLIENT 7", lost())
    receipt = await bench.do("kill-client", ids=("7", "8"))
    assert receipt.outcome is Outcome.FAILED, "nothing more was sent after it"
    assert "client 8 still is connected" in receipt.detail
    assert set(pooler.clients) == {"8", "9"}


# -- SHUTDOWN -------------------------------------------------------------------------------------------


async def test_a_link_that_breaks_is_no_proof_of_an_end(
    bench: Bench, pooler: FakePooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "WATCH_ENDS_S", 0.1)
    pooler.before_execute = once("SHUTDOWN", lost())
    receipt = await bench.do("shutdown", mode="now")
    assert receipt.outcome is Outcome.UNKNOWN
    assert "it still answers over another session" in receipt.detail


async def test_one_that_shuts_down_and_cannot_be_read_is_unknown(
    bench: Bench, pooler: FakePooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = FakeSession.show

    async def hang(self: FakeSession, what: str, *, timeout_s: float) -> object:
        if pooler.closing:
            raise DeadlineError(Phase.PROTOCOL, "no answer within 5 s", limit_s=5)
        return await show(self, what, timeout_s=timeout_s)

    monkeypatch.setattr(FakeSession, "show", hang)
    pooler.lists_clients = True
    receipt = await bench.do("shutdown", mode="wait-for-clients", timeout_s=1)
    assert receipt.outcome is Outcome.UNKNOWN
    assert "the answer was SHUTDOWN, so it shuts down" in receipt.detail


async def test_one_that_was_restarted_by_its_supervisor_is_told(
    bench: Bench, pooler: FakePooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "REFUSED_LIMIT_S", 0.1)
    pooler.lists_clients = True

    async def alive(name: str, *, as_admin: bool = False) -> FakeSession:
        return FakeSession(FakePooler() if pooler.gone else pooler)

    monkeypatch.setattr(pooler, "reader", alive)
    receipt = await bench.do("shutdown", mode="now")
    assert (receipt.outcome, receipt.after) == (Outcome.OK, None)
    assert "something answers at its address" in receipt.warnings[0]


# -- a run that is interrupted takes back what it did ---------------------------------------------------


class Pair(FakePooler):
    """Two poolers, `edge` and `edge-2`."""

    def __init__(self) -> None:
        super().__init__()
        self.each = {"edge": FakePooler(), "edge-2": FakePooler()}

    async def reader(self, name: str, *, as_admin: bool = False) -> FakeSession:
        return await self.each[name].reader(name, as_admin=as_admin)

    async def writer(self, name: str) -> FakeSession:
        return await self.each[name].writer(name)


@pytest.mark.parametrize(
    ("verb", "selector", "parameters", "sent"),
    [
        ("disable", "edge/app,edge-2/app", {}, ['DISABLE "app"', 'ENABLE "app"']),
        (
            "set",
            "all",
            {"key": "default_pool_size", "value": "7"},
            ["SET default_pool_size TO '7'", "SET default_pool_size TO '30'"],
        ),
    ],
)
async def test_what_was_done_is_taken_back(
    tmp_path: Path, verb: str, selector: str, parameters: dict[str, str], sent: list[str]
) -> None:
    pair = Pair()
    bench = Bench(pair, tmp_path / "journal.jsonl")
    runs: list[Run] = []
    pair.each["edge"].after_execute = lambda _: runs[0].cancel()
    rollout = Rollout(parse_serial("1"))
    async with bench.service:
        plan = await bench.service.plan(verb, selector, rollout=rollout, **parameters)
        runs.append(bench.submit(plan))
        receipt = await runs[0].receipt()
    first, second = receipt.targets
    assert pair.each["edge"].changing() == sent
    assert pair.each["edge-2"].changing() == []
    assert (first.outcome, first.interrupted) == (Outcome.OK, True)
    assert "the run was interrupted" in first.detail
    assert second.outcome is Outcome.SKIPPED
    assert receipt.interrupted
    assert (first.taken_back, second.taken_back) == (True, False)
    assert receipt.counts == "1 taken back, 1 skipped", "what was taken back is no `ok` of the run"
    assert re.search(r"^edge\S* +taken back ", run_text(receipt), re.MULTILINE)
    assert receipt_text(first).startswith(f"{first.target}: TAKEN BACK in ")
    told = [event.text async for event in runs[0].events() if event.kind is EventKind.FINISHED]
    assert [text.partition(":")[0] for text in told] == ["ok", "skipped", "taken back"]
