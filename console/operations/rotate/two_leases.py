"""The leases of a rotation: what poolers need when we die amid their pause depends on how far Postgres is.

Until it has the new verifier, RESUME alone: poolers have the old secrets in memory, whatever their files say.
From then on RELOAD and RESUME: they read the new files. Both guardians stand by before the first PAUSE, and
the second one takes over in the instant before the verifier is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from console.errors import NodeError, Phase
from console.operations.lease.base import Lease
from console.operations.lease.cover import arm_for
from console.operations.step import Step
from console.operations.target import Target

if TYPE_CHECKING:
    from console.operations.job import Job


class TwoLeases:
    """Both leases over the poolers that are paused. Without any such pooler nothing is armed."""

    def __init__(self, job: Job, steps: Sequence[Step]) -> None:
        self._job = job
        self._steps = tuple(steps)
        self._first: Lease | None = None
        self._second: Lease | None = None
        self._switched = False

    @property
    def targets(self) -> tuple[Target, ...]:
        """What they cover."""
        return tuple(step.target for step in self._steps)

    async def arm(self, *, hold_s: float) -> None:
        """Start both guardians.

        Raises:
            NodeError: one cannot stand by, so nothing may be paused.
        """
        if not self._steps:
            return
        dialect = self._steps[0].dialect
        then = (dialect.reload(), dialect.resume(None))
        first, second = await asyncio.gather(
            arm_for(self._job, self._steps, hold_s=hold_s),
            arm_for(self._job, self._steps, hold_s=hold_s, lift=then),
        )
        self._first, self._second = first, second
        uncovered = {**first.uncovered, **second.uncovered}
        for target, why_not in uncovered.items():
            raise NodeError(Phase.CONNECT, f"its guardian cannot stand by: {why_not}", where=str(target))

    def expose(self) -> None:
        """Say that PAUSE may be on its way.

        Raises:
            NodeError: the guardian is gone; nothing may be sent.
        """
        if self._first is not None:
            self._first.expose(self.targets)

    def held(self) -> None:
        """Say that all are held."""
        if self._first is not None:
            self._first.held(self.targets)

    async def switch(self) -> None:
        """Let the second guardian take over: from now on the end is RELOAD and RESUME.

        Raises:
            NodeError: it is gone; the first one is still in charge.
        """
        if self._first is None or self._second is None or self._switched:
            return
        self._second.expose(self.targets)
        self._second.held(self.targets)
        self._switched = True
        await self._first.release(self.targets)

    @property
    def lost(self) -> bool:
        """Whether the guardian in charge is gone."""
        lease = self._second if self._switched else self._first
        return lease is not None and lease.lost.is_set()

    @property
    def current(self) -> Lease | None:
        """The one in charge; None: nothing is paused."""
        return self._second if self._switched else self._first

    async def release(self, targets: Sequence[Target]) -> None:
        """Say that these were seen running again, or were never touched. Never raises."""
        for lease in (self._first, self._second):
            if lease is not None:
                await lease.release(targets)

    async def close(self) -> None:
        """End both; what was exposed and not released is lifted."""
        for lease in (self._first, self._second):
            if lease is not None:
                await lease.close()
