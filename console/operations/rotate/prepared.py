"""The targets of a rotation just before it begins: each looked at once more, and either ready or not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from console.operations.outcome import Outcome, TargetReceipt
from console.operations.rotate.ends import Over
from console.operations.step import Step
from console.operations.target import Target

if TYPE_CHECKING:
    from console.operations.job import Job


@dataclass(slots=True)
class Prepared:
    """What became of them."""

    steps: dict[Target, Step] = field(default_factory=dict)
    """Those to be worked on."""
    receipts: dict[Target, TargetReceipt] = field(default_factory=dict)
    """Those that are over: refused, or the role is not known there."""


async def prepare_all(job: Job, role: str, into: Prepared) -> None:
    """Look at every target.

    Raises:
        Over: one is refused, so nothing may begin anywhere.
    """
    items = job.plan.targets
    found = await asyncio.gather(*(job.prepare(item, job.control) for item in items))
    refused: TargetReceipt | None = None
    for item, one in zip(items, found, strict=True):
        if isinstance(one, TargetReceipt):
            into.receipts[item.target] = one
            job.told(one)
            refused = one
        elif one.already:
            receipt = one.receipt(Outcome.NO_CHANGE, f"{role} is not known here", one.present)
            into.receipts[item.target] = await job.finish(item, receipt)
        else:
            into.steps[item.target] = one
    if refused is not None:
        raise Over(f"{refused.target}: {refused.detail}", interrupted=refused.interrupted)
