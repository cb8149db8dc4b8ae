"""MEND on fake poolers: what nobody alive holds ends, what somebody holds stays, settings come back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.config.schema import Bouncer, Inventory
from console.guard.verdict import Allow, Confirm
from console.model.claims import Claim
from console.model.unended import Unended
from console.operations.outcome import RunReceipt
from console.operations.plan import Plan
from console.operations.reach import Reach
from console.operations.service import OperationService
from tests.unit.operations.fake_pooler import FakePooler


class Past:
    """What is on record, as the test says."""

    def __init__(self) -> None:
        self.known: list[Claim] = []
        self.settings: dict[str, str] = {}
        self.closed: list[tuple[str, str | None]] = []
        self.without_end: tuple[str | None, ...] = ()
        self.dead: tuple[Unended, ...] = ()

    async def claims(self) -> tuple[Claim, ...]:
        return tuple(self.known)

    async def leftover_settings(self, bouncer: str) -> Mapping[str, str]:  # noqa: ARG002
        return self.settings

    async def unfinished(self, bouncer: str) -> tuple[str | None, ...]:  # noqa: ARG002
        return self.without_end

    async def unended(self) -> tuple[Unended, ...]:
        return self.dead

    async def settled(self, bouncer: str, database: str | None) -> None:
        self.closed.append((bouncer, database))


class Scene:
    def __init__(self, folder: Path, pooler: FakePooler) -> None:
        self.pooler = pooler
        self.past = Past()
        self.service = OperationService(
            Inventory(
                fleet="test",
                environment="production",
                bouncers=(Bouncer(name="edge", tcp="127.0.0.1:6432", admin_user="admin", monitor_user="m"),),
            ),
            Reach(pooler, past=self.past),
            Journal(folder / "journal.jsonl", SystemClock(), Actor.current({})),
            SystemClock(),
            read_only=False,
        )

    async def plan(self, selector: str = "all") -> Plan:
        return await self.service.plan("mend", selector)

    async def mend(self) -> RunReceipt:
        plan = await self.plan()
        verdict = self.service.judge(plan)
        phrase = verdict.phrase if isinstance(verdict, Confirm) else None
        return await self.service.submit(plan, self.service.permit(plan, verdict, phrase)).receipt()


@pytest.fixture
def pooler() -> FakePooler:
    return FakePooler()


@pytest.fixture
def scene(tmp_path: Path, pooler: FakePooler) -> Scene:
    return Scene(tmp_path, pooler)


def claim(database: str | None, *, alive: bool, lease: str = "l1") -> Claim:
    return Claim("edge", database, "test", "alice@bastion", "r1", lease, "PAUSE edge", 0.0, 30.0, alive)


async def test_nothing_paused_is_nothing_to_mend(scene: Scene) -> None:
    plan = await scene.plan()
    assert isinstance(scene.service.judge(plan), Allow)
    assert (await scene.mend()).outcome == "no change"
    assert scene.pooler.changing() == []


@pytest.mark.parametrize("version", ["1.18.0", "1.24.1", "1.26.1"])
async def test_a_bouncer_and_a_database_are_each_resumed(scene: Scene, version: str) -> None:
    scene.pooler.version = version
    scene.pooler.paused, scene.pooler.paused_databases = True, {"app"}
    receipt = await scene.mend()
    assert {str(item.target): item.outcome.value for item in receipt.targets} == {
        "edge": "ok",
        "edge/app": "ok",
    }
    assert not scene.pooler.anything_paused
    assert set(scene.past.closed) == {("edge", None), ("edge", "app")}


async def test_what_a_living_run_holds_is_left_to_it(scene: Scene) -> None:
    scene.pooler.paused = True
    scene.past.known = [claim(None, alive=True)]
    plan = await scene.plan()
    assert not plan.changes
    assert any("alice@bastion holds it" in text for text in plan.targets[0].warnings)
    await scene.mend()
    assert scene.pooler.paused


async def test_the_plan_says_who_left_it_behind_or_that_nobody_knows(scene: Scene) -> None:
    scene.pooler.paused, scene.pooler.paused_databases = True, {"app"}
    scene.past.known = [claim(None, alive=False)]
    plan = await scene.plan()
    notes = {str(item.target): " ".join(item.notes) for item in plan.targets}
    assert "left behind by PAUSE edge of alice@bastion" in notes["edge"]
    assert "nobody that this machine knows of" in notes["edge/app"]


async def test_a_pause_that_changed_hands_since_the_plan_is_not_mended(scene: Scene) -> None:
    scene.pooler.paused = True
    scene.past.known = [claim(None, alive=False)]
    plan = await scene.plan()
    scene.past.known = [claim(None, alive=True, lease="l2")]
    verdict = scene.service.judge(plan)
    phrase = verdict.phrase if isinstance(verdict, Confirm) else None
    receipt = await scene.service.submit(plan, scene.service.permit(plan, verdict, phrase)).receipt()
    assert receipt.outcome == "skipped"
    assert "lease: l1 → l2" in receipt.targets[0].detail
    assert scene.pooler.paused


async def test_a_setting_that_a_dead_run_left_at_0_is_put_back(scene: Scene) -> None:
    scene.pooler.config["server_login_retry"] = ("0", "15")
    scene.past.settings = {"server_login_retry": "15"}
    plan = await scene.plan()
    assert plan.targets[0].statements == ("SET server_login_retry = 15",)
    receipt = await scene.mend()
    assert scene.pooler.executed[-1] == "SET server_login_retry = 15"
    assert receipt.outcome == "ok", receipt


async def test_a_setting_that_somebody_changed_since_is_left_alone(scene: Scene) -> None:
    scene.pooler.config["server_login_retry"] = ("5", "15")
    scene.past.settings = {"server_login_retry": "15"}
    assert not (await scene.plan()).changes


async def test_a_disabled_database_is_told_and_not_touched(scene: Scene) -> None:
    scene.pooler.disabled_databases = {"app"}
    plan = await scene.plan()
    assert not plan.changes
    assert any("pooldeck enable edge/app" in text for text in plan.targets[0].warnings)


async def test_the_books_of_a_dead_run_are_closed_when_its_target_runs_again(scene: Scene) -> None:
    scene.past.known = [claim(None, alive=False), claim("app", alive=False, lease="l2")]
    assert (await scene.mend()).outcome == "no change"
    assert set(scene.past.closed) == {("edge", None), ("edge", "app")}
    assert scene.pooler.changing() == []


async def test_what_a_dead_run_left_without_an_end_is_closed_although_nothing_is_held(scene: Scene) -> None:
    scene.past.without_end = (None, "app", "gone")
    scene.past.known = [claim("app", alive=True)]
    assert not (await scene.plan()).changes, "nobody is asked for it"
    await scene.mend()
    assert scene.past.closed == [("edge", None)], "app is a living run's, and gone is not listed"


async def test_the_plan_tells_of_a_dead_run_whose_end_nobody_knows(scene: Scene) -> None:
    scene.past.without_end = (None,)
    scene.past.dead = (
        Unended("restart", "edge", None, "test", "alice@bastion", "r1", 1_700_000_000.0),
        Unended("restart", "other", None, "test", "bob@bastion", "r2", None),
    )
    (item,) = (await scene.plan()).targets
    assert item.notes == (
        "restart edge of alice@bastion, begun 2023-11-14 22:13:20 UTC, left no end on record "
        "(pooldeck process edge); that its end is not known is recorded",
    )
    await scene.mend()
    assert scene.past.closed == [("edge", None)]
