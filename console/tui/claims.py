"""What this console knows of leases, asked for every two seconds, and since when it sees each stop.

It judges nothing: `console.view.pauses` does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from console.clock import Clock
from console.errors import PooldeckError
from console.model.claims import Claim
from console.model.fleet import FleetSnapshot
from console.view.pauses import Known, Place, stops_of

READ_EVERY_S = 2.0
READ_LIMIT_S = 10.0
_log = logging.getLogger(__name__)
ReadClaims = Callable[[], Awaitable[tuple[Claim, ...]]]


class ClaimWatch:
    """The leases of this machine as last read, and the ages of what the fleet shows."""

    def __init__(self, read: ReadClaims | None, fleet: str, clock: Clock) -> None:
        self._read = read
        self._fleet = fleet
        self._clock = clock
        self._claims: tuple[Claim, ...] | None = None
        self._read_s: float | None = None
        self._first_seen_s: dict[Place, float] = {}
        self._told: str | None = None

    @property
    def claims(self) -> tuple[Claim, ...] | None:
        """Those of this fleet; None: not read."""
        return self._claims

    @property
    def can_read(self) -> bool:
        """Whether anybody gave us a way to read them."""
        return self._read is not None

    async def watch(self) -> None:
        """Read them again and again until cancelled; what cannot be read is told once."""
        while self._read is not None:
            await self.read_once()
            await asyncio.sleep(READ_EVERY_S)

    async def read_once(self) -> None:
        """Read them now."""
        if self._read is None:
            return
        asked_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                claims = await self._read()
        except (PooldeckError, OSError, TimeoutError) as error:
            self._claims = None
            text = str(error) or f"no answer within {READ_LIMIT_S:g} s"
            if text != self._told:
                _log.warning("who holds what cannot be read: %s", text)
            self._told = text
            return
        self._told = None
        self._claims = tuple(claim for claim in claims if claim.fleet == self._fleet)
        self._read_s = asked_s

    def see(self, snapshot: FleetSnapshot) -> None:
        """Note since when each stop is there; one that is gone is forgotten.

        A bouncer that does not answer keeps what was seen of it: it may still be so.
        """
        seen: dict[Place, float] = {}
        for pooler in snapshot.poolers:
            name = pooler.info.name
            if str(pooler.state) in ("unreachable", "connecting", "shutdown"):
                seen |= {place: at for place, at in self._first_seen_s.items() if place[0] == name}
                continue
            for stop in stops_of(pooler):
                seen[stop.place] = self._first_seen_s.get(stop.place, snapshot.monotonic_s)
        self._first_seen_s = seen

    def known(self, own: tuple[Claim, ...]) -> Known:
        """Return all that is known now.

        Args:
            own: what this session's runs hold; they are known before their leases are read.
        """
        return Known(self._claims, own, self._read_s, self._first_seen_s)
