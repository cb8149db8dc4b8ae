"""Everything a guardian watches over: its targets, looked at while they are held, and lifted when told.

What happens to targets is here; when is `guardian`'s to say, how `lifting`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from console.clock import Clock
from console.config.credentials import Passwords
from console.config.schema import Inventory
from console.errors import PooldeckError
from console.operations.lease.arming import stand_by
from console.operations.lease.base import LeaseOrder
from console.operations.lease.books import Books
from console.operations.lease.evidence import Standing, served
from console.operations.lease.keepers import KeeperOutcome
from console.operations.lease.lifting import Lifted, Lifting
from console.operations.lease.protocol import Limits
from console.operations.lease.standby import Standby
from console.operations.lease.store import LeasePhase
from console.operations.lease.watch import Glance, Guarded, Watch
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.reach import Reach
from console.operations.sessions import Connector
from console.operations.shield import Shields
from console.operations.step import why
from console.poolers.dialects import dialect_for
from console.transport.base import Transport

PROBE_S = 5.0
"""How often a global pause is asked for below 1.19, where each time costs two lines of the pooler's log."""
GRACE_S = 5.0
"""A held target that runs may have been resumed by its own run, which says so once it has read it back."""
LET_GO_S = 8.0
"""For telling all keepers at the end."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Means:
    """The guardian's own ways out; none is shared with its run."""

    inventory: Inventory
    """The covered bouncers and all hosts, as its run told them."""
    connector: Connector
    transport: Transport
    passwords: Passwords
    retry_now: Callable[[str], None]
    """Forgets the backoff of an SSH host."""
    clock: Clock
    """One that nobody can set, and that goes on while the machine sleeps."""


class Ward:
    """The targets of one order."""

    def __init__(
        self, order: LeaseOrder, limits: Limits, means: Means, books: Books, news: Callable[[int, str], None]
    ) -> None:
        self.guarded = tuple(Guarded(place, cover) for place, cover in enumerate(order.covers))
        self.handed_over = False
        """Nobody else but this process will resume them, so whatever runs was resumed by others."""
        self._limits = limits
        self._means = means
        self._books = books
        self._news = news
        self._standby = Standby(
            means.inventory, order, means.transport, means.passwords, limits.keeper_s, news
        )
        self._bouncers = {bouncer.name: bouncer for bouncer in means.inventory.bouncers}
        self._watches = {name: self._watch(name, order) for name in self._names()}
        self._shields = Shields()
        self._look_now = {name: asyncio.Event() for name in self._watches}
        self._probed_s: dict[str, float] = {}
        self._lifts: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether something may be paused, or is being lifted or recorded."""
        return bool(self._lifts) or any(one.open for one in self.guarded)

    @property
    def failed(self) -> bool:
        """Whether something could not be lifted."""
        return any(one.phase is LeasePhase.FAILED for one in self.guarded)

    @property
    def keepers(self) -> tuple[tuple[str, str], ...]:
        """Host and key of every keeper."""
        return self._standby.places

    async def arm(self, tell: Callable[[str], None]) -> tuple[Mapping[int, str], tuple[str, ...]]:
        """Open a session on every bouncer, and arm the keepers; return what is not covered, and notes.

        `tell` is told how far that is, while it lasts.
        """
        # Those that are armed first would else be silent for as long as the last one takes.
        self._start(self._standby.renew(self.guarded))
        opening, notes = await stand_by(
            self._watches, self._standby, self.guarded, limit_s=self._limits.arm_s, tell=tell
        )
        uncovered: dict[int, str] = {}
        for one in self.guarded:
            reason = self._why_not(one, opening[one.target.bouncer])
            if reason is not None:
                uncovered[one.place] = reason
                one.phase = LeasePhase.UNCOVERED
        await asyncio.gather(*(self._standby.release(place) for place in uncovered))
        for name in self._watches:
            self._start(self._keep_looking(name))
        return uncovered, notes

    def expose(self, places: Iterable[int], longest_s: float) -> None:
        """Note that statements may reach these from now on, and for how long at most."""
        for one in self._at(places):
            if one.phase is LeasePhase.LIFTING:
                one.again_s = longest_s
                continue
            self._watches[one.target.bouncer].begin()
            one.traffic_held = one.running_since_s = None
            self._mark(one, LeasePhase.EXPOSED, longest_s)

    def doubt(self, longest_s: float) -> None:
        """Note that a run goes on that was taken for dead: what was lifted may be paused by it once more."""
        lifted = (LeasePhase.LIFTED, LeasePhase.LIFTING)
        self.expose((one.place for one in self.guarded if one.phase in lifted), longest_s)

    def hold(self, places: Iterable[int]) -> None:
        """Note that these were seen held."""
        for one in self._at(places):
            if one.open:
                one.phase = LeasePhase.HELD
                self._books.note(one.place, LeasePhase.HELD)
                self._look_now[one.target.bouncer].set()

    def hand_over(self, hold_s: float) -> None:
        """Note that what is open is ours alone from now on, to be ended after so long."""
        self.handed_over = True
        for one in self.guarded:
            if one.open:
                self._mark(one, one.phase, hold_s)

    async def release(self, places: Iterable[int]) -> None:
        """Note that these run again, or were never touched, and let their keepers go."""
        released = [one for one in self._at(places) if one.open or one.phase is LeasePhase.ARMED]
        for one in released:
            one.phase, one.ends_s = LeasePhase.RELEASED, None
            self._books.note(one.place, LeasePhase.RELEASED, ends_boot_s=None, ends_at_s=None)
        await asyncio.gather(*(self._let_keeper_go(one) for one in released))

    def lift(self, places: Iterable[int], reason: str) -> None:
        """Begin to lift those of these that are open."""
        for one in self._at(places):
            if one.open:
                # Marked at once: nobody may take it for one that still waits.
                lifting = self._lifting(one, reason)
                one.phase, one.ends_s = LeasePhase.LIFTING, None
                self._books.note(one.place, LeasePhase.LIFTING, detail=reason)
                task = asyncio.create_task(self._lift(one, lifting, reason))
                self._lifts.add(task)
                task.add_done_callback(self._lifts.discard)

    async def leave_untouched(self, reason: str) -> None:
        """Record of every target that was never exposed that nothing was sent to it."""
        for one in self.guarded:
            if one.phase is LeasePhase.ARMED:
                one.phase = LeasePhase.RELEASED
                self._books.note(one.place, LeasePhase.RELEASED, detail=reason)
                receipt = self._receipt(
                    one, Outcome.SKIPPED, f"{reason}; nothing was sent to it", "not begun"
                )
                await self._books.outcome(receipt, reason)

    async def lifted(self) -> None:
        """Wait until nothing is being lifted or recorded."""
        while self._lifts:
            await asyncio.wait(self._lifts)

    def due(self, now_s: float) -> tuple[int, ...]:
        """Return the places of those whose time is up."""
        return tuple(
            one.place for one in self.guarded if one.open and one.ends_s is not None and one.ends_s <= now_s
        )

    async def close(self) -> None:
        """Stop looking, let every keeper go whose target is settled, and hang up. Never raises."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        settled = [one for one in self.guarded if one.phase is not LeasePhase.FAILED]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LET_GO_S):
                await asyncio.gather(*(self._let_keeper_go(one) for one in settled))
        await asyncio.gather(*(watch.close() for watch in self._watches.values()))

    # -- inside -------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        return list(dict.fromkeys(one.target.bouncer for one in self.guarded))

    def _watch(self, name: str, order: LeaseOrder) -> Watch:
        bouncer = self._bouncers[name]
        return Watch(
            bouncer,
            [one for one in self.guarded if one.target.bouncer == name],
            self._means.connector,
            dialect_for(bouncer.kind),
            query_timeout_s=bouncer.query_timeout_s or self._means.inventory.defaults.query_timeout_s,
            retry_now=self._means.retry_now,
            loses_counters=order.op == "kill",
        )

    def _at(self, places: Iterable[int]) -> list[Guarded]:
        return [self.guarded[place] for place in places]

    def _why_not(self, one: Guarded, opening: asyncio.Task[None]) -> str | None:
        """Say why the guardian cannot resume a target; None when it can."""
        if opening.cancelled():
            return f"no session with it within {self._limits.arm_s:g} s"
        error = opening.exception()
        if error is not None:
            if not isinstance(error, PooldeckError):
                _log.error("%s: an internal error", one.target, exc_info=error)
                return f"internal error: {type(error).__name__}"
            return why(error)
        watch = self._watches[one.target.bouncer]
        if watch.dialect.resume(one.target.database) not in one.cover.lift:
            return "its end is no RESUME, and a guardian can do nothing else"
        if watch.before.paused(one.target):
            return "it is paused already, and nobody could tell that pause from this run's"
        return None

    def _mark(self, one: Guarded, phase: LeasePhase, left_s: float) -> None:
        one.phase = phase
        one.ends_s = self._means.clock.monotonic_s() + left_s
        at_s = self._means.clock.wall_s() + left_s
        self._books.note(one.place, phase, ends_boot_s=one.ends_s, ends_at_s=at_s)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lifting(self, one: Guarded, reason: str) -> Lifting:
        return Lifting(
            self._watches[one.target.bouncer],
            one,
            reason,
            reach=Reach(self._means.connector, shields=self._shields),
            clock=self._means.clock,
            limits=self._limits,
            books=self._books,
        )

    async def _lift(self, one: Guarded, lifting: Lifting, reason: str) -> None:
        try:
            await self._lifted(one, await lifting.lift(), reason)
        except Exception:
            _log.exception("%s: an internal error", one.target)
            one.phase = LeasePhase.FAILED if one.phase is LeasePhase.LIFTING else one.phase
            self._books.note(one.place, one.phase)

    async def _lifted(self, one: Guarded, lifted: Lifted, reason: str) -> None:
        """Tell what has become of a target, and let its keeper go."""
        one.phase = lifted.phase
        detail = f"{reason}: {lifted.receipt.detail}"
        self._books.note(one.place, lifted.phase, detail=detail, ends_boot_s=None, ends_at_s=None)
        self._news(one.place, detail)
        if one.again_s is not None:
            again_s, one.again_s = one.again_s, None
            self.expose([one.place], again_s)
        await self._books.outcome(lifted.receipt, reason)
        if one.phase is LeasePhase.LIFTED or one.phase is LeasePhase.ENDED:
            await self._let_keeper_go(one)

    async def _let_keeper_go(self, one: Guarded) -> bool:
        """End a target's keeper; record what it did, if it did something. True: it resumed the target."""
        found = await self._standby.release(one.place)
        if found is None:
            return False
        host, result = found
        if result.outcome not in (KeeperOutcome.RESUMED, KeeperOutcome.FAILED):
            _log.info("%s: its keeper on %s: %s", one.target, host, result.detail)
            return False
        resumed = result.outcome is KeeperOutcome.RESUMED
        receipt = TargetReceipt(
            target=one.target,
            outcome=Outcome.OK if resumed else Outcome.FAILED,
            detail=result.detail,
            before="paused",
            after="running" if resumed else None,
            started_at_s=result.ended_at_s,
            duration_s=0.0,
            exchanges=result.exchanges,
        )
        self._news(one.place, f"its keeper on {host}: {result.detail}")
        await self._books.outcome(receipt, "its guardian was not heard", f"keeper on {host}")
        return resumed

    async def _keep_looking(self, name: str) -> None:
        """Look at a bouncer while something on it is open; until cancelled."""
        watch, now = self._watches[name], self._look_now[name]
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.poll_s):
                    await now.wait()
            now.clear()
            if watch.turn.locked() or not any(one.open for one in watch.guarded):
                continue
            try:
                async with watch.turn:
                    seen = await self._glance(watch)
                for one in watch.guarded:
                    if one.phase is LeasePhase.HELD:
                        self._see(watch, one, seen)
            except PooldeckError as error:
                _log.info("%s cannot be looked at: %s", name, why(error))
            except Exception:
                # A mistake of ours must not cost the lift, which looks for itself.
                _log.exception("%s cannot be looked at", name)

    async def _glance(self, watch: Watch) -> Glance:
        now_s = self._means.clock.monotonic_s()
        sure = now_s - self._probed_s.get(watch.name, 0.0) >= PROBE_S
        seen = await watch.glance(sure=sure)
        if not sure and any(
            one.traffic_held is not None
            and one.target.database is None
            and seen.paused is None
            and served(None, one.traffic_held, seen.traffic)
            for one in watch.guarded
        ):
            sure = True
            seen = await watch.glance(sure=True)
        if sure:
            self._probed_s[watch.name] = now_s
        return seen

    def _see(self, watch: Watch, one: Guarded, seen: Glance) -> None:
        """Find out whether a held target still is held."""
        paused = seen.of(one.target)
        if one.traffic_held is None and paused is not False:
            one.traffic_held = seen.traffic
            _log.info("%s: held; the baseline is %s", one.target, dict(seen.traffic))
            self._start(self._standby.held(one))
            return
        verdict = watch.judge(one, seen)
        now_s = self._means.clock.monotonic_s()
        match verdict.standing:
            case Standing.GONE if not watch.met_stranger:
                self._end(one, verdict.because)
            case Standing.FOREIGN if paused:
                self._end(one, verdict.because)
            case Standing.RUNNING:
                one.running_since_s = one.running_since_s or now_s
                if self.handed_over or now_s - one.running_since_s >= GRACE_S:
                    self._end(one, "somebody resumed it")
            case Standing.OURS:
                # A pool that was idle for long may be removed with its counters (1.26).
                one.traffic_held = seen.traffic

    def _end(self, one: Guarded, because: str) -> None:
        """A held target is no longer ours: nothing is sent to it any more."""
        one.phase, one.ends_s = LeasePhase.ENDED, None
        self._books.note(one.place, LeasePhase.ENDED, detail=because, ends_boot_s=None, ends_at_s=None)
        task = asyncio.create_task(self._record_end(one, because))
        self._lifts.add(task)
        task.add_done_callback(self._lifts.discard)

    async def _record_end(self, one: Guarded, because: str) -> None:
        self._news(one.place, because)
        if await self._let_keeper_go(one):
            return
        receipt = self._receipt(one, Outcome.NO_CHANGE, f"{because}; this lease sent nothing", "paused")
        await self._books.outcome(receipt, because)

    def _receipt(self, one: Guarded, outcome: Outcome, detail: str, before: str) -> TargetReceipt:
        """Return a receipt that tells of nothing sent."""
        now_s = self._means.clock.wall_s()
        return TargetReceipt(one.target, outcome, detail, before, None, started_at_s=now_s, duration_s=0.0)
