"""A guardian on its way to standing by: it may take long, and it is told how far it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.operations import lasting
from console.operations.lease.protocol import Limits
from console.operations.lease.store import LeasePhase
from console.operations.target import Target
from tests.unit.operations.fake_pooler import FakeSession
from tests.unit.operations.lease_kit import EDGE, Bed, CountingPooler, order_for, until


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(CountingPooler(), tmp_path)


async def test_arming_may_take_longer_than_a_run_may_be_silent(bed: Bed) -> None:
    """A hundred logins over SSH do, and nothing is said meanwhile."""

    class Far(CountingPooler):
        async def writer(self, name: str) -> FakeSession:
            bed.clock.shift_s += 60.0
            return await super().writer(name)

    far = bed.pooler = Far()
    lease = await bed.open(limits=Limits(poll_s=0.02))
    lease.expose([EDGE])
    await far.take("PAUSE")
    lease.held([EDGE])
    await until(lambda: bed.store.list_leases()[0].targets[0].phase is LeasePhase.HELD)
    await lease.close()
    await bed.ended()
    assert bed.records("outcome")[0]["why"] == "its run ended without resuming it"


async def test_how_far_arming_is_can_be_followed(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "FIRST_S", 0.0)
    told: list[str] = []

    class Far(CountingPooler):
        async def writer(self, name: str) -> FakeSession:
            await until(lambda: bool(told))
            return await super().writer(name)

    bed.pooler = Far()
    lease = await bed.open(order_for(EDGE, Target("core")), progress=told.append)
    assert told[0] == "0 of 2 sessions open"
    await lease.close()
    await bed.ended()
