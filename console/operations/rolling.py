"""Carries a verb out wave by wave: parallel inside a wave, a gate between waves, failures counted over all.

A first stop lets the targets that are under way finish, begins no other, and takes back what can be; a second
one does not wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial

from console.errors import PooldeckError
from console.operations.control import Control, Stopped, insist
from console.operations.gate import Gate, stand_ins
from console.operations.health import Baseline
from console.operations.job import Job, interrupted
from console.operations.lease.base import Lease
from console.operations.lease.cover import arm_for
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.plan import TargetPlan
from console.operations.step import Step, plural, why
from console.operations.target import Target

FAILURES = frozenset({Outcome.FAILED, Outcome.UNKNOWN, Outcome.SKIPPED})


class RollingRun:
    """A run of a verb that acts on each target and is done with it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._receipts: dict[Target, TargetReceipt] = {}
        self._steps: dict[Target, Step] = {}
        self._failed = len(job.plan.unreachable)
        self._baseline = Baseline()

    async def run(self) -> tuple[TargetReceipt, ...]:
        """Return a receipt for every target, in the plan's order."""
        job = self._job
        because: str | None = None
        await self._look_before()
        for number, wave in enumerate(job.plan.waves, start=1):
            items = [job.plan.item(target) for target in wave]
            if because is None and job.control.stopped:
                because = "the run was interrupted"
            if because is not None:
                self._skip(items, because)
                continue
            if len(job.plan.waves) > 1:
                names = ", ".join(str(target) for target in wave)
                data = {"wave": number, "waves": len(job.plan.waves), "targets": [str(t) for t in wave]}
                job.tell(f"wave {number} of {len(job.plan.waves)}: {names}", EventKind.WAVE, data)
            await self._wave(items)
            because = None if job.control.stopped else self._too_many_failed()
            if because is None and number < len(job.plan.waves) and not job.control.stopped:
                because = await self._gate(number, items)
        if job.control.stopped:
            await insist(self._take_back)
        return tuple(self._receipts[item.target] for item in job.plan.targets)

    async def _look_before(self) -> None:
        """Note how clients are served before anything is sent, where a gate will compare with that."""
        job = self._job
        if len(job.plan.waves) < 2:
            return
        for item in job.plan.targets:
            self._baseline.note(item.ask.seen, job.clock.monotonic_s())
        await asyncio.gather(*(self._look_at(name) for name in stand_ins(job)))

    async def _look_at(self, name: str) -> None:
        try:
            self._baseline.note(await self._job.planner.observe_by_name(name), self._job.clock.monotonic_s())
        except PooldeckError as error:
            self._job.tell(f"{name} could not be looked at: {why(error)}", EventKind.WARNING)

    def _skip(self, items: Sequence[TargetPlan], because: str) -> None:
        for item in items:
            receipt = self._receipts[item.target] = self._job.skipped(item, because)
            self._job.told(receipt)

    def _too_many_failed(self) -> str | None:
        allowed = self._job.plan.allowed_failures
        if self._failed <= allowed:
            return None
        limit = self._job.plan.rollout.max_failed
        return f"{plural(self._failed, 'target')} failed, and --max-failed is {limit}"

    async def _wave(self, items: Sequence[TargetPlan]) -> None:
        """Work on a wave; targets of one bouncer go one after another, unless the verb says otherwise."""
        found = await asyncio.gather(*(self._prepare(item) for item in items))
        steps = [step for step in found if step is not None]
        lease: Lease | None = None
        wanted = [step for step in steps if self._needs_guardian(step)]
        try:
            if wanted:
                lease = await self._arm(wanted)
                steps = [step for step in steps if step.lease is not None or step not in wanted]
            groups: dict[Hashable, list[Step]] = {}
            for step in steps:
                key = step.target if self._job.plan.spec.together else step.target.bouncer
                groups.setdefault(key, []).append(step)
            await asyncio.gather(*(self._in_turn(group) for group in groups.values()))
        finally:
            if lease is not None:
                await insist(lease.close)

    def _needs_guardian(self, step: Step) -> bool:
        """Say whether clients may be left waiting: a restart, for one, pauses by some methods only."""
        plan = self._job.plan
        return plan.spec.leased and not step.already and bool(plan.item(step.target).rescue)

    async def _prepare(self, item: TargetPlan) -> Step | None:
        step = await self._job.prepare(item, self._job.control.for_step())
        if isinstance(step, TargetReceipt):
            self._keep(step)
            self._job.told(step)
            return None
        self._steps[item.target] = step
        self._baseline.note(step.ask.seen, self._job.clock.monotonic_s())
        return step

    async def _arm(self, steps: Sequence[Step]) -> Lease | None:
        """Let a guardian stand by; targets that it cannot cover are over here."""
        lease: Lease | None = None
        why_not: dict[Target, str] = {}
        try:
            lease = await self._job.control.wait(arm_for(self._job, steps, hold_s=0.0))
            why_not.update(lease.uncovered)
        except PooldeckError as error:
            why_not = dict.fromkeys((step.target for step in steps), why(error))
        except Stopped:
            why_not = dict.fromkeys((step.target for step in steps), "interrupted")
        for step in steps:
            if step.target not in why_not:
                step.lease = lease
                continue
            detail = f"no guardian could stand by, so nothing was sent: {why_not[step.target]}"
            receipt = step.receipt(
                Outcome.FAILED, detail, step.present, interrupted=self._job.control.stopped
            )
            self._keep(await self._job.finish(self._job.plan.item(step.target), receipt))
        return lease

    async def _in_turn(self, steps: Sequence[Step]) -> None:
        for step in steps:
            carry_out = self._job.plan.spec.on(step.ask.seen).carry_out
            assert carry_out is not None, "verbs that hold are carried out by `held`"
            if self._job.control.stopped:
                receipt = interrupted(step)
            else:
                try:
                    receipt = await self._job.guarded(step, partial(carry_out, step))
                finally:
                    await insist(step.control.reap)
            self._keep(await self._job.finish(self._job.plan.item(step.target), receipt))

    def _keep(self, receipt: TargetReceipt) -> None:
        self._receipts[receipt.target] = receipt
        if receipt.outcome in FAILURES:
            self._failed += 1

    async def _gate(self, number: int, items: Sequence[TargetPlan]) -> str | None:
        done = [item for item in items if self._receipts[item.target].outcome not in FAILURES]
        shut = await Gate(self._job, done, self._baseline).wait()
        if shut is None or self._job.control.stopped:
            return shut
        return f"the gate after wave {number} did not open: {shut}"

    async def _take_back(self) -> None:
        """Undo what this run did, where the verb can; the receipts say so."""
        job = self._job
        take_back = job.plan.spec.take_back
        if take_back is None:
            return
        for item in job.plan.targets:
            receipt = self._receipts[item.target]
            step = self._steps.get(item.target)
            if receipt.outcome is not Outcome.OK or step is None:
                continue
            step.control = Control()
            job.say(str(item.target), EventKind.UNDOING, "the run was interrupted: taking it back", {})
            undone = await job.guarded(step, lambda step=step: take_back(step))  # type: ignore[misc]
            undone = replace(undone, taken_back=undone.outcome not in FAILURES)
            self._receipts[item.target] = await job.finish(item, undone)
