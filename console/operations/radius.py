"""What an operation would hit, read within a deadline and at a bounded cost to the pooler.

It only asks. SHOW CLIENTS holds up every client of a pooler while the answer is built, so it is asked once
for all targets of a pooler, and never above `CLIENTS_LIMIT` clients. Nothing here fails a plan: what could
not be read is told in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from console.errors import AdminError, NodeError, Phase, PooldeckError
from console.model.rows import Client
from console.model.table import ResultTable
from console.operations.observe import Observation
from console.operations.radius_join import (
    Answers,
    clients_of,
    consoles_of,
    held_of,
    join_backends,
    own_console,
)
from console.operations.radius_text import radius_lines
from console.operations.radius_values import Clients, Console, Group, Groups, Held, HoldingClient, Radius
from console.operations.radius_warnings import operators
from console.operations.sessions import ReadSession
from console.operations.target import Target
from console.poolers.base import Dialect
from console.poolers.results import parse_in_slices
from console.postgres.activity import Backend, BackendGap

CLIENTS_LIMIT = 5_000
"""Clients of one pooler above which SHOW CLIENTS would be felt by all of them (about 7 ms at this many)."""
_NAMES_COLUMN = "clients.application_name"
T = TypeVar("T")
R = TypeVar("R")


class BackendSource(Protocol):
    """Finds backends on the inventory's Postgres nodes; `console.postgres.activity` has the real one."""

    async def backends(self, pids: Collection[int]) -> tuple[Backend | BackendGap, ...]:
        """Return what has one of `pids` on any node, and a gap for each node that could not be read."""
        ...


async def read_radius(
    session: ReadSession,
    dialect: Dialect,
    observation: Observation,
    target: Target,
    *,
    backends: BackendSource | None,
    timeout_s: float,
) -> Radius:
    """Return what an operation on `target` would hit; see `read_radii`."""
    asked = await read_radii(session, dialect, observation, [target], backends=backends, timeout_s=timeout_s)
    return asked[0]


async def read_radii(
    session: ReadSession,
    dialect: Dialect,
    observation: Observation,
    targets: Sequence[Target],
    *,
    backends: BackendSource | None,
    timeout_s: float,
) -> tuple[Radius, ...]:
    """Return what operations on `targets`, all on one pooler, would hit; the pooler is asked once.

    Raises nothing of its own: what did not answer is in `Radius.unread` and `Radius.gaps`. A session that
    missed the deadline is closed, as by any missed answer.

    Args:
        session: on the pooler's console; it is not counted among the others there.
        dialect: of its kind.
        observation: of the pooler, read just before.
        targets: the pooler or databases of it.
        backends: where Postgres backends are looked up; None: they are not, and the result says so.
        timeout_s: for all of it.
    """
    end_s = asyncio.get_running_loop().time() + timeout_s
    answers = await _ask(_Questions(session, end_s), dialect)
    held = [held_of(answers, observation, target) for target in targets]
    pids = {one.pid for some in held for one in some or () if one.pid is not None}
    found = await _backends(backends, pids, end_s)
    named = _NAMES_COLUMN not in dialect.missing_columns(observation.version)
    consoles = consoles_of(answers, observation)
    radii = []
    for target, some in zip(targets, held, strict=True):
        joined, gaps = (None, ()) if some is None else join_backends(some, found, observation)
        radius = Radius(
            bouncer=target.bouncer,
            database=target.database,
            clients=clients_of(answers, observation, target, named=named),
            logging_in=None if answers.lists is None else answers.lists.get("login_clients"),
            held=joined,
            gaps=gaps if joined else (),
            consoles=consoles,
            own_console_known=answers.own_ptr is not None,
            unread=answers.unread,
        )
        radii.append(replace(radius, warnings=operators(radius)))
    return tuple(radii)


class _Questions:
    """Asks one session within one deadline, and remembers what stayed without an answer."""

    def __init__(self, session: ReadSession, end_s: float) -> None:
        self._session = session
        self._end_s = end_s
        self._over: str | None = None
        self.unread: list[str] = []

    async def ask(self, what: str, parse: Callable[[ResultTable], Awaitable[R]]) -> R | None:
        """Return the parsed answer to `SHOW what`; None when there is none."""
        left_s = self._end_s - asyncio.get_running_loop().time()
        if self._over is None and left_s <= 0:
            self._over = "no time was left"
        if self._over is not None:
            self.unread.append(f"SHOW {what}: not asked, {self._over}")
            return None
        try:
            return await parse(await self._session.show(what, timeout_s=left_s))
        except (AdminError, NodeError) as error:
            self.unread.append(f"SHOW {what}: {error.message}")
            if isinstance(error, NodeError) and error.phase is not Phase.PARSE:
                self._over = "the session was lost"
            return None


async def _ask(questions: _Questions, dialect: Dialect) -> Answers:
    """Ask one pooler, CLIENTS and SERVERS one right after the other so that their links agree."""
    lists = await questions.ask("LISTS", _at_once(dialect.parse_lists))
    own_ptr = None
    clients: tuple[Client, ...] | None = None
    servers = None
    if _few("CLIENTS", "used_clients", lists, questions):
        own_ptr = await questions.ask("ACTIVE_SOCKETS", _at_once(own_console))
        clients = await questions.ask("CLIENTS", lambda table: parse_in_slices(dialect.parse_clients, table))
    if _few("SERVERS", "used_servers", lists, questions):
        servers = await questions.ask("SERVERS", lambda table: parse_in_slices(dialect.parse_servers, table))
    return Answers(lists, clients, servers, own_ptr, tuple(questions.unread))


def _few(what: str, key: str, lists: Mapping[str, int] | None, questions: _Questions) -> bool:
    """Say whether a list is short enough to be asked for."""
    count = None if lists is None else lists.get(key)
    if count is None:
        questions.unread.append(f"SHOW {what}: not asked, its length is not known")
        return False
    if count > CLIENTS_LIMIT:
        noun = "clients" if what == "CLIENTS" else "servers"
        questions.unread.append(
            f"SHOW {what}: not asked, {count:,} {noun} are connected and above {CLIENTS_LIMIT:,} the list "
            "would hold up all of them"
        )
        return False
    return True


def _at_once(parse: Callable[[ResultTable], T]) -> Callable[[ResultTable], Awaitable[T]]:
    async def parsed(table: ResultTable) -> T:
        return parse(table)

    return parsed


async def _backends(
    source: BackendSource | None, pids: Collection[int], end_s: float
) -> tuple[Backend | BackendGap, ...]:
    if not pids:
        return ()
    if source is None:
        return (BackendGap("", "no Postgres node can be asked from here"),)
    try:
        async with asyncio.timeout_at(end_s):
            return await source.backends(pids)
    except TimeoutError:
        return (BackendGap("", "no time was left to ask the Postgres nodes"),)
    except PooldeckError as error:
        return (BackendGap("", str(error)),)


__all__ = [
    "CLIENTS_LIMIT",
    "BackendSource",
    "Clients",
    "Console",
    "Group",
    "Groups",
    "Held",
    "HoldingClient",
    "Radius",
    "radius_lines",
    "read_radii",
    "read_radius",
]
