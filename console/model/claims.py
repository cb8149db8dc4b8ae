"""Who holds a pause, as far as this machine knows. A value; no IO."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """One target under a lease of a run of this machine, alive or left behind."""

    bouncer: str
    database: str | None
    """None: the whole pooler."""
    fleet: str
    who: str
    """For people, e.g. `alice@bastion`."""
    run_id: str
    lease_id: str
    title: str
    """E.g. `PAUSE edge-1a`."""
    since_wall_s: float
    until_wall_s: float
    """When its guardian ends it whatever happens; for people only, since wall clocks jump."""
    alive: bool
    """Its run or its guardian lives. False: nobody will end it."""
