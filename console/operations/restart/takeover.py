"""Takeover: `-R` starts a process that takes sockets and open connections over from the old one (trap T16).

It is refused by PgBouncer itself, and the old process goes on, when anything is paused. Connections are
counted before and after by what tells them apart for good: address, port, and for Unix sockets the client's
pid.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from console.errors import AdminError, NodeError
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Client
from console.operations.control import Stopped, insist
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.restart.comeback import Comeback
from console.operations.restart.coming_back import coming_back
from console.operations.sessions import ReadSession, close_quietly
from console.operations.step import Step, plural
from console.poolers.results import parse_in_slices

Connection = tuple[str, int | None, int | None, str, str]


async def carry_out_takeover(step: Step) -> TargetReceipt:
    """Let a new process take over from the one of `step`.

    Raises:
        NodeError: it could not be made sure of; nothing was sent. Stopped: likewise.
    """
    watch = await step.connector.reader(step.target.bouncer)
    try:
        await step.check_process(watch)
        before = await _connections(step, watch)
    finally:
        await insist(lambda: close_quietly(watch))
    if step.control.stopped:
        raise Stopped
    comeback = Comeback(step, coming_back(step), cut=0)

    async def act() -> TargetReceipt:
        receipt = await comeback.launch() or await comeback.complete()
        return receipt if receipt.outcome is not Outcome.OK else await _counted(step, receipt, before)

    return await insist(act)


async def _counted(step: Step, receipt: TargetReceipt, before: Counter[Connection]) -> TargetReceipt:
    """Add how many connections of before are still there."""
    try:
        session = await step.connector.reader(step.target.bouncer)
        try:
            after = await _connections(step, session)
        finally:
            await close_quietly(session)
    except (NodeError, AdminError) as error:
        step.warn(f"whether its clients are still connected could not be read: {error.message}")
        return step.late(receipt)
    total, gone = before.total(), (before - after).total()
    if gone:
        step.warn(
            f"{plural(gone, 'client')} of {total} of before are gone; they left by themselves, or were cut"
        )
        return step.late(receipt)
    whole = f"every client of before is still connected ({total})"
    return step.late(replace(receipt, verified=(*receipt.verified, whole)))


async def _connections(step: Step, session: ReadSession) -> Counter[Connection]:
    table = await session.show("CLIENTS", timeout_s=step.query_timeout_s)
    clients = await parse_in_slices(step.dialect.parse_clients, table)
    return Counter(_key(client) for client in clients if client.database != ADMIN_DATABASE)


def _key(client: Client) -> Connection:
    return client.addr, client.port, client.remote_pid, client.database, client.user
