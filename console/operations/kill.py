"""KILL of a database: its clients are cut, its server connections closed, and new clients served again.

KILL leaves the database paused (trap T19), so it is KILL and RESUME in one, under a lease: should we die
between the two, the guardian resumes. RESUME goes with the shield against trap T4 that `resume` has. Backends
that were busy run on (T18): they are named before, and looked for afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from console.errors import AdminError, NodeError
from console.model.rows import Pool, Server
from console.operations.control import insist
from console.operations.cutting import backend_notes, backends_warning, runs_on
from console.operations.lease.base import Lease
from console.operations.observe import Observation, read_pools
from console.operations.outcome import NOTHING, Outcome, TargetReceipt
from console.operations.resume import lift_for_sure, read_back_paused, resume_statements
from console.operations.sending import Answer, ask, on_writer
from console.operations.sessions import WriteSession
from console.operations.spec import Ask, Look, Standing, state_words
from console.operations.step import Step, plural
from console.operations.target import Target

LATE_LIMIT_S = 1.5
"""How long a KILL whose answer was lost may still arrive."""
LATE_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Linked:
    """Server connections that a client holds; they move all the time, so no permit is bound to them."""

    servers: tuple[Server, ...]

    @property
    def facts(self) -> Mapping[str, str]:
        """None."""
        return NOTHING


async def look_for_linked(look: Look) -> Linked:
    """Read which server connections of the target are held by a client.

    Raises:
        NodeError: they could not be read.
    """
    servers = look.dialect.parse_servers(await look.session.show("SERVERS", timeout_s=look.timeout_s))
    return Linked(tuple(s for s in servers if s.link and s.database == look.target.database))


def kill_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what KILL sends when all goes well, the RESUME included."""
    return (ask.dialect.kill(ask.target.database or ""), *resume_statements(ask))


def kill_rescue(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what the guardian sends should we die in between: the RESUME."""
    return resume_statements(ask)


def kill_standing(ask: Ask[Observation]) -> Standing:
    """Return how a database stands before a KILL."""
    target, observation = ask.target, ask.seen
    present = state_words(target, observation)
    pools = observation.pools_of(target)
    clients = sum(pool.cl_active + pool.cl_waiting for pool in pools)
    blocked = _blocked(target, observation)
    if blocked is None and not clients and not observation.servers(target):
        return Standing(f"{present}; no client and no server connection", already=True)
    warnings = [backends_warning(ask.found.servers)] if ask.found and ask.found.servers else []
    database = observation.database(target.database or "")
    if database is not None and database.disabled:
        warnings.append("it is disabled: nobody who is cut can come back before it is enabled")
    notes = (
        f"{plural(clients, 'client')} and {plural(observation.servers(target), 'server connection')} "
        "are cut; the statistics of its pools begin anew",
        *backend_notes(ask.found.servers if ask.found else ()),
    )
    return Standing(present, blocked=blocked, warnings=tuple(warnings), notes=notes)


def _blocked(target: Target, observation: Observation) -> str | None:
    if observation.state.paused or observation.state.suspended:
        word = "paused" if observation.state.paused else "suspended"
        return f"the whole pooler is {word}, and KILL is refused meanwhile: pooldeck resume {target.bouncer}"
    if observation.paused(target):
        return (
            "somebody paused this database, and KILL ends with a RESUME, which would end that pause: "
            f"{target.command('resume')} first"
        )
    return None


async def carry_out_kill(step: Step) -> TargetReceipt:
    """Cut the clients of the database of `step`."""
    if step.already:
        return step.receipt(Outcome.NO_CHANGE, "nobody was connected to it", step.present)
    lease = step.lease
    assert lease is not None, "a leased verb gets its lease before"
    killing = _Killing(step, lease)
    try:
        return await on_writer(step, killing.run)
    finally:
        if not killing.exposed:
            await insist(lambda: lease.release([step.target]))


class _Killing:
    """KILL and RESUME of one database."""

    def __init__(self, step: Step, lease: Lease) -> None:
        self._step = step
        self._lease = lease
        self.exposed = False

    async def run(self, session: WriteSession) -> TargetReceipt:
        """See `carry_out_kill`."""
        step = self._step
        self._lease.expose([step.target])
        self.exposed = True
        answer = await ask(step, session, step.statements[0])
        if answer.refused is not None:
            await self._lease.release([step.target])
            return step.receipt(Outcome.FAILED, answer.words, step.present)
        over: WriteSession | None = session
        left = None
        if answer.lost is None:
            left = await self._left(session)
        else:
            over = None
            arrived = await self._arrived()
            if not arrived:
                return self._not_known(answer, arrived)
        told = await lift_for_sure(step, over)
        paused = await read_back_paused(step, over)
        if paused is False:
            await self._lease.release([step.target])
        return await self._judge(answer, left, told, paused)

    async def _left(self, session: WriteSession) -> int | None:
        """Count the clients and servers that are still there while it is paused; None: not read."""
        step = self._step
        try:
            pools = await read_pools(session, step.dialect, timeout_s=step.query_timeout_s)
        except (NodeError, AdminError):
            return None
        return sum(_connected(pool) for pool in pools if pool.database == step.target.database)

    async def _arrived(self) -> bool | None:
        """Say whether a KILL without an answer has arrived: then the database is paused. None: not read."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LATE_LIMIT_S
        while True:
            paused = await read_back_paused(self._step, None)
            if paused or loop.time() >= end:
                return paused
            await asyncio.sleep(LATE_POLL_S)

    def _not_known(self, answer: Answer, paused: bool | None) -> TargetReceipt:
        # Still exposed: should KILL arrive after all, the guardian resumes.
        step = self._step
        reads = "it does not read as paused, so KILL did not arrive, or somebody resumed it"
        return step.receipt(
            Outcome.UNKNOWN,
            f"{answer.words}; {reads if paused is False else 'its state could not be read back'}",
            None,
            next_steps=(f"pooldeck status {step.target.bouncer}",),
        )

    async def _judge(
        self, answer: Answer, left: int | None, told: str | None, paused: bool | None
    ) -> TargetReceipt:
        step = self._step
        pools = step.before.pools_of(step.target)
        clients = sum(pool.cl_active + pool.cl_waiting for pool in pools)
        cut = f"{answer.words}; {plural(clients, 'client')} cut"
        if paused is not False:
            refusal = f" ({told})" if told is not None else ""
            standing = "still is paused" if paused else "may still be paused"
            return step.receipt(
                Outcome.FAILED if paused else Outcome.UNKNOWN,
                f"{cut}, but it could not be resumed{refusal} and {standing}; its guardian goes on trying",
                "paused" if paused else None,
                next_steps=(f"pooldeck status {step.target.bouncer}", step.target.command("resume")),
            )
        if left:
            return step.receipt(
                Outcome.FAILED,
                f"{cut}, but {plural(left, 'connection')} of it did not go away",
                "running",
                verified=("read back: not paused",),
            )
        verified = ["read back: not paused"]
        if left == 0:
            verified.insert(0, "no client and no server connection of before was left")
        running = await runs_on(step, step.ask.found.servers if step.ask.found else ())
        return step.receipt(
            Outcome.OK,
            f"{cut}, and new ones are served again",
            "running",
            verified=tuple(verified),
            next_steps=running,
        )


def _connected(pool: Pool) -> int:
    return pool.cl_active + pool.servers
