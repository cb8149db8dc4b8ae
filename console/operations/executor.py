"""Carries an admitted plan out and returns the receipt of the whole run.

The only door between a permit and a pooler: without a permit that is good for exactly this plan nothing is
run, and `job` lets nothing be sent before it is on record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import SecretStr

from console.audit.journal import Journal
from console.clock import Clock
from console.errors import RefusedError
from console.guard.permit import Permit, PermitOffice
from console.operations.control import Control, insist
from console.operations.held import HeldRun
from console.operations.job import Job, Say
from console.operations.outcome import RunReceipt
from console.operations.plan import Plan
from console.operations.planner import Planner
from console.operations.reach import Reach
from console.operations.rolling import RollingRun
from console.operations.secrets_wanted import RunWallet


class Executor:
    """The only user of writing sessions."""

    def __init__(
        self, planner: Planner, reach: Reach, journal: Journal, clock: Clock, *, read_only: bool
    ) -> None:
        self._planner = planner
        self._reach = reach
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

    async def run(
        self,
        run_id: str,
        plan: Plan,
        permit: Permit,
        control: Control,
        say: Say,
        typed: Mapping[str, SecretStr],
    ) -> RunReceipt:
        """Carry out an admitted plan; `typed` are secrets for it alone, by `SecretWanted.which`."""
        reach = self._reach
        if typed or reach.wallet is not None:
            reach = replace(reach, wallet=RunWallet(typed, reach.wallet))
        job = Job(
            run_id=run_id,
            plan=plan,
            permit=permit,
            control=control,
            planner=self._planner,
            reach=reach,
            journal=self._journal,
            clock=self._clock,
            say=say,
        )
        try:
            if plan.spec.conduct is not None:
                receipts = await plan.spec.conduct(job)
            else:
                receipts = await (HeldRun(job) if plan.spec.holds else RollingRun(job)).run()
        finally:
            await insist(control.reap)
        return RunReceipt(run_id, plan.op, plan.hash, receipts, plan.unreachable)
