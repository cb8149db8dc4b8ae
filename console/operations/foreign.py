"""A target that is paused already: the wait until it is drained. The pause is its owner's and not ended."""

from __future__ import annotations

import asyncio

from console.operations.control import insist
from console.operations.observe import read_pools
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.pausing import POLL_S, Look, busy_pools, cut_at
from console.operations.sessions import ReadSession, close_quietly
from console.operations.step import Step
from console.operations.whose import owner_of


async def wait_for_foreign_pause(step: Step) -> TargetReceipt:
    """Report no change once it is drained, and whose pause it is."""
    watch = await step.connector.reader(step.target.bouncer)
    try:
        return await _until_drained(step, watch)
    finally:
        await insist(lambda: close_quietly(watch))


async def _until_drained(step: Step, watch: ReadSession) -> TargetReceipt:
    loop = asyncio.get_running_loop()
    end = loop.time() + step.parameters.timeout_s
    owner = owner_of(step.ask)
    while True:
        pools = await step.control.wait(read_pools(watch, step.dialect, timeout_s=step.query_timeout_s))
        seen = Look(tuple(p for p in pools if step.target.database in (None, p.database)), True)
        if not seen.servers:
            return step.receipt(
                Outcome.NO_CHANGE,
                f"it was paused already: {owner.words}",
                "paused",
                verified=("no server connection is left",),
                clients_cut_at_s=cut_at(step, seen.pools),
                next_steps=owner.next_steps,
            )
        if loop.time() >= end:
            return step.receipt(
                Outcome.FAILED,
                f"somebody else's pause was not drained within {step.parameters.timeout_s:g} s; "
                f"it was left alone: {owner.words}",
                "paused",
                still_active=tuple(busy_pools(seen.pools)),
                next_steps=owner.next_steps,
            )
        await step.control.pause(None, timeout_s=POLL_S)
