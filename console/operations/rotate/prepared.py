"""The last look at every target of a rotation, before anything changes: all of them, or none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from console.operations.outcome import Outcome, TargetReceipt
from console.operations.rotate.ends import Over
from console.operations.step import Step
from console.operations.target import Target

if TYPE_CHECKING:
    from console.operations.job import Job


async def prepared(
    job: Job, absent: str
) -> tuple[dict[Target, Step], dict[Target, TargetReceipt], Over | None]:
    """Look at all targets once more and record the intents.

    Args:
        job: the run.
        absent: said of a target where nothing is to be done.

    Returns:
        The steps of those that are worked on, receipts of the others, and why nothing may be begun (None:
        it may).
    """
    items = job.plan.targets
    found = await asyncio.gather(*(job.prepare(item, job.control) for item in items))
    steps: dict[Target, Step] = {}
    receipts: dict[Target, TargetReceipt] = {}
    refused: TargetReceipt | None = None
    for item, one in zip(items, found, strict=True):
        if isinstance(one, TargetReceipt):
            receipts[item.target] = refused = one
            job.told(one)
        elif one.already:
            receipt = one.receipt(Outcome.NO_CHANGE, absent, one.present)
            receipts[item.target] = await job.finish(item, receipt)
        else:
            steps[item.target] = one
    if refused is None:
        return steps, receipts, None
    over = Over(f"{refused.target}: {refused.detail}", interrupted=refused.interrupted)
    return steps, receipts, over
