"""Keepers in the hand of a guardian: who is renewed, who is not, and what goes wrong with one alone."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from console.config.schema import Inventory
from console.errors import NodeError, Phase
from console.operations.lease.keepers import Keeper, KeeperOutcome, KeeperOver, KeeperResult
from console.operations.lease.standby import Standby
from console.operations.lease.store import LeasePhase
from console.operations.lease.watch import Guarded
from console.operations.target import Target
from console.transport.fake import FakeTransport
from tests.unit.operations.lease_kit import NoPasswords, order_for, until


class _Keeper:
    """Remembers what it was told."""

    host = "far"

    def __init__(self, key: str, error: Exception | None = None) -> None:
        self.key = key
        self.error = error
        self.renewed = 0
        self.held_bytes: list[int | None] = []
        self.result: KeeperResult | None = None

    async def renew(self, ttl_s: float) -> None:
        assert ttl_s == 0.04
        self.renewed += 1
        if self.error is not None:
            raise self.error

    async def held(self, carried_bytes: int | None = None) -> None:
        self.held_bytes.append(carried_bytes)

    async def release(self) -> KeeperResult | None:
        if self.error is not None:
            raise self.error
        return self.result


class _Hand:
    """A standby with these keepers, one for each phase of a target."""

    def __init__(self, *phases: LeasePhase) -> None:
        targets = [Target(f"edge-{number}") for number, _ in enumerate(phases)]
        order = order_for(*targets)
        self.told: list[tuple[int, str]] = []
        self.guarded = [Guarded(place, cover, phases[place]) for place, cover in enumerate(order.covers)]
        self.keepers = [_Keeper(str(target)) for target in targets]
        inventory = Inventory(fleet="test", environment="development")
        self.standby = Standby(
            inventory, order, FakeTransport(), NoPasswords(), 0.04, lambda *text: self.told.append(text)
        )
        self.standby._armed = cast(dict[int, Keeper], dict(enumerate(self.keepers)))

    async def renewals(self, times: int) -> list[int]:
        """Let the first be renewed so often; return how often each was."""
        task = asyncio.create_task(self.standby.renew(self.guarded))
        await until(lambda: self.keepers[0].renewed >= times)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return [min(keeper.renewed, 1) for keeper in self.keepers]


async def test_a_keeper_helps_once_its_target_is_being_lifted() -> None:
    """It is not renewed any more: should the guardian not get through, it resumes by itself."""
    phases = (LeasePhase.HELD, LeasePhase.ARMED, LeasePhase.EXPOSED, LeasePhase.LIFTING, LeasePhase.FAILED)
    assert await _Hand(*phases).renewals(2) == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("error", [NodeError(Phase.SSH, "no way there"), RuntimeError("a mistake of ours")])
async def test_one_that_does_not_answer_leaves_the_others_renewed(error: Exception) -> None:
    hand = _Hand(LeasePhase.HELD, LeasePhase.HELD)
    hand.keepers[1].error = error
    assert await hand.renewals(3) == [1, 1]
    assert hand.keepers[1].renewed > 1
    if isinstance(error, NodeError):
        assert hand.told == [(1, "its keeper does not answer: no way there (ssh)")], "told once"


async def test_a_keeper_that_ended_with_the_pause_is_no_news() -> None:
    """At the end of every pause it sees the target run, perhaps before it is let go."""
    hand = _Hand(LeasePhase.HELD, LeasePhase.HELD, LeasePhase.HELD)
    details: dict[str, Any] = {"detail": "why", "ended_at_s": 0.0, "held": True, "exchanges": ()}
    hand.keepers[1].error = KeeperOver("far", KeeperResult(KeeperOutcome.NOT_PAUSED, **details))
    hand.keepers[2].error = KeeperOver("far", None)
    await hand.renewals(3)
    assert hand.told == [
        (2, "its keeper does not answer: the keeper has ended (it was killed) (protocol)"),
    ]


async def test_what_a_keeper_did_is_told_when_it_is_let_go() -> None:
    hand = _Hand(LeasePhase.LIFTED, LeasePhase.RELEASED, LeasePhase.RELEASED, LeasePhase.RELEASED)
    details: dict[str, Any] = {"detail": "", "ended_at_s": 0.0, "held": True, "exchanges": ()}
    resumed = hand.keepers[0].result = KeeperResult(KeeperOutcome.RESUMED, **details)
    hand.keepers[1].result = KeeperResult(KeeperOutcome.RELEASED, **details)
    hand.keepers[3].error = NodeError(Phase.SSH, "no way there")
    assert [await hand.standby.release(place) for place in range(4)] == [("far", resumed), None, None, None]
    assert await hand.standby.release(0) is None, "let go once"
    assert hand.standby.places == ()


async def test_a_keeper_is_told_what_was_carried_when_it_was_held() -> None:
    hand = _Hand(LeasePhase.HELD)
    (one,) = hand.guarded
    await hand.standby.held(one)
    one.traffic_held = {"app": 3, "other": 4}
    await hand.standby.held(one)
    assert hand.keepers[0].held_bytes == [None, 7]
