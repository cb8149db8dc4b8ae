"""The two kinds of node the collector polls: a pooler every second, a Postgres server every five."""

from __future__ import annotations

import logging
import random
from typing import Protocol

from console.clock import Clock
from console.config.schema import Bouncer, PostgresNode
from console.errors import NodeError, Phase, PooldeckError
from console.fleet.node import NodeStatus, NodeTask
from console.fleet.polling import Beat, PollBudget
from console.fleet.record import PoolerRecord, freshness_of, postgres_snapshot
from console.fleet.rest import NOBODY_IS_LET_IN, Knocks, Rest
from console.fleet.session import PoolerReader, PoolerSession, WatchedSource
from console.model.fleet import Freshness, PoolerSnapshot, PostgresReading, PostgresSnapshot, Resting
from console.poolers.base import Capability, Dialect

_log = logging.getLogger(__name__)


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
        source: WatchedSource,
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
        self._over_unix = bouncer.unix is not None
        self._rest: Rest | None = None
        self._knocks = Knocks(budget.knock_s)

    # -- leaving it alone ---------------------------------------------------------------------

    @property
    def wanted(self) -> bool:
        """No session stays open on a pooler that is left alone."""
        return self._rest is None

    @property
    def most_wait_s(self) -> float:
        """A login that is refused costs a pooler nothing; one that it accepts is two lines in its log."""
        quiet = self._rest is not None and not self._rest.lets_consoles_in
        return self.budget.knock_s if quiet else super().most_wait_s

    def rest(self, reason: str) -> None:
        """Close our session, and keep none until another process answers; see `console.fleet.rest`."""
        if self._rest is not None:
            return
        sample = self.record.sample
        version = sample.version if sample is not None else None
        late_logins = version is not None and self._dialect.has(version, Capability.CONSOLE_DURING_SHUTDOWN)
        stats = sample.stats.value if sample is not None and sample.stats is not None else ()
        self._rest = Rest(reason, self._over_unix and late_logins, stats)
        _log.warning("%s: %s; our own session is closed", self.name, reason)
        self.wake()

    def rest_over(self) -> None:
        """Go on as with any other pooler: the process that was left alone has exited."""
        if self._rest is not None:
            self._end_rest()
            self.wake()

    def retry(self) -> None:
        """Try a login now, and take whoever answers: a person wants it so."""
        if self._rest is not None:
            self._rest.insisted = True
        self.wake()

    def _end_rest(self) -> None:
        self._rest = None
        self.status = NodeStatus(self.status.answered_s)

    async def _reader(self) -> PoolerReader:
        """Log in; of a pooler that is left alone, to another process only.

        Raises:
            NodeError: no login, or to the process that is left alone: that session is closed again.
        """
        rest = self._rest
        try:
            reader = await self._source.reader(self.name)
        except NodeError as error:
            if rest is not None and rest.ended_with(error):
                self._end_rest()
            raise
        if self._rest is None:
            return reader
        # A login that was begun before the rest may have met the old process.
        if rest is not None and await self._is_another(rest, reader):
            _log.warning("%s: another process answers", self.name)
            self._end_rest()
            return reader
        await reader.close()
        raise NodeError(Phase.CONNECT, self._rest.reason, where=self.name)

    async def _is_another(self, rest: Rest, reader: PoolerReader) -> bool:
        if not rest.needs_evidence:
            return True
        try:
            table = await reader.show("STATS", timeout_s=self._query_limit_s)
            return rest.is_another(self._dialect.parse_stats(table))
        except BaseException:
            await reader.close()
            raise

    def failed(self, error: PooldeckError, *, held: bool = False) -> None:
        """See `NodeTask.failed`; that a pooler left alone lets nobody in is no news."""
        if self._rest is None:
            super().failed(error, held=held)

    # -- polling ------------------------------------------------------------------------------

    async def open(self) -> PoolerSession:
        """Log in as the monitor user; counters start anew."""
        reader = await self._reader()
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
        if self._knocks.due(whole, self._dialect, whole.monotonic_s):
            config = whole.config.value if whole.config is not None else {}
            if await self._source.lets_nobody_in(self.name, config):
                self.rest(NOBODY_IS_LET_IN)

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
        freshness: Freshness
        if self._rest is not None:
            freshness = Resting(self._rest.reason, self.status.age_s(now_s))
        else:
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
