"""What a switchover needs to know of a Postgres node, as read within a moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node. Positions in the log (LSN) are bytes from its beginning."""

    name: str
    in_recovery: bool
    started: str
    """pg_postmaster_start_time, seconds since the epoch: tells this run of the server from any other."""
    system_id: str | None
    """The same for a primary and its replicas; None: our role may not see it."""
    read_only: bool
    """New transactions are read-only unless they say otherwise: `default_transaction_read_only`."""
    position: int
    """A primary: where the next record goes. A replica: up to where it has replayed."""
    received: int | None
    """A replica: up to where it has the log; None for a primary, and before anything was received."""
    streams: bool
    """A replica: its WAL receiver runs."""
    may_fence: bool
    """Our role may set and reset `default_transaction_read_only` for the whole server."""
    may_promote: bool
    """Our role may call pg_promote()."""
    role: str
    """Ours."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How far a primary has come, and who may still write to it."""

    position: int
    read_only: bool
    writers: int
    """Other sessions in a transaction that has written."""


@dataclass(frozen=True, slots=True)
class PatroniMember:
    """One member, as `GET /cluster` lists it."""

    name: str
    role: str
    """`leader`, `standby_leader`, `replica`, `sync_standby`, `quorum_standby`."""
    state: str
    """`running`, `streaming`, `starting`, `stopped` and such."""
    api: tuple[str, int] | None
    """Host and port of its REST API; None: not told."""

    @property
    def leads(self) -> bool:
        """Whether it has the leader key."""
        return self.role == "leader"


@dataclass(frozen=True, slots=True)
class PatroniView:
    """Patroni as one node's REST API tells it: `GET /patroni` and `GET /cluster`."""

    name: str | None
    """What Patroni calls this node; None: this Patroni does not tell."""
    scope: str | None
    """The cluster's name; None: not told."""
    version: str | None
    role: str
    """`primary` (`master` before 4.0), `replica`, `standby_leader`, `uninitialized`."""
    state: str
    members: tuple[PatroniMember, ...]
    is_paused: bool
    """Maintenance mode: Patroni fails nothing over by itself."""
    is_scheduled: bool
    """A switchover is scheduled."""

    @property
    def leader(self) -> str | None:
        """Patroni's name of the leader; None: there is none now."""
        return next((one.name for one in self.members if one.leads), None)

    def member(self, name: str) -> PatroniMember | None:
        """Return the member of that name."""
        return next((one for one in self.members if one.name == name), None)


class AskedFor(StrEnum):
    """What became of a switchover that Patroni was asked for."""

    DONE = "done"
    REFUSED = "refused"
    """Nothing was begun."""
    FAILED = "failed"
    """It was begun and came to nothing; Patroni tries it no longer."""
    NOT_KNOWN = "not known"
    """It may yet be done."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Patroni's answer."""

    outcome: AskedFor
    text: str
    """Its own words."""
