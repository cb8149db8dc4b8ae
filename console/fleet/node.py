"""One task for each node: connect, ask every tick, and after a failure connect anew, with back-off.

A late answer must never be taken for the next one's, so a missed answer ends its session. Nothing here
knows what is asked (`PoolerTask` and `PostgresTask` do) and no node waits for another.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from console.clock import Clock
from console.errors import AdminError, DeadlineError, NodeError, Phase, PooldeckError
from console.fleet.polling import Backoff, Beat, PollBudget
from console.model.fleet import Connecting, Fresh, Freshness, Stale, Unreachable

S = TypeVar("S")

_log = logging.getLogger(__name__)
_CLOSE_LIMIT_S = 2.0
_QUICK_RETRY_S = 0.25
_PHASES_AT_MOST = 8
"""Password, SSH through a few jump hosts, tunnel, login: each may take `connect_timeout_s`."""


@dataclass(slots=True)
class NodeStatus:
    """How a node has answered so far; what its freshness is made from. Times are monotonic seconds."""

    answered_s: float | None = None
    """When the last complete answer was had; None before the first."""
    error: str | None = None
    """The last failure; None since the last complete answer."""
    phase: Phase = Phase.CONNECT
    hint: str | None = None
    held: bool = False
    """The failure left its session open: the node answers, but not as it should."""
    failed_tries: int = 0
    """Failures since the last complete answer."""
    retry_at_s: float | None = None
    """When the next try is made; None while one is under way or a session is open."""
    asking: str | None = None
    """The question that is outstanding, for people."""

    def succeeded(self, monotonic_s: float) -> None:
        """Note a complete answer."""
        self.answered_s = monotonic_s
        self.error = None
        self.hint = None
        self.failed_tries = 0

    def failed(self, phase: Phase, error: str, hint: str | None, *, held: bool = False) -> None:
        """Note a failure; `held` says that its session goes on."""
        self.held = held
        self.phase = phase
        self.error = error
        self.hint = hint
        self.failed_tries += 1

    def age_s(self, now_s: float) -> float | None:
        """Return the age of the last complete answer; None before the first."""
        return None if self.answered_s is None else max(0.0, now_s - self.answered_s)

    def freshness(self, now_s: float, late_s: float) -> Freshness:
        """Say how fresh the node's numbers are at `now_s`; an answer older than `late_s` is stale.

        After a failure the numbers are stale while they can soon be mended: the session is open still, or
        the first try to get it back is under way. Then the node is unreachable.
        """
        age_s = self.age_s(now_s)
        if self.error is None:
            if age_s is None:
                return Connecting()
            if age_s > late_s:
                asked = f" to {self.asking}" if self.asking else ""
                return Stale(age_s, Phase.PROTOCOL, f"no answer{asked} for {age_s:.0f} s")
            return Fresh(age_s)
        if age_s is not None and (self.held or self.failed_tries <= 1):
            return Stale(age_s, self.phase, self.error)
        retry_in_s = None if self.retry_at_s is None else max(0.0, self.retry_at_s - now_s)
        return Unreachable(self.phase, self.error, age_s, retry_in_s, self.hint)


def describe(error: PooldeckError, node: str) -> tuple[Phase, str, str | None]:
    """Return (phase, sentence, hint) of a failure; a refusal by the console itself counts as `protocol`."""
    phase = error.phase if isinstance(error, NodeError) else Phase.PROTOCOL
    text = error.message if error.where in (None, node) else str(error)
    return phase, text, error.hint


class NodeTask(ABC, Generic[S]):
    """Keeps one session to one node and lets it answer every tick. `run` ends only by cancellation."""

    def __init__(
        self,
        name: str,
        beat: Beat,
        budget: PollBudget,
        clock: Clock,
        *,
        rng: random.Random,
        connect_limit_s: float,
        first_wait_s: float = 0.0,
    ) -> None:
        self.name = name
        self._open_limit_s = connect_limit_s * _PHASES_AT_MOST
        self.beat = beat
        self.budget = budget
        self.clock = clock
        self.status = NodeStatus()
        self._backoff = Backoff(budget, rng)
        self._rng = rng
        self._first_wait_s = first_wait_s
        self._sleeper: asyncio.Future[None] | None = None
        self._woken = False

    @abstractmethod
    async def open(self) -> S:
        """Make a session, within its own deadlines."""

    @abstractmethod
    async def turn(self, session: S) -> None:
        """Ask what is due and publish what was answered, each question within its deadline."""

    @abstractmethod
    async def shut(self, session: S) -> None:
        """Close a session."""

    @property
    def wanted(self) -> bool:
        """Whether a session may stay open; asked between turns."""
        return True

    @property
    def most_wait_s(self) -> float:
        """The longest wait between two tries to open a session; inf: the budget's."""
        return inf

    def wake(self) -> None:
        """End the present wait, if there is one: something is due before the next tick."""
        self._woken = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def run(self) -> None:
        """Poll until cancelled. Whatever fails is noted in `status` and tried again."""
        await self._sleep(self._first_wait_s)
        while True:
            wait_s = await self._session()
            self.status.retry_at_s = self.clock.monotonic_s() + wait_s
            await self._sleep(wait_s)
            self.status.retry_at_s = None

    async def _session(self) -> float:
        """Hold one session until it fails; return how long to wait before the next."""
        session: S | None = None
        turns = 0
        try:
            session = await self._opened()
            while self.wanted:
                if await self._one_turn(session):
                    turns += 1
                await self._sleep(self.beat.next_s(self.clock.monotonic_s()))
        except PooldeckError as error:
            self.failed(error)
        except Exception as error:
            _log.exception("%s: polling failed in a way that was not foreseen", self.name)
            self.status.failed(Phase.PROTOCOL, f"unforeseen {type(error).__name__}, see the log", None)
        finally:
            self.status.asking = None
            if session is not None:
                await self._close(session)
        if turns and self.wanted:
            return self._rng.uniform(0.0, min(_QUICK_RETRY_S, self.budget.backoff_first_s))
        return min(self.most_wait_s, self._backoff.next_s(self.status.phase))

    async def _opened(self) -> S:
        """Open a session. Each phase has its own limit below; this one is for all of them together."""
        try:
            async with asyncio.timeout(self._open_limit_s):
                return await self.open()
        except TimeoutError:
            limit_s = self._open_limit_s
            raise DeadlineError(
                Phase.CONNECT, f"no session within {limit_s:g} s", limit_s=limit_s, where=self.name
            ) from None

    async def _one_turn(self, session: S) -> bool:
        """Let the node answer once; False when it answered in full but not as it should."""
        try:
            await self.turn(session)
        except (AdminError, NodeError) as error:
            if isinstance(error, NodeError) and error.phase is not Phase.PARSE:
                raise
            self.failed(error, held=True)
            return False
        self._backoff.reset()
        return True

    def failed(self, error: PooldeckError, *, held: bool = False) -> None:
        """Note a failure and tell it in the log, once."""
        phase, text, hint = describe(error, self.name)
        if text != self.status.error:
            _log.warning("%s: %s: %s", self.name, phase, text)
        self.status.failed(phase, text, hint, held=held)

    async def _close(self, session: S) -> None:
        try:
            async with asyncio.timeout(_CLOSE_LIMIT_S):
                await self.shut(session)
        except (PooldeckError, OSError, TimeoutError) as error:
            _log.debug("%s: closing the session: %s", self.name, error)

    async def _sleep(self, seconds: float) -> None:
        if self._woken or seconds <= 0:
            self._woken = False
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        handle = loop.call_later(seconds, self._ring)
        try:
            await self._sleeper
        finally:
            handle.cancel()
            self._sleeper = None
            self._woken = False

    def _ring(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)
