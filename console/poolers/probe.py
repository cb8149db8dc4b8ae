"""A login through a pooler as its clients do it, with one query: are they served?

Nothing is kept open, and nothing is sent that changes anything.
"""

from __future__ import annotations

import asyncio

from psycopg import pq

from console.errors import NodeError, Phase
from console.poolers.admin import Login, open_link
from console.poolers.failures import login_deadline
from console.poolers.wire import Link, LoginProgress, message_of


async def log_in_only(login: Login, *, timeout_s: float) -> None:
    """Log in to `login.database` and hang up, all within `timeout_s`.

    Raises:
        NodeError: as `query_as_client`.
    """
    (await _open(login, timeout_s)).close()


async def query_as_client(
    login: Login, *, timeout_s: float, query: str = "SELECT 1"
) -> tuple[str | None, ...]:
    """Log in to `login.database`, run a query that changes nothing, return its first row; () without one.

    Raises:
        NodeError: phase connect, tls, auth or protocol; DeadlineError when time is up: clients would wait.
    """
    link = await _open(login, timeout_s)
    try:
        results = await link.query(query.encode(), timeout_s)
    finally:
        link.close()
    wrong = next((result for result in results if result.status != pq.ExecStatus.TUPLES_OK), None)
    if wrong is not None or not results:
        reason = message_of(wrong) if wrong is not None else "no answer"
        raise NodeError(Phase.PROTOCOL, f"a query as {login.user} was answered: {reason}", where=login.node)
    first = results[0]
    if not first.ntuples:
        return ()
    values = (first.get_value(0, column) for column in range(first.nfields))
    return tuple(None if value is None else value.decode("utf-8", "replace") for value in values)


async def _open(login: Login, timeout_s: float) -> Link:
    progress = LoginProgress()
    try:
        async with asyncio.timeout(timeout_s):
            return await open_link(login, progress, timeout_s)
    except TimeoutError:
        raise login_deadline(progress.stage, where=login.node, limit_s=timeout_s) from None
