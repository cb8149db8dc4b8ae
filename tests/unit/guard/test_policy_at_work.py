"""The `[policy]` of a fleet.toml holds for whoever goes through the service: nothing is sent against it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import FixedClock, SystemClock
from console.config.load import load_inventory
from console.errors import RefusedError
from console.guard.verdict import Allow, Confirm, Deny, Tier
from console.operations.outcome import Outcome
from console.operations.reach import Reach
from console.operations.service import OperationService
from tests.harness.leases import FakeLeases
from tests.unit.guard.test_policy import SATURDAY_NOON_S
from tests.unit.operations.fake_pooler import FakePooler

FLEET = """\
fleet = "payments"
environment = "production"
defaults = { monitor_user = "stats", admin_user = "admin" }
[[bouncers]]
name = "edge"
tcp = "127.0.0.1:6432"
[[bouncers]]
name = "edge-2"
tcp = "127.0.0.1:6433"
[policy]
"""


def service(folder: Path, rules: str, pooler: FakePooler) -> OperationService:
    path = folder / "fleet.toml"
    path.write_text(FLEET + rules, encoding="utf-8")
    pooler.lives_in(folder)
    actor = Actor.current({})
    journal = Journal(folder / "journal.jsonl", SystemClock(), actor)
    reach = Reach(pooler, leases=FakeLeases())
    clock = FixedClock(wall=SATURDAY_NOON_S)
    return OperationService(load_inventory(path), reach, journal, clock, read_only=False, actor=actor)


@pytest.mark.parametrize(
    ("rules", "selector", "rule"),
    [
        ('forbid = ["reload"]', "edge", "policy.forbid"),
        ("max_targets = 1", "edge,edge-2", "policy.max_targets"),
        ('[policy.production]\nrequire_reason = ["reload"]', "edge", "policy.reason"),
        ("two_person = true", "edge", "policy.two_person"),
        ('windows = ["Mon-Fri 22:00-05:00 Europe/Berlin"]', "edge", "policy.window"),
    ],
)
async def test_what_the_inventory_refuses_is_not_sent_whatever_the_driver_does(
    rules: str, selector: str, rule: str, tmp_path: Path
) -> None:
    pooler = FakePooler()
    async with service(tmp_path, rules, pooler) as operations:
        plan = await operations.plan("reload", selector, timeout_s=2)
        verdict = operations.judge(plan)
        assert isinstance(verdict, Deny)
        assert verdict.rule == rule
        for shown in (verdict, Allow(Tier.READ), Confirm(verdict.tier, "?", None, 0.0, yes_suffices=True)):
            with pytest.raises(RefusedError) as caught:
                operations.permit(plan, shown, plan.name)
            assert caught.value.where == rule
    assert pooler.changing() == []
    assert not (tmp_path / "journal.jsonl").exists()


async def test_what_the_inventory_wants_is_given_and_it_runs_with_the_reason_on_record(
    tmp_path: Path,
) -> None:
    pooler = FakePooler()
    rules = (
        'require_reason = true\ntwo_person = ["reload"]\nwindows = ["Sat 11:00-13:00 UTC"]\nmax_targets = 1'
    )
    async with service(tmp_path, rules, pooler) as operations:
        plan = await operations.plan("reload", "edge", timeout_s=2)
        request = operations.request("change 4711", "somebody else")
        verdict = operations.judge(plan, request)
        permit = operations.permit(plan, verdict, request=request, answer=f"approved plan {plan.hash[:12]}")
        receipt = await operations.submit(plan, permit).receipt()
    assert [target.outcome for target in receipt.targets] == [Outcome.OK]
    assert pooler.changing() == ["RELOAD"]
    text = (tmp_path / "journal.jsonl").read_text()
    intent = next(record for record in map(json.loads, text.splitlines()) if record["kind"] == "intent")
    assert intent["reason"] == "change 4711"
    assert f"approved plan {plan.hash[:12]}" in json.dumps(intent)


async def test_a_paused_bouncer_is_resumed_outside_the_windows_by_one_person(tmp_path: Path) -> None:
    pooler = FakePooler(paused=True)
    rules = 'require_reason = true\ntwo_person = true\nwindows = ["Mon 01:00-02:00 UTC"]'
    async with service(tmp_path, rules, pooler) as operations:
        plan = await operations.plan("resume", "edge", timeout_s=2)
        permit = operations.permit(plan, operations.judge(plan), answer="reviewed")
        receipt = await operations.submit(plan, permit).receipt()
    assert [target.outcome for target in receipt.targets] == [Outcome.OK]


async def test_a_pause_is_not_longer_than_the_policy_lets_it_be(tmp_path: Path) -> None:
    async with service(tmp_path, "max_pause_s = 9", FakePooler()) as operations:
        verdicts = [
            operations.judge(await operations.plan("pause", "edge", timeout_s=2, hold_s=hold_s))
            for hold_s in (9, 10)
        ]
    assert isinstance(verdicts[0], Confirm)
    assert isinstance(verdicts[1], Deny)
    assert (verdicts[1].rule, "max_pause_s" in verdicts[1].reason) == ("plan.blocked", True)


async def test_a_tier_of_the_inventory_is_what_is_asked(tmp_path: Path) -> None:
    async with service(tmp_path, 'tiers = { reload = "cut" }', FakePooler()) as operations:
        plan = await operations.plan("reload", "edge", timeout_s=2)
        verdict = operations.judge(plan)
    assert isinstance(verdict, Confirm)
    assert verdict.phrase == f"edge {plan.clients}"
