"""The last hour of each pooler, one value a tick, in memory bounded before the first value comes.

Values are kept as 4-byte floats (exact for counts up to 16 million, else to 7 digits); NaN inside means "not
known" and leaves as None. It must not know clocks or snapshots: ticks are numbered by the caller.

Size with the defaults: 9 metrics × 3,600 ticks × 4 bytes = 130 kB a pooler, and for its pools 300 ticks ×
(160 + 8 a pool) bytes = 100 kB at 20 pools; so 100 poolers take some 22 MiB.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Literal, get_args

from console.model.rows import Pool

HOUR_TICKS = 3600
POOL_TICKS = 300
POOLS_KEPT = 1000

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
    """A fixed number of equally long series that share one position; a tick's values lie side by side."""

    __slots__ = ("_blank", "_values", "_width", "last", "length", "start")

    def __init__(self, width: int, length: int) -> None:
        self._blank = array("f", [math.nan] * width)
        self._values = self._blank * length
        self._width = width
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
        if len(values) != self._width:
            raise ValueError(f"{len(values)} values for {self._width} series")
        self.skip_to(tick)
        at = tick % self.length * self._width
        self._values[at : at + self._width] = array(
            "f", [math.nan if value is None else value for value in values]
        )

    def skip_to(self, tick: int) -> None:
        """Say that nothing is known of the ticks after the newest one, up to and with `tick`."""
        if self.start is None or tick <= self.last:
            return
        for skipped in range(max(self.last + 1, tick - self.length + 1), tick + 1):
            at = skipped % self.length * self._width
            self._values[at : at + self._width] = self._blank
        self.last = tick

    def tail(self, index: int, count: int) -> tuple[float | None, ...]:
        """Return up to `count` newest values of one series, oldest first; shorter while the ring is young."""
        if self.start is None:
            return ()
        count = min(count, self.length, self.last - self.start + 1)
        if count <= 0:
            return ()
        width = self._width
        end = self.last % self.length + 1
        first = end - count
        if first >= 0:
            cut = self._values[first * width + index : end * width : width]
        else:
            cut = self._values[first * width + index :: width] + self._values[index : end * width : width]
        return tuple([None if value != value else value for value in cut])


class _PoolTick:
    """All pools of one tick: their keys (one tuple for as long as they stay the same) and values."""

    __slots__ = ("keys", "tick", "values")

    def __init__(self, tick: int, keys: tuple[PoolKey, ...], values: array[float]) -> None:
        self.tick = tick
        self.keys = keys
        self.values = values


class History:
    """The past of one pooler. Written by the collector on the event loop, read by anyone there."""

    def __init__(
        self, *, ticks: int = HOUR_TICKS, pool_ticks: int = POOL_TICKS, pools: int = POOLS_KEPT
    ) -> None:
        self._ring = Ring(len(METRICS), ticks)
        self._pool_ticks: deque[_PoolTick] = deque(maxlen=pool_ticks)
        self._pools_kept = pools

    @property
    def newest_tick(self) -> int | None:
        """The newest tick that was recorded or skipped; None before the first."""
        return None if self._ring.start is None else self._ring.last

    def record(self, tick: int, values: Sequence[float | None]) -> None:
        """Set a tick's values, one for each of `METRICS` in that order; None where it is not known."""
        self._ring.record(tick, values)

    def record_pools(self, tick: int, pools: Sequence[Pool]) -> None:
        """Set the values of a tick's pools. Of more than the limit only the first are kept."""
        if len(pools) > self._pools_kept:
            pools = pools[: self._pools_kept]
        keys = tuple([(pool.database, pool.user) for pool in pools])
        past = self._pool_ticks
        if past and past[-1].tick == tick:
            past.pop()
        if past and past[-1].keys == keys:
            keys = past[-1].keys
        values = array("f", [pool.cl_waiting for pool in pools])
        values.extend([pool.sv_active for pool in pools])
        past.append(_PoolTick(tick, keys, values))

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
        newest = self._ring.last if self._ring.start is not None else None
        found: dict[int, float] = {}
        offset = POOL_METRICS.index(metric)
        for past in reversed(self._pool_ticks):
            newest = past.tick if newest is None else max(newest, past.tick)
            if past.tick <= newest - count:
                break
            if key in past.keys:
                found[past.tick] = past.values[offset * len(past.keys) + past.keys.index(key)]
        if not found or newest is None:
            return ()
        return tuple([found.get(tick) for tick in range(min(found), newest + 1)])

    @property
    def pools(self) -> tuple[PoolKey, ...]:
        """The pools of the newest tick."""
        return self._pool_ticks[-1].keys if self._pool_ticks else ()
