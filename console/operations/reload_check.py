"""What a RELOAD would change, and whether it did: settings, databases and peers, expected and observed.

Pure. Values that may be secrets are never in a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from console.config.pgbouncer_expect import Expected, PeerLine
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Database, Setting
from console.model.table import ResultTable
from console.model.version import Version
from console.operations.observe import SECRET_SETTINGS, Observation, definition
from console.operations.step import plural

_COMPARED = (
    *("host", "port", "database", "force_user", "pool_size", "min_pool_size", "reserve_pool_size"),
    *("server_lifetime_s", "pool_mode", "load_balance_hosts", "max_connections", "max_client_connections"),
)
"""Columns of SHOW DATABASES that come from the file."""
_RECYCLING = ("host", "port", "database", "force_user", "load_balance_hosts")
"""A change of one replaces the server connections (pgbouncer-admin.md, 7); so do `connect_query`,
`auth_dbname` and `auth_query`, which SHOW DATABASES does not show."""
_NUMBERS = frozenset(
    {
        *("port", "pool_size", "min_pool_size", "reserve_pool_size", "server_lifetime_s"),
        *("max_connections", "max_client_connections"),
    }
)
_KILLS_FORCED = Version(1, 26)
"""From 1.26 on, clients of a database whose forced user changes die at their next query (fact 11)."""
_SURPRISES: Mapping[str, str] = {
    "stats_period": "stats_period: its timer is set at the start, so averages keep the old one (trap T25)",
    "peer_id": "peer_id: cancel requests that are on their way to this process are lost (trap T25)",
    "max_client_conn": "max_client_conn: the process's limit of open files does not grow with it (trap T25)",
}


@dataclass(frozen=True, slots=True)
class Removed:
    """A database that the files no longer list."""

    name: str
    clients: int
    """Of its pools, as last seen: they are cut with `database removed`."""
    automatic: bool
    """It looks as the line `*` would make it: if it is such a one, it stays."""


@dataclass(frozen=True, slots=True)
class ExpectedReload:
    """What a RELOAD would change."""

    expected: Expected
    changes: tuple[str, ...]
    """Settings and databases, running → file."""
    undone: tuple[str, ...]
    """Of `changes`, those that somebody SET: the file has not changed there since the last good RELOAD."""
    restart: tuple[str, ...]
    """Settings that differ and that only a restart takes."""
    removed: tuple[Removed, ...]
    warnings: tuple[str, ...]
    doomed_clients: int
    """Clients that lose their connection for certain."""


def expected_reload(
    seen: Observation,
    expected: Expected,
    *,
    last_good: Expected | None = None,
    peers: Mapping[int, PeerLine] | None = None,
) -> ExpectedReload:
    """Return what a RELOAD would change.

    Args:
        seen: the pooler as it runs.
        expected: what its files would make of it.
        last_good: what the copies of the last good RELOAD would; None: there are none.
        peers: SHOW PEERS; None: not known, or not of this version.
    """
    settings = {
        key: setting_line(key, seen.config.get(key), value, seen.config)
        for key, value in sorted(expected.settings.items())
        if value != _value(seen.config.get(key))
    }
    undone = {
        key
        for key in settings
        if last_good is not None and last_good.settings.get(key) == expected.settings[key]
    }
    databases = _Databases(seen, expected)
    restart = tuple(
        f"{key}: {_value(seen.config.get(key)) or 'empty'} → {value or 'empty'}"
        for key, value in sorted(expected.at_start.items())
        if value != _value(seen.config.get(key))
    )
    lines = [line for key, line in settings.items() if key not in undone]
    lines += [*databases.lines(), *_peer_lines(peers, expected.peers)]
    warnings = [_SURPRISES[key] for key in settings if key in _SURPRISES]
    warnings += [
        f"{key} is not in the file and has no default: it stays {_value(seen.config[key])} until a restart"
        for key in sorted(expected.kept)
    ]
    return ExpectedReload(
        expected=expected,
        changes=tuple(lines),
        undone=tuple(settings[key] for key in sorted(undone)),
        restart=restart,
        removed=databases.removed,
        warnings=(*warnings, *databases.warnings()),
        doomed_clients=databases.doomed_clients,
    )


class _Databases:
    """SHOW DATABASES against the file's `[databases]`."""

    def __init__(self, seen: Observation, expected: Expected) -> None:
        self._seen = seen
        self._expected = expected
        self._running = {one.name: one for one in seen.databases if one.name != ADMIN_DATABASE}
        # Counted once: a bouncer may have ten thousand pools.
        self._users: Counter[str] = Counter()
        self._clients: Counter[str] = Counter()
        self._servers: Counter[str] = Counter()
        for pool in seen.pools:
            cancelling = (pool.cl_active_cancel_req or 0) + (pool.cl_waiting_cancel_req or 0)
            self._users[pool.database] += 1
            self._clients[pool.database] += pool.cl_active + pool.cl_waiting + cancelling
            self._servers[pool.database] += pool.servers
        self.removed = tuple(self._gone())
        self._changed = [
            (self._running[name], _with_kept_user(self._running[name], new))
            for name, new in sorted(expected.databases.items())
            if name in self._running
        ]

    def lines(self) -> Iterator[str]:
        for gone in self.removed:
            if gone.automatic:
                yield f"database {gone.name}: not listed; an automatic one (*) stays as it is"
            else:
                yield f"database {gone.name}: removed, {_cut(gone.clients)}"
        for name in sorted(self._expected.databases.keys() - self._running.keys()):
            yield f"database {name}: added, {definition(self._expected.databases[name])}"
        for old, new in self._changed:
            found = database_differences(old, new)
            if found:
                yield f"database {old.name}: {'; '.join(found)}{self._recycled(old, new)}"

    def warnings(self) -> Iterator[str]:
        for gone in self.removed:
            if gone.automatic and gone.clients:
                yield (
                    f"database {gone.name} is not listed: if it was until now, {_cut(gone.clients)}; "
                    "an automatic one (*) stays"
                )
        for old, new in self._changed:
            listed = self._expected.databases[old.name]
            if old.force_user and not listed.force_user:
                yield (
                    f"database {old.name}: its user left the file, but stays {old.force_user} until a restart"
                )
            if self._kills(old, new):
                yield (
                    f"database {old.name}: its forced user changes; on {self._seen.version} who is connected "
                    f"dies at the next query: {plural(self._clients[old.name], 'client')}"
                )
        before, after = self._ceiling(self._running), self._ceiling(self._expected.databases)
        if before is not None and after is not None and after > before:
            yield (
                f"its pools may hold {after} server connections afterwards, {before} now, and so may each "
                "peer's: is there room in max_connections of Postgres? (trap T20)"
            )

    @property
    def doomed_clients(self) -> int:
        cut = sum(gone.clients for gone in self.removed if not gone.automatic)
        return cut + sum(self._clients[old.name] for old, new in self._changed if self._kills(old, new))

    def _gone(self) -> Iterator[Removed]:
        for name in sorted(self._running.keys() - self._expected.databases.keys()):
            like = self._expected.auto_database(name)
            automatic = like is not None and not database_differences(self._running[name], like)
            yield Removed(name, self._clients[name], automatic)

    def _kills(self, old: Database, new: Database) -> bool:
        changes = (old.force_user or None) != (new.force_user or None)
        return changes and self._seen.version >= _KILLS_FORCED and self._clients[old.name] > 0

    def _recycled(self, old: Database, new: Database) -> str:
        if not any(_differ(old, new, column) for column in _RECYCLING):
            return ""
        return f"; {plural(self._servers[old.name], 'server connection')} to be replaced when released"

    def _ceiling(self, databases: Mapping[str, Database]) -> int | None:
        """Return how many servers the pools that exist now may hold; None when that has no end."""
        total = 0
        for name, users in self._users.items():
            database = databases.get(name) or self._running.get(name)
            if database is None or database.pool_size is None:
                return None
            most = users * (database.pool_size + (database.reserve_pool_size or 0))
            total += min(most, database.max_connections) if database.max_connections else most
        return total


# -- afterwards -------------------------------------------------------------------------------------


def mismatches(
    expected: Expected,
    before: Observation,
    after: Observation,
    peers: Mapping[int, PeerLine] | None = None,
) -> tuple[str, ...]:
    """Say what is not as the files say after a RELOAD (trap T9); () when all is."""
    lines = [
        f"{key}: {_hidden(key, _value(after.config.get(key)))}, the file says {_hidden(key, value)}"
        for key, value in sorted(expected.settings.items())
        if value != _value(after.config.get(key))
    ]
    was = {database.name: database for database in before.databases}
    now = {database.name: database for database in after.databases}
    for name, new in sorted(expected.databases.items()):
        if name not in now:
            lines.append(f"database {name}: it is in the file and not in SHOW DATABASES")
            continue
        wanted = _with_kept_user(was[name], new) if name in was else new
        lines += [f"database {name}: {text}" for text in database_differences(now[name], wanted)]
    if expected.catch_all is None:
        lines += [
            f"database {name}: it is not in the file and still in SHOW DATABASES"
            for name in sorted(now.keys() - expected.databases.keys() - {ADMIN_DATABASE})
        ]
    return (*lines, *_peer_lines(peers, expected.peers))


def database_differences(old: Database, new: Database) -> tuple[str, ...]:
    """Return how two rows differ in what a file can say, e.g. `pool_size 20 → 10`."""
    return tuple(
        f"{column.removesuffix('_s')} {_word(getattr(old, column))} → {_word(getattr(new, column))}"
        for column in _COMPARED
        if _differ(old, new, column)
    )


def read_peers(table: ResultTable) -> dict[int, PeerLine]:
    """Read SHOW PEERS; rows that cannot be read are left out."""
    found = {}
    for cells in table.rows:
        row = dict(zip(table.names, cells, strict=True))
        try:
            found[int(row["peer_id"] or "")] = PeerLine(
                row["host"] or "", int(row["port"] or ""), int(row["pool_size"] or "")
            )
        except (KeyError, ValueError):
            continue
    return found


def setting_line(key: str, old: Setting | None, new: str | None, among: Mapping[str, Setting]) -> str:
    """Return one change of a setting as a line; `new` None: the setting is gone."""
    if key in SECRET_SETTINGS:
        return f"{key}: changed (not shown)"
    before = "absent" if old is None else old.value or "empty"
    known = among.get(key)
    note = " (its default)" if known is not None and new is not None and new == (known.default or "") else ""
    return f"{key}: {before} → {'absent' if new is None else new or 'empty'}{note}"


def _peer_lines(now: Mapping[int, PeerLine] | None, wanted: Mapping[int, PeerLine]) -> Iterator[str]:
    if now is None:
        return
    for number in sorted(now.keys() | wanted.keys()):
        old, new = now.get(number), wanted.get(number)
        if new is not None and new.pool_size is None and old is not None:
            new = PeerLine(new.host, new.port, old.pool_size)
        if old != new:
            yield f"peer {number}: {_peer(old)} → {_peer(new)}"


def _peer(peer: PeerLine | None) -> str:
    if peer is None:
        return "none"
    return f"{peer.host}:{peer.port}" + (f" pool_size={peer.pool_size}" if peer.pool_size is not None else "")


def _with_kept_user(old: Database, new: Database) -> Database:
    """`losing forced user not supported`: a RELOAD cannot take it away."""
    if new.force_user or not old.force_user:
        return new
    return replace(new, force_user=old.force_user)


def _differ(old: Database, new: Database, column: str) -> bool:
    before, after = getattr(old, column), getattr(new, column)
    if column in _NUMBERS:
        return before is not None and after is not None and before != after
    return (before or None) != (after or None)


def _cut(clients: int) -> str:
    return f"{plural(clients, 'client')} to be cut" if clients else "no client uses it"


def _word(value: object) -> str:
    return "none" if value in (None, "") else str(value)


def _value(setting: Setting | None) -> str:
    return (setting.value or "") if setting is not None else ""


def _hidden(key: str, value: str) -> str:
    return "not shown" if key in SECRET_SETTINGS else value or "empty"
