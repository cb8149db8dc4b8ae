"""What the collector holds of one node, and the frozen snapshot made of it.

Written and read on the event loop only. It must not talk to a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from console.config.schema import Bouncer, PostgresNode
from console.fleet.history import History
from console.fleet.node import NodeStatus
from console.fleet.rates import StatsReading, rates_between, total_per_s
from console.fleet.totals import pool_totals
from console.model.derive import merged_rates, state_of
from console.model.fleet import (
    Connecting,
    Fresh,
    Freshness,
    PoolerInfo,
    PoolerSnapshot,
    PoolerState,
    PostgresReading,
    PostgresSnapshot,
    PostgresState,
    Resting,
    Stale,
)
from console.model.sample import DatabaseRates, Sample


def pooler_info(bouncer: Bouncer) -> PoolerInfo:
    """Return what the inventory says of a pooler, as the model has it."""
    return PoolerInfo(
        name=bouncer.name,
        kind=bouncer.kind,
        host=bouncer.host,
        address=bouncer.address,
        labels=MappingProxyType(dict(bouncer.labels)),
        peer_group=bouncer.peer_group,
    )


class PoolerRecord:
    """The newest of one pooler: sample, rates, history."""

    def __init__(self, bouncer: Bouncer, history: History | None = None) -> None:
        self.info = pooler_info(bouncer)
        self.history = history or History()
        self.sample: Sample | None = None
        self.rates: Mapping[str, DatabaseRates] | None = None
        self._rate_totals: tuple[float | None, float | None, float | None] = (None, None, None)
        self._stats: StatsReading | None = None
        self._state = PoolerState.CONNECTING

    def forget_counters(self) -> None:
        """Take the next STATS as the first one: the session is new, the pooler perhaps restarted."""
        self._stats = None
        self._set_rates(None)

    def accept(self, sample: Sample) -> None:
        """Take a sample, or the same tick's sample with more in it."""
        self.sample = sample
        self._state = state_of(sample)
        if sample.stats is not None and sample.stats is not self._stats:
            self._set_rates(rates_between(self._stats, sample.stats))
            self._stats = sample.stats

    def _set_rates(self, rates: Mapping[str, DatabaseRates] | None) -> None:
        merged = None if rates is None else merged_rates(rates.values())
        self.rates = rates
        self._rate_totals = (*total_per_s(rates), merged.mean_query_time_us if merged is not None else None)

    def remember(self, tick: int) -> None:
        """Write the present sample and rates into the history, as those of `tick`."""
        sample = self.sample
        if sample is None:
            return
        totals = pool_totals(sample)
        self.history.record(
            tick,
            (
                totals.clients_active,
                totals.clients_waiting,
                totals.servers_active,
                totals.servers_idle,
                totals.maxwait_us,
                *self._rate_totals,
                sample.answer_us,
            ),
        )
        self.history.record_pools(tick, sample.pools)

    def snapshot(self, freshness: Freshness, trend_ticks: int) -> PoolerSnapshot:
        """Return the pooler as it is known now."""
        match freshness:
            case Fresh():
                state = self._state
            case Stale():
                state = PoolerState.STALE
            case Connecting():
                state = PoolerState.CONNECTING
            case Resting():
                state = PoolerState.SHUTDOWN
            case _:
                state = PoolerState.UNREACHABLE
        return PoolerSnapshot(
            info=self.info,
            freshness=freshness,
            state=state,
            sample=self.sample,
            rates=self.rates,
            waiting_trend=self.history.trend("clients_waiting", trend_ticks),
            xact_trend=self.history.trend("xact_per_s", trend_ticks),
        )


_POSTGRES_STATES: Mapping[type[Freshness], PostgresState] = {
    Fresh: PostgresState.UP,
    Stale: PostgresState.STALE,
    Connecting: PostgresState.CONNECTING,
}


def postgres_snapshot(
    node: PostgresNode, reading: PostgresReading | None, freshness: Freshness
) -> PostgresSnapshot:
    """Return a Postgres node as it is known now."""
    return PostgresSnapshot(
        name=node.name,
        role=node.role,
        address=node.address,
        labels=MappingProxyType(dict(node.labels)),
        freshness=freshness,
        state=_POSTGRES_STATES.get(type(freshness), PostgresState.UNREACHABLE),
        reading=reading,
    )


def freshness_of(status: NodeStatus, now_s: float, period_s: float, slow_after_s: float) -> Freshness:
    """Say how fresh a node is that should answer every `period_s`."""
    return status.freshness(now_s, period_s + slow_after_s)
