"""Puts together what a pooler and its Postgres nodes said: groups of clients, who holds which server. Pure.

A backend is found by its pid **and** the pooler's own port of that connection: a pid alone may belong to
another node's backend, and behind a second pooler it is a random number (pgbouncer-admin.md, 1).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from console.model.derive import ADMIN_DATABASE
from console.model.rows import Client, Pool, Server
from console.model.table import ResultTable
from console.operations.observe import Observation
from console.operations.radius_values import Clients, Console, Group, Groups, Held, HoldingClient, by_age
from console.operations.target import Target
from console.postgres.activity import Backend, BackendGap

GROUPS_KEPT = 10
UNIX = "unix"
_UNIX_PORT = -1
"""pg_stat_activity.client_port of a backend whose client came over a Unix socket."""
_ADDED_HOST = re.compile(r" - \S+:\d+\Z")
"""What `application_name_add_host` appends: every client would be a group of its own."""
HIDDEN = "its role may not see other users' sessions; grant it pg_read_all_stats or pg_monitor"


@dataclass(frozen=True, slots=True)
class Answers:
    """What the pooler said. None: not asked, or not answered, and `unread` says why."""

    lists: Mapping[str, int] | None
    clients: tuple[Client, ...] | None
    """Consoles included."""
    servers: tuple[Server, ...] | None
    own_ptr: str | None
    """`ptr` of the session that asked; None: it could not be told from others."""
    unread: tuple[str, ...]


def own_console(sockets: ResultTable) -> str | None:
    """Return the `ptr` of the session that asked SHOW ACTIVE_SOCKETS; None when it cannot be told.

    PgBouncer does one thing at a time, and builds the answer while the question is still in its buffer: the
    console with unread bytes is the one that asked. Seen on 1.18, 1.24 and 1.26, over TCP and Unix sockets,
    beside busy consoles and one with a pending PAUSE.
    """
    names = sockets.names
    if not {"database", "ptr", "pkt_avail"} <= set(names):
        return None
    database, ptr, unread = (names.index(name) for name in ("database", "ptr", "pkt_avail"))
    asking = [row[ptr] for row in sockets.rows if row[database] == ADMIN_DATABASE and row[unread] != "0"]
    return asking[0] if len(asking) == 1 else None


def clients_of(answers: Answers, observation: Observation, target: Target, *, named: bool) -> Clients:
    """Return the clients of `target`.

    Args:
        answers: of its pooler.
        observation: of its pooler; its pools are counted when SHOW CLIENTS is missing.
        target: on that pooler.
        named: this version knows application names.
    """
    holding = None if answers.servers is None else len(_linked(answers.servers, target))
    if answers.clients is None:
        return _clients_by_pool(observation.pools_of(target), holding)
    rows = [client for client in answers.clients if _hits(client, target)]
    waits = [client.wait_us or 0 for client in rows if client.state == "waiting"]
    names = [client.application_name for client in _named(rows, observation)]
    return Clients(
        total=len(rows),
        holding=sum(bool(client.link) for client in rows),
        waiting=len(waits),
        longest_wait_us=max(waits, default=0),
        by_database=groups(Counter(client.database for client in rows)),
        by_user=groups(Counter(client.user for client in rows)),
        by_application=groups(Counter(name or "" for name in names)) if named else None,
        by_address=groups(Counter(client.addr for client in rows)),
    )


def _clients_by_pool(pools: Sequence[Pool], holding: int | None) -> Clients:
    databases: Counter[str] = Counter()
    users: Counter[str] = Counter()
    for pool in pools:
        cancelling = (pool.cl_active_cancel_req or 0) + (pool.cl_waiting_cancel_req or 0)
        count = pool.cl_active + pool.cl_waiting + cancelling
        databases[pool.database] += count
        users[pool.user] += count
    return Clients(
        total=databases.total(),
        holding=holding,
        waiting=sum(pool.cl_waiting for pool in pools),
        longest_wait_us=max((pool.maxwait_us for pool in pools), default=0),
        by_database=groups(databases),
        by_user=groups(users),
        by_application=None,
        by_address=None,
        counted_by_pool=True,
    )


def groups(counts: Mapping[str, int], keep: int = GROUPS_KEPT) -> Groups:
    """Return counts as groups: the largest `keep`, equal ones by name, the rest summed."""
    ordered = sorted(
        (Group(name, count) for name, count in counts.items() if count),
        key=lambda group: (-group.clients, group.name),
    )
    rest = ordered[keep:]
    return Groups(tuple(ordered[:keep]), len(rest), sum(group.clients for group in rest))


def held_of(answers: Answers, observation: Observation, target: Target) -> tuple[Held, ...] | None:
    """Return the server connections of `target` that a client holds, without backends; None: not asked."""
    if answers.servers is None:
        return None
    clients = None
    if answers.clients is not None:
        clients = {client.ptr: client for client in _named(answers.clients, observation)}
    return by_age(_held(server, clients) for server in _linked(answers.servers, target))


def _held(server: Server, clients: Mapping[str, Client] | None) -> Held:
    client = None if clients is None else clients.get(server.link)
    return Held(
        database=server.database,
        user=server.user,
        server=_with_port(server.addr, server.port),
        pooler_port=None if server.local_addr == UNIX else server.local_port or 0,
        pid=server.remote_pid or None,
        request_time=server.request_time,
        client=None
        if client is None
        else HoldingClient(client.user, client.application_name, address_of(client.addr, client.port)),
        agrees=None if clients is None else client is not None and client.link == server.ptr,
        replication=server.replication not in (None, "", "none"),
    )


def join_backends(
    held: Iterable[Held], found: Sequence[Backend | BackendGap], observation: Observation
) -> tuple[tuple[Held, ...], tuple[BackendGap, ...]]:
    """Give each server connection its backend, and say why where that cannot be done."""
    gaps = [gap for gap in found if isinstance(gap, BackendGap)]
    by_pid: dict[int, list[Backend]] = {}
    for backend in found:
        if isinstance(backend, Backend):
            by_pid.setdefault(backend.pid, []).append(backend)
    joined = []
    lost = 0
    hiding: set[str] = set()
    for one in held:
        with_pid = by_pid.get(one.pid, []) if one.pid is not None else []
        same = [backend for backend in with_pid if is_same(one, backend, observation)]
        hidden = {backend.node for backend in with_pid if backend.hidden}
        if len(same) == 1:
            joined.append(replace(one, backend=same[0]))
            continue
        joined.append(one)
        hiding |= hidden
        lost += not hidden
    gaps += [BackendGap(node, HIDDEN) for node in sorted(hiding)]
    if lost and (by_pid or not gaps):
        gaps.append(BackendGap("", _lost(lost, len(joined))))
    return by_age(joined), tuple(gaps)


def is_same(held: Held, backend: Backend, observation: Observation) -> bool:
    """Say whether a backend is the other end of a server connection.

    A Unix socket has no port of its own: there database and user must be the same instead.
    """
    if backend.pid != held.pid or backend.hidden:
        return False
    if held.pooler_port is not None:
        return backend.client_port == held.pooler_port
    entry = observation.database(held.database)
    return (
        backend.client_port == _UNIX_PORT
        and backend.user == held.user
        and entry is not None
        and backend.database == entry.database
    )


def _lost(lost: int, total: int) -> str:
    return (
        f"{lost} of {total} held server connections match no backend: the next hop is another pooler, its "
        "node is not in the inventory, addresses are translated on the way, or it has just ended"
    )


def consoles_of(answers: Answers, observation: Observation) -> tuple[Console, ...] | None:
    """Return who else is at the admin console, longest connected first; None: not asked."""
    if answers.clients is None:
        return None
    setting = observation.config.get("admin_users")
    admins = None if setting is None else {name.strip() for name in (setting.value or "").split(",")}
    others = [
        client
        for client in _named(answers.clients, observation)
        if client.database == ADMIN_DATABASE and client.ptr != answers.own_ptr
    ]
    return tuple(
        Console(
            user=client.user,
            application_name=client.application_name,
            address=address_of(client.addr, client.port),
            connect_time=client.connect_time,
            # The user `pgbouncer` on a Unix socket is the pooler's own account: always an admin.
            admin=None if admins is None else client.user in admins | {ADMIN_DATABASE},
        )
        for client in sorted(others, key=lambda client: client.connect_time)
    )


def address_of(address: str, port: int | None) -> str:
    """Return an address for people; the port of a Unix socket is the pooler's own and tells nothing."""
    return address if address == UNIX else _with_port(address, port)


def _with_port(address: str, port: int | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _named(clients: Iterable[Client], observation: Observation) -> Iterable[Client]:
    """Yield clients with the application names they gave."""
    setting = observation.config.get("application_name_add_host")
    if setting is None or setting.value != "1":
        return clients
    return (
        client
        if client.application_name is None
        else replace(client, application_name=_ADDED_HOST.sub("", client.application_name))
        for client in clients
    )


def _linked(servers: Iterable[Server], target: Target) -> list[Server]:
    return [server for server in servers if server.link and _hits(server, target)]


def _hits(row: Client | Server, target: Target) -> bool:
    if target.database is None:
        return row.database != ADMIN_DATABASE
    return row.database == target.database
