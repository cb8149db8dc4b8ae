"""What of a radius should stop a person for a moment, in sentences. Pure.

`operators` concerns every verb. The others concern verbs that wait for servers to be released: PAUSE,
SHUTDOWN WAIT_FOR_SERVERS. That session pools hold their servers is told by the verbs themselves.
Source: pgbouncer-admin.md, traps T10 and T11.
"""

from __future__ import annotations

from math import inf

from console.operations.radius_text import NAMES_SHOWN, who, who_at_console
from console.operations.radius_values import Console, Held, Radius
from console.view.numbers import duration_s

WAITED_PERCENT = 25
"""Of query_wait_timeout: having waited longer, clients are close to being cut."""
IDLE_S = 0.1
"""Between two statements of a transaction every client is idle for a moment."""


def operators(radius: Radius) -> tuple[str, ...]:
    """Name the other admins at the pooler's console; those who can only look are left out.

    The guardian and the keeper of a lease are told as what they are: nobody types there.
    """
    admins = [one for one in radius.consoles or () if one.admin]
    return (*_people(radius, [one for one in admins if not one.stands_by]), *_standing_by(admins))


def _people(radius: Radius, admins: list[Console]) -> tuple[str, ...]:
    if not admins:
        return ()
    names = _some([who_at_console(one) for one in admins])
    others = "somebody else is" if len(admins) == 1 else f"{len(admins)} others are"
    if not radius.own_console_known:
        others = "one admin is" if len(admins) == 1 else f"{len(admins)} admins are"
        return (f"{others} at this admin console, and one of them may be this session: {names}",)
    return (f"{others} at this admin console and may act too: {names}",)


def _standing_by(admins: list[Console]) -> tuple[str, ...]:
    guards = [one for one in admins if one.stands_by]
    if not guards:
        return ()
    return (
        "a run of Pooldeck holds something here, or is about to, and what would end it stands by at this "
        f"admin console: {_some([who_at_console(one) for one in guards])}; pooldeck leases",
    )


def waiting_warnings(
    radius: Radius, *, budget_s: float, query_wait_timeout_s: float | None
) -> tuple[str, ...]:
    """Return every warning for a verb that waits until servers are released.

    Args:
        radius: of its target.
        budget_s: how long it may wait.
        query_wait_timeout_s: when waiting clients are cut; 0: never; None: not known.
    """
    return (
        *old_transactions(radius, budget_s),
        *idle_in_transaction(radius),
        *replication_clients(radius),
        *waited_long(radius, query_wait_timeout_s),
    )


def old_transactions(radius: Radius, budget_s: float) -> tuple[str, ...]:
    """Tell of transactions that are already older than the time the verb may take."""
    old = [one for one in radius.transactions if (one.xact_age_s or 0.0) >= budget_s]
    if not old:
        return ()
    count = "a transaction is" if len(old) == 1 else f"{len(old)} transactions are"
    age = duration_s(old[0].xact_age_s)
    return (
        f"{count} older than the {budget_s:g} s that may be waited, the longest {age} "
        f"({who(old[0])}{_blocked(old[0])}): no server is released before its transaction ends",
    )


def idle_in_transaction(radius: Radius) -> tuple[str, ...]:
    """Name who holds a server inside a transaction and does nothing with it for more than a moment."""
    idle = [one for one in radius.held or () if one.idle_in_transaction and _idle_s(one) >= IDLE_S]
    if not idle:
        return ()
    names = _some([f"{who(one)} for {_idle_for(one)}" for one in idle])
    return (f"idle in transaction, so their servers are not released until they go on: {names}",)


def replication_clients(radius: Radius) -> tuple[str, ...]:
    """Name replication connections, which hold their server until they are closed."""
    streams = [who(one) for one in radius.held or () if one.replication]
    if not streams:
        return ()
    return (f"replication connections hold their servers until they are closed: {_some(streams)}",)


def waited_long(
    radius: Radius, query_wait_timeout_s: float | None, percent: float = WAITED_PERCENT
) -> tuple[str, ...]:
    """Tell of clients that have waited for more than `percent` of query_wait_timeout already."""
    waited_s = radius.clients.longest_wait_us / 1e6
    if not query_wait_timeout_s or waited_s * 100 <= query_wait_timeout_s * percent:
        return ()
    left_s = max(0.0, query_wait_timeout_s - waited_s)
    share = waited_s / query_wait_timeout_s
    return (
        f"clients wait already, the longest {duration_s(waited_s)}, {share:.0%} of query_wait_timeout: "
        f"the first are cut in {duration_s(left_s)}",
    )


def _idle_s(held: Held) -> float:
    age_s = None if held.backend is None else held.backend.state_age_s
    return inf if age_s is None else age_s


def _idle_for(held: Held) -> str:
    return duration_s(None if held.backend is None else held.backend.state_age_s)


def _blocked(held: Held) -> str:
    blockers = held.backend.blocked_by if held.backend is not None else None
    if not blockers:
        return ""
    return f", blocked by pid {', '.join(str(one.pid) for one in blockers[:NAMES_SHOWN])}"


def _some(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return "; ".join(names[:NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")
