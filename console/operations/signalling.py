"""Signals to backends of a Postgres node, one by one, and the wait until what they were meant for is over.

`backends` decides which and whether; each is looked at once more right before its signal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum

from console.errors import AdminError, NodeError
from console.operations.backends import (
    RUNS,
    Seen,
    idle_in_transaction,
    statement_of,
    terminate_command,
    there,
    to_cancel,
)
from console.operations.control import Stopped, insist
from console.operations.nodes import NodeSession
from console.operations.outcome import EventKind, Exchange, Outcome, TargetReceipt
from console.operations.step import Step, plural, why
from console.postgres.activity import Backend

POLL_S = 0.1


class _End(StrEnum):
    """What became of one backend."""

    DONE = "done"
    GONE = "gone already"
    MOVED_ON = "in another transaction by then, and left alone"
    STILL = "still there"


async def carry_out_cancel(step: Step) -> TargetReceipt:
    """Cancel what the backends of `step` run."""
    return await _carry_out(step, terminate=False)


async def carry_out_terminate(step: Step) -> TargetReceipt:
    """End the backends of `step`."""
    return await _carry_out(step, terminate=True)


async def _carry_out(step: Step, *, terminate: bool) -> TargetReceipt:
    seen: Seen = step.ask.seen
    if step.already:
        return _nothing_to_do(step, seen, terminate=terminate)
    assert step.reach.nodes is not None, "observed through them"
    session = await step.reach.nodes.session(step.target.bouncer)
    try:
        if step.control.stopped:
            raise Stopped
        signals = _Signals(step, session, terminate=terminate)
        return await insist(signals.run)
    finally:
        await insist(session.close)


def _nothing_to_do(step: Step, seen: Seen, *, terminate: bool) -> TargetReceipt:
    what = "no such backend is there" if terminate or not there(seen) else "nothing runs there"
    open_ones = [] if terminate else idle_in_transaction(seen)
    if not open_ones:
        return step.receipt(Outcome.NO_CHANGE, what, step.present)
    return step.receipt(
        Outcome.NO_CHANGE,
        f"{what}; what is idle in a transaction is ended by terminate only",
        step.present,
        next_steps=(terminate_command(step.target, open_ones),),
    )


class _Signals:
    """The signals of one step."""

    def __init__(self, step: Step, session: NodeSession, *, terminate: bool) -> None:
        self._step = step
        self._session = session
        self._terminate = terminate
        self._ends: dict[int, _End] = {}

    async def run(self) -> TargetReceipt:
        """Signal every backend, then see what became of them."""
        step = self._step
        chosen = there(step.ask.seen) if self._terminate else to_cancel(step.ask.seen)
        refused: AdminError | None = None
        lost: NodeError | None = None
        sent: list[Backend] = []
        try:
            for backend in chosen:
                if await self._signal(backend):
                    sent.append(backend)
        except AdminError as error:
            refused = error
        except NodeError as error:
            lost = error
            sent = chosen
        if lost is None:
            await self._wait(sent)
        return self._judge(chosen, refused) if lost is None else await self._lost(chosen, lost)

    async def _signal(self, backend: Backend) -> bool:
        """Signal one backend; False when it is gone or, for a cancel, in another transaction.

        Raises:
            AdminError: the server refused. NodeError: no answer.
        """
        step = self._step
        limit_s = step.query_timeout_s
        now = _only(await self._session.backends([backend.pid], timeout_s=limit_s))
        if now is None or now.started_at != backend.started_at:
            self._ends[backend.pid] = _End.GONE
            return False
        if not self._terminate and now.xact_started_at != backend.xact_started_at:
            self._ends[backend.pid] = _End.MOVED_ON
            return False
        assert backend.started_at is not None, "a hidden backend is not planned"
        statement = statement_of(backend, terminate=self._terminate)
        step.tell(EventKind.SENT, f"→ {statement}")
        place = len(step.exchanges)
        step.exchanges.append(Exchange(statement, None, None))
        begun = step.clock.monotonic_s()
        reply: str | None = None
        try:
            found = await self._session.signal(
                backend.pid, backend.started_at, terminate=self._terminate, timeout_s=limit_s
            )
            reply = "t" if found else "no such backend"
        except AdminError as error:
            reply = f"ERROR: {error.message}"
            raise
        finally:
            took = step.clock.monotonic_s() - begun
            step.exchanges[place] = Exchange(statement, reply, took)
            step.tell(EventKind.ANSWERED, f"← {reply or 'no answer'} ({took * 1000:.0f} ms)")
        self._ends[backend.pid] = _End.STILL if found else _End.GONE
        return found

    async def _wait(self, sent: Sequence[Backend]) -> None:
        """Wait until what was signalled is over, or time is up."""
        step = self._step
        loop = asyncio.get_running_loop()
        end = loop.time() + step.parameters.timeout_s
        left = list(sent)
        while left:
            found = await self._session.backends([one.pid for one in left], timeout_s=step.query_timeout_s)
            now = {one.pid: one for one in found}
            for backend in list(left):
                if self._is_over(backend, now.get(backend.pid)):
                    self._ends[backend.pid] = _End.DONE
                    left.remove(backend)
            if loop.time() >= end or step.control.stopped:
                return
            if left:
                step.tell(EventKind.WAITING, f"waiting for {', '.join(str(one.pid) for one in left)} to end")
                await step.control.pause(None, timeout_s=POLL_S)

    def _is_over(self, before: Backend, now: Backend | None) -> bool:
        if now is None or now.started_at != before.started_at:
            return True
        if self._terminate:
            return False
        return now.state not in RUNS or now.query_started_at != before.query_started_at

    def _judge(self, chosen: Sequence[Backend], refused: AdminError | None) -> TargetReceipt:
        step = self._step
        ends = [(one.pid, self._ends.get(one.pid)) for one in chosen]
        still = [pid for pid, end in ends if end is _End.STILL]
        done = [pid for pid, end in ends if end is _End.DONE]
        rest = [f"backend {pid} was {end}" for pid, end in ends if end in (_End.GONE, _End.MOVED_ON)]
        what = "ended" if self._terminate else "no longer runs it"
        verified = tuple(f"backend {pid} {'is gone' if self._terminate else what}" for pid in done)
        if refused is not None:
            hint = (refused.hint,) if refused.hint else ()
            return step.receipt(
                Outcome.FAILED,
                f"the server refused: {refused.message}",
                None,
                verified=verified,
                next_steps=hint,
            )
        if still:
            return step.receipt(
                Outcome.FAILED,
                f"signalled, but after {step.parameters.timeout_s:g} s still there: backend "
                f"{', '.join(map(str, still))}",
                None,
                verified=verified,
                next_steps=self._when_still(still),
                interrupted=step.control.stopped,
            )
        if not done:
            return step.receipt(Outcome.NO_CHANGE, "; ".join(rest), "left alone")
        verb = "ended" if self._terminate else "cancelled"
        detail = "; ".join([f"{plural(len(done), 'backend')} {verb}", *rest])
        return step.receipt(Outcome.OK, detail, "gone" if self._terminate else "cancelled", verified=verified)

    def _when_still(self, still: Sequence[int]) -> tuple[str, ...]:
        if self._terminate:
            return (
                "it ends where it next looks for signals; a read from a dead disk or network share does not",
            )
        numbers = " ".join(map(str, still))
        return (f"{self._step.target.command('terminate')} {numbers}",)

    async def _lost(self, chosen: Sequence[Backend], lost: NodeError) -> TargetReceipt:
        """The connection broke: see over a new one what became of them."""
        step = self._step
        assert step.reach.nodes is not None, "observed through them"
        try:
            session = await step.reach.nodes.session(step.target.bouncer)
        except NodeError:
            return self._not_known(lost)
        self._session, old = session, self._session
        try:
            await insist(old.close)
            await self._wait([one for one in chosen if self._ends.get(one.pid) in (None, _End.STILL)])
        except NodeError:
            return self._not_known(lost)
        finally:
            await insist(session.close)
        if all(self._ends.get(one.pid) in (_End.DONE, _End.GONE) for one in chosen):
            return self._judge(chosen, None)
        return self._not_known(lost)

    def _not_known(self, lost: NodeError) -> TargetReceipt:
        return self._step.receipt(
            Outcome.UNKNOWN,
            f"{why(lost)}; whether every backend was signalled is not known",
            None,
            next_steps=(f"pooldeck status {self._step.target.bouncer}",),
        )


def _only(found: Sequence[Backend]) -> Backend | None:
    return found[0] if found else None
