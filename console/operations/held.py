"""PAUSE on any number of targets: held together for a time, or none of them. It always ends.

The order of things: every target is looked at once more and its intent recorded; a guardian stands by with
sessions of its own on all of them; our sessions are open on all of them; only then PAUSE goes out, to a whole
wave at once. When too many fail, or anything else goes wrong, all are let go. What cannot be let go stays
with the guardian, which goes on trying (design.md, 5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from console.errors import AdminError, NodeError, PooldeckError
from console.operations.control import Stopped, insist
from console.operations.foreign import wait_for_foreign_pause
from console.operations.holding import Held, Hold
from console.operations.job import Job
from console.operations.lasting import Tally, telling
from console.operations.lease.base import Lease
from console.operations.lease.cover import arm_for
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.pausing import Ending, NotHeld, PauseRefused, Pausing
from console.operations.plan import TargetPlan
from console.operations.step import Step, plural, why
from console.operations.target import Target

_log = logging.getLogger(__name__)


class HeldRun:
    """A run of a verb that holds clients."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._receipts: dict[Target, TargetReceipt] = {}
        self._pausings: dict[Target, Pausing] = {}
        """Those whose PAUSE may be sent or was, and that are not over."""
        self._lease: Lease | None = None

    async def run(self) -> tuple[TargetReceipt, ...]:
        """Return a receipt for every target, in the plan's order."""
        try:
            ending = await self._until_held()
            if ending is None:
                ending = await (self._hold() if self._job.plan.spec.work is None else self._work())
            if ending is not None:
                await insist(lambda: self._let_all_go(ending))
        except asyncio.CancelledError:
            await insist(lambda: self._let_all_go(Ending("interrupted", interrupted=True)))
        except Exception as error:
            ended = _internal(error)
            await insist(lambda: self._let_all_go(ended))
        finally:
            await insist(self._close)
        return tuple(self._receipts[item.target] for item in self._job.plan.targets)

    # -- until everything is held ---------------------------------------------------------------

    async def _until_held(self) -> Ending | None:
        """Pause everything; return None once all is held, else why what was begun must end."""
        steps = await self._prepare()
        if not steps:
            return Ending("nothing was to be held")
        ending = self._too_many_failed() or await self._stand_by(steps)
        if ending is not None:
            return ending
        waves = [[t for t in wave if t in self._pausings] for wave in self._job.plan.waves]
        waves = [wave for wave in waves if wave]
        for number, wave in enumerate(waves, start=1):
            if len(waves) > 1:
                self._job.tell(f"wave {number} of {len(waves)}: {', '.join(map(str, wave))}", EventKind.WAVE)
            ending = await self._pause(wave)
            if ending is not None:
                return ending
        return None if self._pausings else Ending("nothing could be held")

    async def _prepare(self) -> list[Step]:
        job = self._job
        looked = Tally("target looked at once more", len(job.plan.targets))
        async with telling(self._preparing, lambda: looked.words):
            prepared = await asyncio.gather(
                *(looked.count(job.prepare(item, job.control)) for item in job.plan.targets)
            )
        steps = []
        foreign = []
        for item, found in zip(job.plan.targets, prepared, strict=True):
            if isinstance(found, TargetReceipt):
                self._receipts[item.target] = found
                job.told(found)
            elif found.already:
                foreign.append(self._foreign(item, found))
            else:
                steps.append(found)
        await asyncio.gather(*foreign)
        return steps

    async def _foreign(self, item: TargetPlan, step: Step) -> None:
        receipt = await self._job.guarded(step, lambda: wait_for_foreign_pause(step))
        self._receipts[item.target] = await self._job.finish(item, receipt)

    async def _stand_by(self, steps: Sequence[Step]) -> Ending | None:
        """Arm the lease and open every session; return why nothing may be sent, None when all is ready."""
        job = self._job
        hold_s = float(job.plan.parameters.hold_s)
        try:
            lease = self._lease = await job.control.wait(arm_for(job, steps, hold_s=hold_s))
        except (PooldeckError, Stopped) as error:
            interrupted = isinstance(error, Stopped)
            text = "interrupted" if not isinstance(error, PooldeckError) else why(error)
            for step in steps:
                await self._not_sent(step, text, interrupted=interrupted)
            return Ending(text, interrupted=interrupted)
        for step in steps:
            step.lease = lease
        opened = Tally("target with sessions open", len(steps))
        async with telling(self._preparing, lambda: opened.words):
            await asyncio.gather(*(opened.count(self._open(step, lease)) for step in steps))
        return self._too_many_failed()

    def _preparing(self, text: str) -> None:
        self._job.tell(text, EventKind.PREPARING)

    async def _open(self, step: Step, lease: Lease) -> None:
        uncovered = lease.uncovered.get(step.target)
        if uncovered is not None:
            await self._not_sent(step, f"its guardian cannot stand by: {uncovered}")
            return
        pausing = Pausing(step)
        try:
            await step.control.wait(pausing.open())
        except (PooldeckError, Stopped) as error:
            await insist(pausing.close)
            text = why(error) if isinstance(error, PooldeckError) else "interrupted"
            await self._not_sent(step, text, interrupted=isinstance(error, Stopped))
            await insist(lambda: lease.release([step.target]))
            return
        self._pausings[step.target] = pausing

    async def _not_sent(self, step: Step, reason: str, *, interrupted: bool = False) -> None:
        outcome = Outcome.SKIPPED if interrupted else Outcome.FAILED
        receipt = step.receipt(outcome, f"{reason}; nothing was sent", step.present, interrupted=interrupted)
        item = self._job.plan.item(step.target)
        self._receipts[step.target] = await self._job.finish(item, receipt)

    async def _pause(self, wave: Sequence[Target]) -> Ending | None:
        """Send PAUSE to a wave, all at once; let go of those that fail."""
        assert self._lease is not None, "armed before"
        interrupted = self._interrupted()
        if interrupted is not None:
            return interrupted
        try:
            self._lease.expose(wave)
        except NodeError as error:
            return Ending(f"the guardian is gone ({error.message}), so nothing more was paused")
        begun = [self._pausings[target] for target in wave]
        endings = await asyncio.gather(*(self._one(pausing) for pausing in begun))
        held = [p.step.target for p, ending in zip(begun, endings, strict=True) if ending is None]
        self._lease.held(held)
        failed = [(p, ending) for p, ending in zip(begun, endings, strict=True) if ending is not None]
        await insist(lambda: self._let_go(failed))
        return self._interrupted() or self._too_many_failed()

    def _interrupted(self) -> Ending | None:
        return Ending("interrupted", interrupted=True) if self._job.control.stopped else None

    async def _one(self, pausing: Pausing) -> Ending | None:
        """Pause one target; None when it is held."""
        step = pausing.step
        try:
            seen = await pausing.pause()
        except PauseRefused as error:
            pausing.refused = True
            return Ending(f"PAUSE was refused: {error}")
        except NotHeld as error:
            return Ending(str(error))
        except (NodeError, AdminError) as error:
            return Ending(why(error))
        except (Stopped, asyncio.CancelledError):
            return Ending("interrupted", interrupted=True)
        except Exception as error:
            # Its siblings go on: one target's fault must not leave theirs unwatched.
            return _internal(error)
        step.tell(EventKind.HELD, f"paused and drained; {plural(seen.waiting, 'client')} waiting", {})
        return None

    def _too_many_failed(self) -> Ending | None:
        plan = self._job.plan
        bad = [r for r in self._receipts.values() if r.outcome not in (Outcome.OK, Outcome.NO_CHANGE)]
        count = len(bad) + len(plan.unreachable)
        if count <= plan.allowed_failures:
            return None
        if bad:
            # Why it could not is told by its own receipt.
            return Ending(f"{bad[0].target} could not be paused", interrupted=bad[0].interrupted)
        return Ending(f"{plural(count, 'target')} cannot be reached")

    # -- held -----------------------------------------------------------------------------------

    async def _hold(self) -> Ending | None:
        """Hold for the time that was asked for; None when the guardian was left in charge."""
        job = self._job
        assert self._lease is not None, "armed before"
        hold_s = float(job.plan.parameters.hold_s)
        if job.plan.parameters.detach:
            try:
                await self._lease.hand_over(hold_s)
            except NodeError as error:
                return Ending(f"the guardian did not take over: {error.message}")
            await insist(lambda: self._left_held(hold_s))
            return None
        return await Hold(job, self._lease, self._pausings, self._over).until(hold_s)

    async def _work(self) -> Ending | None:
        """Let the verb do its work, then let everything go, each as the verb says."""
        work, plan = self._job.plan.spec.work, self._job.plan
        assert work is not None, "only then"
        assert self._lease is not None, "armed before"
        if plan.unreachable or len(self._pausings) < len(plan.targets):
            return Ending("not all of them are held, and this is done for all or for none")
        endings = await work(Held(self._job, self._lease, dict(self._pausings)))
        await insist(lambda: self._let_go([(self._pausings[target], endings[target]) for target in endings]))
        return None

    async def _left_held(self, hold_s: float) -> None:
        for target, pausing in list(self._pausings.items()):
            receipt = pausing.step.receipt(
                Outcome.OK,
                f"paused; the guardian resumes it in {hold_s:g} s",
                "paused",
                verified=("the answer was PAUSE", "no server connection is left", "the state reads paused"),
                next_steps=("pooldeck leases", target.command("resume")),
                held_until_s=self._job.clock.wall_s() + hold_s,
            )
            await self._over(target, receipt)

    async def _over(self, target: Target, receipt: TargetReceipt) -> None:
        """A target that needs nothing more from us."""
        pausing = self._pausings.pop(target)
        await pausing.close()
        self._receipts[target] = await self._job.finish(self._job.plan.item(target), receipt)

    # -- the end --------------------------------------------------------------------------------

    async def _let_all_go(self, ending: Ending) -> None:
        await self._let_go([(pausing, ending) for pausing in list(self._pausings.values())])
        for item in self._job.plan.targets:
            if item.target not in self._receipts:
                # Its intent is in the journal already, so its end belongs there too.
                receipt = self._job.skipped(item, ending.detail)
                self._receipts[item.target] = await self._job.finish(item, receipt)

    async def _let_go(self, what: Sequence[tuple[Pausing, Ending]]) -> None:
        """End pauses, all at once: clients of the last one wait as long as clients of the first."""
        await asyncio.gather(*(self._end(pausing, ending) for pausing, ending in what))

    async def _end(self, pausing: Pausing, ending: Ending) -> None:
        step = pausing.step
        receipt = await self._job.guarded(step, lambda: pausing.end(ending))
        if self._lease is not None and receipt.after is not None and receipt.after != "paused":
            await self._lease.release([step.target])
        if ending.then is not None:
            then, resumed = ending.then, receipt
            receipt = await self._job.guarded(step, lambda: then(resumed))
        await self._over(step.target, receipt)

    async def _close(self) -> None:
        for pausing in list(self._pausings.values()):
            await pausing.close()
        await self._job.control.reap()
        if self._lease is not None:
            await self._lease.close()


def _internal(error: Exception) -> Ending:
    _log.exception("a pause ended by an internal error")
    return Ending(f"ended by an internal error: {type(error).__name__}")
