"""Who holds a pause, as far as this machine knows. A value; no IO."""

from __future__ import annotations

from collections.abc import Iterable
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


def claim_on(claims: Iterable[Claim], bouncer: str, database: str | None) -> Claim | None:
    """Return the claim on exactly this target; of several one that lives, else the newest. None: no claim."""
    own = [claim for claim in claims if (claim.bouncer, claim.database) == (bouncer, database)]
    return max(own, key=lambda one: (one.alive, one.since_wall_s), default=None)
