"""PAUSE on one target: pausing until it is held, watching it meanwhile, and letting go.

Sessions, and why three: PAUSE goes over a throw-away one, since it blocks and a RESUME leaves it without an
answer for ever; the rescue session, open before, sends that RESUME; the watch reads POOLS meanwhile. Paused
means the tag was PAUSE **and** the pools are drained **and** the state reads paused: the tag alone lies after
a WAIT_CLOSE (trap T1). Source: pgbouncer-admin.md, sections 2 and 6.

`held` decides when; nothing here decides how long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from console.errors import AdminError, NodeError
from console.model.rows import Pool
from console.operations.control import Stopped
from console.operations.observe import read_paused, read_pools
from console.operations.outcome import SHUTTING_DOWN, EventKind, Holder, Outcome, TargetReceipt
from console.operations.pause import patience_s
from console.operations.resume import lift_for_sure, read_back_paused
from console.operations.sessions import ReadSession, WriteSession, close_quietly
from console.operations.step import Step, plural, why
from console.poolers.base import Capability

POLL_S = 0.2
LATE_LIMIT_S = 1.5
"""How long a PAUSE may lag behind the RESUME that was sent after it."""
LATE_POLL_S = 0.1
PROBE_S = 2.0
"""How often a pending global pause is probed below 1.19, where that leaves a line in the pooler's log."""
HOLDERS_SHOWN = 20
HOLDERS_MAX_CLIENTS = 5_000
"""Above this many clients SHOW CLIENTS would itself stall the pooler."""
SOMEBODY = "it was resumed by somebody else, or its pooler was restarted"
_NOT_PAUSED = "not paused"


@dataclass(frozen=True, slots=True)
class Look:
    """A target at one moment of its pause."""

    pools: tuple[Pool, ...]
    paused: bool | None
    """None: this look did not ask, or could not."""

    @property
    def servers(self) -> int:
        """Server connections in any state; 0: drained."""
        return sum(pool.servers for pool in self.pools)

    @property
    def waiting(self) -> int:
        """Clients that wait."""
        return sum(pool.cl_waiting for pool in self.pools)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a target is let go."""

    detail: str
    good: bool = False
    """It was held as wanted, and its time is over."""
    interrupted: bool = False
    what: str = ""
    """Good: what was done while it was held."""
    then: Callable[[TargetReceipt], Awaitable[TargetReceipt]] | None = None
    """Looks at the target once more when it was let go, and may change its receipt."""


class NotHeld(Exception):
    """The pause is not what it should be; the text says why. Its end is a RESUME."""


class PauseRefused(Exception):
    """PAUSE itself was answered with an ERROR: nothing was paused by us, so nothing is to be resumed."""


class Pausing:
    """One target under PAUSE. `open`, `pause`, then whatever comes of it `end` and `close`."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.sent_at_s: float | None = None
        """When PAUSE went out, on the monotonic clock; None: not yet."""
        self.held_at_s: float | None = None
        """When it was seen held, on the monotonic clock; None: not yet."""
        self.last: Look | None = None
        self.refused = False
        """PAUSE was answered with an ERROR: nothing is to be resumed."""
        self._rescue: WriteSession | None = None
        self._watch: ReadSession | None = None
        self._pauser: WriteSession | None = None
        self._pending: asyncio.Task[str] | None = None
        self._holders: tuple[Holder, ...] | None = None
        self.cheap_state = step.target.database is not None or step.dialect.has(
            step.before.version, Capability.SHOW_STATE
        )
        """Whether a look costs no line in the pooler's log: below 1.19 a global pause is probed."""

    async def open(self) -> None:
        """Open its sessions and see that they meet one process; nothing is sent.

        Raises:
            NodeError: one could not be had.
        """
        name = self.step.target.bouncer
        connector = self.step.connector
        self._rescue = await connector.writer(name)
        self._watch = await connector.reader(name)
        self._pauser = await connector.writer(name)
        await self.step.check_process(self._rescue, self._watch, self._pauser)

    async def close(self) -> None:
        """Close its sessions; never raises. A pause is not ended by this."""
        await close_quietly(self._pauser, self._watch, self._rescue)

    async def pause(self) -> Look:
        """Send PAUSE and return once the target is held.

        Raises:
            PauseRefused: the pooler said no; nothing is to be undone. NotHeld, NodeError, AdminError,
            Stopped: it must be let go.
        """
        step = self.step
        assert self._pauser is not None, "opened before"
        assert self._watch is not None, "opened before"
        loop = asyncio.get_running_loop()
        limit_s = step.parameters.timeout_s
        begun = loop.time()
        end = begun + limit_s
        probe_at = begun + PROBE_S
        self.sent_at_s = step.clock.monotonic_s()
        pending = step.control.background(step.send(self._pauser, step.statements[0], None))
        self._pending = pending
        answered = was_paused = False
        while True:
            remaining_s = end - loop.time()
            await step.control.pause(
                None if answered else pending, timeout_s=max(0.0, min(POLL_S, remaining_s))
            )
            if step.control.stopped:
                raise Stopped
            if pending.done() and not answered:
                _require_pause_tag(pending)
                answered = True
            seen = await self.look()
            if not self.cheap_state and not answered and loop.time() >= probe_at:
                probe_at = loop.time() + PROBE_S
                seen = replace(seen, paused=await self._read_state(self._watch))
            late = loop.time() - begun > LATE_LIMIT_S
            if seen.paused is False and (was_paused or answered or late):
                raise NotHeld("somebody resumed it meanwhile")
            was_paused = was_paused or bool(seen.paused)
            if answered and not seen.servers and await self._reads_paused(seen):
                self.held_at_s = step.clock.monotonic_s()
                return seen
            remaining_s = end - loop.time()
            if remaining_s <= 0:
                raise NotHeld(_not_in_time(limit_s, answered=answered, servers=seen.servers))
            self._tell_waiting(seen, remaining_s)
            if self._holders is None and remaining_s < limit_s / 2:
                self._holders = await self._read_holders()

    async def look(self) -> Look:
        """Read the target's pools, and its state where that is cheap.

        Raises:
            NodeError, AdminError: it could not be read. Stopped.
        """
        step = self.step
        assert self._watch is not None, "opened before"
        limit_s = step.query_timeout_s
        pools = await step.control.wait(read_pools(self._watch, step.dialect, timeout_s=limit_s))
        mine = tuple(pool for pool in pools if step.target.database in (None, pool.database))
        paused = await self._read_state(self._watch) if self.cheap_state else None
        self.last = Look(mine, paused)
        return self.last

    @property
    def rescue(self) -> WriteSession:
        """The session that resumes it: opened before PAUSE was sent, and free while it is held."""
        assert self._rescue is not None, "opened before"
        return self._rescue

    async def still_paused(self) -> bool | None:
        """Say whether it is paused, whatever that costs; None when a paused database is no longer listed.

        Raises:
            NodeError, AdminError: it could not be read.
        """
        step = self.step
        assert self._rescue is not None, "opened before"
        return await read_paused(
            self._rescue, step.dialect, step.before.version, step.target, self._rescue, step.query_timeout_s
        )

    async def _reads_paused(self, seen: Look) -> bool:
        assert self._rescue is not None, "opened before"
        paused = seen.paused if self.cheap_state else await self._read_state(self._rescue)
        if paused is False:
            raise NotHeld("PAUSE was answered, but the pooler reads as running")
        return bool(paused)

    async def _read_state(self, session: ReadSession) -> bool | None:
        step = self.step
        assert self._rescue is not None, "opened before"
        return await step.control.wait(
            read_paused(
                session, step.dialect, step.before.version, step.target, self._rescue, step.query_timeout_s
            )
        )

    async def _read_holders(self) -> tuple[Holder, ...]:
        """Return the clients that hold a server of the target, unless there are too many to ask for."""
        step = self.step
        assert self._watch is not None, "opened before"
        if sum(pool.cl_active + pool.cl_waiting for pool in step.before.pools) > HOLDERS_MAX_CLIENTS:
            return ()
        try:
            table = await step.control.wait(self._watch.show("CLIENTS", timeout_s=step.query_timeout_s))
            clients = step.dialect.parse_clients(table)
        except (NodeError, AdminError) as error:
            step.warn(f"who holds the servers could not be read: {why(error)}")
            return ()
        return tuple(
            Holder(c.database, c.user, c.state, f"{c.addr}:{c.port}", c.application_name, c.request_time)
            for c in clients
            if c.link and step.target.database in (None, c.database)
        )[:HOLDERS_SHOWN]

    def _tell_waiting(self, seen: Look, remaining_s: float) -> None:
        busy = ", ".join(busy_pools(seen.pools)) or "the pooler's answer"
        self.step.tell(
            EventKind.WAITING,
            f"waiting for {busy}; resumed in {remaining_s:.1f} s otherwise",
            {"servers": seen.servers, "remaining_s": round(remaining_s, 3)},
        )

    async def _words_after(self) -> str | None:
        """Return `paused` or `running` as read back; None when it could not be."""
        paused = await read_back_paused(self.step, self._rescue)
        return None if paused is None else "paused" if paused else "running"

    async def end(self, ending: Ending) -> TargetReceipt:
        """End it, whatever became of it so far."""
        if self.refused:
            after = await self._words_after()
            return self.step.receipt(Outcome.FAILED, ending.detail, after, interrupted=ending.interrupted)
        if self._pending is None:
            outcome = Outcome.SKIPPED if ending.interrupted else Outcome.FAILED
            return self.step.receipt(
                outcome,
                f"{ending.detail}; nothing was sent",
                self.step.present,
                interrupted=ending.interrupted,
                skipped_because=ending.detail,
            )
        return await self._let_go(ending)

    async def _let_go(self, ending: Ending) -> TargetReceipt:
        """RESUME by the rescue session, or a new one, and say what the target was then read to be."""
        step = self.step
        if not ending.good:
            step.tell(EventKind.UNDOING, f"{ending.detail}: resuming {step.target}")
        # Unanswered before the RESUME: it may take effect at any time from here on.
        late = self._pending is not None and not self._pending.done()
        answer = await lift_for_sure(self.step, self._rescue)
        held_s = self._held_s()
        if _NOT_PAUSED in (answer or "") and late:
            answer = await self._catch_late_pause() or answer
        paused = None if answer is None else await read_back_paused(step, self._rescue)
        reason = ending.detail if not ending.good or held_s is None else f"held for {held_s:.1f} s"
        if ending.what:
            reason = f"{ending.what}; {reason}"
        if _NOT_PAUSED in (answer or "") and self.held_at_s is not None and not late:
            step.warn(SOMEBODY)
            reason += ", resumed by somebody else meanwhile"
        if paused is None:
            detail = f"{reason}; whether {step.target} still is paused is not known"
        elif paused:
            detail = f"{reason}; it could NOT be resumed ({answer}) and still is paused"
        else:
            detail = f"{reason}; it reads as running again"
        good = Outcome.OK if ending.good else Outcome.FAILED
        return step.receipt(
            Outcome.UNKNOWN if paused is None else Outcome.FAILED if paused else good,
            detail,
            {None: None, True: "paused", False: "running"}[paused],
            verified=("read back: not paused",) if paused is False else (),
            still_active=() if ending.good or not self.last else tuple(busy_pools(self.last.pools)),
            holders=self._holders or (),
            next_steps=() if paused is False else _mend(step, answer),
            clients_cut_at_s=cut_at(step, self.last.pools if self.last else ()) if paused else None,
            interrupted=ending.interrupted,
        )

    def _held_s(self) -> float | None:
        """Return for how long it was held until it was resumed; None: it was not."""
        step = self.step
        ended_s = step.answered_s.get(step.dialect.resume(step.target.database), step.clock.monotonic_s())
        return ended_s - self.held_at_s if self.held_at_s is not None else None

    async def _catch_late_pause(self) -> str | None:
        """Watch for our PAUSE to arrive after our RESUME: they travel on two connections.

        Returns what a second RESUME was answered; None when none was needed.
        """
        await close_quietly(self._pauser)
        loop = asyncio.get_running_loop()
        end = loop.time() + LATE_LIMIT_S
        while loop.time() < end:
            if await read_back_paused(self.step, self._rescue):
                return await lift_for_sure(self.step, self._rescue)
            await asyncio.sleep(LATE_POLL_S)
        return None


def _require_pause_tag(pending: asyncio.Task[str]) -> None:
    try:
        tag = pending.result()
    except AdminError as error:
        raise PauseRefused(error.message) from error
    if tag != "PAUSE":
        raise NotHeld(
            f"PAUSE was answered {tag or 'without a tag'}: WAIT_CLOSE was once used on this pooler, and "
            "until its restart a pause cannot be told complete"
        )


def _not_in_time(limit_s: float, *, answered: bool, servers: int) -> str:
    left = f"{plural(servers, 'server connection')} not released" if servers else "not seen drained"
    return f"not complete within {limit_s:g} s ({left}{'' if answered else ', no answer'})"


def busy_pools(pools: tuple[Pool, ...]) -> list[str]:
    """Say of each pool that is not drained who is on it."""
    return [
        f"{pool.database}/{pool.user} ({pool.pool_mode or 'mode n/a'}): {plural(pool.servers, 'server')}, "
        f"{pool.cl_active} active and {pool.cl_waiting} waiting clients"
        for pool in pools
        if pool.servers
    ]


def _mend(step: Step, answer: str | None) -> tuple[str, ...]:
    if SHUTTING_DOWN in (answer or ""):
        return ("a pooler that shuts down cannot be resumed any more; move its clients to another",)
    return (f"pooldeck status {step.target.bouncer}", step.target.command("resume"))


def cut_at(step: Step, pools: tuple[Pool, ...]) -> float | None:
    """Return the wall-clock second in which the first waiting client is cut; None: none is."""
    patience = patience_s(step.before)
    if patience is None:
        return None
    waited_s = max((pool.maxwait_us for pool in pools), default=0) / 1_000_000
    return step.clock.wall_s() + max(0.0, patience[1] - waited_s)
