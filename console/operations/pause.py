"""PAUSE: hold a target's clients, or leave it running. There is no third way out of here.

Sessions, and why three: PAUSE goes over a throw-away one, since it blocks and a RESUME leaves it without an
answer for ever; the rescue session, open before, sends that RESUME; the watch reads POOLS meanwhile. Paused
means the tag was PAUSE **and** the pools are drained **and** the state reads paused: the tag alone lies after
a WAIT_CLOSE (trap T1). Source: pgbouncer-admin.md, sections 2 and 6.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from console.errors import AdminError, NodeError
from console.model.rows import Pool
from console.operations.control import Stopped, insist
from console.operations.observe import Observation, read_paused, read_pools
from console.operations.outcome import EventKind, Holder, Outcome, TargetReceipt
from console.operations.resume import lift, read_back_paused
from console.operations.sessions import ReadSession, WriteSession, close_quietly
from console.operations.spec import Parameters, Standing, state_words
from console.operations.step import Step, plural, why
from console.operations.target import Target
from console.poolers.base import Capability, Dialect

POLL_S = 0.2
LATE_LIMIT_S = 1.5
"""How long a PAUSE may lag behind the RESUME that was sent after it."""
LATE_POLL_S = 0.1
RESCUE_LIMIT_S = 10.0
"""How long the RESUME is tried, new logins included, before the state is called unknown."""
HOLDERS_SHOWN = 20
HOLDERS_MAX_CLIENTS = 5_000
"""Above this many clients SHOW CLIENTS would itself stall the pooler."""
_SHUTTING_DOWN = "shutting down"


def pause_statements(dialect: Dialect, target: Target, _observation: Observation) -> tuple[str, ...]:
    """Return what PAUSE sends when all goes well."""
    return (dialect.pause(target.database),)


def patience_s(observation: Observation) -> tuple[str, float] | None:
    """Return the setting that cuts waiting clients first, and after how many seconds; None: none does."""
    limits = [(key, observation.seconds(key)) for key in ("query_wait_timeout", "query_timeout")]
    known = [(key, value) for key, value in limits if value]
    return min(known, key=lambda item: item[1]) if known else None


def pause_standing(target: Target, observation: Observation, parameters: Parameters) -> Standing:
    """Return how `target` stands before a PAUSE."""
    present = state_words(target, observation)
    blocked = None
    if observation.state.suspended:
        blocked = "the pooler is suspended; PAUSE is refused until it is resumed"
    elif target.database is not None and observation.state.paused:
        blocked = "the whole pooler is paused, and this database with it; its own PAUSE is refused meanwhile"
    elif target.database is None and observation.state.paused is None:
        blocked = "whether it is paused could not be read: this version needs an admin login for that"
    patience = patience_s(observation)
    if blocked is None and patience is not None and parameters.timeout_s >= patience[1]:
        blocked = (
            f"--timeout {parameters.timeout_s:g} is not shorter than {patience[0]} {patience[1]:g}: "
            "clients would be cut before the pause is given up"
        )
    already = bool(observation.paused(target)) and blocked is None
    warnings = [] if already else list(_warnings(target, observation))
    if already and observation.servers(target):
        warnings.append("it was paused by somebody else and is not drained yet; it will be waited for")
    return Standing(present, already=already, blocked=blocked, warnings=tuple(warnings))


def _warnings(target: Target, observation: Observation) -> list[str]:
    warnings = []
    for pool in observation.pools_of(target):
        if pool.pool_mode == "session" and pool.sv_active:
            warnings.append(
                f"pool {pool.database}/{pool.user} is in session mode: PAUSE cannot finish while its "
                f"{plural(pool.sv_active, 'linked client')} stay connected"
            )
    if target.database is not None:
        if not observation.pools_of(target):
            warnings.append(
                "nobody has used this database since the pooler started; if it is an automatic one (*), "
                "it can vanish from the list while paused"
            )
        others = [name for name in observation.paused_databases if name != target.database]
        if others:
            warnings.append(
                f"PAUSE answers only when every paused database is drained; paused too: {', '.join(others)}"
            )
    if patience_s(observation) is None:
        warnings.append("query_wait_timeout is 0: clients wait for ever, until they give up themselves")
    return warnings


@dataclass(frozen=True, slots=True)
class _Seen:
    pools: tuple[Pool, ...]
    paused: bool | None
    """None: this look did not ask, or could not."""

    @property
    def servers(self) -> int:
        return sum(pool.servers for pool in self.pools)


class _NotHeld(Exception):
    """The pause is not what it should be; the text says why. Its end is a RESUME."""


class _Refused(Exception):
    """PAUSE itself was answered with an ERROR: nothing was paused by us, so nothing is to be resumed."""


class _Pause:
    """One PAUSE and its rescue."""

    def __init__(self, step: Step, rescue: WriteSession, watch: ReadSession, pauser: WriteSession) -> None:
        self._step = step
        self._rescue = rescue
        self._watch = watch
        self._pauser = pauser
        self._pending: asyncio.Task[str] | None = None
        self._last: _Seen | None = None
        self._holders: tuple[Holder, ...] | None = None
        self._cheap_state = step.target.database is not None or step.dialect.has(
            step.before.version, Capability.SHOW_STATE
        )

    async def run(self) -> TargetReceipt:
        """Pause; return held, or failed and resumed, or unknown."""
        interrupted = False
        try:
            seen = await self._until_held()
        except _Refused as error:
            return self._step.receipt(
                Outcome.FAILED, f"PAUSE was refused: {error}", await self._words_after()
            )
        except _NotHeld as error:
            reason = str(error)
        except (NodeError, AdminError) as error:
            reason = why(error)
        except (Stopped, asyncio.CancelledError):
            reason, interrupted = "interrupted", True
        except BaseException:
            await insist(lambda: self._undo("an internal error", interrupted=False))
            raise
        else:
            return self._held(seen)
        return await insist(lambda: self._undo(reason, interrupted=interrupted))

    async def _until_held(self) -> _Seen:
        step = self._step
        loop = asyncio.get_running_loop()
        limit_s = step.parameters.timeout_s
        end = loop.time() + limit_s
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
            seen = await self._look()
            if seen.paused is False and (was_paused or answered):
                raise _NotHeld("somebody resumed it meanwhile")
            was_paused = was_paused or bool(seen.paused)
            if answered and not seen.servers and await self._reads_paused(seen):
                return seen
            remaining_s = end - loop.time()
            if remaining_s <= 0:
                raise _NotHeld(_not_in_time(limit_s, answered=answered, servers=seen.servers))
            self._tell_waiting(seen, remaining_s)
            if self._holders is None and remaining_s < limit_s / 2:
                self._holders = await self._read_holders()

    async def _look(self) -> _Seen:
        step = self._step
        limit_s = step.query_timeout_s
        pools = await step.control.wait(read_pools(self._watch, step.dialect, timeout_s=limit_s))
        mine = tuple(pool for pool in pools if step.target.database in (None, pool.database))
        paused = await self._read_state(self._watch) if self._cheap_state else None
        self._last = _Seen(mine, paused)
        return self._last

    async def _reads_paused(self, seen: _Seen) -> bool:
        paused = seen.paused if self._cheap_state else await self._read_state(self._rescue)
        if paused is False:
            raise _NotHeld("PAUSE was answered, but the pooler reads as running")
        return bool(paused)

    async def _read_state(self, session: ReadSession) -> bool | None:
        step = self._step
        return await step.control.wait(
            read_paused(
                session, step.dialect, step.before.version, step.target, self._rescue, step.query_timeout_s
            )
        )

    async def _read_holders(self) -> tuple[Holder, ...]:
        """Return the clients that hold a server of the target, unless there are too many to ask for."""
        step = self._step
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

    def _tell_waiting(self, seen: _Seen, remaining_s: float) -> None:
        busy = ", ".join(_busy(seen.pools)) or "the pooler's answer"
        self._step.tell(
            EventKind.WAITING,
            f"waiting for {busy}; resumed in {remaining_s:.1f} s otherwise",
            {"servers": seen.servers, "remaining_s": round(remaining_s, 3)},
        )

    def _held(self, seen: _Seen) -> TargetReceipt:
        step = self._step
        cut_at_s = cut_at(step, seen.pools)
        return step.receipt(
            Outcome.OK,
            "paused, and stays so until it is resumed",
            "paused",
            verified=("the answer was PAUSE", "no server connection is left", "the state reads paused"),
            next_steps=(step.target.command("resume"),),
            clients_cut_at_s=cut_at_s,
        )

    async def _words_after(self) -> str | None:
        paused = await read_back_paused(self._step, self._rescue)
        return None if paused is None else "paused" if paused else "running"

    async def _undo(self, reason: str, *, interrupted: bool) -> TargetReceipt:
        """RESUME by the rescue session, or a new one, and say what the target was then read to be."""
        step = self._step
        step.tell(EventKind.UNDOING, f"{reason}: resuming {step.target}")
        answer = await self._resume_for_sure()
        late = self._pending is not None and not self._pending.done()
        if answer is not None and "not paused" in answer and late:
            answer = await self._catch_late_pause() or answer
        paused = None if answer is None else await read_back_paused(step, self._rescue)
        active = tuple(_busy(self._last.pools)) if self._last else ()
        if paused is None:
            detail = f"{reason}; whether {step.target} still is paused is not known"
        elif paused:
            detail = f"{reason}; it could NOT be resumed ({answer}) and still is paused"
        else:
            detail = f"{reason}; it reads as running again"
        return step.receipt(
            Outcome.UNKNOWN if paused is None else Outcome.FAILED,
            detail,
            {None: None, True: "paused", False: "running"}[paused],
            verified=("read back: not paused",) if paused is False else (),
            still_active=active,
            holders=self._holders or (),
            next_steps=() if paused is False else _mend(step, answer),
            clients_cut_at_s=cut_at(step, self._last.pools if self._last else ()) if paused else None,
            interrupted=interrupted,
        )

    async def _catch_late_pause(self) -> str | None:
        """Watch for our PAUSE to arrive after our RESUME: they travel on two connections.

        Returns what a second RESUME was answered; None when none was needed.
        """
        await close_quietly(self._pauser)
        loop = asyncio.get_running_loop()
        end = loop.time() + LATE_LIMIT_S
        while loop.time() < end:
            if await read_back_paused(self._step, self._rescue):
                return await self._resume_for_sure()
            await asyncio.sleep(LATE_POLL_S)
        return None

    async def _resume_for_sure(self) -> str | None:
        """Send RESUME until it is answered; return its tag or the refusal, None when nobody answers."""
        step = self._step
        end = asyncio.get_running_loop().time() + RESCUE_LIMIT_S
        session: WriteSession | None = self._rescue
        while session is not None:
            try:
                return await lift(step, session, step.query_timeout_s)
            except AdminError as error:
                return error.message
            except NodeError:
                fresh = await step.reopen(until_s=end)
            finally:
                if session is not self._rescue:
                    await close_quietly(session)
            session = fresh
        return None


def _require_pause_tag(pending: asyncio.Task[str]) -> None:
    try:
        tag = pending.result()
    except AdminError as error:
        raise _Refused(error.message) from error
    if tag != "PAUSE":
        raise _NotHeld(
            f"PAUSE was answered {tag or 'without a tag'}: WAIT_CLOSE was once used on this pooler, and "
            "until its restart a pause cannot be told complete"
        )


def _not_in_time(limit_s: float, *, answered: bool, servers: int) -> str:
    left = f"{plural(servers, 'server connection')} not released" if servers else "not seen drained"
    return f"not complete within {limit_s:g} s ({left}{'' if answered else ', no answer'})"


def _busy(pools: tuple[Pool, ...]) -> list[str]:
    return [
        f"{pool.database}/{pool.user} ({pool.pool_mode or 'mode n/a'}): {plural(pool.servers, 'server')}, "
        f"{pool.cl_active} active and {pool.cl_waiting} waiting clients"
        for pool in pools
        if pool.servers
    ]


def _mend(step: Step, answer: str | None) -> tuple[str, ...]:
    if answer is not None and _SHUTTING_DOWN in answer:
        return ("a pooler that shuts down cannot be resumed any more; move its clients to another",)
    return (f"pooldeck status {step.target.bouncer}", step.target.command("resume"))


def cut_at(step: Step, pools: tuple[Pool, ...]) -> float | None:
    """Return the wall-clock second in which the first waiting client is cut; None: none is."""
    patience = patience_s(step.before)
    if patience is None:
        return None
    waited_s = max((pool.maxwait_us for pool in pools), default=0) / 1_000_000
    return step.clock.wall_s() + max(0.0, patience[1] - waited_s)


async def carry_out_pause(step: Step) -> TargetReceipt:
    """Pause the target of `step`."""
    rescue: WriteSession | None = None
    watch: ReadSession | None = None
    pauser: WriteSession | None = None
    try:
        if step.already:
            watch = await step.connector.reader(step.target.bouncer)
            return await _wait_for_foreign_pause(step, watch)
        rescue = await step.connector.writer(step.target.bouncer)
        watch = await step.connector.reader(step.target.bouncer)
        pauser = await step.connector.writer(step.target.bouncer)
        await step.check_process(rescue, watch, pauser)
        if step.control.stopped:
            raise Stopped
        return await _Pause(step, rescue, watch, pauser).run()
    finally:
        await insist(lambda: close_quietly(pauser, watch, rescue))


async def _wait_for_foreign_pause(step: Step, watch: ReadSession) -> TargetReceipt:
    """Somebody else paused it: report no change once it is drained; it is theirs, so it is never resumed."""
    loop = asyncio.get_running_loop()
    end = loop.time() + step.parameters.timeout_s
    while True:
        pools = await step.control.wait(read_pools(watch, step.dialect, timeout_s=step.query_timeout_s))
        seen = _Seen(tuple(p for p in pools if step.target.database in (None, p.database)), True)
        if not seen.servers:
            return step.receipt(
                Outcome.NO_CHANGE,
                "it was paused already",
                "paused",
                verified=("no server connection is left",),
                clients_cut_at_s=cut_at(step, seen.pools),
            )
        if loop.time() >= end:
            return step.receipt(
                Outcome.FAILED,
                f"somebody else's pause was not drained within {step.parameters.timeout_s:g} s; "
                "it was left alone",
                "paused",
                still_active=tuple(_busy(seen.pools)),
            )
        await step.control.pause(None, timeout_s=POLL_S)
