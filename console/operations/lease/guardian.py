"""The guardian: a process that ends what a run holds when the run no longer can.

It stands by with sessions of its own before the first statement is sent, and lifts every target that was
exposed and not released when its run is gone (their socket closes), says nothing for too long, or takes
longer than was planned; when a hold that was left to it is over; and when it is told to end. It goes by a
clock that nobody can set, and that goes on while the machine sleeps.

When is said here; what happens to targets is `ward`'s. It asks nobody whether it may: it only ends what its
order names, and nothing but a pause of its own run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.config.schema import Inventory
from console.errors import PooldeckError
from console.operations.lease.base import HEARTBEAT_S
from console.operations.lease.books import Books
from console.operations.lease.line import Line
from console.operations.lease.protocol import (
    Arming,
    Beat,
    Bye,
    Done,
    Ending,
    Expose,
    Failed,
    HandOver,
    Held,
    Hello,
    Message,
    News,
    ProtocolError,
    Ready,
    Release,
)
from console.operations.lease.store import LeaseRecord, LeaseStore, LeaseTarget, ProcessMark
from console.operations.lease.ward import Means, Ward

HELLO_LIMIT_S = 600.0
"""How long one that was started ahead of time waits for its order."""
TICK_S = 0.25
_LONG_TICK_S = 2.0
_log = logging.getLogger(__name__)

Build = Callable[[Inventory], AbstractAsyncContextManager[Means]]
"""Makes the ways out for an inventory; they are closed when it is left."""


async def guard(link: socket.socket, build: Build, journal: Journal, store: LeaseStore, actor: Actor) -> int:
    """Be the guardian at the end `link` of a socket pair, until nothing is left to do.

    Args:
        link: to the run.
        build: makes the guardian's own ways out.
        journal: where the run's records are too.
        store: the lease files.
        actor: this process.

    Returns:
        The exit status: 0, or 1 when there was no lease, or when something may still be paused.
    """
    line = Line(link)
    messages = line.heard()
    try:
        hello = await _hello(messages)
        if hello is None:
            return 1
        async with build(Inventory.model_validate(hello.inventory)) as means:
            guardian = Guardian(hello, means, Books(journal, store, _record(hello, means, actor)), line)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, guardian.told_to_end)
            return await guardian.run(messages)
    except PooldeckError as error:
        _log.error("there is no lease: %s", error)
        line.say(Failed(str(error)))
        return 1
    finally:
        line.close()


class Guardian:
    """One lease."""

    def __init__(self, hello: Hello, means: Means, books: Books, line: Line) -> None:
        self._line = line
        self._order = hello.order
        self._limits = hello.limits
        self._clock = means.clock
        self._books = books
        self._ward = Ward(hello.order, hello.limits, means, books, self._news)
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        """Set when everything is to be lifted: nobody will resume it by himself."""
        self._alone = False
        """Nobody is at the other end any more, or listened to."""
        self._said_bye = False
        """Its run has recorded by itself what it did not begin."""
        self._heard_s = means.clock.monotonic_s()
        self._beat_s = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, messages: AsyncIterator[Message]) -> int:
        """Stand by and do what is due; return the exit status. `messages` are what the run says."""
        listening = asyncio.create_task(self._listen(messages))
        keeping: asyncio.Task[None] | None = None
        try:
            if not await self._stand_by():
                return 1
            keeping = asyncio.create_task(self._books.keep())
            try:
                await self._serve()
            except Exception:
                # Whatever is wrong here, what is held must not stay so.
                _log.exception("an internal error")
                await self._lift_and_leave()
        finally:
            await self._wind_up(listening, keeping)
        return 1 if self._ward.failed else 0

    def told_to_end(self) -> None:
        """Lift everything now, then end: SIGTERM."""
        self._alone = True
        self._end("its guardian was told to end")

    # -- the beginning ------------------------------------------------------------------------

    async def _stand_by(self) -> bool:
        """Arm everything and say so; False when there is no lease, and nothing may be sent."""
        arming = asyncio.create_task(self._ward.arm(lambda text: self._line.say(Arming(text))))
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({arming, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not arming.done():
                _log.info("over before it began")
                return False
            uncovered, notes = arming.result()
            await self._open_books(uncovered, notes)
        except PooldeckError as error:
            self._line.say(Failed(str(error)))
            return False
        finally:
            for task in (arming, ended):
                task.cancel()
            await asyncio.gather(arming, ended, return_exceptions=True)
        # Only from now on the run says that it lives: arming may take long, and it waits for that.
        self._heard_s = self._clock.monotonic_s()
        self._line.say(Ready(tuple(uncovered.items()), notes))
        return True

    async def _open_books(self, uncovered: Mapping[int, str], notes: Sequence[str]) -> None:
        order = self._order
        targets = tuple(
            LeaseTarget(one.target, one.phase, uncovered.get(one.place, "")) for one in self._ward.guarded
        )
        record = replace(
            self._books.lease,
            since_s=self._clock.wall_s(),
            targets=targets,
            keepers=self._ward.keepers,
        )
        fields = {
            "event": "armed",
            "title": order.title,
            "reason": order.reason,
            "targets": {str(cover.target): list(cover.lift) for cover in order.covers},
            "uncovered": {str(order.covers[place].target): why for place, why in uncovered.items()},
            "keepers": [host for host, _ in self._ward.keepers],
            "notes": list(notes),
            "longest_s": order.longest_s,
            "owner": self._books.lease.owner.pid,
        }
        await self._books.begin(record, fields)

    # -- while it lasts -----------------------------------------------------------------------

    async def _serve(self) -> None:
        ticked_s = self._clock.monotonic_s()
        while True:
            now_s = self._clock.monotonic_s()
            # After a stop of this process the run's heartbeats wait in the socket: they are read first.
            if now_s - ticked_s < _LONG_TICK_S:
                self._tick(now_s)
            ticked_s = now_s
            if self._is_over(now_s):
                return
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()

    def _tick(self, now_s: float) -> None:
        silent_s = now_s - self._heard_s
        if silent_s > self._limits.silence_s and not (self._alone or self._ward.handed_over):
            self._end(f"its run said nothing for {silent_s:.0f} s")
        due = self._ward.due(now_s)
        if due:
            self._ward.lift(due, self._due_because())
        if now_s - self._beat_s >= HEARTBEAT_S and not self._ended.is_set():
            self._beat_s = now_s
            self._line.say(Beat())

    def _due_because(self) -> str:
        if self._ended.is_set():
            return "its run went on after its lease was over"
        return "its hold was over" if self._ward.handed_over else "its time was up"

    def _is_over(self, now_s: float) -> bool:
        if self._ward.busy or self._tasks:
            return False
        if self._alone or self._ward.handed_over:
            return True
        # A run that was taken for dead may wake up and say what it holds: it is listened to for a while.
        return self._ended.is_set() and now_s - self._heard_s > 2 * self._limits.silence_s

    def _end(self, reason: str) -> None:
        """Lift everything that is open, and cover nothing any more."""
        if not self._ended.is_set():
            if self._ward.busy:
                _log.info("everything is lifted: %s", reason)
            self._line.say(Ending(reason))
        self._ended.set()
        self._ward.lift(range(len(self._order.covers)), reason)
        self._wake.set()

    async def _lift_and_leave(self) -> None:
        self._alone = True
        self._end("its guardian failed")
        await self._ward.lifted()

    async def _listen(self, messages: AsyncIterator[Message]) -> None:
        """Hear the run until it is gone."""
        reason = "its run is gone"
        try:
            async for message in messages:
                self._hear(message)
        except ProtocolError as error:
            reason = f"its run cannot be understood: {error}"
        except Exception:
            _log.exception("an internal error")
            reason = "its guardian failed at hearing its run"
        self._alone = True
        self._wake.set()
        if not self._ward.handed_over:
            self._end(reason)
            if not self._said_bye:
                self._start(self._ward.leave_untouched(reason))

    def _hear(self, message: Message) -> None:
        self._heard_s = self._clock.monotonic_s()
        match message:
            case Beat():
                if self._ended.is_set() and not self._alone:
                    # It slept through the end of its lease: a statement may have been on its lips.
                    self._ward.doubt(self._order.longest_s)
            case Expose(covers):
                self._ward.expose(covers, 0.0 if self._ended.is_set() else self._order.longest_s)
            case Held(covers):
                if self._ended.is_set():
                    self._ward.expose(covers, 0.0)
                else:
                    self._ward.hold(covers)
            case Release(covers, number):
                self._start(self._release(covers, number))
            case HandOver(hold_s, number):
                if not self._ended.is_set():
                    self._ward.hand_over(hold_s)
                    self._start(self._handed_over(hold_s, number))
            case Bye():
                self._said_bye = True
                if not self._ward.handed_over:
                    self._alone = True
                    self._end("its run ended without resuming it")
            case _:
                raise ProtocolError(f"no word of a run's: {type(message).__name__}")
        self._wake.set()

    async def _release(self, covers: Sequence[int], number: int) -> None:
        await self._ward.release(covers)
        self._line.say(Done(number))

    async def _handed_over(self, hold_s: float, number: int) -> None:
        self._books.change(handed_over=True)
        await self._books.flush()
        await self._books.record("lease", {"event": "handed over", "hold_s": hold_s})
        self._line.say(Done(number))

    # -- the end ------------------------------------------------------------------------------

    async def _wind_up(self, listening: asyncio.Task[None], keeping: asyncio.Task[None] | None) -> None:
        listening.cancel()
        await asyncio.gather(listening, *self._tasks, return_exceptions=True)
        await self._ward.close()
        if keeping is None:
            await self._books.forget()
            return
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        lease = self._books.lease
        phases = {str(one.target): one.phase.value for one in lease.targets}
        await self._books.record("lease", {"event": "over", "targets": phases})
        if self._ward.failed or self._books.lease.unrecorded:
            # Whoever looks for what is left behind, or was not told, finds it here.
            await self._books.flush()
        else:
            await self._books.forget()

    # -- inside -------------------------------------------------------------------------------

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._wake.set())

    def _news(self, place: int, text: str) -> None:
        _log.info("%s: %s", self._order.covers[place].target, text)
        self._line.say(News(place, text))


async def _hello(messages: AsyncIterator[Message]) -> Hello | None:
    """Return the first message; None when none came."""
    try:
        async with asyncio.timeout(HELLO_LIMIT_S):
            async for message in messages:
                if isinstance(message, Hello):
                    return message
                raise ProtocolError("the first message was no order")
    except (TimeoutError, ProtocolError) as error:
        _log.error("no order came: %s", error)
    return None


def _record(hello: Hello, means: Means, actor: Actor) -> LeaseRecord:
    return LeaseRecord(
        order=hello.order,
        owner=ProcessMark.from_dict(hello.owner),
        guardian=ProcessMark.of(actor),
        since_s=means.clock.wall_s(),
        targets=(),
    )
