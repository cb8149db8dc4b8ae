"""The owner of operations: plans, judges, and keeps runs alive independently of who asked for them.

A screen or command that goes away leaves its run running; closing the service stops every run, which undoes
what it must, and waits for that. Nothing here decides what is allowed: `console.guard` does.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import Clock
from console.config.schema import Inventory
from console.errors import RefusedError
from console.guard.permit import Permit, PermitOffice
from console.guard.policy import Policy
from console.guard.request import Request
from console.guard.verdict import Verdict
from console.operations.control import Control, insist
from console.operations.executor import Executor
from console.operations.lease.locks import BUSY_HINT, HeldLocks, Holder
from console.operations.outcome import NOTHING, Event, EventKind, RunReceipt
from console.operations.plan import Plan
from console.operations.planner import Planner
from console.operations.reach import Reach
from console.operations.registry import REGISTRY
from console.operations.rollout import Rollout

RUNS_KEPT = 100
"""Finished runs that can still be looked at."""


class Run:
    """One run, alive or over. Made by `OperationService.submit`."""

    def __init__(self, run_id: str, plan: Plan, clock: Clock) -> None:
        self.id = run_id
        self.plan = plan
        self.started_at_s = clock.wall_s()
        self._clock = clock
        self._events: list[Event] = []
        self._news = asyncio.Event()
        self._control = Control()
        self._task: asyncio.Task[RunReceipt] | None = None

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._task is not None and self._task.done()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._control.stopped

    def cancel(self) -> None:
        """Ask it to stop after the current step and undo; a second call does not wait for the step.

        Its receipt tells what came of it. Safe to call often.
        """
        self._control.stop()

    def end_hold(self) -> None:
        """Let go now what it holds: its regular end, only earlier. Nothing happens to other runs."""
        self._control.end_hold()

    def answer(self, target: str, choice: str) -> None:
        """Answer what it asks about a target (`EventKind.ASKING`); what was not asked is not heard."""
        self._control.answer(target, choice)

    async def receipt(self) -> RunReceipt:
        """Wait for the end. Cancelling this wait leaves the run running."""
        assert self._task is not None, "a run is started before it is handed out"
        return await asyncio.shield(self._task)

    async def events(self) -> AsyncIterator[Event]:
        """Yield every event from the first on, until the run is over. Any number may listen."""
        seen = 0
        while True:
            news = self._news
            for event in self._events[seen:]:
                seen += 1
                yield event
            if self.done and seen == len(self._events):
                return
            if seen == len(self._events):
                await news.wait()

    def _say(self, target: str, kind: EventKind, text: str, data: Mapping[str, Any] = NOTHING) -> None:
        self._events.append(Event(self._clock.wall_s(), self.id, target, kind, text, data))
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _start(
        self, executor: Executor, permit: Permit, typed: Mapping[str, SecretStr]
    ) -> asyncio.Task[RunReceipt]:
        task = asyncio.create_task(
            executor.run(self.id, self.plan, permit, self._control, self._say, typed), name=f"run {self.id}"
        )
        self._task = task
        task.add_done_callback(lambda _: self._wake())
        return task


class OperationService:
    """Operations on one fleet. Use as an async context manager, or call `close`."""

    def __init__(
        self,
        inventory: Inventory,
        reach: Reach,
        journal: Journal,
        clock: Clock,
        *,
        read_only: bool,
        actor: Actor | None = None,
    ) -> None:
        self._clock = clock
        self._actor = actor or Actor.current(os.environ)
        self._locks = reach.locks
        self._leases = reach.leases
        self._policy = Policy(inventory.environment, read_only, inventory.policy)
        self._office = PermitOffice(self._policy, clock)
        self._planner = Planner(inventory, reach, clock, read_only=read_only)
        self._executor = Executor(self._planner, reach, journal, clock, read_only=read_only)
        self._runs: dict[str, Run] = {}
        self._closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def runs(self) -> tuple[Run, ...]:
        """Runs of this process, oldest first; finished ones are forgotten after `RUNS_KEPT`."""
        return tuple(self._runs.values())

    async def plan(
        self,
        op: str,
        selector: str,
        *,
        rollout: Rollout | None = None,
        progress: Callable[[str], None] = lambda _: None,
        **parameters: Any,
    ) -> Plan:
        """Return the plan of a verb on what a selector names; sends nothing that changes anything.

        Args:
            op: the verb's name.
            selector: what it is to act on.
            rollout: waves and limits; None: the verb's own.
            progress: is told how far it is, when that takes longer than a moment.
            parameters: fields of the verb's `Parameters`.

        Raises:
            UsageError: it cannot be planned as asked. NodeError: the only target did not answer.
        """
        return await self._planner.plan(op, selector, parameters, rollout, progress)

    def expect(self, op: str) -> None:
        """Make ready for a run of a verb, e.g. while its plan is read: a guardian is started ahead."""
        if self._leases is not None and REGISTRY[op].leased and not self._policy.read_only:
            self._leases.prepare()

    def expect_nothing(self) -> None:
        """Let go of what was made ready: the plan was left without a run."""
        if self._leases is not None:
            self._leases.dismiss()

    def request(self, reason: str | None = None, plan_maker: str | None = None) -> Request:
        """Return who asks, and with what: `judge` and `permit` want the same one."""
        user = self._actor.sudo_user or self._actor.user
        return Request(user, self._clock.wall_s(), reason, plan_maker)

    def judge(self, plan: Plan, request: Request | None = None) -> Verdict:
        """Return what the guard says."""
        return self._policy.judge(plan, request or self.request())

    def permit(
        self,
        plan: Plan,
        verdict: Verdict,
        phrase: str | None = None,
        *,
        request: Request | None = None,
        answer: str = "confirmed",
    ) -> Permit:
        """Return the permit for a plan whose verdict was answered.

        Args:
            plan: the plan.
            verdict: what `judge` said and the user saw.
            phrase: what was typed; None when only Enter was asked for.
            request: as `judge` had it.
            answer: how it was answered, for the journal.

        Raises:
            RefusedError: denied, or answered wrongly.
        """
        return self._office.mint(plan, verdict, phrase, request=request or self.request(), answer=answer)

    def submit(self, plan: Plan, permit: Permit, typed: Mapping[str, SecretStr] = NOTHING) -> Run:
        """Start a run and return it; needs a running event loop.

        Args:
            plan: the plan.
            permit: for exactly this plan.
            typed: secrets that were typed for this run, by `SecretWanted.which`; nobody else gets them, and
                they are let go of when it is over.

        Raises:
            RefusedError: the permit is not good for this plan, or another run works on the same bouncer.
            JournalError: locks cannot be kept.
        """
        if self._closing:
            raise RefusedError("Pooldeck is ending", where="operations.closing")
        run = Run(secrets.token_hex(8), plan, self._clock)
        # A way out is never locked out: RESUME has to reach what another run holds.
        locks = None if plan.rescues else self._locked(run)
        try:
            self._executor.admit(plan, permit, self._office)
        except BaseException:
            if locks is not None:
                locks.release()
            raise
        self._runs[run.id] = run
        task = run._start(self._executor, permit, typed)
        if locks is not None:
            task.add_done_callback(lambda _: locks.release())
        self._forget_old()
        return run

    def _locked(self, run: Run) -> HeldLocks | None:
        names = {item.target.bouncer for item in run.plan.targets}
        for other in self.runs:
            if other.done or other.plan.rescues:
                continue
            shared = names & {item.target.bouncer for item in other.plan.targets}
            if shared:
                raise RefusedError(
                    f"{other.plan.title} is still running on {min(shared)}",
                    where="operations.busy",
                    hint=BUSY_HINT,
                )
        if self._locks is None:
            return None
        holder = Holder.of(self._actor, run.plan.title, run.id, self._clock.wall_s())
        return self._locks.acquire(names, holder)

    async def close(self) -> None:
        """Stop every run and wait until each has undone what it must; safe to call twice."""
        self._closing = True
        for run in self.runs:
            # Twice: whoever closes does not wait for a step that may take minutes.
            run.cancel()
            run.cancel()
        await insist(self._all_over)

    async def _all_over(self) -> None:
        tasks = [run._task for run in self.runs if run._task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_old(self) -> None:
        finished = [run.id for run in self.runs if run.done]
        for run_id in finished[: max(0, len(finished) - RUNS_KEPT)]:
            del self._runs[run_id]
