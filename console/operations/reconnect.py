"""RECONNECT: every server connection is opened anew, each once its client has released it.

RECONNECT answers at once and only marks the connections, so this waits until those that were there before
are gone. It never asks PgBouncer itself to wait: that spoils every later PAUSE (trap T1). SHOW SERVERS is
read instead. Nothing can be taken back, and what is left when time is up is closed once it is released.

The new connections prove the credentials and addresses that PgBouncer has now (T31), or show that they are
wrong: so the pools are looked at afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from console.model.derive import ADMIN_DATABASE
from console.model.rows import Pool, Server
from console.operations.observe import Observation, read_pools
from console.operations.outcome import EventKind, Holder, Outcome, TargetReceipt
from console.operations.radius_join import address_of
from console.operations.sending import Answer, ask, on_writer, read_back
from console.operations.sessions import WriteSession
from console.operations.spec import Ask, Parameters, Standing, state_words
from console.operations.step import Step, plural
from console.operations.target import Target

POLL_S = 0.2
SETTLE_LIMIT_S = 3.0
"""So long a pool may have waiting clients and no server before its server logins are called failing."""
UNUSED_LIMIT_S = 1.0
"""So long it is looked whether somebody asks for a server of a pool that has none."""
HOLDERS_AFTER_S = 1.0
"""Transactions that end sooner need no name."""
HOLDERS_SHOWN = 20
HOLDERS_MAX_CLIENTS = 5_000
"""Above this many clients SHOW CLIENTS would itself stall the pooler."""
Key = tuple[str, str, int | None]


class ReconnectParameters(Parameters):
    """`timeout_s` is for the old connections to be gone."""

    timeout_s: Annotated[float, Field(gt=0, le=3600, description="Seconds to wait.")] = 60.0


def reconnect_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what RECONNECT sends."""
    return (ask.dialect.reconnect(ask.target.database),)


def reconnect_standing(ask: Ask[Observation]) -> Standing:
    """Return how a target stands before a RECONNECT. It is never so already."""
    target, observation = ask.target, ask.seen
    servers = observation.servers(target)
    warnings = [
        f"pool {pool.database}/{pool.user} is in session mode: its "
        f"{plural(pool.sv_active, 'linked client')} keep the old connection until they disconnect"
        for pool in observation.pools_of(target)
        if pool.pool_mode == "session" and pool.sv_active
    ]
    if servers:
        warnings.append(
            "new connections log in to Postgres with what the pooler has now: should that fail, the clients "
            "of that pool wait or are cut"
        )
    if _paused(observation, target):
        warnings.append("it is paused: new connections are opened only once it is resumed")
    notes = [f"{plural(servers, 'server connection')} to be opened anew"]
    if servers:
        notes.append("a pool may have one connection more than its size for a moment")
    return Standing(state_words(target, observation), warnings=tuple(warnings), notes=tuple(notes))


def _paused(observation: Observation, target: Target) -> bool:
    return bool(observation.state.paused or observation.state.suspended or observation.paused(target))


async def carry_out_reconnect(step: Step) -> TargetReceipt:
    """Reconnect the target of `step`."""
    return await on_writer(step, lambda session: _Recycling(step, session).run())


@dataclass(frozen=True, slots=True)
class _Pools:
    """What became of the pools that had servers before."""

    renewed: tuple[str, ...]
    unused: tuple[str, ...]
    """Without a server, and nobody asks for one."""
    failing: tuple[str, ...]
    """Why a pool's new server logins seem to fail, one sentence each."""


class _Recycling:
    """One RECONNECT and the wait for it."""

    def __init__(self, step: Step, session: WriteSession) -> None:
        self._step = step
        self._session: WriteSession | None = session
        self._old: set[Key] = set()
        self._count = 0
        self._holders: dict[Key, Holder] = {}
        """By the server connection that each holds."""

    async def run(self) -> TargetReceipt:
        step = self._step
        assert self._session is not None, "open until an answer is lost"
        servers = await self._servers(self._session)
        self._old = {_key(server) for server in servers}
        answer = await ask(step, self._session, step.statements[0], step.query_timeout_s)
        if answer.refused is not None:
            return step.receipt(Outcome.FAILED, answer.words, step.present)
        if answer.lost is not None:
            self._session = None
        left = await self._wait(answer)
        if left is None:
            return step.receipt(
                Outcome.UNKNOWN,
                f"{answer.words}; which server connections are left could not be read",
                None,
                next_steps=(f"pooldeck status {step.target.bouncer}",),
            )
        if answer.lost is not None and any(server.close_needed is False for server in left):
            return step.receipt(
                Outcome.FAILED,
                f"{answer.words}; it had no effect",
                step.present,
                next_steps=(step.target.command("reconnect"),),
            )
        return self._not_in_time(left) if left else await self._judge(answer)

    # -- waiting ----------------------------------------------------------------------------------

    async def _servers(self, session: WriteSession) -> list[Server]:
        """Return the server connections of the target."""
        step = self._step
        table = await session.show("SERVERS", timeout_s=step.query_timeout_s)
        return [server for server in step.dialect.parse_servers(table) if _hits(server, step.target)]

    async def _wait(self, answer: Answer) -> Sequence[Server] | None:
        """Wait for the old connections to go; return those left, None when they cannot be read."""
        step = self._step
        loop = asyncio.get_running_loop()
        begun = loop.time()
        end = begun + step.parameters.timeout_s
        first = True
        while True:
            servers = await read_back(step, self._session, self._servers)
            if servers is None:
                return None
            if first:
                # Opened between the look before and RECONNECT itself, and marked by it like the others.
                self._old |= {_key(server) for server in servers if server.close_needed}
                self._count = len(self._old)
                first = False
            left = [server for server in servers if _key(server) in self._old]
            now = loop.time()
            if not left or (answer.lost is not None and any(s.close_needed is False for s in left)):
                return left
            keys = {_key(server) for server in left}
            # An old connection is closed when it is released: it never gets another holder.
            self._holders = {key: holder for key, holder in self._holders.items() if key in keys}
            is_over = now >= end or step.control.stopped
            if is_over or (now - begun >= HOLDERS_AFTER_S and not self._holders):
                self._holders = await self._read_holders(left)
            if is_over:
                return left
            self._tell(left, end - now)
            await step.control.pause(None, timeout_s=min(POLL_S, end - now))

    async def _read_holders(self, left: Collection[Server]) -> dict[Key, Holder]:
        """Return the clients that hold the connections left, unless there are too many to ask for."""
        step = self._step
        if sum(pool.cl_active + pool.cl_waiting for pool in step.before.pools) > HOLDERS_MAX_CLIENTS:
            return {}

        async def read(session: WriteSession) -> dict[Key, Holder]:
            table = await session.show("CLIENTS", timeout_s=step.query_timeout_s)
            wanted = {server.ptr: _key(server) for server in left}
            return {
                wanted[c.link]: Holder(
                    c.database,
                    c.user,
                    c.state,
                    address_of(c.addr, c.port),
                    c.application_name,
                    c.request_time,
                )
                for c in step.dialect.parse_clients(table)
                if c.link in wanted
            }

        return await read_back(step, self._session, read) or {}

    def _tell(self, left: Sequence[Server], remaining_s: float) -> None:
        oldest = min(server.request_time for server in left)
        holders = list(self._holders.values())[:HOLDERS_SHOWN]
        names = [f"{one.user}@{one.address} {one.application_name or ''}".rstrip() for one in holders]
        held = f", held by {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else "") if names else ""
        self._step.tell(
            EventKind.WAITING,
            f"{len(left)} of {plural(self._count, 'server connection')} not released yet, the oldest request "
            f"at {oldest}{held}",
            {
                "servers": len(left),
                "of": self._count,
                "oldest_request": oldest,
                "holders": names,
                "remaining_s": round(remaining_s, 3),
            },
        )

    # -- afterwards -------------------------------------------------------------------------------

    def _not_in_time(self, left: Sequence[Server]) -> TargetReceipt:
        step = self._step
        stopped = step.control.stopped
        because = "interrupted" if stopped else f"not complete within {step.parameters.timeout_s:g} s"
        return step.receipt(
            Outcome.FAILED,
            f"{because}: {len(left)} of {plural(self._count, 'server connection')} not released; RECONNECT "
            "took effect, and each of them is closed when its client releases it",
            step.present,
            still_active=tuple(_line(server) for server in left[:HOLDERS_SHOWN]),
            holders=tuple(self._holders.values())[:HOLDERS_SHOWN],
            next_steps=(
                f"pooldeck status {step.target.bouncer}",
                "do not send it again: that would open the new connections anew as well",
            ),
            interrupted=stopped,
        )

    async def _judge(self, answer: Answer) -> TargetReceipt:
        """All old ones are gone: see whether new ones can be had."""
        step = self._step
        gone = f"none of the {plural(self._count, 'server connection')} of before is left"
        detail = answer.words if answer.lost is None else f"{answer.words}, but it took effect"
        if _paused(step.before, step.target):
            step.warn("it is paused, so no new server connection was opened yet")
            return step.receipt(Outcome.OK, f"{detail}; {gone}", step.present, verified=(gone,))
        pools = await self._settle()
        if pools is None:
            step.warn("whether new server connections can be opened could not be read")
            return step.receipt(Outcome.OK, f"{detail}; {gone}", step.present, verified=(gone,))
        if pools.failing:
            return step.receipt(
                Outcome.FAILED,
                f"{detail}; {gone}, but {'; '.join(pools.failing)}",
                step.present,
                verified=(gone,),
                still_active=pools.failing,
                next_steps=(
                    f"read the log of {step.target.bouncer}: it says why the server login failed",
                    "after the cause is gone, the first client may still get the old error "
                    "(server_login_retry)",
                ),
            )
        if pools.unused:
            step.warn(
                f"nobody asked for a server since in {', '.join(pools.unused)}: whether a new one can be "
                "opened there shows with its next client"
            )
        renewed = tuple(f"pool {name} has a new server connection" for name in pools.renewed)
        return step.receipt(
            Outcome.OK,
            f"{detail}; {plural(self._count, 'server connection')} recycled",
            step.present,
            verified=(gone, *renewed),
        )

    async def _settle(self) -> _Pools | None:
        """Wait for the pools that had servers to have new ones; None when they cannot be read."""
        step = self._step
        loop = asyncio.get_running_loop()
        begun = loop.time()
        before = [pool for pool in step.before.pools_of(step.target) if pool.servers]

        async def read(session: WriteSession) -> tuple[Pool, ...]:
            return await read_pools(session, step.dialect, timeout_s=step.query_timeout_s)

        while True:
            now = await read_back(step, self._session, read)
            if now is None:
                return None
            found = _pools(before, now)
            limit_s = SETTLE_LIMIT_S if found.failing else UNUSED_LIMIT_S if found.unused else 0.0
            if loop.time() - begun >= limit_s or step.control.stopped:
                return found
            await step.control.pause(None, timeout_s=POLL_S)


def _pools(before: Sequence[Pool], now: Sequence[Pool]) -> _Pools:
    by_name = {(pool.database, pool.user): pool for pool in now}
    renewed, unused, failing = [], [], []
    for old in before:
        name = f"{old.database}/{old.user}"
        new = by_name.get((old.database, old.user))
        if new is not None and new.sv_active + new.sv_idle + new.sv_used + new.sv_tested:
            renewed.append(name)
        elif new is not None and new.cl_waiting:
            waiting = plural(new.cl_waiting, "client")
            failing.append(f"pool {name} has no server connection and {waiting} waiting")
        else:
            unused.append(_unused(name, old, new))
    return _Pools(tuple(renewed), tuple(unused), tuple(failing))


def _unused(name: str, old: Pool, new: Pool | None) -> str:
    """Return the pool's name, and whether clients are gone: they left, or a failed login cut them."""
    gone = old.cl_active + old.cl_waiting - (0 if new is None else new.cl_active)
    return f"{name} ({plural(gone, 'client')} gone since)" if gone > 0 else name


def _hits(server: Server, target: Target) -> bool:
    return server.database != ADMIN_DATABASE and target.database in (None, server.database)


def _key(server: Server) -> Key:
    return server.ptr, server.connect_time, server.local_port


def _line(server: Server) -> str:
    pid = f", backend {server.remote_pid}" if server.remote_pid else ""
    return (
        f"{server.database}/{server.user} {server.state} on {server.addr}:{server.port}{pid}, connected "
        f"since {server.connect_time}, request at {server.request_time}"
    )
