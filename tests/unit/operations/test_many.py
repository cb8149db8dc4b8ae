"""Runs on many bouncers, each a fake pooler of its own: waves, limits, all or none, gates, interruptions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.config.schema import Bouncer, Inventory
from console.errors import AdminError, NodeError, Phase
from console.guard.verdict import Confirm, Deny
from console.operations.outcome import EventKind, Outcome, RunReceipt
from console.operations.plan import Plan
from console.operations.reach import Reach
from console.operations.rollout import Rollout, Share, parse_serial
from console.operations.service import OperationService, Run
from console.operations.target import Target
from tests.harness.leases import FakeLeases
from tests.unit.operations.fake_pooler import FakePooler, FakeSession

NAMES = ("a1", "a2", "b1", "b2")
GATE = {"gate_timeout_s": 0.2, "soak_s": 0.0}
LIMIT_S = 10.0


class Fleet:
    """Four bouncers, a1 and a2 peers; also the connector to them."""

    def __init__(self, folder: Path) -> None:
        self.poolers = {name: FakePooler() for name in NAMES}
        for name, pooler in self.poolers.items():
            (folder / name).mkdir()
            pooler.lives_in(folder / name)
        self.unreachable: set[str] = set()
        self.probes_fail: dict[str, str] = {}
        self.leases = FakeLeases()
        inventory = Inventory(
            fleet="four",
            environment="development",
            bouncers=tuple(
                Bouncer(
                    name=name,
                    tcp="127.0.0.1:6432",
                    admin_user="admin",
                    monitor_user="stats",
                    peer_group="a" if name.startswith("a") else None,
                )
                for name in NAMES
            ),
        )
        self.service = OperationService(
            inventory,
            Reach(self, leases=self.leases),
            Journal(folder / "journal.jsonl", SystemClock(), Actor.current({})),
            SystemClock(),
            read_only=False,
        )

    def _pooler(self, name: str) -> FakePooler:
        if name in self.unreachable:
            raise NodeError(Phase.CONNECT, "connection refused", where=name)
        return self.poolers[name]

    async def reader(self, name: str, *, as_admin: bool = False) -> FakeSession:
        return await self._pooler(name).reader(name, as_admin=as_admin)

    async def writer(self, name: str) -> FakeSession:
        return await self._pooler(name).writer(name)

    async def probe(self, name: str) -> str:
        self._pooler(name)
        if name in self.probes_fail:
            raise NodeError(Phase.AUTH, self.probes_fail[name], where=name)
        return "a login"

    def submit(self, plan: Plan) -> Run:
        verdict = self.service.judge(plan)
        phrase = verdict.phrase if isinstance(verdict, Confirm) else None
        return self.service.submit(plan, self.service.permit(plan, verdict, phrase))

    async def do(
        self,
        op: str,
        selector: str = "all",
        rollout: Rollout | None = None,
        at: Callable[[Run, EventKind, str], None] | None = None,
        **parameters: object,
    ) -> RunReceipt:
        """Plan, confirm, carry out; `at` is called with each event."""
        run = self.submit(await self.service.plan(op, selector, rollout=rollout, **parameters))
        async with asyncio.timeout(LIMIT_S):
            async for event in run.events():
                if at is not None:
                    at(run, event.kind, event.target)
            return await run.receipt()

    @property
    def paused(self) -> list[str]:
        return [name for name, pooler in self.poolers.items() if pooler.anything_paused]

    def changed(self) -> dict[str, list[str]]:
        return {name: pooler.changing() for name, pooler in self.poolers.items() if pooler.changing()}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def outcomes(receipt: RunReceipt) -> dict[str, str]:
    return {str(item.target): item.outcome.value for item in receipt.targets}


def rolling(serial: str, **more: object) -> Rollout:
    return Rollout(parse_serial(serial), **{**GATE, **more})  # type: ignore[arg-type]


async def test_a_pause_of_many_is_held_by_all_at_once_and_ends_on_all(fleet: Fleet) -> None:
    together: list[list[str]] = []

    def at(run: Run, kind: EventKind, _target: str) -> None:
        if kind is EventKind.HOLDING:
            together.append(fleet.paused)
            run.end_hold()

    receipt = await fleet.do("pause", at=at)
    assert outcomes(receipt) == dict.fromkeys(NAMES, "ok")
    assert together[0] == list(NAMES)
    assert fleet.paused == []
    (lease,) = fleet.leases.armed
    assert lease.left_to_guardian == set()
    assert lease.closed


async def test_one_that_cannot_be_paused_lets_all_go(fleet: Fleet) -> None:
    fleet.poolers["b1"].busy_servers = 1
    receipt = await fleet.do("pause", hold_s=5, timeout_s=0.4)
    assert outcomes(receipt) == dict.fromkeys(NAMES, "failed")
    assert receipt.targets[0].detail == "b1 could not be paused; it reads as running again", "why: b1 says"
    assert fleet.paused == []


async def test_every_intent_of_a_pause_that_never_began_has_its_end_in_the_journal(
    fleet: Fleet, tmp_path: Path
) -> None:
    plan = await fleet.service.plan("pause", "all")
    fleet.unreachable.add("a1")
    receipt = await fleet.submit(plan).receipt()
    assert outcomes(receipt) == {"a1": "failed", **dict.fromkeys(NAMES[1:], "skipped")}
    assert fleet.changed() == {}
    records = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    told = {kind: [one["target"] for one in records if one["kind"] == kind] for kind in ("intent", "outcome")}
    assert sorted(told["intent"]) == sorted(told["outcome"]) == list(NAMES[1:])


async def test_with_a_failure_allowed_the_others_are_held(fleet: Fleet) -> None:
    fleet.poolers["b1"].busy_servers = 1
    rollout = Rollout(parse_serial("100%"), max_failed=Share(1))
    receipt = await fleet.do("pause", rollout=rollout, hold_s=0, timeout_s=0.4)
    assert outcomes(receipt) == {"a1": "ok", "a2": "ok", "b1": "failed", "b2": "ok"}
    assert receipt.outcome is Outcome.FAILED
    assert fleet.paused == []


async def test_an_unreachable_target_refuses_the_plan_unless_a_failure_is_allowed(fleet: Fleet) -> None:
    fleet.unreachable = {"b2"}
    plan = await fleet.service.plan("pause", "all", hold_s=0)
    verdict = fleet.service.judge(plan)
    assert isinstance(verdict, Deny)
    assert "b2 cannot be reached" in verdict.reason
    rollout = Rollout(parse_serial("100%"), max_failed=Share(1))
    receipt = await fleet.do("pause", rollout=rollout, hold_s=0)
    assert outcomes(receipt) == {"a1": "ok", "a2": "ok", "b1": "ok"}
    assert [item.name for item in receipt.unreachable] == ["b2"]
    assert receipt.outcome is Outcome.FAILED, "what was named and not reached has failed"


async def test_a_way_out_goes_on_with_what_can_be_reached(fleet: Fleet) -> None:
    for pooler in fleet.poolers.values():
        pooler.paused = True
    fleet.unreachable = {"a1", "b2"}
    receipt = await fleet.do("resume")
    assert outcomes(receipt) == {"a2": "ok", "b1": "ok"}
    assert receipt.outcome is Outcome.FAILED, "two were named and not reached"
    assert fleet.paused == ["a1", "b2"]


async def test_a_canary_wave_that_fails_leaves_the_others_untouched(fleet: Fleet) -> None:
    fleet.poolers["a1"].busy_servers = 1
    receipt = await fleet.do("pause", rollout=rolling("1,100%"), hold_s=5, timeout_s=0.4)
    assert outcomes(receipt)["a1"] == "failed"
    assert fleet.changed().keys() == {"a1"}
    assert fleet.paused == []


async def test_a_target_that_the_guardian_cannot_cover_is_never_paused(fleet: Fleet) -> None:
    fleet.leases.cannot_cover = {Target("a2"): "login refused"}
    receipt = await fleet.do("pause", hold_s=0)
    assert "a2 could not be paused" in receipt.targets[0].detail
    assert fleet.changed() == {}, "all or none: nothing was sent anywhere"


async def test_without_a_guardian_nothing_is_paused(fleet: Fleet) -> None:
    fleet.leases.fails = NodeError(Phase.CONNECT, "it did not start")
    receipt = await fleet.do("pause", hold_s=0)
    assert outcomes(receipt) == dict.fromkeys(NAMES, "failed")
    assert fleet.changed() == {}


async def test_a_guardian_that_dies_while_holding_ends_the_hold_at_once(fleet: Fleet) -> None:
    def at(_run: Run, kind: EventKind, _target: str) -> None:
        if kind is EventKind.HOLDING:
            fleet.leases.armed[0].lost.set()

    receipt = await fleet.do("pause", at=at, hold_s=30)
    assert "its guardian ended" in receipt.targets[0].detail
    assert {item.after for item in receipt.targets} == {"running"}
    assert fleet.paused == []


async def test_stopping_a_hold_resumes_all_and_says_that_it_was_interrupted(fleet: Fleet) -> None:
    def at(run: Run, kind: EventKind, _target: str) -> None:
        if kind is EventKind.HOLDING:
            run.cancel()

    receipt = await fleet.do("pause", at=at, hold_s=30)
    assert receipt.interrupted
    assert fleet.paused == []


async def test_a_hold_that_somebody_ended_counts_down_no_further(fleet: Fleet) -> None:
    told: list[EventKind] = []

    def at(_run: Run, kind: EventKind, _target: str) -> None:
        told.append(kind)
        if kind is EventKind.HOLDING:
            fleet.poolers["b1"].paused = False

    receipt = await fleet.do("pause", "b1", at=at, hold_s=30)
    assert "resumed by somebody else" in receipt.targets[0].detail
    assert told.count(EventKind.HOLDING) == 1


async def test_a_detached_pause_is_left_to_its_guardian(fleet: Fleet) -> None:
    receipt = await fleet.do("pause", hold_s=20, detach=True)
    assert outcomes(receipt) == dict.fromkeys(NAMES, "ok")
    assert {item.after for item in receipt.targets} == {"paused"}
    (lease,) = fleet.leases.armed
    assert lease.handed_over_s == 20
    assert lease.left_to_guardian == {Target(name) for name in NAMES}


async def test_what_cannot_be_resumed_stays_with_the_guardian(fleet: Fleet) -> None:
    def refuses(statement: str) -> None:
        if statement == "RESUME":
            raise AdminError("pooler is shutting down", sqlstate="08P01")

    fleet.poolers["b1"].before_execute = refuses
    receipt = await fleet.do("pause", hold_s=0)
    assert {str(item.target): item.after for item in receipt.targets}["b1"] == "paused"
    (lease,) = fleet.leases.armed
    assert lease.left_to_guardian == {Target("b1")}


@pytest.mark.trap("T8")
async def test_waves_of_a_reload_wait_for_the_gate_and_keep_peers_apart(fleet: Fleet) -> None:
    begun: list[str] = []

    def at(_run: Run, kind: EventKind, target: str) -> None:
        if kind in (EventKind.STARTED, EventKind.GATE):
            begun.append(target)

    receipt = await fleet.do("reload", rollout=rolling("100%"), at=at)
    assert outcomes(receipt) == dict.fromkeys(NAMES, "ok")
    assert begun == ["a1", "b1", "b2", "four", "a2"], "a2 only after a1, its peer, is healthy again"


async def test_a_gate_that_does_not_open_stops_the_run(fleet: Fleet) -> None:
    fleet.probes_fail = {"a1": "password authentication failed"}
    receipt = await fleet.do("reload", rollout=rolling("1,100%"))
    assert outcomes(receipt) == {"a1": "ok", "a2": "skipped", "b1": "skipped", "b2": "skipped"}
    assert "the gate after wave 1 did not open" in receipt.targets[1].detail
    assert "password authentication failed" in receipt.targets[1].detail
    assert fleet.changed() == {"a1": ["RELOAD"]}


async def test_clients_that_waited_before_the_run_do_not_keep_the_gate_shut(fleet: Fleet) -> None:
    fleet.poolers["a1"].waiting, fleet.poolers["a1"].longest_s = 8, 40
    plan = await fleet.service.plan("reload", "all", rollout=rolling("1,100%"))
    assert [text for text in plan.group_warnings if "a1 (app/app, 40.0 s)" in text]
    assert outcomes(await fleet.do("reload", rollout=rolling("1,100%"))) == dict.fromkeys(NAMES, "ok")

    plan = await fleet.service.plan("reload", "all", rollout=rolling("100%"))
    assert [len(wave) for wave in plan.waves] == [3, 1], "a1 and a2 are peers"
    plan = await fleet.service.plan("reload", "b1,a1", rollout=rolling("1"))
    assert [str(target) for wave in plan.waves for target in wave] == ["a1", "b1"]
    fleet.poolers["a1"].longest_s, fleet.poolers["b1"].longest_s = 0, 40
    plan = await fleet.service.plan("reload", "b1,a1", rollout=rolling("1"))
    assert not plan.group_warnings, "after the last wave stands no gate"


@pytest.mark.parametrize(
    ("waiting", "longest_s", "told"),
    [(9, 0, "a1: 9 clients waiting, 8 before"), (8, 7, "a1: a client of app/app has waited 7.0 s")],
)
async def test_clients_that_wait_more_than_before_keep_the_gate_shut(
    fleet: Fleet, waiting: int, longest_s: int, told: str
) -> None:
    pooler = fleet.poolers["a1"]
    pooler.waiting = 8

    def worsens(_statement: str) -> None:
        pooler.waiting, pooler.longest_s = waiting, longest_s

    pooler.after_execute = worsens
    receipt = await fleet.do("reload", rollout=rolling("1,100%"))
    assert outcomes(receipt) == {"a1": "ok", "a2": "skipped", "b1": "skipped", "b2": "skipped"}
    assert told in receipt.targets[1].detail


async def test_peers_whose_clients_waited_before_do_not_keep_the_gate_shut(fleet: Fleet) -> None:
    """The gate looks at who stands in for what was shut down: how its clients waited is noted first."""
    fleet.poolers["a2"].waiting, fleet.poolers["a2"].longest_s = 8, 40
    receipt = await fleet.do("shutdown", "a1,b1", rollout=rolling("1"), mode="now", allow_last=True)
    assert outcomes(receipt) == {"a1": "ok", "b1": "ok"}


async def test_too_many_failures_stop_the_run_and_fewer_do_not(fleet: Fleet) -> None:
    def refuses(_statement: str) -> None:
        raise AdminError("RELOAD failed", sqlstate="F0000")

    fleet.poolers["a1"].before_execute = refuses
    receipt = await fleet.do("reload", rollout=rolling("1,100%"))
    assert outcomes(receipt) == {"a1": "failed", "a2": "skipped", "b1": "skipped", "b2": "skipped"}
    receipt = await fleet.do("reload", rollout=rolling("1,100%", max_failed=Share(1)))
    assert outcomes(receipt) == {"a1": "failed", "a2": "ok", "b1": "ok", "b2": "ok"}
    assert receipt.outcome is Outcome.FAILED


async def test_the_first_stop_finishes_the_wave_and_begins_no_other(fleet: Fleet) -> None:
    def at(run: Run, kind: EventKind, target: str) -> None:
        if kind is EventKind.SENT and target == "a1":
            run.cancel()

    receipt = await fleet.do("reload", rollout=rolling("1,100%"), at=at)
    assert outcomes(receipt) == {"a1": "ok", "a2": "skipped", "b1": "skipped", "b2": "skipped"}
    assert receipt.interrupted
    assert fleet.changed() == {"a1": ["RELOAD"]}
    assert {one.skipped_because for one in receipt.targets[1:]} == {"the run was interrupted"}


async def test_a_stop_before_anything_is_sent_is_no_failure(fleet: Fleet) -> None:
    def at(run: Run, kind: EventKind, _target: str) -> None:
        if kind is EventKind.WAVE:
            run.cancel()

    receipt = await fleet.do("reload", rollout=rolling("1,100%"), at=at)
    assert {one.skipped_because for one in receipt.targets[1:]} == {"the run was interrupted"}
    assert fleet.changed() == {}


async def test_databases_by_pattern_leave_out_bouncers_without_one(fleet: Fleet) -> None:
    plan = await fleet.service.plan("pause", "all/odd*", hold_s=0)
    assert [str(item.target) for item in plan.targets] == [f'{name}/odd "name"' for name in NAMES]
    fleet.poolers["a1"].databases = ("app",)
    plan = await fleet.service.plan("pause", "all/odd*", hold_s=0)
    assert [item.target.bouncer for item in plan.targets] == ["a2", "b1", "b2"]
    assert [out.name for out in plan.left_out] == ["a1"]
