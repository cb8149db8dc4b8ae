"""A pooler's end: SHUTDOWN, and what can be seen of it from outside.

Seen on 1.18, 1.24 and 1.26: SHUTDOWN alone closes every connection without an answer. The modes that wait
answer at once, refuse new logins from then on (1.25 and later still let consoles in over the Unix socket),
and exit by themselves. A console that stays open keeps one that waits for clients from ever exiting (T13): so
ours are closed, also when somebody else's are not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from console.errors import AdminError, DeadlineError, NodeError, Phase
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Client, Pool
from console.operations.control import insist
from console.operations.observe import read_pools
from console.operations.outcome import SHUTTING_DOWN, EventKind, Outcome, TargetReceipt
from console.operations.sending import Answer, ask, on_writer
from console.operations.sessions import ReadSession, WriteSession, close_quietly
from console.operations.shutdown import CONSOLES_SHOWN, console_line
from console.operations.step import Step, plural, why
from console.poolers.base import ShutdownMode

POLL_S = 0.5
WATCH_ENDS_S = 3.0
"""How long after SHUTDOWN the other session may take to end."""
REFUSED_LIMIT_S = 5.0
"""How long after its end a pooler's address is tried until it refuses."""
_REFUSES = frozenset({Phase.CONNECT, Phase.TUNNEL})


async def carry_out_shutdown(step: Step) -> TargetReceipt:
    """Shut the pooler of `step` down."""
    watch = await step.connector.reader(step.target.bouncer)
    try:
        await step.check_process(watch)
        ending = _Ending(step, watch)
        now = step.parameters.mode is ShutdownMode.NOW
        return await on_writer(step, ending.at_once if now else ending.waiting)
    finally:
        await insist(lambda: close_quietly(watch))


@dataclass(frozen=True, slots=True)
class _Left:
    """Who is left of a pooler that shuts down."""

    pools: tuple[Pool, ...]
    consoles: tuple[Client, ...] | None
    """None: not asked, since applications are left."""

    @property
    def clients(self) -> int:
        """Of applications."""
        return sum(pool.cl_active + pool.cl_waiting for pool in self.pools)

    @property
    def servers(self) -> int:
        """In any state."""
        return sum(pool.servers for pool in self.pools)

    @property
    def words(self) -> str:
        """For people."""
        return f"{plural(self.clients, 'client')} and {plural(self.servers, 'server connection')} left"


class _Ending:
    """One pooler's end. The watch is a second session: its end is the evidence for the process's."""

    def __init__(self, step: Step, watch: ReadSession) -> None:
        self._step = step
        self._watch = watch

    async def at_once(self, session: WriteSession) -> TargetReceipt:
        """SHUTDOWN: it answers by closing every connection."""
        step = self._step
        answer = await ask(step, session, step.statements[0], step.query_timeout_s)
        if answer.refused is not None:
            return step.receipt(Outcome.FAILED, answer.words, step.present)
        if not await self._watch_ended():
            return step.receipt(
                Outcome.FAILED if answer.lost is None else Outcome.UNKNOWN,
                f"{answer.words}; it still answers over another session",
                step.present,
                next_steps=(f"pooldeck status {step.target.bouncer}",),
            )
        return await self._over("every connection was closed", tag=None)

    async def waiting(self, session: WriteSession) -> TargetReceipt:
        """SHUTDOWN WAIT_FOR_…: it answers, and exits when it can."""
        step = self._step
        answer = await ask(step, session, step.statements[0], step.query_timeout_s)
        # Ours would be among the consoles that keep it from exiting.
        await close_quietly(session)
        if answer.refused is not None:
            return step.receipt(Outcome.FAILED, answer.words, step.present)
        if answer.lost is not None:
            return await self._lost(answer)
        step.tell(EventKind.ENDING, f"{SHUTTING_DOWN}; it exits by itself and cannot be stopped")
        return await self._until_gone()

    async def _watch_ended(self) -> bool:
        """Say whether the process closed the other session; a link that is only slow or cut is no proof."""
        loop = asyncio.get_running_loop()
        end = loop.time() + WATCH_ENDS_S
        while True:
            try:
                await self._watch.show("VERSION", timeout_s=self._step.query_timeout_s)
            except DeadlineError:
                return False
            except (NodeError, AdminError):
                return True
            if loop.time() >= end:
                return False
            await asyncio.sleep(POLL_S)

    async def _lost(self, answer: Answer) -> TargetReceipt:
        """No answer to a SHUTDOWN that should have one: it exited already, or the link broke."""
        step = self._step
        if await self._watch_ended() and await self._refuses():
            return step.receipt(
                Outcome.OK,
                f"{answer.words}; every connection was closed and new ones are refused: it exited",
                "not running",
                verified=("new logins are refused",),
            )
        return step.receipt(
            Outcome.UNKNOWN,
            f"{answer.words}; whether it shuts down is not known",
            None,
            next_steps=(f"pooldeck status {step.target.bouncer}",),
        )

    async def _until_gone(self) -> TargetReceipt:
        step = self._step
        loop = asyncio.get_running_loop()
        end = loop.time() + step.parameters.timeout_s
        refused = await self._refuses(at_once=True)
        for_clients = step.parameters.mode is ShutdownMode.FOR_CLIENTS
        while True:
            try:
                left = await self._read()
            except NodeError as error:
                return self._unreadable(error)
            if left is None:
                return await self._over("it closed its last connection", tag="SHUTDOWN")
            if for_clients and left.consoles is not None and len(left.consoles) <= 1:
                await close_quietly(self._watch)
                return await self._over("no client was left but this session, now closed", tag="SHUTDOWN")
            now = loop.time()
            if now >= end or step.control.stopped:
                return self._draining(left, refused=refused)
            self._tell(left, end - now)
            await step.control.pause(None, timeout_s=min(POLL_S, end - now))

    def _unreadable(self, error: NodeError) -> TargetReceipt:
        step = self._step
        return step.receipt(
            Outcome.UNKNOWN,
            f"the answer was SHUTDOWN, so it shuts down; who is left could not be read: {why(error)}",
            None,
            next_steps=(f"pooldeck status {step.target.bouncer}",),
        )

    async def _read(self) -> _Left | None:
        """Return who is left; None when the process has closed the session.

        Raises:
            NodeError: it could not be read for another reason.
        """
        step = self._step
        limit_s = step.query_timeout_s
        try:
            pools = await read_pools(self._watch, step.dialect, timeout_s=limit_s)
            lists = step.dialect.parse_lists(await self._watch.show("LISTS", timeout_s=limit_s))
            if any(pool.cl_active + pool.cl_waiting for pool in pools) or lists.get("login_clients"):
                return _Left(pools, None)
            clients = step.dialect.parse_clients(await self._watch.show("CLIENTS", timeout_s=limit_s))
        except DeadlineError:
            raise
        except NodeError as error:
            if error.phase is Phase.PARSE:
                raise
            return None
        return _Left(pools, tuple(c for c in clients if c.database == ADMIN_DATABASE))

    def _tell(self, left: _Left, remaining_s: float) -> None:
        consoles = "" if left.consoles is None else f", {plural(len(left.consoles), 'admin console')} open"
        self._step.tell(
            EventKind.WAITING,
            f"shutting down: {left.words}{consoles}",
            {"clients": left.clients, "servers": left.servers, "remaining_s": round(remaining_s, 3)},
        )

    def _draining(self, left: _Left, *, refused: bool | None) -> TargetReceipt:
        step = self._step
        others = [] if left.consoles is None else list(left.consoles[:CONSOLES_SHOWN])
        keeps = f"; {len(others) - 1} admin consoles keep it: close them" if len(others) > 1 else ""
        return step.receipt(
            Outcome.OK,
            f"shutting down: {left.words}{keeps}; it goes on by itself and cannot be stopped",
            SHUTTING_DOWN,
            verified=("the answer was SHUTDOWN", *(("new logins are refused",) if refused else ())),
            still_active=(
                *_busy(left.pools),
                *(f"admin console {console_line(client)}" for client in others),
            ),
            next_steps=(f"pooldeck status {step.target.bouncer}",),
            interrupted=step.control.stopped,
        )

    async def _over(self, seen: str, *, tag: str | None) -> TargetReceipt:
        """The process has exited, or does so now: see that its address refuses."""
        step = self._step
        refused = await self._refuses()
        start = step.ask.found.start
        after = (step.target.command("start"), start) if start is not None else ()
        verified = (f"the answer was {tag}", seen) if tag is not None else (seen,)
        if refused:
            return step.receipt(
                Outcome.OK,
                f"it exited: {seen}",
                "not running",
                verified=(*verified, "new logins are refused"),
                next_steps=after,
            )
        if refused is None:
            return step.receipt(
                Outcome.UNKNOWN,
                f"{seen}, but whether new logins are refused could not be seen",
                None,
                verified=verified,
                next_steps=(f"pooldeck status {step.target.bouncer}",),
            )
        step.warn(
            "something answers at its address: its supervisor has started it anew, or another process shares "
            "the address"
        )
        return step.receipt(Outcome.OK, f"it exited: {seen}", None, verified=verified)

    async def _refuses(self, *, at_once: bool = False) -> bool | None:
        """Say whether new logins are refused, trying for a while; None when that cannot be told."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (0.0 if at_once else REFUSED_LIMIT_S)
        while True:
            found: bool | None = False
            try:
                await close_quietly(await self._step.connector.reader(self._step.target.bouncer))
            except NodeError as error:
                dead = error.phase in _REFUSES and not isinstance(error, DeadlineError)
                found = True if dead else None
            if found or loop.time() >= end:
                return found
            await asyncio.sleep(POLL_S)


def _busy(pools: Sequence[Pool]) -> tuple[str, ...]:
    return tuple(
        f"{pool.database}/{pool.user}: {plural(pool.cl_active, 'client')} connected, {pool.cl_waiting} "
        f"waiting, {plural(pool.servers, 'server')}"
        for pool in pools
        if pool.cl_active + pool.cl_waiting or pool.servers
    )
