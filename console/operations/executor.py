"""Carries a plan out: permit, then a fresh look, then the journal, then the statements, then reading back.

Nothing reaches a pooler's admin session for writing before the intent is on disk. Whatever happens, the
outcome is recorded and a receipt is returned: no error of a run is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from console.audit.journal import Journal
from console.clock import Clock
from console.errors import JournalError, PooldeckError, RefusedError
from console.guard.permit import Permit, PermitOffice
from console.operations.control import Control, Stopped, insist
from console.operations.observe import Observation, facts_of, moved
from console.operations.outcome import EventKind, Outcome, RunReceipt, TargetReceipt
from console.operations.plan import Plan, TargetPlan
from console.operations.planner import Planner
from console.operations.sessions import Connector
from console.operations.step import Step, why
from console.poolers.dialects import dialect_for

Say = Callable[[str, EventKind, str, Mapping[str, Any]], None]
_MOVED_SHOWN = 6
_log = logging.getLogger(__name__)


class Executor:
    """The only user of writing sessions."""

    def __init__(
        self, planner: Planner, connector: Connector, journal: Journal, clock: Clock, *, read_only: bool
    ) -> None:
        self._planner = planner
        self._connector = connector
        self._journal = journal
        self._clock = clock
        self._read_only = read_only

    def admit(self, plan: Plan, permit: Permit, office: PermitOffice) -> None:
        """Spend the permit on the plan; a run that was not admitted must not be started.

        Raises:
            RefusedError: this process is read-only, or the permit is not good for this plan.
        """
        if self._read_only:
            raise RefusedError("this session is read-only", where="policy.read_only")
        office.redeem(permit, plan)

    async def run(self, run_id: str, plan: Plan, permit: Permit, control: Control, say: Say) -> RunReceipt:
        """Carry out an admitted plan, target by target."""
        receipts = []
        for item in plan.targets:
            try:
                receipt = await self._target(run_id, plan, item, permit, control, say)
            finally:
                await insist(control.reap)
            say(str(item.target), EventKind.FINISHED, f"{receipt.outcome}: {receipt.detail}", {})
            receipts.append(receipt)
        return RunReceipt(run_id, plan.op, plan.hash, tuple(receipts))

    async def _target(
        self, run_id: str, plan: Plan, item: TargetPlan, permit: Permit, control: Control, say: Say
    ) -> TargetReceipt:
        def tell(kind: EventKind, text: str, data: Mapping[str, Any]) -> None:
            say(str(item.target), kind, text, data)

        tell(EventKind.STARTED, plan.title, {})
        step = self._step(plan, item, item.observation, control, tell)
        try:
            fresh = await control.wait(self._planner.observe(self._planner.bouncer(item.target.bouncer)))
            changed = moved(item.facts, facts_of(fresh, item.target))
            if changed:
                return await self._refuse(run_id, step, plan, changed)
            step.before = fresh
            await insist(lambda: self._record("intent", _intent(run_id, plan, item, permit)))
        except JournalError as error:
            return step.receipt(
                Outcome.FAILED, f"{error}; nothing was sent", item.present, next_steps=_hints(error)
            )
        except PooldeckError as error:
            return step.receipt(
                Outcome.FAILED, f"{why(error)}; nothing was sent", None, next_steps=_hints(error)
            )
        except (Stopped, asyncio.CancelledError):
            return _interrupted(step)
        receipt = await self._carry_out(plan, step)
        return await insist(lambda: self._record_outcome(run_id, plan, item, receipt, tell))

    async def _carry_out(self, plan: Plan, step: Step) -> TargetReceipt:
        try:
            return await plan.spec.carry_out(step)
        except (Stopped, asyncio.CancelledError):
            return _interrupted(step)
        except PooldeckError as error:
            sent = "" if step.exchanges else "; nothing was sent"
            return step.receipt(
                Outcome.UNKNOWN if step.exchanges else Outcome.FAILED, why(error) + sent, None
            )
        except Exception as error:
            _log.exception("%s %s ended by an internal error", plan.op, step.target)
            return step.receipt(
                Outcome.UNKNOWN if step.exchanges else Outcome.FAILED,
                f"internal error: {type(error).__name__}",
                None,
                next_steps=(f"pooldeck status {step.target.bouncer}",),
            )

    def _step(
        self,
        plan: Plan,
        item: TargetPlan,
        before: Observation,
        control: Control,
        tell: Callable[[EventKind, str, Mapping[str, Any]], None],
    ) -> Step:
        bouncer = self._planner.bouncer(item.target.bouncer)
        return Step(
            target=item.target,
            statements=item.statements,
            already=not item.changes,
            present=item.present,
            parameters=plan.parameters,
            before=before,
            dialect=dialect_for(bouncer.kind),
            connector=self._connector,
            clock=self._clock,
            control=control,
            query_timeout_s=self._planner.query_timeout_s(bouncer),
            say=tell,
        )

    async def _refuse(self, run_id: str, step: Step, plan: Plan, changed: tuple[str, ...]) -> TargetReceipt:
        shown = "; ".join(changed[:_MOVED_SHOWN]) + ("; …" if len(changed) > _MOVED_SHOWN else "")
        detail = f"what the plan rests on has changed, so nothing was sent: {shown}"
        fields = {
            "run": run_id,
            "op": plan.op,
            "target": str(step.target),
            "plan": plan.hash,
            "detail": detail,
        }
        await insist(lambda: self._record("refused", fields))
        return step.receipt(
            Outcome.SKIPPED,
            detail,
            None,
            refused_by="guard.observed",
            next_steps=(f"{step.target.command(plan.op)} --plan",),
        )

    async def _record(self, kind: str, fields: Mapping[str, Any]) -> None:
        await asyncio.to_thread(self._journal.append, kind, fields)

    async def _record_outcome(
        self,
        run_id: str,
        plan: Plan,
        item: TargetPlan,
        receipt: TargetReceipt,
        tell: Callable[[EventKind, str, Mapping[str, Any]], None],
    ) -> TargetReceipt:
        fields = {"run": run_id, "op": plan.op, "plan": plan.hash, **receipt.as_dict()}
        try:
            await self._record("outcome", fields)
        except JournalError as error:
            warning = f"the outcome could not be recorded: {error}"
            tell(EventKind.WARNING, warning, {"target": str(item.target)})
            return replace(receipt, warnings=(*receipt.warnings, warning))
        return receipt


def _intent(run_id: str, plan: Plan, item: TargetPlan, permit: Permit) -> dict[str, Any]:
    return {
        "run": run_id,
        "op": plan.op,
        "fleet": plan.fleet,
        "environment": plan.environment,
        "selector": plan.selector,
        "parameters": plan.parameters.model_dump(mode="json"),
        "plan": plan.hash,
        "answer": permit.answer,
        "target": str(item.target),
        "statements": list(item.statements),
        "rescue": list(item.rescue),
        "before": item.present,
        "clients": item.clients,
        "fingerprint": item.fingerprint,
    }


def _hints(error: PooldeckError) -> tuple[str, ...]:
    return (error.hint,) if error.hint else ()


def _interrupted(step: Step) -> TargetReceipt:
    if step.exchanges:
        return step.receipt(Outcome.UNKNOWN, "interrupted", None, interrupted=True)
    return step.receipt(Outcome.SKIPPED, "interrupted; nothing was sent", step.present, interrupted=True)
