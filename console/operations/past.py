"""What earlier runs of this machine left behind, as far as leases and journal tell. Protocol only.

`console.operations.lease.legacy` reads the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from console.model.claims import Claim
from console.model.unended import Unended


class Past(Protocol):
    """Reads what is on record; every method does its reading off the event loop."""

    async def claims(self) -> tuple[Claim, ...]:
        """Return every target under a lease, of runs that live and of runs that died."""
        ...

    async def leftover_settings(self, bouncer: str) -> Mapping[str, str]:
        """Return settings that a dead run changed for a moment and did not put back, with their values."""
        ...

    async def unfinished(self, bouncer: str) -> tuple[str | None, ...]:
        """Return of what on a bouncer dead runs left no end on record: databases, None for the whole."""
        ...

    async def unended(self) -> tuple[Unended, ...]:
        """Return what dead runs left no end of on record, oldest first; not what a guardian holds."""
        ...

    async def settled(self, bouncer: str, database: str | None) -> None:
        """Forget the leases of dead runs on a target that was seen running, and record how they ended."""
        ...
