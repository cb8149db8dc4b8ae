"""The health gate between waves: are the clients of what was just worked on served again?

It only asks, and logs in. Open means, for every bouncer of the wave, seen without a break for the soak time:
waiting clients not above what they were before, none waiting longer than the limit (or than before), logins
draining, the pooler not paused, and a fresh login through the bouncer succeeding. `health` compares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from console.errors import AdminError, NodeError, PooldeckError
from console.operations.health import NEVER_SEEN, Baseline, logins_hang, waiting_of, waits_too_long
from console.operations.job import Job
from console.operations.observe import Observation
from console.operations.outcome import EventKind
from console.operations.plan import TargetPlan
from console.operations.spec import Absence
from console.operations.step import plural, why

POLL_S = 0.5


def stand_ins(job: Job, items: Sequence[TargetPlan] | None = None) -> tuple[str, ...]:
    """Return the peers that serve the clients of what a run takes out for good; () when it does not.

    Args:
        job: the run.
        items: of these targets; None: of all.
    """
    if job.plan.spec.absence is not Absence.LASTING:
        return ()
    taken = {item.target.bouncer for item in job.plan.targets}
    names = [item.target.bouncer for item in (job.plan.targets if items is None else items)]
    return job.planner.peers(names, without=taken)


class Gate:
    """The gate after one wave."""

    def __init__(self, job: Job, items: Sequence[TargetPlan], baseline: Baseline) -> None:
        self._job = job
        self._items = items
        self._baseline = baseline
        self._last: dict[str, Observation] = {}
        self._tried: dict[str, str] = {}
        """By bouncer: what the login probe did, in words."""

    async def wait(self) -> str | None:
        """Return None once it is open, else why it did not open in time."""
        job, rollout = self._job, self._job.plan.rollout
        loop = asyncio.get_running_loop()
        end = loop.time() + rollout.gate_timeout_s + rollout.soak_s
        open_since: float | None = None
        told: str | None = None
        while True:
            shut = await self._shut()
            now = loop.time()
            if job.control.stopped:
                return "the run was interrupted"
            if shut is None:
                open_since = now if open_since is None else open_since
                if now - open_since >= rollout.soak_s:
                    tried = "; ".join(dict.fromkeys(self._tried.values()))
                    job.tell(
                        f"the gate is open: the wave is healthy{f' ({tried})' if tried else ''}",
                        EventKind.GATE,
                    )
                    return None
                shut_text = f"healthy; soaking {rollout.soak_s - (now - open_since):.0f} s more"
            else:
                open_since = None
                shut_text = f"waiting for health: {shut}"
            if shut_text != told:
                told = shut_text
                job.tell(shut_text, EventKind.GATE)
            if now >= end:
                return shut or "it was not healthy for long enough"
            await job.control.pause(None, timeout_s=POLL_S)

    def _looked_at(self) -> tuple[str, ...]:
        """Return whose health counts: what was worked on, or its peers when it is out for good."""
        if self._job.plan.spec.absence is Absence.LASTING:
            return stand_ins(self._job, self._items)
        return tuple(dict.fromkeys(item.target.bouncer for item in self._items))

    async def _shut(self) -> str | None:
        """Return the first reason why it is shut, None when it is open."""
        names = self._looked_at()
        reasons = await asyncio.gather(*(self._of_one(name) for name in names))
        return next((reason for reason in reasons if reason is not None), None)

    async def _of_one(self, name: str) -> str | None:
        job = self._job
        if job.plan.spec.on_node:
            return None
        try:
            seen = await job.planner.observe_by_name(name)
            reason = self._judge(name, seen)
            if reason is None:
                self._tried[name] = await job.reach.connector.probe(name)
        except (NodeError, AdminError) as error:
            return f"{name}: {why(error)}"
        except PooldeckError as error:
            return f"{name}: {error}"
        return reason

    def _judge(self, name: str, seen: Observation) -> str | None:
        job = self._job
        last, self._last[name] = self._last.get(name), seen
        if seen.state.paused or seen.state.suspended:
            return f"{name} is paused"
        before = self._baseline.of(name) or NEVER_SEEN
        waiting = waiting_of(seen)
        # A peer takes over the clients of what was taken out: some more may wait there.
        if job.plan.spec.absence is not Absence.LASTING and waiting > before.waiting:
            return f"{name}: {plural(waiting, 'client')} waiting, {before.waiting} before"
        limit_s = job.plan.rollout.max_wait_s
        found = waits_too_long(before, seen, limit_s=limit_s, at_s=job.clock.monotonic_s())
        found = found or logins_hang(before, last, seen)
        return None if found is None else f"{name}: {found}"
