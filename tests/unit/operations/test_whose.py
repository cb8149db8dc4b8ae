"""A PAUSE of what is paused already says whose pause that is, until when, what to do, and ends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.config.schema import Bouncer, Inventory
from console.guard.verdict import Allow
from console.model.claims import Claim, claim_on
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.plan import TargetPlan
from console.operations.reach import Reach
from console.operations.service import OperationService
from tests.unit.operations.fake_pooler import FakePooler
from tests.unit.operations.test_mend import Past

ENDS_S = 36_624.0
"""10:10:24 UTC"""


def claim(
    database: str | None = None, *, alive: bool = True, since_s: float = 0.0, lease: str = "l1"
) -> Claim:
    title = "PAUSE edge" if database is None else f"PAUSE edge/{database}"
    return Claim("edge", database, "test", "alice@bastion", "r1", lease, title, since_s, ENDS_S, alive)


class Scene:
    def __init__(self, folder: Path) -> None:
        self.pooler = FakePooler()
        self.past = Past()
        self.service = OperationService(
            Inventory(
                fleet="test",
                environment="development",
                bouncers=(Bouncer(name="edge", tcp="127.0.0.1:6432", admin_user="admin", monitor_user="m"),),
            ),
            Reach(self.pooler, past=self.past),
            Journal(folder / "journal.jsonl", SystemClock(), Actor.current({})),
            SystemClock(),
            read_only=False,
        )

    async def planned(self, selector: str = "edge") -> TargetPlan:
        return (await self.service.plan("pause", selector)).targets[0]

    async def pause(self, selector: str = "edge") -> TargetReceipt:
        plan = await self.service.plan("pause", selector)
        verdict = self.service.judge(plan)
        assert isinstance(verdict, Allow), "nobody is asked, so no plan is shown: the receipt has to say it"
        receipt = await self.service.submit(plan, self.service.permit(plan, verdict)).receipt()
        return receipt.targets[0]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


LEFT_ALONE = "it is left as it is, and not resumed by this run"


@pytest.mark.parametrize(
    ("claims", "words", "next_steps"),
    [
        ((claim(),), "PAUSE edge of alice@bastion holds it until 10:10:24 UTC", ("pooldeck leases",)),
        (
            (claim(alive=False),),
            "PAUSE edge of alice@bastion left it paused: its run and its guardian are dead",
            ("pooldeck mend edge",),
        ),
        ((claim("app"),), "somebody else paused it, under no lease of this machine", ()),
        ((), "somebody else paused it, under no lease of this machine", ()),
    ],
    ids=["held", "left behind", "of another database", "by hand"],
)
async def test_the_plan_and_the_receipt_say_whose_pause_it_is(
    scene: Scene, claims: tuple[Claim, ...], words: str, next_steps: tuple[str, ...]
) -> None:
    scene.pooler.paused = True
    scene.past.known = list(claims)
    planned = await scene.planned()
    assert (planned.changes, planned.warnings) == (False, (f"{words}: {LEFT_ALONE}",))
    receipt = await scene.pause()
    assert (receipt.outcome, receipt.detail) == (Outcome.NO_CHANGE, f"it was paused already: {words}")
    assert receipt.next_steps == next_steps
    assert scene.pooler.paused
    assert scene.pooler.changing() == []


async def test_the_pause_of_a_database_has_its_own_owner(scene: Scene) -> None:
    scene.pooler.paused_databases = {"app"}
    scene.past.known = [claim(), claim("app", lease="l2")]
    receipt = await scene.pause("edge/app")
    assert "PAUSE edge/app of alice@bastion holds it" in receipt.detail


async def test_a_database_under_a_pause_of_its_pooler_is_refused_with_whose_that_is(scene: Scene) -> None:
    scene.pooler.paused = True
    scene.past.known = [claim()]
    planned = await scene.planned("edge/app")
    assert planned.blocked is not None
    assert planned.blocked.endswith("PAUSE edge of alice@bastion holds it until 10:10:24 UTC")


async def test_a_lease_does_not_change_the_plan_of_what_is_running(scene: Scene) -> None:
    before = await scene.service.plan("pause", "edge")
    scene.past.known = [claim("app")]
    assert (await scene.service.plan("pause", "edge")).hash == before.hash


def test_of_several_leases_one_that_lives_counts_then_the_newest() -> None:
    old, new = claim(since_s=1, lease="old"), claim(since_s=2, lease="new")
    dead = claim(alive=False, since_s=3, lease="dead")
    assert claim_on([old, new, dead], "edge", None) == new
    assert claim_on([dead, claim("app")], "edge", None) == dead
    assert claim_on([old], "edge", "app") is None
    assert claim_on([old], "core", None) is None
