"""Rows of an admin console as typed values; one class for each SHOW.

Every optional field is `None` when this version of the pooler does not have the column (the
`Sample.missing` map says which version brings it). `extra` keeps columns we do not know, raw.
Source of names and meanings: pgbouncer.org/usage.html, "Admin console", and our own runs on 1.18–1.26.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NO_EXTRA: Mapping[str, str | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Pool:
    """One row of SHOW POOLS: a (database, user) pair that was used at least once."""

    database: str
    user: str
    cl_active: int
    """Clients linked to a server **or idle**; see CLIENTS.link to tell them apart."""
    cl_waiting: int
    sv_active: int
    sv_idle: int
    sv_used: int
    sv_tested: int
    sv_login: int
    maxwait_us: int
    """Age of the oldest waiting client; 0 when none waits."""
    pool_mode: str | None = None
    cl_active_cancel_req: int | None = None
    cl_waiting_cancel_req: int | None = None
    sv_active_cancel: int | None = None
    sv_being_canceled: int | None = None
    load_balance_hosts: str | None = None
    extra: Mapping[str, str | None] = field(default_factory=lambda: NO_EXTRA)

    @property
    def servers(self) -> int:
        """Every server connection of the pool in any state; 0 means drained."""
        return (
            self.sv_active
            + self.sv_idle
            + self.sv_used
            + self.sv_tested
            + self.sv_login
            + (self.sv_active_cancel or 0)
            + (self.sv_being_canceled or 0)
        )


@dataclass(frozen=True, slots=True)
class Database:
    """One row of SHOW DATABASES."""

    name: str
    host: str | None
    """None or "" means the pooler's own Unix socket."""
    port: int | None
    database: str | None
    """The name on the Postgres side."""
    force_user: str | None
    pool_size: int | None
    """The effective size for each user's pool, unless USERS overrides it."""
    pool_mode: str | None
    max_connections: int | None
    """0 = unlimited."""
    current_connections: int | None
    paused: bool
    """Set by PAUSE "db" or KILL; a *global* PAUSE does not show here."""
    disabled: bool
    min_pool_size: int | None = None
    reserve_pool_size: int | None = None
    server_lifetime_s: int | None = None
    load_balance_hosts: str | None = None
    max_client_connections: int | None = None
    current_client_connections: int | None = None
    extra: Mapping[str, str | None] = field(default_factory=lambda: NO_EXTRA)


@dataclass(frozen=True, slots=True)
class Stats:
    """Totals of SHOW STATS for one database since the pooler started (or since its pools were made)."""

    database: str
    total_xact_count: int
    total_query_count: int
    total_received_bytes: int
    total_sent_bytes: int
    total_xact_time_us: int
    total_query_time_us: int
    total_wait_time_us: int
    total_server_assignment_count: int | None = None
    total_client_parse_count: int | None = None
    total_server_parse_count: int | None = None
    total_bind_count: int | None = None
    total_client_login_count: int | None = None
    extra: Mapping[str, str | None] = field(default_factory=lambda: NO_EXTRA)
    """Includes the `avg_*` columns, which cover the last 1–2 `stats_period`s and not "now"."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What CLIENTS and SERVERS have in common: one TCP or Unix connection of the pooler."""

    user: str
    database: str
    state: str
    addr: str
    port: int | None
    local_addr: str
    local_port: int | None
    connect_time: str
    """As sent: the bouncer's local zone, 1 s resolution."""
    request_time: str
    ptr: str
    """A heap address, reused after disconnect."""
    link: str
    """`ptr` of the other side; "" when there is none."""
    remote_pid: int | None
    """The backend's pid; a random number when the server is another pooler."""
    tls: str
    wait_us: int | None = None
    close_needed: bool | None = None
    replication: str | None = None
    application_name: str | None = None
    prepared_statements: int | None = None
    id: str | None = None
    """Unique for the life of the process; opaque text."""
    extra: Mapping[str, str | None] = field(default_factory=lambda: NO_EXTRA)


@dataclass(frozen=True, slots=True)
class Client(Peer):
    """One row of SHOW CLIENTS."""

    @property
    def idle(self) -> bool:
        """Connected and holding no server. Up to 1.24 such a client is called `active`."""
        return self.state in ("active", "idle") and not self.link


@dataclass(frozen=True, slots=True)
class Server(Peer):
    """One row of SHOW SERVERS."""


@dataclass(frozen=True, slots=True)
class User:
    """One row of SHOW USERS."""

    name: str
    pool_mode: str | None = None
    pool_size: int | None = None
    """None when the user has no override (or the version lacks the column)."""
    reserve_pool_size: int | None = None
    max_user_connections: int | None = None
    current_connections: int | None = None
    max_user_client_connections: int | None = None
    current_client_connections: int | None = None
    extra: Mapping[str, str | None] = field(default_factory=lambda: NO_EXTRA)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of SHOW CONFIG."""

    key: str
    value: str | None
    default: str | None
    changeable: bool | None
    """True when RELOAD or SET can change it; False needs a restart."""


@dataclass(frozen=True, slots=True)
class PauseState:
    """SHOW STATE, or what is known without it. `None` means "this version cannot tell" (needs 1.19)."""

    paused: bool | None
    """The *global* pause only; a database's own flag is `Database.paused`."""
    suspended: bool | None
    """None on 1.26+, where SUSPEND is gone, and below 1.19."""
