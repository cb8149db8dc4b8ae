"""Rolling: one member of a peer group takes no new clients, ends when its last one has left, and comes back.

The stop is SIGTERM, which means SHUTDOWN WAIT_FOR_CLIENTS from 1.23 on, sent by the relay: should everything
here die, the host starts the member once it has ended. A shutdown cannot be revoked (trap T14), and an open
console keeps it from ending (trap T13): ours is closed as soon as no application is left.
"""

from __future__ import annotations

import asyncio

from console.errors import AdminError, DeadlineError, NodeError
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Client
from console.operations.control import Stopped, insist
from console.operations.observe import read_pools
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.process.finding import Finder
from console.operations.process.relay import OVER, PATIENCE_S, Progress
from console.operations.restart.comeback import Comeback
from console.operations.restart.coming_back import coming_back
from console.operations.restart.look import RestartLook
from console.operations.restart.methods import Stragglers
from console.operations.restart.question import Question
from console.operations.restart.stragglers import now_of, of_applications, straggler_lines
from console.operations.sessions import WriteSession, close_quietly
from console.operations.shutdown import console_line
from console.operations.step import Step, plural, why
from console.poolers.results import parse_in_slices

POLL_S = 0.5
CPU_OVER_S = 1.0
BACK_LIMIT_S = 5.0
"""How long a first client is waited for after the start."""
FEW = 200
"""Above so many clients SHOW CLIENTS is asked at the deadline only."""


async def carry_out_rolling(step: Step) -> TargetReceipt:
    """Take the member of `step` out, and back in.

    Raises:
        NodeError: it could not be made sure of; nothing was sent. Stopped: likewise.
    """
    busy = await _busy_peer(step)
    if busy is not None:
        return step.receipt(Outcome.FAILED, f"{busy}; nothing was sent", step.present)
    # 1.23 and 1.24 let no console in any more once they shut down.
    session = await step.connector.writer(step.target.bouncer)
    try:
        await step.check_process(session)
        if step.control.stopped:
            raise Stopped
        return await insist(lambda: _Rolling(step, session).run())
    finally:
        await insist(lambda: close_quietly(session))


async def _busy_peer(step: Step) -> str | None:
    """Say which peer has no room for more clients; None when each has, as far as their hosts tell."""
    found: RestartLook = step.ask.found
    serving = [entry for entry in found.peer_entries if found.peers.get(entry.name)]
    finders = [Finder(entry, step.reach.transport, timeout_s=found.command_timeout_s) for entry in serving]
    looks = await asyncio.gather(*(finder.look(None) for finder in finders))
    begun_s = step.clock.monotonic_s()
    await step.control.pause(None, timeout_s=CPU_OVER_S)
    limit = step.parameters.max_cpu_percent / 100
    for entry, finder, look in zip(serving, finders, looks, strict=True):
        if look.process is None or look.process.cpu_s is None:
            step.warn(f"the CPU of {entry.name} is not known: {look.why or 'its host does not tell'}")
            continue
        try:
            used_s = await finder.cpu_s(look.process.process)
        except NodeError as error:
            step.warn(f"the CPU of {entry.name} is not known: {error.message}")
            continue
        took_s = step.clock.monotonic_s() - begun_s
        share = None if used_s is None else (used_s - look.process.cpu_s) / took_s
        if share is not None and share > limit:
            return f"its peer {entry.name} uses {share:.0%} of a core, the limit is {limit:.0%} (--max-cpu)"
    return None


class _Rolling:
    """One member's way out and back."""

    def __init__(self, step: Step, session: WriteSession) -> None:
        self._step = step
        self._session = session
        self._comeback = Comeback(step, coming_back(step), cut=0)
        self._clients: tuple[Client, ...] = ()
        """Of the last SHOW CLIENTS, consoles too."""
        self._question = Question(step)
        self._count = 0
        """Clients of applications, as last read."""

    async def run(self) -> TargetReceipt:
        """See `carry_out_rolling`."""
        step, comeback = self._step, self._comeback
        receipt = await comeback.launch()
        if receipt is None:
            # Whoever watches it closes its own session: a console keeps it from ending (trap T13).
            step.tell(EventKind.ENDING, "it takes no new clients, ends by itself and cannot be stopped")
            receipt = await self._until_empty()
        await close_quietly(self._session)
        if receipt is not None:
            return receipt
        receipt = await comeback.until_ended(step.parameters.start_timeout_s)
        if receipt is not None:
            return self._left() if comeback.progress is Progress.WAITING else receipt
        receipt = await comeback.complete()
        if receipt.outcome is Outcome.OK:
            await self._share_back()
        return step.late(receipt)

    async def _answer(self) -> Stragglers | None:
        """Ask what becomes of those that stay; None: no answer yet, and they may leave meanwhile."""
        if not self._question.is_open:
            await self._read(in_full=True)
        return self._question.answer(straggler_lines(self._left_over, now_of(self._clients)), self._count)

    async def _until_empty(self) -> TargetReceipt | None:
        """Wait until no application is connected; a receipt when that is not waited for any longer."""
        try:
            return await self._watch()
        finally:
            self._question.close()

    async def _watch(self) -> TargetReceipt | None:
        step = self._step
        loop = asyncio.get_running_loop()
        end = loop.time() + step.parameters.timeout_s
        last = loop.time() + PATIENCE_S
        choice: Stragglers = step.parameters.stragglers
        while True:
            progress = await self._comeback.look()
            if progress in OVER or self._comeback.ended or not await self._read(in_full=False):
                return None
            if self._count == 0:
                return None
            late = loop.time() >= end
            if step.control.stopped or loop.time() >= last or (late and choice is Stragglers.GIVE_UP):
                await self._read(in_full=True)
                return self._left()
            if late and choice is Stragglers.ASK:
                answer = await self._answer()
                if answer is Stragglers.GIVE_UP:
                    return self._left()
                if answer is Stragglers.KILL_IDLE:
                    await self._kill_idle()
                if answer is not None:
                    end = loop.time() + step.parameters.timeout_s
            elif late and choice is Stragglers.KILL_IDLE:
                await self._kill_idle()
                # Those in a transaction get as long again; after that they are left.
                choice, end = Stragglers.GIVE_UP, loop.time() + step.parameters.timeout_s
            if not self._question.is_open:
                self._tell(end - loop.time())
            await step.control.pause(None, timeout_s=POLL_S)

    async def _read(self, *, in_full: bool) -> bool:
        """Count who is left; False when the process has closed the session."""
        step = self._step
        limit_s = step.query_timeout_s
        try:
            pools = await read_pools(self._session, step.dialect, timeout_s=limit_s)
            lists = step.dialect.parse_lists(await self._session.show("LISTS", timeout_s=limit_s))
            self._count = sum(pool.cl_active + pool.cl_waiting for pool in pools)
            self._count += lists.get("login_clients", 0)
            if in_full or self._count <= FEW:
                table = await self._session.show("CLIENTS", timeout_s=limit_s)
                self._clients = await parse_in_slices(step.dialect.parse_clients, table)
        except DeadlineError as error:
            step.warn(f"who is left could not be read: {why(error)}")
        except (NodeError, AdminError):
            return False
        return True

    async def _kill_idle(self) -> None:
        """Cut the clients that hold no server; each is looked up by an id that is never used twice."""
        step = self._step
        if not await self._read(in_full=True):
            return
        for client in of_applications(self._clients):
            if not client.idle or client.id is None:
                continue
            try:
                await step.send(self._session, step.dialect.kill_client(client.id), step.query_timeout_s)
            except AdminError:
                continue  # It has left by itself.
            except NodeError:
                return
            self._comeback.cut += 1

    def _tell(self, remaining_s: float) -> None:
        shown = ", ".join(sorted({client.application_name or "(no name)" for client in self._left_over}))
        names = f" ({shown})" if shown else ""
        self._step.tell(
            EventKind.WAITING,
            f"takes no new clients; {plural(self._count, 'client')} left{names}",
            {"clients": self._count, "remaining_s": round(max(0.0, remaining_s), 3)},
        )

    @property
    def _left_over(self) -> tuple[Client, ...]:
        return of_applications(self._clients)

    def _left(self) -> TargetReceipt:
        """Return the receipt of one that still shuts down: nobody can revoke that."""
        step, comeback = self._step, self._comeback
        comeback.answer("sent; its process has not ended yet")
        consoles = [client for client in self._clients if client.database == ADMIN_DATABASE][1:]
        what = plural(self._count, "client")
        if self._count == 0:
            what = f"no client, but {plural(len(consoles), 'admin console')}" if consoles else "nobody"
        process = comeback.coming.look.process
        pid = process.pid if process is not None else 0
        now = comeback.coming.supervision.signal("QUIT", pid)
        return step.receipt(
            Outcome.FAILED,
            f"it still shuts down, with {what} connected: that cannot be revoked; its host starts it once "
            "the last one has left",
            "shutting down",
            still_active=(
                *straggler_lines(self._left_over, now_of(self._clients)),
                *(f"admin console {console_line(client)}" for client in consoles),
            ),
            next_steps=(
                f"pooldeck process {step.target.bouncer}",
                f"on {comeback.coming.look.where}, to cut them now: {' '.join(now)}",
                comeback.call_off,
            ),
            interrupted=step.control.stopped,
        )

    async def _share_back(self) -> None:
        """Wait a moment until clients come to it again, when it had some."""
        step = self._step
        if not sum(pool.cl_active + pool.cl_waiting for pool in step.before.pools):
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + BACK_LIMIT_S
        count = 0
        while loop.time() < end and not step.control.stopped:
            try:
                session = await step.connector.reader(step.target.bouncer)
                try:
                    pools = await read_pools(session, step.dialect, timeout_s=step.query_timeout_s)
                finally:
                    await close_quietly(session)
            except (NodeError, AdminError):
                break
            count = sum(pool.cl_active + pool.cl_waiting for pool in pools)
            if count:
                step.tell(EventKind.NOTE, f"{plural(count, 'client')} on it again")
                return
            await step.control.pause(None, timeout_s=POLL_S)
        step.warn(f"no client has come to it within {BACK_LIMIT_S:g} s")
