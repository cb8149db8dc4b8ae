"""What a switchover needs to know of a Postgres node, as read within a moment."""

from __future__ import annotations

from dataclasses import dataclass


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
