"""The PgBouncer dialect, 1.16 to 1.26: answers → typed rows, names → statements. Pure: no IO.

Sources: pgbouncer.org/usage.html "Admin console", PgBouncer's source at each release, and our own runs
(reference `pgbouncer-admin.md`, sections 1, 2, 5, 6; T numbers are its traps).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from console.errors import NodeError, Phase
from console.model.rows import Client, Database, PauseState, Pool, Server, Setting, Stats, User
from console.model.table import ResultTable
from console.model.version import Version
from console.poolers import columns
from console.poolers.base import Capability, ShutdownMode
from console.poolers.tabular import TableReader

HIDDEN: Final = "(hidden)"
"""Shown instead of a setting's value that may hold a secret."""
MAX_NAME_BYTES: Final = 63
"""The console's own limit for a database name; a longer one is `bad arguments`."""
MAX_LITERAL_BYTES: Final = 255
"""The console's own limit for a quoted value, its quotes counted; a longer one is `bad arguments`."""
_SETTING: Final = re.compile(r"[a-z0-9_]{1,63}")
_CLIENT_ID: Final = re.compile(r"\d{1,20}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What one line of text does not hold; surrogates stand for bytes that were no text."""
_SECRET_KEY: Final = re.compile(r"ldap|passw|secret|token|credential")
_SINCE: Final[Mapping[Capability, str]] = MappingProxyType(
    {
        Capability.SHOW_STATE: "1.19",
        Capability.PEERS: "1.19",
        Capability.SHUTDOWN_MODES: "1.23",
        Capability.KILL_CLIENT: "1.24",
        Capability.DEFAULT_POOL_SIZE_UNLIMITED: "1.24",
        Capability.RELOAD_REPORTS_FAILURE: "1.25",
        Capability.CONSOLE_DURING_SHUTDOWN: "1.25",
    }
)
_STATE_ROWS: Final = {"yes": True, "no": False}
_USERS_LEAK_FROM: Final = Version(1, 23)
_USERS_LEAK_UNTIL: Final = Version(1, 26)


class PgBouncerDialect:
    """See `console.poolers.base.Dialect`. Holds only caches: one instance serves a whole fleet."""

    kind = "pgbouncer"

    def __init__(self) -> None:
        self._pools: TableReader[Pool] = TableReader(columns.POOLS)
        self._databases: TableReader[Database] = TableReader(columns.DATABASES)
        self._stats: TableReader[Stats] = TableReader(columns.STATS)
        self._users: TableReader[User] = TableReader(columns.USERS)
        self._clients: TableReader[Client] = TableReader(columns.CLIENTS)
        self._servers: TableReader[Server] = TableReader(columns.SERVERS)
        self._missing: dict[Version, Mapping[str, str]] = {}

    def parse_version(self, table: ResultTable) -> Version:
        """Read SHOW VERSION: one row since 1.12 (a NOTICE and no row before)."""
        text = next((cell for (cell,) in _cells("VERSION", table, "version")), None)
        version = Version.parse(text or "")
        if version is None:
            raise NodeError(Phase.PARSE, f'SHOW VERSION, column "version": {text!r} holds no version number')
        return version

    def parse_state(self, table: ResultTable) -> PauseState:
        """Read SHOW STATE (1.19+). `suspended` is None from 1.26, where SUSPEND is gone."""
        rows = {
            key: _STATE_ROWS.get((value or "").lower())
            for key, value in _cells("STATE", table, "key", "value")
        }
        paused = rows.get("paused")
        if paused is None:
            raise NodeError(Phase.PARSE, 'SHOW STATE has no row "paused" that says yes or no')
        return PauseState(paused=paused, suspended=rows.get("suspended"))

    def parse_pools(self, table: ResultTable) -> tuple[Pool, ...]:
        """Read SHOW POOLS, the admin console's own pool included."""
        return self._pools.rows(table)

    def parse_databases(self, table: ResultTable) -> tuple[Database, ...]:
        """Read SHOW DATABASES, `pgbouncer` itself included."""
        return self._databases.rows(table)

    def parse_lists(self, table: ResultTable) -> Mapping[str, int]:
        """Read SHOW LISTS: counts by their names (`used_clients`, `login_clients` …)."""
        try:
            return {key or "": int(value or "") for key, value in _cells("LISTS", table, "list", "items")}
        except ValueError as odd:
            raise NodeError(Phase.PARSE, f'SHOW LISTS, column "items": {odd}') from None

    def parse_stats(self, table: ResultTable) -> tuple[Stats, ...]:
        """Read SHOW STATS; the `avg_*` columns stay in `extra`."""
        return self._stats.rows(table)

    def parse_users(self, table: ResultTable, version: Version | None = None) -> tuple[User, ...]:
        """Read SHOW USERS.

        1.23–1.25.2 print the previous row's `pool_size` and `reserve_pool_size` for a user that has none
        (issue #1489): there, a value equal to the row before may be the user's own or not. Such a value
        is unknown, so it is None, and what was printed stays in `extra`. `version` None is treated so too.
        """
        users = self._users.rows(table)
        if version is not None and not _USERS_LEAK_FROM <= version < _USERS_LEAK_UNTIL:
            return users
        return tuple(_without_leaks(users))

    def parse_config(self, table: ResultTable) -> Mapping[str, Setting]:
        """Read SHOW CONFIG by key; a value that may hold a secret is `HIDDEN`.

        PgBouncer shows `auth_ldap_options` (1.25+), which may hold a bind password, to stats users.
        """
        settings: dict[str, Setting] = {}
        wanted = ("key", "value", "changeable")
        with_default = "default" in table.names
        for cells in _cells("CONFIG", table, *wanted, *(("default",) if with_default else ())):
            key = cells[0] or ""
            settings[key] = Setting(
                key=key,
                value=_masked(key, cells[1]),
                default=_masked(key, cells[3]) if with_default else None,
                changeable=_STATE_ROWS.get(cells[2] or ""),
            )
        return settings

    def parse_servers(self, table: ResultTable) -> tuple[Server, ...]:
        """Read SHOW SERVERS."""
        return self._servers.rows(table)

    def parse_clients(self, table: ResultTable) -> tuple[Client, ...]:
        """Read SHOW CLIENTS; use `results.parse_in_slices` where there may be thousands."""
        return self._clients.rows(table)

    def has(self, version: Version, capability: Capability) -> bool:
        """Say whether `version` has `capability`."""
        return version >= _version(_SINCE[capability])

    def since(self, capability: Capability) -> str:
        """Return the version that brought `capability`, e.g. `1.24`."""
        return _SINCE[capability]

    def missing_columns(self, version: Version) -> Mapping[str, str]:
        """Return the columns `version` lacks, as `"pools.load_balance_hosts" -> "1.24"`."""
        known = self._missing.get(version)
        if known is None:
            known = self._missing[version] = MappingProxyType(dict(_missing(version)))
        return known

    def quote(self, name: str) -> str:
        """Return a name as the console's grammar wants it: double-quoted, inner quotes doubled.

        Always quoted: unquoted names may hold only letters, digits and `_` (issue #537).

        Raises:
            ValueError: a name the console cannot take: empty, over 63 bytes, or with a zero byte.
        """
        if not name or "\0" in name or len(name.encode()) > MAX_NAME_BYTES:
            raise ValueError(f"not a name the admin console can take: {name[:80]!r}")
        return '"' + name.replace('"', '""') + '"'

    def pause(self, database: str | None) -> str:
        """Return the PAUSE statement for one database, or for the whole pooler when None."""
        return "PAUSE" if database is None else f"PAUSE {self.quote(database)}"

    def resume(self, database: str | None) -> str:
        """Return the RESUME statement; a global RESUME does not lift a database's own pause."""
        return "RESUME" if database is None else f"RESUME {self.quote(database)}"

    def reload(self) -> str:
        """Return the RELOAD statement; up to 1.24 its answer says nothing about success (T5)."""
        return "RELOAD"

    def reconnect(self, database: str | None) -> str:
        """Return the RECONNECT statement for one database, or for all when None."""
        return "RECONNECT" if database is None else f"RECONNECT {self.quote(database)}"

    def disable(self, database: str) -> str:
        """Return the DISABLE statement; connected clients go on, and a restart forgets it."""
        return f"DISABLE {self.quote(database)}"

    def enable(self, database: str) -> str:
        """Return the ENABLE statement."""
        return f"ENABLE {self.quote(database)}"

    def kill(self, database: str) -> str:
        """Return the KILL statement; it leaves the database paused (T19), and backends run on (T18)."""
        return f"KILL {self.quote(database)}"

    def kill_client(self, client_id: str) -> str:
        """Return the KILL_CLIENT statement (1.24+).

        Raises:
            ValueError: not an `id` of SHOW CLIENTS.
        """
        if not _CLIENT_ID.fullmatch(client_id):
            raise ValueError(f"not the id of a client: {client_id[:40]!r}")
        return f"KILL_CLIENT {client_id}"

    def shutdown(self, mode: ShutdownMode) -> str:
        """Return the SHUTDOWN statement; the modes that wait came with 1.23."""
        waits = {ShutdownMode.FOR_SERVERS: " WAIT_FOR_SERVERS", ShutdownMode.FOR_CLIENTS: " WAIT_FOR_CLIENTS"}
        return f"SHUTDOWN{waits.get(mode, '')}"

    def set(self, key: str, value: str) -> str:
        """Return the SET statement; its value is quoted, inner quotes doubled (grammar: admin.c).

        Raises:
            ValueError: no name of a setting, or a value that one line of the console cannot hold.
        """
        if not _SETTING.fullmatch(key):
            raise ValueError(f"not the name of a setting: {key[:40]!r}")
        if _CONTROL.search(value):
            raise ValueError("a value cannot hold line breaks and other control characters")
        literal = "'" + value.replace("'", "''") + "'"
        if len(literal.encode()) > MAX_LITERAL_BYTES:
            raise ValueError(f"the admin console takes values of at most {MAX_LITERAL_BYTES - 2} bytes")
        return f"SET {key} TO {literal}"

    def may_be_secret(self, key: str) -> bool:
        """Say whether the value of a setting may hold a secret."""
        return _SECRET_KEY.search(key) is not None


def _cells(what: str, table: ResultTable, *wanted: str) -> Iterator[tuple[str | None, ...]]:
    """Yield the wanted columns of each row, in the wanted order."""
    for name in wanted:
        if name not in table.names:
            raise NodeError(Phase.PARSE, f'SHOW {what} has no column "{name}"')
    indexes = [table.names.index(name) for name in wanted]
    return (tuple(row[index] for index in indexes) for row in table.rows)


def _masked(key: str, value: str | None) -> str | None:
    return HIDDEN if value and _SECRET_KEY.search(key) else value


def _without_leaks(users: tuple[User, ...]) -> Iterator[User]:
    before: User | None = None
    for user in users:
        doubtful: dict[str, Any] = {}
        for name in ("pool_size", "reserve_pool_size"):
            printed = getattr(user, name)
            if before is not None and printed is not None and printed == getattr(before, name):
                doubtful[name] = printed
        before = user
        if doubtful:
            printed_too = {name: str(printed) for name, printed in doubtful.items()}
            changes: dict[str, Any] = dict.fromkeys(doubtful)
            yield replace(user, extra=MappingProxyType({**user.extra, **printed_too}), **changes)
        else:
            yield user


def _missing(version: Version) -> Iterator[tuple[str, str]]:
    for show in columns.ALL:
        for column in show.columns:
            if column.since is not None and version < _version(column.since):
                yield f"{show.what.lower()}.{column.name}", column.since
    if version < _version(_SINCE[Capability.SHOW_STATE]):
        yield "state.paused", _SINCE[Capability.SHOW_STATE]
        yield "state.suspended", _SINCE[Capability.SHOW_STATE]


def _version(text: str) -> Version:
    found = Version.parse(text)
    if found is None:
        raise ValueError(f"not a version: {text}")
    return found
