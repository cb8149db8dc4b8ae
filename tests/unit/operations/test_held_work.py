"""A verb that works while its targets are held: for all of them, or for none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from console.operations.holding import Held
from console.operations.pausing import Ending
from console.operations.rollout import Rollout, Share, parse_serial
from console.operations.target import Target
from tests.unit.operations.test_many import LIMIT_S, NAMES, Fleet, outcomes


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.mark.parametrize("trouble", ["none", "not drained", "unreachable"])
async def test_work_on_what_is_held_is_done_for_all_or_for_none(fleet: Fleet, trouble: str) -> None:
    worked: list[str] = []

    async def work(held: Held) -> Mapping[Target, Ending]:
        worked.extend(fleet.paused)
        return {target: Ending("done", good=True, what="worked") for target in held.pausings}

    fleet.poolers["b1"].busy_servers = int(trouble == "not drained")
    fleet.unreachable = {"b1"} if trouble == "unreachable" else set()
    rollout = Rollout(parse_serial("100%"), max_failed=Share(1))
    plan = await fleet.service.plan("pause", "all", rollout=rollout, hold_s=0, timeout_s=0.4)
    run = fleet.submit(replace(plan, spec=replace(plan.spec, work=work)))
    async with asyncio.timeout(LIMIT_S):
        receipt = await run.receipt()
    assert worked == (list(NAMES) if trouble == "none" else [])
    assert fleet.paused == []
    details = {item.detail for item in receipt.targets}
    if trouble == "none":
        assert outcomes(receipt) == dict.fromkeys(NAMES, "ok")
        assert all(detail.startswith("worked; held for ") for detail in details)
    else:
        assert any("for all or for none" in detail for detail in details)
