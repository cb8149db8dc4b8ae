"""The time in which a run holds its targets: a countdown, what waits, and everything that ends it early."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from console.errors import AdminError, NodeError
from console.operations.control import Stopped
from console.operations.job import Job
from console.operations.lease.base import Lease
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.pausing import SOMEBODY, Ending, Pausing
from console.operations.step import plural, why
from console.operations.target import Target

LOOK_S = 1.0
PROBED_LOOK_S = 5.0
"""For a global pause below 1.19: each look leaves a line in the pooler's log."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a verb that works while its targets are held is handed; all of them are paused and drained."""

    job: Job
    lease: Lease
    pausings: Mapping[Target, Pausing]


class Hold:
    """Holds what is paused. `over` is called with a target that somebody else ended."""

    def __init__(
        self,
        job: Job,
        lease: Lease,
        pausings: Mapping[Target, Pausing],
        over: Callable[[Target, TargetReceipt], Awaitable[None]],
    ) -> None:
        self._job = job
        self._lease = lease
        self._pausings = pausings
        self._over = over
        self._looked: dict[Target, float] = {}

    async def until(self, hold_s: float) -> Ending:
        """Wait until the hold is over, and return why it is."""
        job = self._job
        loop = asyncio.get_running_loop()
        begun = loop.time()
        end = begun + hold_s
        while True:
            remaining_s = end - loop.time()
            held_s = loop.time() - begun
            if job.control.stopped:
                return Ending(f"interrupted after {held_s:.1f} s", interrupted=True)
            if self._lease.lost.is_set():
                return Ending(f"its guardian ended after {held_s:.1f} s, so it was not held any longer")
            if remaining_s <= 0 or job.control.hold_ended:
                return Ending(f"held for {held_s:.1f} s", good=True)
            await self._look_around(remaining_s)
            if not self._pausings:
                return Ending("everything was resumed by somebody else", good=True)
            await job.control.holding(timeout_s=max(0.0, min(LOOK_S, end - loop.time())))

    async def _look_around(self, remaining_s: float) -> None:
        looks = await asyncio.gather(*(self._look(p) for p in list(self._pausings.values())))
        for target, gone in looks:
            if gone is not None:
                await self._lease.release([target])
                await self._over(target, gone)
        if not self._pausings:
            return
        seen = [p.last for p in self._pausings.values() if p.last is not None]
        waiting = sum(look.waiting for look in seen)
        maxwait_s = max((pool.maxwait_us for look in seen for pool in look.pools), default=0) / 1_000_000
        self._job.tell(
            f"holding {plural(len(self._pausings), 'target')}, {remaining_s:.0f} s left; "
            f"{plural(waiting, 'client')} waiting, the longest {maxwait_s:.1f} s",
            EventKind.HOLDING,
            {"remaining_s": round(remaining_s, 1), "waiting": waiting, "maxwait_s": round(maxwait_s, 1)},
        )

    async def _look(self, pausing: Pausing) -> tuple[Target, TargetReceipt | None]:
        """Return a receipt when the target is no longer paused: somebody resumed it."""
        step = pausing.step
        now = asyncio.get_running_loop().time()
        try:
            seen = await pausing.look()
            paused = seen.paused
            if not pausing.cheap_state and now - self._looked.get(step.target, 0.0) >= PROBED_LOOK_S:
                self._looked[step.target] = now
                paused = await pausing.still_paused()
        except Stopped:
            return step.target, None
        except (NodeError, AdminError) as error:
            # Its own sessions or the guardian's resume it at the end; a look that fails decides nothing.
            step.tell(EventKind.WARNING, f"it could not be read: {why(error)}")
            return step.target, None
        if paused is not False:
            return step.target, None
        held_s = step.clock.monotonic_s() - (pausing.held_at_s or step.clock.monotonic_s())
        step.warn(SOMEBODY)
        receipt = step.receipt(
            Outcome.OK,
            f"held for {held_s:.1f} s, then resumed by somebody else",
            "running",
            verified=("read back: not paused",),
        )
        return step.target, receipt
