"""Reads a fleet once, for scripts: two samples of each pooler so that rates exist, one of each Postgres node.

All nodes are read at the same time, each within its own deadlines and all within one; a node that fails is
data in the snapshot, never an error. It leaves no session behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from console.clock import Clock
from console.config.schema import Bouncer, Defaults, Inventory, PostgresNode
from console.errors import DeadlineError, NodeError, Phase, PooldeckError
from console.fleet.history import History
from console.fleet.node import NodeStatus, describe
from console.fleet.polling import PollBudget
from console.fleet.record import PoolerRecord, postgres_snapshot
from console.fleet.session import PoolerReader, PoolerSession, PoolerSource
from console.fleet.tasks import PostgresReader, PostgresSource
from console.model.fleet import FleetSnapshot, PoolerSnapshot, PostgresReading, PostgresSnapshot
from console.poolers.base import Dialect
from console.poolers.dialects import dialect_for

R = TypeVar("R", PoolerReader, PostgresReader)

DEADLINE_S = 30.0
_CLOSE_LIMIT_S = 2.0


async def read_once(
    inventory: Inventory,
    connector: PoolerSource,
    postgres_connector: PostgresSource,
    clock: Clock,
    *,
    interval_s: float = 1.0,
    deadline_s: float = DEADLINE_S,
    poolers: Collection[str] | None = None,
    postgres: Collection[str] | None = None,
    dialects: Callable[[str], Dialect] = dialect_for,
) -> FleetSnapshot:
    """Return one snapshot of the fleet, or of the nodes named.

    Args:
        inventory: loaded, so complete.
        connector: gives readers of poolers.
        postgres_connector: gives readers of Postgres nodes.
        clock: times the samples.
        interval_s: between a pooler's two samples; its rates are over that time.
        deadline_s: for everything; a node that is not done by then is unreachable, or stale after one sample.
        poolers: their names; None for all.
        postgres: the same for Postgres nodes.
        dialects: finds the dialect of a kind of pooler.
    """
    chosen = [node for node in inventory.bouncers if poolers is None or node.name in poolers]
    nodes = [node for node in inventory.postgres if postgres is None or node.name in postgres]
    defaults = inventory.defaults
    async with asyncio.TaskGroup() as group:
        pooler_reads = [
            group.create_task(
                _read_pooler(bouncer, defaults, connector, dialects, clock, interval_s, deadline_s)
            )
            for bouncer in chosen
        ]
        postgres_reads = [
            group.create_task(_read_postgres(node, defaults, postgres_connector, clock, deadline_s))
            for node in nodes
        ]
    now_s = clock.monotonic_s()
    return FleetSnapshot(
        fleet=inventory.fleet,
        environment=inventory.environment,
        taken_at_s=clock.wall_s(),
        monotonic_s=now_s,
        generation=1,
        poolers=tuple(read.result()(now_s) for read in pooler_reads),
        postgres=tuple(read.result()(now_s) for read in postgres_reads),
    )


async def _read_pooler(
    bouncer: Bouncer,
    defaults: Defaults,
    connector: PoolerSource,
    dialects: Callable[[str], Dialect],
    clock: Clock,
    interval_s: float,
    deadline_s: float,
) -> Callable[[float], PoolerSnapshot]:
    """Read one pooler; return what makes its snapshot once the common instant is known."""
    record = PoolerRecord(bouncer, History(ticks=1, pool_ticks=1, pools=1))
    status = NodeStatus()

    async def ask(reader: PoolerReader) -> None:
        session = PoolerSession(
            bouncer.name,
            reader,
            dialects(bouncer.kind),
            PollBudget(),
            clock,
            query_limit_s=bouncer.query_timeout_s or defaults.query_timeout_s,
            stats_early_s=interval_s / 2,
        )
        for turn in range(2):
            if turn:
                await asyncio.sleep(interval_s)
            record.accept(await session.sometimes(await session.every_tick(), clients=False, servers=False))
            status.succeeded(clock.monotonic_s())

    await _within(bouncer.name, status, deadline_s, lambda: connector.reader(bouncer.name), ask)
    return lambda now_s: record.snapshot(status.freshness(now_s, math.inf), 0)


async def _read_postgres(
    node: PostgresNode, defaults: Defaults, connector: PostgresSource, clock: Clock, deadline_s: float
) -> Callable[[float], PostgresSnapshot]:
    """Read one Postgres node; return what makes its snapshot."""
    status = NodeStatus()
    reading: PostgresReading | None = None

    async def ask(reader: PostgresReader) -> None:
        nonlocal reading
        reading = await reader.read(timeout_s=node.query_timeout_s or defaults.query_timeout_s)
        status.succeeded(clock.monotonic_s())

    await _within(node.name, status, deadline_s, lambda: connector.reader(node.name), ask)
    return lambda now_s: postgres_snapshot(node, reading, status.freshness(now_s, math.inf))


async def _within(
    name: str,
    status: NodeStatus,
    deadline_s: float,
    open_: Callable[[], Awaitable[R]],
    ask: Callable[[R], Awaitable[None]],
) -> None:
    """Open a session, ask, close; note in `status` what failed."""
    reader: R | None = None
    try:
        async with asyncio.timeout(deadline_s):
            reader = await open_()
            await ask(reader)
    except PooldeckError as error:
        status.failed(*describe(error, name))
    except TimeoutError:
        phase = Phase.CONNECT if reader is None else Phase.PROTOCOL
        late = DeadlineError(phase, f"not read within {deadline_s:g} s", limit_s=deadline_s)
        status.failed(*describe(late, name))
    finally:
        if reader is not None:
            with contextlib.suppress(NodeError, OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_LIMIT_S):
                    await reader.close()
