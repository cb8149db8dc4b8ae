"""A pause that somebody else began: waited for until it is drained, and never resumed by us."""

from __future__ import annotations

import asyncio

from console.operations.control import insist
from console.operations.observe import read_pools
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.pausing import POLL_S, Look, busy, cut_at
from console.operations.sessions import ReadSession, close_quietly
from console.operations.step import Step


async def wait_for_foreign_pause(step: Step) -> TargetReceipt:
    """Somebody else paused it: report no change once it is drained; it is theirs, so it is never resumed."""
    watch = await step.connector.reader(step.target.bouncer)
    try:
        return await _until_drained(step, watch)
    finally:
        await insist(lambda: close_quietly(watch))


async def _until_drained(step: Step, watch: ReadSession) -> TargetReceipt:
    loop = asyncio.get_running_loop()
    end = loop.time() + step.parameters.timeout_s
    while True:
        pools = await step.control.wait(read_pools(watch, step.dialect, timeout_s=step.query_timeout_s))
        seen = Look(tuple(p for p in pools if step.target.database in (None, p.database)), True)
        if not seen.servers:
            return step.receipt(
                Outcome.NO_CHANGE,
                "it was paused already",
                "paused",
                verified=("no server connection is left",),
                clients_cut_at_s=cut_at(step, seen.pools),
            )
        if loop.time() >= end:
            return step.receipt(
                Outcome.FAILED,
                f"somebody else's pause was not drained within {step.parameters.timeout_s:g} s; "
                "it was left alone",
                "paused",
                still_active=tuple(busy(seen.pools)),
            )
        await step.control.pause(None, timeout_s=POLL_S)
