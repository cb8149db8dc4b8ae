"""What Pooldeck needs to know of a kind of pooler: its dialect and what each version can do.

A dialect is pure: text in, typed rows out, statements out. Sessions (`admin`) do the IO.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from console.model.rows import Client, Database, PauseState, Pool, Server, Setting, Stats, User
from console.model.table import ResultTable
from console.model.version import Version


class Capability(StrEnum):
    """Something that not every version can do."""

    SHOW_STATE = "SHOW STATE"
    PEERS = "SHOW PEERS"
    RELOAD_REPORTS_FAILURE = "RELOAD reports failure"
    SHUTDOWN_MODES = "SHUTDOWN WAIT_FOR_…"
    KILL_CLIENT = "KILL_CLIENT"
    CONSOLE_DURING_SHUTDOWN = "console logins over a Unix socket while it shuts down"
    DEFAULT_POOL_SIZE_UNLIMITED = "default_pool_size = 0 is unlimited"


class ShutdownMode(StrEnum):
    """What a pooler waits for before it exits; as typed on a command line."""

    NOW = "now"
    FOR_SERVERS = "wait-for-servers"
    FOR_CLIENTS = "wait-for-clients"


class Dialect(Protocol):
    """One kind of pooler. Parsers read by column name and keep unknown columns.

    Every parser raises `NodeError(Phase.PARSE)` naming the SHOW and the column when a column that every
    supported version has is absent, or a value is not of its type.
    """

    kind: str

    def parse_version(self, table: ResultTable) -> Version: ...

    def parse_state(self, table: ResultTable) -> PauseState: ...

    def parse_pools(self, table: ResultTable) -> tuple[Pool, ...]: ...

    def parse_databases(self, table: ResultTable) -> tuple[Database, ...]: ...

    def parse_lists(self, table: ResultTable) -> Mapping[str, int]: ...

    def parse_stats(self, table: ResultTable) -> tuple[Stats, ...]: ...

    def parse_users(self, table: ResultTable, version: Version | None = None) -> tuple[User, ...]:
        """Read SHOW USERS; tell the version, since some print values that are not the user's own."""
        ...

    def parse_config(self, table: ResultTable) -> Mapping[str, Setting]: ...

    def parse_servers(self, table: ResultTable) -> tuple[Server, ...]: ...

    def parse_clients(self, table: ResultTable) -> tuple[Client, ...]: ...

    def has(self, version: Version, capability: Capability) -> bool:
        """Say whether `version` has `capability`."""
        ...

    def since(self, capability: Capability) -> str:
        """Return the version that brought `capability`, e.g. `1.24`."""
        ...

    def missing_columns(self, version: Version) -> Mapping[str, str]:
        """Return the columns `version` lacks, as `"pools.load_balance_hosts" -> "1.24"`."""
        ...

    def quote(self, name: str) -> str:
        """Return a database name as the console's grammar wants it: double-quoted, inner quotes doubled."""
        ...

    def pause(self, database: str | None) -> str:
        """Return the PAUSE statement for one database, or for the whole pooler when None."""
        ...

    def resume(self, database: str | None) -> str:
        """Return the RESUME statement; a global RESUME does not lift a database's own pause."""
        ...

    def reload(self) -> str:
        """Return the RELOAD statement."""
        ...

    def reconnect(self, database: str | None) -> str:
        """Return the RECONNECT statement for one database, or for all when None."""
        ...

    def disable(self, database: str) -> str:
        """Return the DISABLE statement: no new clients for this database."""
        ...

    def enable(self, database: str) -> str:
        """Return the ENABLE statement."""
        ...

    def kill(self, database: str) -> str:
        """Return the KILL statement; it leaves the database paused."""
        ...

    def kill_client(self, client_id: str) -> str:
        """Return the statement that cuts one client, named by the `id` of SHOW CLIENTS."""
        ...

    def shutdown(self, mode: ShutdownMode) -> str:
        """Return the SHUTDOWN statement."""
        ...

    def set(self, key: str, value: str) -> str:
        """Return the statement that changes a setting until the next RELOAD.

        Raises:
            ValueError: the console cannot take such a key or value; the text says why.
        """
        ...

    def may_be_secret(self, key: str) -> bool:
        """Say whether the value of a setting may hold a secret; `parse_config` hides such a value."""
        ...
