"""The two kinds of node the collector polls: a pooler every second, a Postgres server every five."""

from __future__ import annotations

import random
from typing import Protocol

from console.clock import Clock
from console.config.schema import Bouncer, PostgresNode
from console.fleet.node import NodeTask
from console.fleet.polling import Beat, PollBudget
from console.fleet.record import PoolerRecord, freshness_of, postgres_snapshot
from console.fleet.session import PoolerSession, PoolerSource
from console.model.fleet import PoolerSnapshot, PostgresReading, PostgresSnapshot
from console.poolers.base import Dialect


class PostgresReader(Protocol):
    """A session with a Postgres node that can only read."""

    async def read(self, *, timeout_s: float) -> PostgresReading:
        """Ask for everything a snapshot shows of the node."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


class PostgresSource(Protocol):
    """Where those come from; `PostgresConnector` is one."""

    async def reader(self, name: str, /) -> PostgresReader:
        """Log in to a node."""
        ...


class PoolerTask(NodeTask[PoolerSession]):
    """Polls one pooler into its record."""

    def __init__(
        self,
        bouncer: Bouncer,
        source: PoolerSource,
        dialect: Dialect,
        record: PoolerRecord,
        beat: Beat,
        budget: PollBudget,
        clock: Clock,
        *,
        query_limit_s: float,
        connect_limit_s: float,
        rng: random.Random,
        first_wait_s: float = 0.0,
    ) -> None:
        super().__init__(
            bouncer.name,
            beat,
            budget,
            clock,
            rng=rng,
            connect_limit_s=connect_limit_s,
            first_wait_s=first_wait_s,
        )
        self.record = record
        self.watchers = 0
        self._source = source
        self._dialect = dialect
        self._query_limit_s = query_limit_s
        self._session_now: PoolerSession | None = None

    async def open(self) -> PoolerSession:
        """Log in as the monitor user; counters start anew."""
        reader = await self._source.reader(self.name)
        self.record.forget_counters()
        self._session_now = PoolerSession(
            self.name,
            reader,
            self._dialect,
            self.budget,
            self.clock,
            query_limit_s=self._query_limit_s,
            rng=self._rng,
        )
        return self._session_now

    async def turn(self, session: PoolerSession) -> None:
        """Ask what is due; the numbers of every tick are there before the rarer ones are asked for."""
        tick = self.beat.index(self.clock.monotonic_s())
        sample = await session.every_tick()
        self.record.accept(sample)
        self.status.succeeded(sample.monotonic_s)
        whole = await session.sometimes(sample, clients=self.watchers > 0)
        if whole is not sample:
            self.record.accept(whole)
        self.record.remember(tick)

    async def shut(self, session: PoolerSession) -> None:
        """Close the reader."""
        self._session_now = None
        await session.reader.close()

    def reread(self) -> None:
        """Ask for the settings again now."""
        if self._session_now is not None:
            self._session_now.reread()
        self.wake()

    def snapshot(self, now_s: float, trend_ticks: int) -> PoolerSnapshot:
        """Return the pooler as it is known at `now_s`; ticks that went unanswered are gaps in its trends."""
        self.status.asking = self._session_now.asking if self._session_now is not None else None
        self.record.history.skip_to(self.beat.index(now_s) - 1)
        freshness = freshness_of(self.status, now_s, self.budget.tick_s, self.budget.slow_after_s)
        return self.record.snapshot(freshness, trend_ticks)


class PostgresTask(NodeTask[PostgresReader]):
    """Polls one Postgres node."""

    def __init__(
        self,
        node: PostgresNode,
        source: PostgresSource,
        beat: Beat,
        budget: PollBudget,
        clock: Clock,
        *,
        query_limit_s: float,
        connect_limit_s: float,
        rng: random.Random,
    ) -> None:
        super().__init__(node.name, beat, budget, clock, rng=rng, connect_limit_s=connect_limit_s)
        self.reading: PostgresReading | None = None
        self._node = node
        self._source = source
        self._query_limit_s = query_limit_s

    async def open(self) -> PostgresReader:
        """Log in."""
        return await self._source.reader(self.name)

    async def turn(self, session: PostgresReader) -> None:
        """Read the node once."""
        self.reading = await session.read(timeout_s=self._query_limit_s)
        self.status.succeeded(self.clock.monotonic_s())

    async def shut(self, session: PostgresReader) -> None:
        """Close the connection."""
        await session.close()

    def snapshot(self, now_s: float) -> PostgresSnapshot:
        """Return the node as it is known at `now_s`."""
        freshness = freshness_of(self.status, now_s, self.budget.postgres_s, self.budget.slow_after_s)
        return postgres_snapshot(self._node, self.reading, freshness)
