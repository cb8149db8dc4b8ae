"""What verbs on Postgres nodes need of a session with one: to see backends, and to signal them.

`console.postgres.sessions` makes the real ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from console.postgres.activity import Backend
from console.postgres.sessions import Rights, Surroundings


class NodeSession(Protocol):
    """A session with one Postgres node."""

    async def backends(self, pids: Collection[int], *, timeout_s: float) -> tuple[Backend, ...]:
        """Return those of `pids` that are backends now."""
        ...

    async def surroundings(self, pids: Collection[int], *, timeout_s: float) -> Mapping[int, Surroundings]:
        """Return what kind of process those of `pids` are that are there, whose, and whom they block."""
        ...

    async def rights(self, *, timeout_s: float) -> Rights:
        """Return what our role may do to backends."""
        ...

    async def signal(self, pid: int, started_at: datetime, *, terminate: bool, timeout_s: float) -> bool:
        """Cancel the query of a backend, or end it; False when no such backend is there any more.

        The server checks pid and start together, so a pid that was reused is never hit.
        """
        ...

    async def close(self) -> None:
        """End the session; safe to call twice."""
        ...


class Nodes(Protocol):
    """Opens sessions by the inventory's names of Postgres nodes."""

    async def session(self, name: str) -> NodeSession:
        """Log in.

        Raises:
            NodeError: the phase that failed.
        """
        ...

    async def poolers_at(self, name: str, address: str | None) -> tuple[str, ...]:
        """Return the bouncers that a client of node `name` with this address may be; None: a Unix socket."""
        ...
