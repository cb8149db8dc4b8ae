"""What a cut client leaves behind: its backend runs on in Postgres (trap T18).

Neither KILL nor KILL_CLIENT cancels a query. So the backends are named before, and looked for afterwards
where the Postgres nodes can be asked. It only asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from console.errors import PooldeckError
from console.model.rows import Server
from console.operations.radius_join import Answers, held_of, join_backends
from console.operations.step import Step, plural
from console.operations.target import Target

LIMIT_S = 3.0
"""How long Postgres nodes are asked."""
SHOWN = 20
_RUNS = frozenset({"active", "fastpath function call"})


def backends_warning(servers: Sequence[Server]) -> str:
    """Say what cutting the clients of these server connections does not do."""
    return (
        f"cutting a client does not cancel its query: what {plural(len(servers), 'backend')} may run now "
        "goes on in Postgres, beside the new connections (pooldeck cancel NODE PID)"
    )


def backend_notes(servers: Sequence[Server]) -> tuple[str, ...]:
    """Return one line for each server connection that a client holds, up to `SHOWN`."""
    lines = [
        f"backend {server.remote_pid or 'n/a'} on {server.addr}:{server.port} "
        f"({server.database}/{server.user}), request at {server.request_time}"
        for server in servers[:SHOWN]
    ]
    if len(servers) > SHOWN:
        lines.append(f"and {plural(len(servers) - SHOWN, 'backend')} more")
    return tuple(lines)


async def runs_on(step: Step, servers: Sequence[Server]) -> tuple[str, ...]:
    """Return the commands that cancel what the backends of these servers still run.

    () also when no Postgres node can be asked, or none of them is known.
    """
    source = step.reach.backends
    pids = {server.remote_pid for server in servers if server.remote_pid}
    if source is None or not pids:
        return ()
    try:
        async with asyncio.timeout(LIMIT_S):
            found = await source.backends(pids)
    except (PooldeckError, TimeoutError):
        return ()
    answers = Answers(lists=None, clients=None, servers=tuple(servers), own_ptr=None, unread=())
    held = held_of(answers, step.before, Target(step.target.bouncer)) or ()
    by_node: dict[str, list[int]] = {}
    for one in join_backends(held, found, step.before)[0]:
        if one.backend is not None and one.backend.state in _RUNS:
            by_node.setdefault(one.backend.node, []).append(one.backend.pid)
    return tuple(
        f"{Target(node).command('cancel')} {' '.join(map(str, sorted(numbers)))}"
        for node, numbers in sorted(by_node.items())
    )
