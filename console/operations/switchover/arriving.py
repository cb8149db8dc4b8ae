"""Waits until an address that moves by itself (a DNS name, a service, a proxy) leads to the new primary.

Clients that go on before it does reach a server that is down, or the old one; PgBouncer then lets nobody try
again for `server_login_retry` (pgbouncer-admin.md, section 4, fact 14).
"""

from __future__ import annotations

import asyncio

from console.errors import AdminError, NodeError
from console.operations.pausing import Pausing
from console.operations.step import why
from console.operations.switchover.choosing import DEFAULT_PORT, leads_to
from console.operations.switchover.looking import SwitchLook
from console.operations.switchover.parameters import Address, SwitchoverParameters

ARRIVES_S = 5.0
"""How long clients are held for it; HAProxy's checks are seconds apart."""
POLL_S = 0.1


async def until_it_leads(pausing: Pausing, started: str | None) -> None:
    """Wait until the databases of a held bouncer lead to the new primary; what cannot be seen is a warning.

    Args:
        pausing: of the bouncer.
        started: when the new primary's postmaster started, as `NodeState.started`; None: not known.
    """
    step = pausing.step
    parameters: SwitchoverParameters = step.parameters
    known = parameters.old | {parameters.new}
    wanted = {
        (row.host or "", row.port or DEFAULT_PORT) for row in step.before.databases if leads_to(row, known)
    }
    end = asyncio.get_running_loop().time() + min(ARRIVES_S, parameters.hold_s)
    problems = await asyncio.gather(*(_until(pausing, one, started, end) for one in sorted(wanted)))
    for problem in problems:
        if problem is not None:
            step.warn(f"{problem}; clients go on, and may fail until it does")


async def _until(pausing: Pausing, address: Address, started: str | None, end: float) -> str | None:
    step = pausing.step
    found: SwitchLook = step.ask.found
    left, follower = step.parameters.nodes
    nodes = step.reach.switching
    host, port = address
    if nodes is None or not host:
        return None
    loop = asyncio.get_running_loop()
    problem = "it was not asked"
    while loop.time() < end and not step.control.stopped:
        try:
            async with asyncio.timeout_at(end):
                state = await nodes.state_at(
                    follower.name, found.bouncer.host, address, timeout_s=step.query_timeout_s
                )
        except TimeoutError:
            problem = "no answer"
        except (NodeError, AdminError) as error:
            problem = why(error)
        else:
            if not state.in_recovery and started in (None, state.started):
                return None
            problem = f"it is not {follower.name} that answers there"
        await asyncio.sleep(POLL_S)
    return f"{host}:{port} is not seen to lead to {follower.name} instead of {left.name}: {problem}"
