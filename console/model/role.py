"""A role of a Postgres node as it was read within a moment. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RoleReading:
    """What a change of a role's password depends on."""

    node: str
    version_num: int
    """As `server_version_num`, e.g. 150018."""
    in_recovery: bool
    """A replica: it takes no change."""
    system_id: str | None
    """Alike on a primary and its replicas; None: our role may not read it."""
    max_connections: int
    reserved: int
    """superuser_reserved_connections and, from 16 on, reserved_connections."""
    iterations: int
    """scram_iterations, or 4096 before 16."""
    exists: bool
    can_log_in: bool
    may_alter: bool
    """Our role may set its password."""
    why_not: str | None
    """Why it may not; None: it may."""
    databases: frozenset[str]
    """Where it may connect, by name."""
    expired: bool
    """VALID UNTIL has passed."""
    stored: str | None = field(repr=False)
    """Its secret as pg_authid has it; None: our role may not read that. "" for none."""
    superuser: bool = False
    """The role itself is one."""
