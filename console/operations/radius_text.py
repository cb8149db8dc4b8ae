"""A radius as short lines of plain text, for plans of 80 columns. Pure; names are shown, never obeyed.

Clients call themselves what they like: a control character in a name becomes U+FFFD, so that no name can
begin a line of its own or drive a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from console.operations.radius_values import Clients, Console, Groups, Held, Radius
from console.postgres.activity import Blocker
from console.view.numbers import count, duration_s, duration_us

WIDTH = 66
"""What 80 columns leave beside a plan's labels."""
NAMES_SHOWN = 3
_NAME_CHARS = 24
_NO_NAME = "(no name)"


def radius_lines(radius: Radius, width: int = WIDTH) -> list[str]:
    """Return what would be hit, the most telling first; continued lines are indented by two."""
    return [
        line
        for text in _texts(radius, width)
        for line in wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    ]


def who(held: Held) -> str:
    """Name who holds a server: by its client where that is known, else by its backend."""
    client = held.client
    if client is None:
        pid = "" if held.pid is None else f", pid {held.pid}"
        return f"a client of {plain(held.database)}/{plain(held.user)}{pid}"
    return f"{_name(client.application_name)} ({plain(client.user)}@{client.address}, {plain(held.database)})"


def who_at_console(console: Console) -> str:
    """Name somebody at the admin console."""
    name = f" {_name(console.application_name)}" if console.application_name else ""
    return f"{plain(console.user)}@{console.address}{name} since {console.connect_time}"


def plain(text: str) -> str:
    """Return a name from elsewhere as one short piece of a line."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return shown if len(shown) <= _NAME_CHARS else f"{shown[: _NAME_CHARS - 1]}…"


def _texts(radius: Radius, width: int) -> Iterator[str]:
    yield _clients(radius.clients, radius.logging_in)
    yield from _groups(radius, width)
    yield from _held(radius)
    yield from _longest(radius)
    yield from _gaps(radius)
    yield from _consoles(radius)
    yield from (f"not known: {text}" for text in radius.unread)


def _clients(clients: Clients, logging_in: int | None) -> str:
    parts = [f"{count(clients.total)} connected"]
    if clients.holding is not None:
        parts.append(f"{count(clients.holding)} hold a server")
    longest = f" (the longest {duration_us(clients.longest_wait_us)})" if clients.waiting else ""
    parts.append(f"{count(clients.waiting)} wait{longest}")
    if logging_in:
        parts.append(f"{count(logging_in)} still log in")
    return f"clients: {', '.join(parts)}{' (counted by pool)' if clients.counted_by_pool else ''}"


def _groups(radius: Radius, width: int) -> Iterator[str]:
    clients = radius.clients
    if not clients.total:
        return
    if radius.database is None:
        yield groups_line("by database", clients.by_database, width)
    yield groups_line("by user", clients.by_user, width)
    if clients.by_application is not None:
        yield groups_line("by application", clients.by_application, width)
    elif not clients.counted_by_pool:
        yield "by application: n/a (needs 1.18)"
    if clients.by_address is not None:
        yield groups_line("by address", clients.by_address, width)


def groups_line(label: str, groups: Groups, width: int = WIDTH) -> str:
    """Return `by application: billing 210, web 98, (no name) 4, 3 more 7`: as many groups as fit."""
    shown = len(groups.top)
    while True:
        parts = [f"{_name(group.name)} {count(group.clients)}" for group in groups.top[:shown]]
        more = groups.more + len(groups.top) - shown
        if more:
            clients = groups.more_clients + sum(group.clients for group in groups.top[shown:])
            parts.append(f"{count(more)} more {count(clients)}")
        line = f"{label}: {', '.join(parts)}"
        if len(line) <= width or shown <= 1:
            return line
        shown -= 1


def _held(radius: Radius) -> Iterator[str]:
    if radius.held is None:
        return
    if not radius.held:
        yield "servers held by a client: none"
        return
    yield f"servers held by a client: {count(len(radius.held))}, the oldest request {radius.oldest_request}"
    if radius.changed_hands:
        yield f"  {count(radius.changed_hands)} of them changed hands while they were read"


def _longest(radius: Radius) -> Iterator[str]:
    longest = radius.longest
    if longest is None:
        if radius.held and not radius.without_backend:
            yield "longest transaction: none is open"
        return
    backend = longest.backend
    assert backend is not None, "only a backend has a transaction"
    known = "longest transaction known" if radius.without_backend else "longest transaction"
    state = plain(backend.state or "state n/a")
    lasted = f" for {duration_s(backend.state_age_s)}" if longest.idle_in_transaction else ""
    yield f"{known}: {duration_s(longest.xact_age_s)}, {state}{lasted}"
    yield f"  {who(longest)}{' or who held it just before' if longest.agrees is False else ''}"
    query = f", its query began {duration_s(backend.query_age_s)} ago" if backend.query_age_s else ""
    yield f"  pid {backend.pid} on {backend.node} as {plain(backend.user or 'n/a')}{query}"
    if backend.wait_event_type == "Lock":
        yield f"  waits for a lock ({backend.wait_event}){_blockers(backend.blocked_by)}"


def _blockers(blockers: tuple[Blocker, ...] | None) -> str:
    if blockers is None:
        return ", of whom is not known"
    if not blockers:
        return ""
    more = len(blockers) - NAMES_SHOWN
    names = ", ".join(_blocker(one) for one in blockers[:NAMES_SHOWN])
    return f" of {names}" + (f" and {more} more" if more > 0 else "")


def _blocker(blocker: Blocker) -> str:
    if blocker.pid == 0:
        return "a prepared transaction"
    state = f", {plain(blocker.state)}" if blocker.state else ""
    age = f", {duration_s(blocker.xact_age_s)}" if blocker.xact_age_s is not None else ""
    return f"pid {blocker.pid} ({_name(blocker.application_name)}{state}{age})"


def _gaps(radius: Radius) -> Iterator[str]:
    subject = "transactions" if radius.longest is None else "other transactions"
    for gap in radius.gaps:
        yield f"{subject} not known: {f'{gap.node}: ' if gap.node else ''}{gap.why}"


def _consoles(radius: Radius) -> Iterator[str]:
    if not radius.consoles:
        return
    included = "" if radius.own_console_known else ", this session included"
    yield f"at the admin console besides: {count(len(radius.consoles))}{included}"
    for console in radius.consoles[:NAMES_SHOWN]:
        right = {True: "admin", False: "may only look", None: "right not known"}[console.admin]
        yield f"  {who_at_console(console)} ({right})"
    if len(radius.consoles) > NAMES_SHOWN:
        yield f"  and {count(len(radius.consoles) - NAMES_SHOWN)} more"


def _name(name: str | None) -> str:
    return plain(name) if name else _NO_NAME
