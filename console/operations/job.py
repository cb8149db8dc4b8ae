"""One run's way to its targets: the last look, the intent on disk, the step, and the outcome on disk.

Shared by `rolling` and `held`. Nothing is sent to change anything before a target's intent is recorded, and
whatever happens to a target afterwards, its outcome is recorded and its receipt returned.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from console.audit.journal import Journal
from console.clock import Clock
from console.config.schema import Bouncer
from console.errors import JournalError, PooldeckError
from console.guard.permit import Permit
from console.operations.by_hand import without_this_journal
from console.operations.control import Control, Stopped, insist
from console.operations.observe import moved
from console.operations.outcome import NOTHING, EventKind, Outcome, TargetReceipt
from console.operations.plan import Plan, TargetPlan
from console.operations.planner import Planner
from console.operations.reach import Reach
from console.operations.step import Step, why
from console.operations.target_plan import facts_for

Say = Callable[[str, EventKind, str, Mapping[str, Any]], None]
_MOVED_SHOWN = 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """An admitted plan while it is carried out."""

    run_id: str
    plan: Plan
    permit: Permit
    control: Control
    planner: Planner
    reach: Reach
    journal: Journal
    clock: Clock
    say: Say

    def tell(self, text: str, kind: EventKind = EventKind.NOTE, data: Mapping[str, Any] = NOTHING) -> None:
        """Emit an event of the run as a whole."""
        self.say(self.plan.fleet, kind, text, data)

    async def prepare(self, item: TargetPlan, control: Control) -> Step | TargetReceipt:
        """Look once more and record the intent; a receipt instead when nothing may be sent."""

        def tell(kind: EventKind, text: str, data: Mapping[str, Any]) -> None:
            self.say(str(item.target), kind, text, data)

        tell(EventKind.STARTED, f"{self.plan.op.upper()} {item.target}", {})
        step = self._step(item, control, tell)
        if item.blocked is not None:
            return step.receipt(Outcome.FAILED, f"{item.blocked}; nothing was sent", item.present)
        try:
            fresh = await self.control.wait(
                self.planner.look(self.plan.spec, item.target, self.plan.parameters)
            )
            changed = moved(item.facts, facts_for(self.plan.spec, fresh))
            if changed:
                return await self._refuse(step, changed)
            step.ask = fresh
            await insist(lambda: self._record_intent(item))
        except JournalError as error:
            next_steps = (*_hints(error), *self._other_ways(item))
            return step.receipt(
                Outcome.FAILED, f"{error}; nothing was sent", item.present, next_steps=next_steps
            )
        except PooldeckError as error:
            return step.receipt(
                Outcome.FAILED, f"{why(error)}; nothing was sent", None, next_steps=_hints(error)
            )
        except (Stopped, asyncio.CancelledError):
            return interrupted(step)
        return step

    async def guarded(self, step: Step, act: Callable[[], Awaitable[TargetReceipt]]) -> TargetReceipt:
        """Run what acts on one target; every error becomes a receipt."""
        try:
            return await act()
        except (Stopped, asyncio.CancelledError):
            return interrupted(step)
        except PooldeckError as error:
            sent = "" if step.exchanges else "; nothing was sent"
            return step.receipt(
                Outcome.UNKNOWN if step.exchanges else Outcome.FAILED, why(error) + sent, None
            )
        except Exception as error:
            _log.exception("%s %s ended by an internal error", self.plan.op, step.target)
            return step.receipt(
                Outcome.UNKNOWN if step.exchanges else Outcome.FAILED,
                f"internal error: {type(error).__name__}",
                None,
                next_steps=(f"pooldeck status {step.target.bouncer}",),
            )

    async def finish(self, item: TargetPlan, receipt: TargetReceipt) -> TargetReceipt:
        """Record an outcome and tell it; an unwritable journal is a warning now, since it is done."""
        fields = {"run": self.run_id, "op": self.plan.op, "plan": self.plan.hash, **receipt.as_dict()}
        try:
            await insist(lambda: self.record("outcome", fields, last_resort=True))
        except JournalError as error:
            warning = f"the outcome could not be recorded: {error}"
            self.say(str(item.target), EventKind.WARNING, warning, {})
            receipt = replace(receipt, warnings=(*receipt.warnings, warning))
        self.told(receipt)
        return receipt

    def told(self, receipt: TargetReceipt) -> None:
        """Tell that a target is over."""
        self.say(
            str(receipt.target),
            EventKind.FINISHED,
            f"{receipt.word}: {receipt.detail}",
            {"outcome": receipt.outcome.value, "after": receipt.after},
        )

    def skipped(self, item: TargetPlan, because: str) -> TargetReceipt:
        """Return the receipt of a target that was not begun."""
        return TargetReceipt(
            target=item.target,
            outcome=Outcome.SKIPPED,
            detail=f"not begun: {because}",
            before=item.present,
            after=None,
            started_at_s=self.clock.wall_s(),
            duration_s=0.0,
            interrupted=self.control.stopped,
            skipped_because=because,
        )

    async def record(self, kind: str, fields: Mapping[str, Any], *, last_resort: bool = False) -> None:
        """Append to the journal, off the loop.

        Raises:
            JournalError: it is not safely on disk.
        """
        await asyncio.to_thread(self.journal.append, kind, fields, last_resort=last_resort)

    async def _record_intent(self, item: TargetPlan) -> None:
        """Put the intent on disk; that of a way out at the reserve's expense, since clients wait for it."""
        fields = self._intent(item)
        try:
            await self.record("intent", fields)
        except JournalError:
            if not self.plan.rescues:
                raise
            await self.record("intent", fields, last_resort=True)

    def _step(
        self, item: TargetPlan, control: Control, tell: Callable[[EventKind, str, Mapping[str, Any]], None]
    ) -> Step:
        return Step(
            ask=item.ask,
            statements=item.statements,
            already=not item.changes,
            present=item.present,
            reach=self.reach,
            clock=self.clock,
            control=control,
            query_timeout_s=self.planner.query_timeout_s(item.target.bouncer),
            say=tell,
            run_id=self.run_id,
        )

    async def _refuse(self, step: Step, changed: tuple[str, ...]) -> TargetReceipt:
        shown = "; ".join(changed[:_MOVED_SHOWN]) + ("; …" if len(changed) > _MOVED_SHOWN else "")
        detail = f"what the plan rests on has changed, so nothing was sent: {shown}"
        fields = {
            "run": self.run_id,
            "op": self.plan.op,
            "target": str(step.target),
            "plan": self.plan.hash,
            "detail": detail,
        }
        await insist(lambda: self.record("refused", fields))
        return step.receipt(
            Outcome.SKIPPED,
            detail,
            None,
            refused_by="guard.observed",
            next_steps=(f"{step.target.command(self.plan.op)} --plan",),
        )

    def _other_ways(self, item: TargetPlan) -> tuple[str, ...]:
        """Return how a way out is carried out without this journal; () for other verbs."""
        entry = self.planner.entry(item.target.bouncer)
        if not self.plan.rescues or not isinstance(entry, Bouncer):
            return ()
        in_shell = self.plan.spec.on(item.ask.seen).in_shell
        return without_this_journal(self.plan.op, item.target, item.statements, entry, in_shell=in_shell)

    def _intent(self, item: TargetPlan) -> dict[str, Any]:
        return {
            "run": self.run_id,
            "op": self.plan.op,
            "fleet": self.plan.fleet,
            "environment": self.plan.environment,
            "selector": self.plan.selector,
            "parameters": self.plan.parameters.model_dump(mode="json"),
            "plan": self.plan.hash,
            "answer": self.permit.answer,
            "reason": self.permit.reason,
            "plan_maker": self.permit.plan_maker,
            "target": str(item.target),
            "statements": list(item.statements),
            "rescue": list(item.rescue),
            "before": item.present,
            "clients": item.clients,
            "fingerprint": item.fingerprint,
        }


def interrupted(step: Step) -> TargetReceipt:
    """Return the receipt of a target whose run was stopped."""
    if step.exchanges:
        return step.receipt(Outcome.UNKNOWN, "interrupted", None, interrupted=True)
    return step.receipt(Outcome.SKIPPED, "interrupted; nothing was sent", step.present, interrupted=True)


def _hints(error: PooldeckError) -> tuple[str, ...]:
    return (error.hint,) if error.hint else ()
