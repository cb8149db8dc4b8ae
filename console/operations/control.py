"""How an operation waits: an undo that cannot be cancelled away, and a stop that never cuts a statement.

A statement on its way is never cancelled: drivers answer that with a cancel request, and a cancel request to
a pending PAUSE is a RESUME of the whole pooler (pgbouncer-admin.md, 2). So we stop waiting instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_LEFTOVER_LIMIT_S = 1.0
_INSIST_TRIES = 3


class Stopped(Exception):
    """Somebody asked the run to stop; caught inside operations, never seen outside."""


class Control:
    """The stop switch of one run, and the statements it stopped waiting for."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._now = asyncio.Event()
        self._enough = asyncio.Event()
        self._leftover: set[asyncio.Task[Any]] = set()
        self._answers: dict[str, str] = {}

    def stop(self) -> None:
        """Ask the run to stop after the current step and undo; a second time: not to wait for the step."""
        if self._stop.is_set():
            self._now.set()
        self._stop.set()

    def end_hold(self) -> None:
        """Ask a run that holds something to let go now: its regular end, only earlier."""
        self._enough.set()

    def answer(self, about: str, choice: str) -> None:
        """Answer what a run asks about a target; it is taken once, by whoever asked."""
        self._answers[about] = choice

    def answer_to(self, about: str) -> str | None:
        """Take the answer; None: nobody has given one yet."""
        return self._answers.pop(about, None)

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    @property
    def hold_ended(self) -> bool:
        """Whether a hold was asked to end."""
        return self._enough.is_set()

    def for_step(self) -> Control:
        """Return the switch for one step: a first `stop` lets it finish, only a second one reaches it.

        Each step has one of its own, to be reaped when it is over.
        """
        child = Control()
        child._stop = self._now
        child._answers = self._answers
        return child

    async def holding(self, *, timeout_s: float) -> None:
        """Wait until the time is up, the run was asked to stop, or its hold to end."""
        waits = {asyncio.create_task(self._stop.wait()), asyncio.create_task(self._enough.wait())}
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def background(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start something that may outlive our interest in it."""
        task = asyncio.create_task(coroutine)
        self._leftover.add(task)
        return task

    async def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return its result.

        Raises:
            Stopped: the run was asked to stop first; the coroutine goes on unwatched until `reap`.
        """
        task = self.background(coroutine)
        await self.pause(task)
        if not task.done():
            raise Stopped
        self._leftover.discard(task)
        return task.result()

    async def pause(self, task: asyncio.Task[Any] | None, *, timeout_s: float | None = None) -> None:
        """Wait until `task` is done, the time is up, or the run was asked to stop."""
        stop = asyncio.create_task(self._stop.wait())
        waited = {stop} if task is None else {stop, task}
        try:
            await asyncio.wait(waited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()

    async def reap(self) -> None:
        """End what was left behind, after its sessions were closed."""
        if self._leftover:
            await asyncio.wait(self._leftover, timeout=_LEFTOVER_LIMIT_S)
        for task in self._leftover:
            if not task.done():
                task.cancel()
        await asyncio.gather(*self._leftover, return_exceptions=True)
        self._leftover.clear()


async def insist(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `make()` to its end although the caller is cancelled, and again if the loop cancels it itself.

    The cancellation is swallowed: the caller is about to end anyway, with a result that tells of it.
    """
    for attempt in range(_INSIST_TRIES):
        task = asyncio.create_task(make())
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue
        if not task.cancelled() or attempt == _INSIST_TRIES - 1:
            return task.result()
    raise AssertionError("unreachable")
