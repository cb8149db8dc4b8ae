"""From steps to a lease: what a guardian is told of a run. It sends nothing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from console.errors import NodeError, Phase
from console.operations.lasting import telling
from console.operations.lease.base import Cover, Lease, LeaseOrder
from console.operations.outcome import EventKind
from console.operations.sessions import IDENTITY_KEYS
from console.operations.step import Step

if TYPE_CHECKING:
    from console.operations.job import Job

ARM_LIMIT_S = 20.0
"""How long a guardian may take to start and to log in, and its keepers too."""
ARM_LIMIT_EACH_S = 0.4
"""So much longer for each target. Seen with 100 bouncers behind 4 SSH hosts, all on two busy cores: 5 s."""


async def arm_for(
    job: Job, steps: Sequence[Step], *, hold_s: float, lift: tuple[str, ...] | None = None
) -> Lease:
    """Arm a lease over the targets of `steps`.

    `lift` is what ends it, statements in order; None: each target's own rescue.

    Raises:
        NodeError: there is no guardian, so nothing may be sent.
    """
    leases = job.reach.leases
    if leases is None:
        raise NodeError(Phase.CONNECT, "this session cannot start a guardian, so nothing may be paused")
    order = LeaseOrder(
        lease_id=secrets.token_hex(8),
        run_id=job.run_id,
        op=job.plan.op,
        plan_hash=job.plan.hash,
        fleet=job.plan.fleet,
        title=job.plan.title,
        reason=job.permit.reason,
        covers=tuple(_cover(job, step, lift) for step in steps),
        drain_s=float(job.plan.parameters.timeout_s),
        hold_s=hold_s,
    )
    far = ["starting"]
    async with telling(lambda text: job.tell(text, EventKind.PREPARING), lambda: f"guardian: {far[-1]}"):
        lease = await leases.arm(
            order,
            lambda target, text: job.say(target, EventKind.NOTE, text, {}),
            timeout_s=ARM_LIMIT_S + ARM_LIMIT_EACH_S * len(steps),
            progress=far.append,
        )
    for text in lease.notes:
        job.tell(text)
    return lease


def _cover(job: Job, step: Step, lift: tuple[str, ...] | None) -> Cover:
    config = step.before.config
    return Cover(
        target=step.target,
        lift=job.plan.item(step.target).rescue if lift is None else lift,
        version=str(step.before.version),
        identity={key: config[key].value or "" for key in IDENTITY_KEYS if key in config},
    )
