"""The last hour of each pooler, one value a tick, in memory bounded before the first value comes.

Values are kept as 4-byte floats (exact for counts up to 16 million, else to 7 digits); NaN inside means "not
known" and leaves as None. It must not know clocks or snapshots: ticks are numbered by the caller.

Size with the defaults: 9 metrics × 3,600 ticks × 4 bytes = 130 kB a pooler, and 2 × 300 × 4 = 2.4 kB a
pool, so 100 poolers of 20 pools take some 18 MB.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Literal, get_args

HOUR_TICKS = 3600
POOL_TICKS = 300
POOLS_KEPT = 500

Metric = Literal[
    "clients_active",
    "clients_waiting",
    "servers_active",
    "servers_idle",
    "maxwait_us",
    "xact_per_s",
    "query_per_s",
    "mean_query_time_us",
    "answer_us",
]
"""What is kept of a pooler. Clients, servers and maxwait are over the pools of applications."""
METRICS: tuple[Metric, ...] = get_args(Metric)

PoolMetric = Literal["cl_waiting", "sv_active"]
"""What is kept of a pool."""
POOL_METRICS: tuple[PoolMetric, ...] = get_args(PoolMetric)

PoolKey = tuple[str, str]
"""(database, user)."""


class Ring:
    """A fixed number of equally long series that share one position."""

    __slots__ = ("_series", "last", "length", "start")

    def __init__(self, width: int, length: int) -> None:
        blank = array("f", [math.nan]) * length
        self._series = [array("f", blank) for _ in range(width)]
        self.length = length
        self.start: int | None = None
        """The first tick that was recorded; None before it."""
        self.last = -1
        """The newest tick that was recorded or skipped."""

    def record(self, tick: int, values: Sequence[float | None]) -> None:
        """Set the values of `tick`, in the order of the series; ticks since the last one are not known.

        A tick that was skipped before may still be set while the ring reaches back to it.
        """
        if self.start is None:
            self.start = tick
            self.last = tick - 1
        if tick <= self.last - self.length or tick < self.start:
            return
        self.skip_to(tick)
        slot = tick % self.length
        for series, value in zip(self._series, values, strict=True):
            series[slot] = math.nan if value is None else value

    def skip_to(self, tick: int) -> None:
        """Say that nothing is known of the ticks after the newest one, up to and with `tick`."""
        if self.start is None or tick <= self.last:
            return
        for skipped in range(max(self.last + 1, tick - self.length + 1), tick + 1):
            slot = skipped % self.length
            for series in self._series:
                series[slot] = math.nan
        self.last = tick

    def tail(self, index: int, count: int) -> tuple[float | None, ...]:
        """Return up to `count` newest values of one series, oldest first; shorter while the ring is young."""
        if self.start is None:
            return ()
        count = min(count, self.length, self.last - self.start + 1)
        if count <= 0:
            return ()
        series = self._series[index]
        end = self.last % self.length + 1
        cut = series[end - count : end] if count <= end else series[end - count :] + series[:end]
        return tuple([None if value != value else value for value in cut])


class History:
    """The past of one pooler. Written by the collector on the event loop, read by anyone there."""

    def __init__(
        self, *, ticks: int = HOUR_TICKS, pool_ticks: int = POOL_TICKS, pools: int = POOLS_KEPT
    ) -> None:
        self._ring = Ring(len(METRICS), ticks)
        self._pools: dict[PoolKey, Ring] = {}
        self._pool_ticks = pool_ticks
        self._pool_limit = pools

    @property
    def newest_tick(self) -> int | None:
        """The newest tick that was recorded or skipped; None before the first."""
        return None if self._ring.start is None else self._ring.last

    def record(self, tick: int, values: Sequence[float | None]) -> None:
        """Set a tick's values, one for each of `METRICS` in that order; None where it is not known."""
        self._ring.record(tick, values)

    def record_pool(self, tick: int, key: PoolKey, cl_waiting: float, sv_active: float) -> None:
        """Set a pool's values. Beyond the limit of pools, the one longest without a value makes room."""
        ring = self._pools.get(key)
        if ring is None:
            if len(self._pools) >= self._pool_limit:
                del self._pools[min(self._pools, key=lambda other: self._pools[other].last)]
            ring = self._pools[key] = Ring(len(POOL_METRICS), self._pool_ticks)
        ring.record(tick, (cl_waiting, sv_active))

    def skip_to(self, tick: int) -> None:
        """Say that the ticks up to and with `tick`, where nothing was recorded, went unanswered."""
        self._ring.skip_to(tick)

    def trend(self, metric: Metric, count: int) -> tuple[float | None, ...]:
        """Return up to `count` newest values, oldest first, one a tick; None where no sample was read."""
        return self._ring.tail(METRICS.index(metric), count)

    def series(self, metric: Metric) -> tuple[float | None, ...]:
        """Return every value that is kept, oldest first."""
        return self.trend(metric, self._ring.length)

    def pool_trend(self, key: PoolKey, metric: PoolMetric, count: int) -> tuple[float | None, ...]:
        """Return the same for one pool: None where it was not listed, empty for a pool never seen."""
        ring = self._pools.get(key)
        if ring is None:
            return ()
        if self._ring.start is not None:
            ring.skip_to(self._ring.last)
        return ring.tail(POOL_METRICS.index(metric), count)

    @property
    def pools(self) -> tuple[PoolKey, ...]:
        """The pools that have a history."""
        return tuple(self._pools)
