"""Watches a fleet: one task for each node, and one snapshot a tick for everybody who looks.

No node waits for another: each has its own task, deadlines and back-off. The collector is handed sources of
readers only, so it cannot write to a pooler.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from console.clock import Clock
from console.config.schema import Inventory
from console.errors import UsageError
from console.fleet.history import History
from console.fleet.node import NodeTask
from console.fleet.polling import Beat, PollBudget
from console.fleet.record import PoolerRecord
from console.fleet.session import WatchedSource
from console.fleet.store import FleetStore
from console.fleet.tasks import PoolerTask, PostgresSource, PostgresTask
from console.model.fleet import FleetSnapshot
from console.poolers.base import Dialect
from console.poolers.dialects import dialect_for

_log = logging.getLogger(__name__)
_PHASES = 10
"""A fleet's ticks begin in so many groups, spread over the tick: few poolers fire in one instant, and ours
is not woken for each of them alone (100 poolers: 8.8 % of a core instead of 11.7 %)."""
_GARBAGE = (50_000, 20, 100)
"""Python's own thresholds have the collector of cyclic garbage look, some 20 times a second, through rows
that live for one tick and hold no cycles: a third of the idle console's CPU (100 poolers: 12 % of a core,
now 8 %)."""
_GENTLE_START = 20
"""Bigger fleets connect over the first tick instead of at once: each login costs us a SCRAM proof."""
TREND_TICKS = 60


class FleetCollector:
    """Polls every node of an inventory while its `async with` block lasts.

    Meanwhile the process looks for cyclic garbage less often; its thresholds are put back at the end.
    """

    def __init__(
        self,
        inventory: Inventory,
        connector: WatchedSource,
        postgres_connector: PostgresSource,
        store: FleetStore,
        clock: Clock,
        *,
        budget: PollBudget | None = None,
        trend_ticks: int = TREND_TICKS,
        dialects: Callable[[str], Dialect] = dialect_for,
        seed: int | None = None,
    ) -> None:
        """Prepare to watch.

        Args:
            inventory: loaded, so complete.
            connector: gives readers of poolers; only the monitor role is asked for.
            postgres_connector: gives readers of Postgres nodes.
            store: gets one snapshot a tick.
            clock: times ticks and samples.
            budget: how often to ask what.
            trend_ticks: how many ticks the trends in a snapshot reach back.
            dialects: finds the dialect of a kind of pooler.
            seed: makes the jitter repeatable.
        """
        self.budget = budget or PollBudget()
        self._inventory = inventory
        self._connector = connector
        self._postgres_connector = postgres_connector
        self._store = store
        self._clock = clock
        self._trend_ticks = trend_ticks
        self._dialects = dialects
        self._rng = random.Random(seed)
        self._poolers: dict[str, PoolerTask] = {}
        self._postgres: list[PostgresTask] = []
        self._running: list[asyncio.Task[None]] = []
        self._before = gc.get_threshold()
        self._prepare()

    def _prepare(self) -> None:
        start_s = self._clock.monotonic_s()
        tick_s = self.budget.tick_s
        count = len(self._inventory.bouncers)
        defaults = self._inventory.defaults
        for index, bouncer in enumerate(self._inventory.bouncers):
            phase_s = tick_s * (index % _PHASES) / min(count, _PHASES)
            self._poolers[bouncer.name] = PoolerTask(
                bouncer,
                self._connector,
                self._dialects(bouncer.kind),
                PoolerRecord(bouncer),
                Beat(start_s + phase_s - tick_s, tick_s),
                self.budget,
                self._clock,
                query_limit_s=bouncer.query_timeout_s or defaults.query_timeout_s,
                connect_limit_s=bouncer.connect_timeout_s or defaults.connect_timeout_s,
                rng=self._rng,
                first_wait_s=phase_s if count > _GENTLE_START else 0.0,
            )
        for index, node in enumerate(self._inventory.postgres):
            phase_s = self.budget.postgres_s * index / len(self._inventory.postgres)
            self._postgres.append(
                PostgresTask(
                    node,
                    self._postgres_connector,
                    Beat(start_s + phase_s - self.budget.postgres_s, self.budget.postgres_s),
                    self.budget,
                    self._clock,
                    query_limit_s=node.query_timeout_s or defaults.query_timeout_s,
                    connect_limit_s=node.connect_timeout_s or defaults.connect_timeout_s,
                    rng=self._rng,
                )
            )

    async def __aenter__(self) -> Self:
        """Publish a first snapshot, in which every node is connecting, and start."""
        self._before = gc.get_threshold()
        gc.set_threshold(*_GARBAGE)
        self._publish()
        pollers: list[NodeTask[Any]] = [*self._poolers.values(), *self._postgres]
        self._running = [asyncio.create_task(task.run(), name=f"poll {task.name}") for task in pollers]
        self._running.append(asyncio.create_task(self._snapshots(), name="snapshots"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop polling and close every session, each within its deadline."""
        for task in self._running:
            task.cancel()
        for result in await asyncio.gather(*self._running, return_exceptions=True):
            if isinstance(result, Exception):
                _log.error("while stopping: %r", result)
        self._running.clear()
        gc.set_threshold(*self._before)

    def history(self, name: str) -> History:
        """Return a pooler's past.

        Raises:
            UsageError: no pooler has that name.
        """
        return self._task(name).record.history

    def reread(self, name: str) -> None:
        """Ask a pooler for CONFIG, USERS and VERSION now: it was told to reload.

        Raises:
            UsageError: no pooler has that name.
        """
        self._task(name).reread()

    def rest(self, name: str, reason: str) -> None:
        """Close our session on a pooler and keep none until another process answers there: it shuts down.

        Raises:
            UsageError: no pooler has that name.
        """
        self._task(name).rest(reason)

    def rest_over(self, name: str) -> None:
        """Watch a pooler again like any other: its process was seen to exit.

        Raises:
            UsageError: no pooler has that name.
        """
        self._task(name).rest_over()

    def retry(self, name: str) -> None:
        """Have a login tried now, also on a pooler that is left alone; one that answers is asked at once.

        Raises:
            UsageError: no pooler has that name.
        """
        self._task(name).retry()

    @contextmanager
    def watch_clients(self, name: str) -> Iterator[None]:
        """Have SHOW CLIENTS asked of a pooler while the block lasts; several may watch at once.

        How often follows from how many clients there are and what the answers cost; why they are missing
        stands in `Sample.unread["CLIENTS"]`.

        Raises:
            UsageError: no pooler has that name.
        """
        task = self._task(name)
        task.watchers += 1
        task.wake()
        try:
            yield
        finally:
            task.watchers -= 1

    def _task(self, name: str) -> PoolerTask:
        try:
            return self._poolers[name]
        except KeyError:
            raise UsageError(f"no bouncer is called {name!r}", hint="names are in the inventory") from None

    async def _snapshots(self) -> None:
        beat = Beat(self._clock.monotonic_s(), self.budget.tick_s)
        while True:
            await asyncio.sleep(beat.next_s(self._clock.monotonic_s()))
            try:
                self._publish()
            except Exception:
                _log.exception("a snapshot could not be made")

    def _publish(self) -> None:
        now_s = self._clock.monotonic_s()
        self._store.publish(
            FleetSnapshot(
                fleet=self._inventory.fleet,
                environment=self._inventory.environment,
                taken_at_s=self._clock.wall_s(),
                monotonic_s=now_s,
                generation=self._store.generation + 1,
                poolers=tuple(task.snapshot(now_s, self._trend_ticks) for task in self._poolers.values()),
                postgres=tuple(task.snapshot(now_s) for task in self._postgres),
            )
        )
