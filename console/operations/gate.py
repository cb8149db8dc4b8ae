"""The health gate between waves: are the clients of what was just worked on served again?

It only asks, and logs in. Open means, for every target of the wave, seen without a break for the soak time:
waiting clients not above what they were before, none waiting longer than the limit, no server login pending,
the pooler not paused, and a fresh login through the bouncer succeeding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from console.errors import AdminError, NodeError, PooldeckError
from console.model.rows import Pool
from console.operations.job import Job
from console.operations.observe import Observation
from console.operations.outcome import EventKind
from console.operations.plan import TargetPlan
from console.operations.spec import Absence
from console.operations.step import plural, why

POLL_S = 0.5


class Gate:
    """The gate after one wave."""

    def __init__(self, job: Job, items: Sequence[TargetPlan]) -> None:
        self._job = job
        self._items = items
        self._baseline = {
            item.target.bouncer: sum(pool.waiting for pool in item.pools) for item in items if item.pools
        }

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
                    job.tell("the gate is open: the wave is healthy", EventKind.GATE)
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
        names = tuple(dict.fromkeys(item.target.bouncer for item in self._items))
        if self._job.plan.spec.absence is not Absence.LASTING:
            return names
        taken = {target.bouncer for wave in self._job.plan.waves for target in wave}
        return self._job.planner.peers(names, without=taken)

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
                await job.reach.connector.probe(name)
        except (NodeError, AdminError) as error:
            return f"{name}: {why(error)}"
        except PooldeckError as error:
            return f"{name}: {error}"
        return reason

    def _judge(self, name: str, seen: Observation) -> str | None:
        waiting = sum(pool.cl_waiting for pool in seen.pools)
        # A peer takes over the clients of what was taken out; how many it had before was not looked at.
        before = self._baseline.get(name, waiting)
        longest_s = max((pool.maxwait_us for pool in seen.pools), default=0) / 1_000_000
        limit_s = self._job.plan.rollout.max_wait_s
        if seen.state.paused or seen.state.suspended:
            return f"{name} is paused"
        if waiting > before:
            return f"{name}: {plural(waiting, 'client')} waiting, {before} before"
        if longest_s > limit_s:
            return f"{name}: a client has waited {longest_s:.1f} s, the limit is {limit_s:g} s"
        stuck = next((pool for pool in seen.pools if _failing(pool)), None)
        if stuck is not None:
            return f"{name}: pool {stuck.database}/{stuck.user} is still logging in to its server"
        return None


def _failing(pool: Pool) -> bool:
    """Say whether a pool has nothing but logins under way."""
    return bool(pool.sv_login) and not (pool.sv_active + pool.sv_idle + pool.sv_used)
