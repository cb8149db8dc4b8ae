"""The one place that reads the time. Everything else is handed a `Clock`, so tests own it.

It must not sleep: waits belong to asyncio, with a deadline.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Wall time for people and records, monotonic time for durations."""

    def wall_s(self) -> float:
        """Seconds since the epoch, UTC. May jump; never subtract two of them for a duration."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes backwards."""
        ...


class SystemClock:
    """The machine's clock."""

    def wall_s(self) -> float:
        """See `Clock.wall_s`."""
        return time.time()

    def monotonic_s(self) -> float:
        """See `Clock.monotonic_s`."""
        return time.monotonic()


@dataclass
class FixedClock:
    """A clock that moves only when told: for tests and for replaying a recording."""

    wall: float = 1_790_000_000.0
    monotonic: float = 1_000.0

    def wall_s(self) -> float:
        """See `Clock.wall_s`."""
        return self.wall

    def monotonic_s(self) -> float:
        """See `Clock.monotonic_s`."""
        return self.monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        self.wall += seconds
        self.monotonic += seconds
