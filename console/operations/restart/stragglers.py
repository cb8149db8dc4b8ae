"""Who has not left a pooler that shuts down: by application and address, with their age. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from console.model.derive import ADMIN_DATABASE
from console.model.rows import Client
from console.operations.radius_join import address_of
from console.view import numbers

SHOWN = 20
_FORMAT = "%Y-%m-%d %H:%M:%S"
_LENGTH = 19


def of_applications(clients: Iterable[Client]) -> tuple[Client, ...]:
    """Return the clients that are no admin consoles, oldest first."""
    found = [client for client in clients if client.database != ADMIN_DATABASE]
    return tuple(sorted(found, key=lambda client: client.connect_time))


def now_of(clients: Iterable[Client]) -> datetime | None:
    """Return the pooler's own time, in its own zone: of its latest request, which is our question.

    None: no row has a time.
    """
    times = [
        at for client in clients for at in (_time(client.request_time), _time(client.connect_time)) if at
    ]
    return max(times, default=None)


def straggler_lines(clients: Sequence[Client], now: datetime | None) -> tuple[str, ...]:
    """Return a line for each: who, since when, and what it does."""
    lines = [_line(client, now) for client in clients[:SHOWN]]
    if len(clients) > SHOWN:
        lines.append(f"and {len(clients) - SHOWN} more")
    return tuple(lines)


def _line(client: Client, now: datetime | None) -> str:
    who = f"{client.application_name or '(no name)'} {client.user}@{address_of(client.addr, client.port)}"
    does = (
        "idle" if client.idle else "waiting" if client.state == "waiting" else "in a transaction or session"
    )
    return (
        f"{who} on {client.database}: connected {_age(client.connect_time, now)}, {does}, last request "
        f"{_age(client.request_time, now)} ago"
    )


def _age(text: str, now: datetime | None) -> str:
    at = _time(text)
    if at is None or now is None:
        return "n/a"
    seconds = (now - at).total_seconds()
    return numbers.duration_s(seconds) if seconds >= 1 else "less than 1 s"


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text[:_LENGTH], _FORMAT)  # noqa: DTZ007 - compared with its like only
    except ValueError:
        return None
