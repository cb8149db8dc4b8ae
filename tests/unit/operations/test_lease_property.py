"""Whatever happens to a run, its pooler and the line between, in whatever order.

Once the guardian has ended, nothing of the run's is paused, and no pause of somebody else's was touched.
"""

from __future__ import annotations

import asyncio
import tempfile
from enum import Enum, auto
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.errors import AdminError
from console.operations.lease.conversation import GuardianLease
from console.operations.lease.store import LeasePhase
from tests.unit.operations.lease_kit import EDGE, Bed, CountingPooler, until


class Do(Enum):
    """What can happen while a run goes on."""

    EXPOSE = auto()
    PAUSE = auto()
    HELD = auto()
    RESUME = auto()
    RELEASE = auto()
    OTHERS_RESUME = auto()
    OTHERS_PAUSE = auto()
    CLIENTS_CUT = auto()
    CUT = auto()
    RESTART = auto()
    SLEEP = auto()


class End(Enum):
    """How it can end."""

    CLOSED = auto()
    KILLED = auto()
    LATE = auto()
    HANDED_OVER = auto()


class _World:
    """A pooler that knows whose its pause is, and a run that keeps the rules."""

    def __init__(self, folder: Path) -> None:
        self.pooler = CountingPooler()
        self.bed = Bed(self.pooler, folder)
        self.owner: str | None = None
        self.wronged = 0
        """RESUMEs of the guardian's that ended somebody else's pause."""
        self.exposed = self.held = self.released = False
        self.pooler.before_execute = self._before

    def _before(self, statement: str) -> None:
        if statement == "RESUME":
            self.wronged += self.owner == "others"
            self.owner = None if self.pooler.paused else self.owner

    async def play(self, lease: GuardianLease, what: Do) -> None:
        """Let one thing happen, if it can."""
        match what:
            case Do.EXPOSE if not self.exposed:
                lease.expose([EDGE])
                self.exposed = True
            case Do.PAUSE if self.exposed and not (self.released or self.held or self.pooler.paused):
                self.pooler.paused, self.owner = True, "run"
            case Do.HELD if self.owner == "run" and not (self.held or self.released):
                lease.held([EDGE])
                self.held = True
                await until(self._is_noted)
                # What is looked at next gives the baseline; the look after that begins once it is taken.
                looks = self.pooler.looks + 2
                await until(lambda: self.pooler.looks >= looks)
            case Do.RESUME if self.owner == "run":
                self._running()
            case Do.RELEASE if self.exposed and not self.pooler.paused and not self.released:
                await lease.release([EDGE])
                self.released = True
            case Do.OTHERS_RESUME if self.pooler.paused and (self.held or self.owner == "others"):
                self._running()
            case Do.OTHERS_PAUSE if not self.pooler.paused and (self.held or self.released):
                self.pooler.paused, self.owner = True, "others"
            case Do.CLIENTS_CUT:
                pass  # counts as transactions only; bytes do not move
            case Do.CUT:
                await self.pooler.hang_up()
            case Do.RESTART if self.held or not self.exposed:
                await self.pooler.hang_up()
                self.pooler.traffic = {}
                self.pooler.paused, self.owner = False, None
            case Do.SLEEP:
                await asyncio.sleep(0.05)
            case _:
                return

    def _running(self) -> None:
        """It runs, and clients are served at once."""
        self.pooler.paused, self.owner = False, None
        self.pooler.traffic["app"] = self.pooler.traffic.get("app", 0) + 100

    def _is_noted(self) -> bool:
        found = self.bed.store.list_leases()
        return bool(found) and found[0].targets[0].phase is not LeasePhase.EXPOSED

    async def finish(self, lease: GuardianLease, end: End) -> None:
        """End the run, and wait for its guardian."""
        match end:
            case End.HANDED_OVER if self.held and not self.released:
                await lease.hand_over(0.2)
            case End.LATE:
                self.bed.clock.shift_s += 3600.0
        if end is End.KILLED:
            lease.abandon()
        else:
            await lease.close()
        assert await self.bed.ended() == 0


async def _story(happened: list[Do], end: End) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = _World(Path(folder))
        lease = await world.bed.open()
        for what in happened:
            await world.play(lease, what)
        await world.finish(lease, end)
        assert world.owner != "run", "nothing of the run's is paused"
        assert not world.wronged, "nobody else's pause was ended"
        assert world.bed.store.list_leases() == ()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(Do), max_size=12), st.sampled_from(End))
def test_nothing_of_ours_stays_paused_and_nothing_of_others_is_touched(happened: list[Do], end: End) -> None:
    beginning = [Do.EXPOSE, Do.PAUSE] if Do.PAUSE in happened else []
    with (
        mock.patch("console.operations.lease.lifting.LATE_LIMIT_S", 0.05),
        mock.patch("console.operations.lease.ward.GRACE_S", 0.1),
    ):
        asyncio.run(_story([*beginning, *happened], end))


def test_a_refusal_is_what_the_fake_pooler_gives() -> None:
    """The story's pooler refuses a RESUME when it runs, as the real one does."""

    async def refused() -> bool:
        try:
            await CountingPooler().take("RESUME")
        except AdminError:
            return True
        return False

    assert asyncio.run(refused())
