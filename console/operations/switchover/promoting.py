"""From all bouncers held to a promoted replica, with a way back at each step until the promotion is sent.

Order: the replica replays what there is; the old primary is fenced, so that nothing can be added; the replica
replays the rest; it is promoted. What is undone, and how, is noted before a step begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from console.errors import AdminError, JournalError, NodeError, PooldeckError
from console.model.switching import AskedFor, NodeState, Writing
from console.operations.control import insist
from console.operations.outcome import EventKind
from console.operations.step import plural, why
from console.operations.switchover.by_patroni import Order, Patronis
from console.operations.switchover.commands import run_command
from console.operations.switchover.looking import Pair, read_pair
from console.operations.switchover.nodes import SwitchNodes
from console.operations.switchover.parameters import SwitchoverParameters
from console.operations.switchover.standing import UNFENCE_SQL, why_not

if TYPE_CHECKING:
    from console.operations.holding import Held

POLL_S = 0.05
REFUSED_GRACE_S = 1.0
"""A promote command has failed: so long it is watched whether it was one all the same."""
_MIB = 1024 * 1024


class GoBack(Exception):
    """Nothing was promoted; the text says why. What was done is undone."""


class NotKnown(Exception):
    """The promotion was sent, and whether it takes place is not known."""


class Promotion:
    """Makes the replica a primary.

    Attributes:
        sent: the promotion may have been sent: there is no way back.
        left: what could not be undone, for people.
        patroni: both nodes as Patroni saw them, where it does the promotion.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        self._job = held.job
        parameters = held.job.plan.parameters
        assert isinstance(parameters, SwitchoverParameters), "of this verb"
        self._wish = parameters
        self._left, self._follower = parameters.nodes
        nodes = held.job.reach.switching
        assert nodes is not None, "looked at through them"
        self._nodes: SwitchNodes = nodes
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + parameters.hold_s
        self._undo: list[tuple[str, Callable[[], Awaitable[None]], str]] = []
        self.sent = False
        self.left: list[str] = []
        self.patroni: Patronis | None = None

    async def run(self) -> None:
        """Do it; nothing is done when an earlier run came so far.

        Raises:
            GoBack, NotKnown; any error of a node or the journal before `sent` means the way back too.
        """
        end = self._loop.time() + self._wish.catch_up_s
        pair = await self._read()
        if pair.promoted:
            self._tell(f"{self._follower.name} is a primary already")
            self.sent = True
            return
        self._tell(f"{self._follower.name} replays what {self._left.name} has")
        mark = await self._replayed(end)
        await self._fence(pair, mark, end)
        self.patroni = pair.patroni if isinstance(pair.patroni, Patronis) else None
        self._still_wanted()
        await self.record("promoting")
        await self._promote()

    async def undo(self) -> None:
        """Take back what was done, the last first; never raises. What stays is in `left`."""
        for what, take_back, by_hand in reversed(self._undo):
            self._job.tell(f"undoing: {what}", EventKind.UNDOING)
            try:
                await take_back()
            except PooldeckError as error:
                self.left.append(f"{what} could not be undone ({why(error)}): {by_hand}")
        self._undo.clear()
        try:
            await self.record("undone", left=self.left)
        except JournalError as error:
            self._job.tell(f"the undoing could not be recorded: {error}", EventKind.WARNING)

    async def record(self, stage: str, **more: Any) -> None:
        """Put on record how far it has come.

        Raises:
            JournalError: it is not safely on disk.
        """
        fields = {
            "run": self._job.run_id,
            "op": self._job.plan.op,
            "target": self._left.name,
            "to": self._follower.name,
            "stage": stage,
            **more,
        }
        await insist(lambda: self._job.record("switchover", fields))

    # -- the way to it ------------------------------------------------------------------------------

    async def _read(self) -> Pair:
        self._still_wanted()
        pair = await read_pair(self._job.reach, self._wish, timeout_s=self._limit_s)
        problem = why_not(pair, self._wish)
        if problem is not None:
            raise GoBack(problem)
        return pair

    async def _replayed(self, end: float) -> int:
        """Wait until the replica has replayed all that the primary has now; return how far that is."""
        mark = await self._nodes.mark(self._left.name, timeout_s=self._limit_s)
        await self._until_replayed(mark.position, end)
        return mark.position

    async def _until_replayed(self, position: int, end: float) -> NodeState:
        while True:
            self._still_wanted()
            state = await self._nodes.state(self._follower.name, timeout_s=self._limit_s)
            if state.position >= position:
                return state
            if self._loop.time() >= end:
                behind = (position - state.position) / _MIB
                raise GoBack(
                    f"{self._follower.name} has not replayed everything within {self._wish.catch_up_s:g} s "
                    f"(--catch-up): {behind:.1f} MiB behind"
                )
            await asyncio.sleep(POLL_S)

    async def _fence(self, pair: Pair, mark: int, end: float) -> None:
        if self._wish.fence in ("none", "patroni"):
            return
        if self._wish.fence == "stop":
            await self._stop(mark, end)
            return
        name = self._left.name
        if isinstance(pair.old, NodeState) and not pair.old.read_only:
            await self.record("fencing")
            self._undo.append((f"the fence of {name}", self._unfence, f"on {name}: {UNFENCE_SQL}"))
            self._tell(f"{name} is fenced: new transactions are read-only")
            await self._nodes.fence(name, timeout_s=self._limit_s)
        await self._until_nobody_writes(end)
        await self._replayed(end)

    async def _until_nobody_writes(self, end: float) -> Writing:
        while True:
            self._still_wanted()
            writing = await self._nodes.mark(self._left.name, timeout_s=self._limit_s)
            if writing.read_only and not writing.writers:
                return writing
            if self._loop.time() >= end:
                if not writing.read_only:
                    raise GoBack(f"{self._left.name} does not read as fenced")
                raise GoBack(
                    f"{plural(writing.writers, 'session')} besides the bouncers' still "
                    f"{'writes' if writing.writers == 1 else 'write'} to {self._left.name}"
                )
            await asyncio.sleep(POLL_S)

    async def _unfence(self) -> None:
        await self._nodes.unfence(self._left.name, timeout_s=self._limit_s)

    async def _stop(self, mark: int, end: float) -> None:
        name = self._left.name
        await self.record("stopping")
        self._tell(f"{name} is stopped")
        self._undo.append((f"the stop of {name}", _cannot_start, f"start {name} on its host"))
        ran = await run_command(
            self._left, self._job.reach.transport, self._wish.stop_command, timeout_s=self._left_s
        )
        if ran.problem is not None:
            raise GoBack(f"{name} could not be stopped: {ran.problem}")
        while True:
            state = await self._until_replayed(mark, end)
            if not state.streams and state.received == state.position:
                return
            if self._loop.time() >= end:
                raise GoBack(f"{self._follower.name} still streams from {name}, or has not replayed its end")
            await asyncio.sleep(POLL_S)

    # -- the point of no return -----------------------------------------------------------------------

    async def _promote(self) -> None:
        name = self._follower.name
        end = self._end
        self._tell(f"{name} is promoted; from here on there is no way back")
        self.sent = True
        if self._wish.promote_command:
            end = await self._by_command(end)
        elif self._wish.by_patroni:
            await self._by_patroni(end)
        else:
            try:
                await self._nodes.promote(name, timeout_s=self._limit_s)
            except AdminError as error:
                self.sent = False
                raise GoBack(f"{name} refused to be promoted: {why(error)}") from None
            except NodeError as error:
                self._tell(f"the answer of {name} was lost: {why(error)}", EventKind.WARNING)
        if not await self._is_primary(end):
            raise NotKnown(f"{name} was told to become a primary and has not within {self._wish.hold_s:g} s")
        self._tell(f"{name} is a primary")
        try:
            await self.record("promoted")
        except JournalError as error:
            self._tell(f"the promotion could not be recorded: {error}", EventKind.WARNING)

    async def _by_command(self, end: float) -> float:
        ran = await run_command(
            self._follower,
            self._job.reach.transport,
            self._wish.promote_command,
            timeout_s=self._left_s,
        )
        if ran.problem is None:
            return end
        if not ran.is_sure:
            self._tell(f"how the promote command ended is not known: {ran.problem}", EventKind.WARNING)
            return end
        if not await self._is_primary(self._loop.time() + REFUSED_GRACE_S):
            self.sent = False
            raise GoBack(f"the promote command failed: {ran.problem}")
        return end

    async def _by_patroni(self, end: float) -> None:
        """Ask Patroni, and wait until the replica is a primary or Patroni has given it up."""
        patronis = self._job.reach.patronis
        assert patronis is not None, "looked at through it"
        assert self.patroni is not None, "looked at before"
        order = Order(patronis, self._left.name, self.patroni.names, timeout_s=self._left_s)
        told = False
        try:
            while not await self._is_primary(0.0) and self._loop.time() < end:
                answer = order.answer
                if answer is not None and answer.outcome is AskedFor.REFUSED:
                    self.sent = False
                    raise GoBack(f"Patroni refuses the switchover: {answer.text}")
                if answer is not None and answer.outcome is AskedFor.FAILED and await self._is_as_before():
                    self.sent = False
                    raise GoBack(f"Patroni has given the switchover up: {answer.text}")
                if answer is not None and not told:
                    self._tell(f"Patroni says: {answer.text}", EventKind.NOTE)
                    told = True
                await asyncio.sleep(POLL_S)
        finally:
            await insist(order.close)

    async def _is_as_before(self) -> bool:
        """Say whether the old primary takes writes and leads, and the replica is one."""
        patronis = self._job.reach.patronis
        assert patronis is not None, "looked at through it"
        assert self.patroni is not None, "looked at before"
        try:
            old = await self._nodes.state(self._left.name, timeout_s=self._limit_s)
            new = await self._nodes.state(self._follower.name, timeout_s=self._limit_s)
            view = await patronis.view(self._left.name, timeout_s=self._limit_s)
        except PooldeckError:
            return False
        return not old.in_recovery and new.in_recovery and view.leader == self.patroni.names[0]

    async def _is_primary(self, end: float) -> bool:
        while True:
            try:
                state = await self._nodes.state(self._follower.name, timeout_s=self._limit_s)
            except (NodeError, AdminError):
                state = None
            if state is not None and not state.in_recovery:
                return True
            if self._loop.time() >= end:
                return False
            await asyncio.sleep(POLL_S)

    # -- all along ------------------------------------------------------------------------------------

    @property
    def _left_s(self) -> float:
        """How long clients may still be held."""
        return max(POLL_S, self._end - self._loop.time())

    @property
    def _limit_s(self) -> float:
        return self._job.planner.query_timeout_s(self._left.name)

    def _still_wanted(self) -> None:
        if self._job.control.stopped:
            raise GoBack("interrupted")
        if self._held.lease.lost.is_set():
            raise GoBack("its guardian ended")

    def _tell(self, text: str, kind: EventKind = EventKind.NOTE) -> None:
        self._job.tell(text, kind)


async def _cannot_start() -> None:
    raise PooldeckError("no command for that was given")
