"""What an operation would hit, as values: clients, the servers they hold, transactions, other consoles.

Pure; `radius` reads them, `radius_text` and `radius_warnings` tell of them. No text of a query is in here,
so all of it may be kept. None is always "not asked" or "not known", never 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from console.operations.lease.base import GUARDIAN_NAME, KEEPER_NAME
from console.postgres.activity import Backend, BackendGap

ROWS_KEPT = 20
"""So many server connections, longest transaction first, go into JSON."""


@dataclass(frozen=True, slots=True)
class Group:
    """Clients that have something in common."""

    name: str
    """As the pooler says it; "" for clients that gave no name."""
    clients: int


@dataclass(frozen=True, slots=True)
class Groups:
    """Clients by one thing they have in common, the largest groups first."""

    top: tuple[Group, ...]
    more: int
    """How many groups are not in `top`."""
    more_clients: int
    """The clients of those."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Clients of a target. Those still logging in belong to no database yet: `Radius.logging_in`."""

    total: int
    holding: int | None
    """With a server linked to them; `cl_active` counts idle ones too. None: not known."""
    waiting: int
    longest_wait_us: int
    """0 when none waits."""
    by_database: Groups
    by_user: Groups
    """As they logged in. When `counted_by_pool`, the pools' users: a forced user stands for all."""
    by_application: Groups | None
    """None below PgBouncer 1.18, and when `counted_by_pool`."""
    by_address: Groups | None
    """None when `counted_by_pool`; `unix` for local sockets."""
    counted_by_pool: bool = False
    """SHOW CLIENTS was not asked, or not answered: all this is from SHOW POOLS."""


@dataclass(frozen=True, slots=True)
class HoldingClient:
    """The client behind a server connection, as SHOW CLIENTS has it."""

    user: str
    application_name: str | None
    """None below PgBouncer 1.18."""
    address: str
    """`10.0.0.7:51234`, or `unix`."""


@dataclass(frozen=True, slots=True)
class Held:
    """A server connection that a client holds: a transaction in most modes, the session in session mode."""

    database: str
    user: str
    """On the Postgres side."""
    server: str
    """Where it leads, as the pooler says: `10.0.0.2:5432`, or `unix:5432`."""
    pooler_port: int | None
    """The pooler's end of it: with `pid` it names the backend. None: over a Unix socket."""
    pid: int | None
    """Of the backend; a random number when the next hop is another pooler."""
    request_time: str
    """Of the last request, as sent: the pooler's own zone, 1 s resolution."""
    client: HoldingClient | None
    """None: not known."""
    agrees: bool | None
    """Whether both ends named each other. False: it changed hands between the two questions, and `client` may
    be wrong. None: clients were not asked."""
    replication: bool = False
    """A replication connection (1.23+): held until it is closed, in every pool mode."""
    backend: Backend | None = None
    """None: not known; `Radius.gaps` says why."""

    @property
    def xact_age_s(self) -> float | None:
        """Age of its transaction by the server's clock; None: none is open, or it is not known."""
        return None if self.backend is None else self.backend.xact_age_s

    @property
    def idle_in_transaction(self) -> bool:
        """Whether its transaction is open and waits for the client, an aborted one too."""
        state = None if self.backend is None else self.backend.state
        return state is not None and state.startswith("idle in transaction")


@dataclass(frozen=True, slots=True)
class Console:
    """Somebody else at the pooler's admin console."""

    user: str
    application_name: str | None
    address: str
    connect_time: str
    """As sent: the pooler's own zone, 1 s resolution."""
    admin: bool | None
    """May act, not only look: listed in `admin_users`. None: that setting was not read."""

    @property
    def stands_by(self) -> bool:
        """Whether it calls itself the guardian or keeper of a lease: it acts only to end what that holds."""
        return self.application_name in (GUARDIAN_NAME, KEEPER_NAME)


@dataclass(frozen=True, slots=True)
class Radius:
    """What an operation on one target would hit, as it was within a moment."""

    bouncer: str
    database: str | None
    """None: the whole pooler."""
    clients: Clients
    logging_in: int | None
    """Clients of the whole pooler that are still logging in."""
    held: tuple[Held, ...] | None
    """Longest transaction first, then oldest request. None: not asked."""
    gaps: tuple[BackendGap, ...]
    """Why the backends of some of `held` are not known."""
    consoles: tuple[Console, ...] | None
    """Others at the admin console. None: not asked."""
    own_console_known: bool
    """False: this very session may be among `consoles`."""
    unread: tuple[str, ...]
    """What the pooler was not asked or did not answer, and why."""
    warnings: tuple[str, ...] = ()
    """What anyone should know before acting on the target, whatever the verb."""

    @property
    def transactions(self) -> tuple[Held, ...]:
        """Those of `held` with a transaction that is known to be open, longest first."""
        return tuple(one for one in self.held or () if one.xact_age_s is not None)

    @property
    def longest(self) -> Held | None:
        """The longest transaction known; None: none is open, or nothing is known (see `gaps`)."""
        return next(iter(self.transactions), None)

    @property
    def without_backend(self) -> int:
        """How many of `held` have no known backend; 0 when none is held or nothing was asked."""
        return sum(one.backend is None for one in self.held or ())

    @property
    def oldest_request(self) -> str | None:
        """The oldest `request_time` of `held`; None when nothing is held or nothing was asked."""
        return min((one.request_time for one in self.held or ()), default=None)

    @property
    def changed_hands(self) -> int:
        """How many of `held` got another client while they were read."""
        return sum(one.agrees is False for one in self.held or ())

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values; of `held` the first `ROWS_KEPT`."""
        return {
            "clients": asdict(self.clients),
            "logging_in": self.logging_in,
            "held": None if self.held is None else self._held_dict(self.held),
            "backends_not_known": [asdict(gap) for gap in self.gaps],
            "consoles": None if self.consoles is None else [asdict(one) for one in self.consoles],
            "own_console_known": self.own_console_known,
            "unread": list(self.unread),
            "warnings": list(self.warnings),
        }

    def _held_dict(self, held: tuple[Held, ...]) -> dict[str, Any]:
        return {
            "total": len(held),
            "changed_hands": self.changed_hands,
            "without_backend": self.without_backend,
            "oldest_request": self.oldest_request,
            "longest_xact_age_s": None if self.longest is None else self.longest.xact_age_s,
            "rows": [_held_row(one) for one in held[:ROWS_KEPT]],
        }


def by_age(held: Iterable[Held]) -> tuple[Held, ...]:
    """Return server connections as `Radius.held` wants them."""
    return tuple(sorted(held, key=lambda one: (-(one.xact_age_s or 0.0), one.request_time, one.pid or 0)))


def _held_row(held: Held) -> dict[str, Any]:
    row = asdict(held)
    if held.backend is not None:
        times = ("started_at", "xact_started_at", "query_started_at")
        for key in times:
            value = row["backend"][key]
            row["backend"][key] = None if value is None else value.isoformat()
    return row
