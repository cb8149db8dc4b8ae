"""Each node is watched by itself: what one does never shows on another's row."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from console.clock import SystemClock
from console.errors import LostConnection, NodeError, Phase, UsageError
from console.fleet.collector import FleetCollector
from console.fleet.polling import PollBudget
from console.fleet.store import FleetStore
from console.model.fleet import (
    Connecting,
    FleetSnapshot,
    Fresh,
    PoolerSnapshot,
    PoolerState,
    PostgresState,
    Stale,
    Unreachable,
)
from console.model.table import ResultTable
from tests.unit.fleet.fakes import (
    FakeNode,
    FakePooler,
    FakePostgresSource,
    FakeSource,
    inventory,
    lost,
    refused,
)

QUICK = PollBudget(
    tick_s=0.02,
    stats_s=0.04,
    postgres_s=0.03,
    clients_s=0.02,
    slow_after_s=0.06,
    backoff_first_s=0.02,
    backoff_limit_s=0.05,
)
LIMIT_S = 5.0


class Watched:
    """A running collector over fake nodes."""

    def __init__(self, collector: FleetCollector, store: FleetStore) -> None:
        self.collector = collector
        self.store = store

    async def until(self, holds: Callable[[FleetSnapshot], bool]) -> FleetSnapshot:
        """Return the first snapshot that is as wanted."""
        seen = self.store.latest
        async with asyncio.timeout(LIMIT_S):
            while seen is None or not holds(seen):
                seen = await self.store.next_after(self.store.generation, LIMIT_S)
        return seen

    async def until_pooler(self, name: str, holds: Callable[[PoolerSnapshot], bool]) -> PoolerSnapshot:
        """Return the first snapshot of a pooler that is as wanted."""
        return (await self.until(lambda fleet: holds(fleet.by_name[name]))).by_name[name]


@asynccontextmanager
async def watching(
    poolers: dict[str, FakePooler],
    nodes: dict[str, FakeNode] | None = None,
    budget: PollBudget = QUICK,
    connect_timeout_s: float = 5.0,
) -> AsyncIterator[Watched]:
    store = FleetStore()
    collector = FleetCollector(
        inventory(*poolers, postgres=tuple(nodes or ()), connect_timeout_s=connect_timeout_s),
        FakeSource(poolers),
        FakePostgresSource(nodes),
        store,
        SystemClock(),
        budget=budget,
        seed=7,
    )
    async with collector:
        yield Watched(collector, store)


def fresh(pooler: PoolerSnapshot) -> bool:
    return isinstance(pooler.freshness, Fresh)


async def test_the_first_snapshot_is_there_at_once_and_says_connecting() -> None:
    async with watching({"a": FakePooler()}, {"pg": FakeNode()}) as watched:
        first = watched.store.latest
        assert first is not None
        assert first.generation == 1
        assert isinstance(first.by_name["a"].freshness, Connecting)
        assert first.by_name["a"].state is PoolerState.CONNECTING
        assert first.postgres[0].state is PostgresState.CONNECTING


async def test_a_pooler_that_answers_is_fresh_with_rates_and_trends() -> None:
    async with watching({"a": FakePooler(waiting=4)}) as watched:
        seen = await watched.until_pooler("a", lambda one: bool(one.rates) and len(one.xact_trend) > 5)
    assert fresh(seen)
    assert seen.state is PoolerState.UP
    assert seen.rates is not None
    assert seen.rates["app"].xact_per_s > 0
    assert seen.waiting_trend[-1] == 4
    assert watched.collector.history("a").trend("servers_active", 1) == (2,)
    assert watched.collector.history("a").trend("clients_active", 1) == (3,), "without ourselves"
    assert watched.collector.history("a").pool_trend(("app", "web"), "cl_waiting", 1) == (4,)


async def test_rates_stay_until_the_next_ones_are_known() -> None:
    slow = dataclasses.replace(QUICK, stats_s=3600.0)
    async with watching({"a": FakePooler()}, budget=slow) as watched:
        known = await watched.until_pooler("a", lambda one: bool(one.rates))
        for _ in range(5):
            later = (await watched.store.next_after(watched.store.generation, LIMIT_S)).by_name["a"]
            assert later.rates is known.rates


async def test_what_someone_asks_for_does_not_wait_for_the_next_tick() -> None:
    pooler = FakePooler()
    async with watching({"a": pooler}, budget=dataclasses.replace(QUICK, tick_s=3600.0)) as watched:
        async with asyncio.timeout(LIMIT_S):
            await pooler.until_asked("USERS")
            with watched.collector.watch_clients("a"):
                await pooler.until_asked("CLIENTS")
            watched.collector.reread("a")
            await pooler.until_asked("USERS", times=2)


async def test_snapshots_are_numbered_and_one_a_tick_whatever_the_number_of_poolers() -> None:
    async with watching({f"p{number}": FakePooler() for number in range(30)}) as watched:
        seen = [await watched.store.next_after(watched.store.generation, LIMIT_S) for _ in range(4)]
    assert [one.generation - seen[0].generation for one in seen] == [0, 1, 2, 3]
    steps = [later.monotonic_s - earlier.monotonic_s for earlier, later in itertools.pairwise(seen)]
    assert min(steps) > QUICK.tick_s / 4


async def test_a_pooler_that_hangs_delays_nobody() -> None:
    poolers = {"stuck": FakePooler(hang_connect=True), "mute": FakePooler(hang={"POOLS"}), "a": FakePooler()}
    async with watching(poolers) as watched:
        ticks = [await watched.until_pooler("a", fresh)]
        for _ in range(5):
            last = ticks[-1].sample
            ticks.append(await watched.until_pooler("a", lambda one, last=last: one.sample is not last))  # type: ignore[misc]
        latest = watched.store.latest
    assert all(map(fresh, ticks))
    assert latest is not None
    assert latest.by_name["stuck"].state is PoolerState.CONNECTING


async def test_a_killed_pooler_is_unreachable_with_its_phase_and_its_last_numbers() -> None:
    poolers = {"a": FakePooler(), "b": FakePooler()}
    async with watching(poolers) as watched:
        await watched.until_pooler("a", fresh)
        poolers["a"].errors = dict.fromkeys(("POOLS", "DATABASES", "LISTS"), lost())
        poolers["a"].connect_error = refused()
        gone = await watched.until_pooler("a", lambda one: isinstance(one.freshness, Unreachable))
        other = await watched.until_pooler("b", fresh)
    assert isinstance(gone.freshness, Unreachable)
    assert gone.freshness.phase is Phase.CONNECT
    assert gone.freshness.error == "connection refused"
    assert gone.freshness.hint == "is it running?"
    assert gone.freshness.age_s is not None
    assert gone.state is PoolerState.UNREACHABLE
    assert gone.sample is not None
    assert fresh(other)
    assert poolers["a"].open_sessions == 0


async def test_ticks_without_an_answer_are_gaps_while_they_last() -> None:
    pooler = FakePooler()
    async with watching({"a": pooler}) as watched:
        await watched.until_pooler("a", fresh)
        pooler.errors, pooler.connect_error = {"POOLS": lost()}, refused()
        await watched.until_pooler("a", lambda one: one.waiting_trend[-2:] == (None, None))


async def test_a_lost_session_is_made_anew_at_once_and_only_then_with_patience() -> None:
    pooler = FakePooler()
    patient = dataclasses.replace(QUICK, backoff_first_s=3600.0, backoff_limit_s=3600.0)
    async with watching({"a": pooler}, budget=patient) as watched:
        await watched.until_pooler("a", fresh)
        pooler.errors = {"POOLS": lost()}
        await watched.until_pooler("a", lambda one: isinstance(one.freshness, Stale))
        pooler.errors = {}
        await watched.until_pooler("a", fresh)
        pooler.errors, pooler.connect_error = {"POOLS": lost()}, refused()
        gone = await watched.until_pooler("a", lambda one: isinstance(one.freshness, Unreachable))
    assert isinstance(gone.freshness, Unreachable)
    assert gone.freshness.retry_in_s is not None
    assert gone.freshness.retry_in_s > 1000


async def test_counters_of_another_process_are_never_compared_with_the_old_ones() -> None:
    pooler = FakePooler()
    async with watching({"a": pooler}) as watched:
        await watched.until_pooler("a", lambda one: bool(one.rates))
        pooler.errors = {"POOLS": lost()}
        await watched.until_pooler("a", lambda one: not fresh(one))
        pooler.errors, pooler.xacts = {}, 10**12
        start = watched.store.generation
        seen: list[PoolerSnapshot] = []
        watched.store.subscribe(lambda fleet: seen.append(fleet.by_name["a"]))
        await watched.until(
            lambda fleet: (
                fleet.generation > start and fresh(fleet.by_name["a"]) and bool(fleet.by_name["a"].rates)
            )
        )
    assert max(rate.xact_per_s for one in seen for rate in (one.rates or {}).values()) < 1e6


async def test_a_pooler_that_never_answered_has_no_age() -> None:
    async with watching({"a": FakePooler(connect_error=refused())}) as watched:
        gone = await watched.until_pooler("a", lambda one: isinstance(one.freshness, Unreachable))
    assert isinstance(gone.freshness, Unreachable)
    assert gone.freshness.age_s is None
    assert gone.sample is None
    assert gone.waiting_trend == ()


async def test_a_restarted_pooler_comes_back_without_negative_rates_and_with_a_gap() -> None:
    pooler = FakePooler(xacts=1_000_000)
    async with watching({"a": pooler}) as watched:
        seen: list[PoolerSnapshot] = []
        watched.store.subscribe(lambda fleet: seen.append(fleet.by_name["a"]))
        await watched.until_pooler("a", lambda one: bool(one.rates))
        pooler.errors = {"POOLS": lost()}
        pooler.connect_error = refused()
        await watched.until_pooler("a", lambda one: isinstance(one.freshness, Unreachable))
        pooler.errors, pooler.connect_error, pooler.xacts = {}, None, 0
        back = await watched.until_pooler("a", lambda one: fresh(one) and bool(one.rates))
    assert None in back.waiting_trend
    rates = [rate.xact_per_s for one in seen for rate in (one.rates or {}).values()]
    assert min(rates) >= 0
    first_back = next(
        one for index, one in enumerate(seen) if fresh(one) and index and not fresh(seen[index - 1])
    )
    assert not first_back.rates or first_back.rates["app"].xact_per_s > 0


async def test_a_missed_answer_is_stale_then_ends_the_session() -> None:
    pooler = FakePooler()
    async with watching({"a": pooler}) as watched:
        await watched.until_pooler("a", fresh)
        pooler.hang = {"POOLS"}
        pooler.hang_connect = True
        late = await watched.until_pooler("a", lambda one: isinstance(one.freshness, Stale))
        assert isinstance(late.freshness, Stale)
        assert "no answer to SHOW POOLS" in late.freshness.error
        assert late.freshness.phase is Phase.PROTOCOL
        assert pooler.open_sessions == 1, "still within the question's limit"
        await watched.until_pooler("a", lambda _: pooler.open_sessions == 0)
        pooler.hang, pooler.hang_connect = set(), False


async def test_connecting_has_an_end_even_if_nothing_below_sets_one() -> None:
    async with watching({"stuck": FakePooler(hang_connect=True)}, connect_timeout_s=0.01) as watched:
        seen = await watched.until_pooler("stuck", lambda one: isinstance(one.freshness, Unreachable))
    assert isinstance(seen.freshness, Unreachable)
    assert seen.freshness.phase is Phase.CONNECT
    assert "no session within 0.08 s" in seen.freshness.error


async def test_a_fleet_s_ticks_are_spread_over_the_second() -> None:
    names = [f"p{number}" for number in range(100)]
    poolers = {name: FakePooler() for name in names}
    source, nodes = FakeSource(poolers), FakePostgresSource()
    collector = FleetCollector(inventory(*names), source, nodes, FleetStore(), SystemClock())
    waits = [collector._task(name).beat.next_s(0.0) for name in names]
    in_one_instant = max(sum(abs(one - other) < 0.01 for other in waits) for one in waits)
    assert in_one_instant <= 10


async def test_garbage_is_looked_for_less_often_only_while_collecting() -> None:
    before = gc.get_threshold()
    async with watching({"a": FakePooler()}):
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before


async def test_an_answer_that_cannot_be_read_leaves_the_row_with_phase_parse_and_the_session_open() -> None:
    pooler = FakePooler()
    async with watching({"a": pooler, "never": FakePooler(tables={"POOLS": ResultTable((), ())})}) as watched:
        await watched.until_pooler("a", fresh)
        pooler.tables["POOLS"] = ResultTable(("surprise",), (("1",),))
        odd = await watched.until_pooler("a", lambda one: isinstance(one.freshness, Stale))
        for _ in range(5):
            again = (await watched.store.next_after(watched.store.generation, LIMIT_S)).by_name["a"]
            assert isinstance(again.freshness, Stale), "it answers, so it is not unreachable"
        never = await watched.until_pooler("never", lambda one: isinstance(one.freshness, Unreachable))
        del pooler.tables["POOLS"]
        await watched.until_pooler("a", fresh)
    assert isinstance(odd.freshness, Stale)
    assert odd.freshness.phase is Phase.PARSE
    assert "POOLS" in odd.freshness.error
    assert odd.sample is not None
    assert isinstance(never.freshness, Unreachable)
    assert never.freshness.phase is Phase.PARSE
    assert pooler.sessions == 1


async def test_what_nobody_foresaw_is_logged_and_the_pooler_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pooler = FakePooler(errors={"LISTS": ZeroDivisionError("bug")})
    async with watching({"a": pooler}) as watched:
        seen = await watched.until_pooler("a", lambda one: isinstance(one.freshness, Unreachable))
        pooler.errors = {}
        await watched.until_pooler("a", fresh)
    assert isinstance(seen.freshness, Unreachable)
    assert "ZeroDivisionError" in seen.freshness.error
    assert "ZeroDivisionError: bug" in caplog.text


async def test_clients_are_read_while_someone_watches() -> None:
    pooler = FakePooler()
    async with watching({"a": pooler}) as watched:
        await watched.until_pooler("a", fresh)
        assert "CLIENTS" not in pooler.asked
        with watched.collector.watch_clients("a"), watched.collector.watch_clients("a"):
            seen = await watched.until_pooler("a", lambda one: bool(one.sample and one.sample.clients))
        assert seen.sample is not None
        await watched.until_pooler("a", lambda one: bool(one.sample and one.sample.clients is None))


async def test_reread_asks_for_the_settings_before_their_time() -> None:
    pooler = FakePooler()
    async with watching({"a": pooler}) as watched:
        seen = await watched.until_pooler("a", lambda one: bool(one.sample and one.sample.config))
        assert seen.sample is not None
        before = seen.sample.config
        watched.collector.reread("a")
        await watched.until_pooler("a", lambda one: bool(one.sample and one.sample.config is not before))
    assert pooler.asked.count("CONFIG") == 2


async def test_names_outside_the_fleet_are_told() -> None:
    async with watching({"a": FakePooler()}) as watched:
        with pytest.raises(UsageError, match="'zzz'"):
            watched.collector.history("zzz")


async def test_postgres_nodes_are_polled_and_their_failures_are_theirs() -> None:
    nodes = {"pg1": FakeNode(), "pg2": FakeNode(error=NodeError(Phase.AUTH, "password refused"))}
    async with watching({"a": FakePooler()}, nodes) as watched:
        seen = await watched.until(
            lambda fleet: (
                fleet.postgres[0].state is PostgresState.UP
                and fleet.postgres[1].state is PostgresState.UNREACHABLE
            )
        )
        assert seen.postgres[0].reading is not None
        assert seen.postgres[0].reading.backends == 7
        assert isinstance(seen.postgres[1].freshness, Unreachable)
        assert seen.postgres[1].freshness.phase is Phase.AUTH
        nodes["pg1"].error = LostConnection(Phase.PROTOCOL, "gone")
        await watched.until(lambda fleet: fleet.postgres[0].state is not PostgresState.UP)
        nodes["pg1"].error = None
        await watched.until(lambda fleet: fleet.postgres[0].state is PostgresState.UP)


async def test_leaving_closes_every_session() -> None:
    poolers = {f"p{number}": FakePooler() for number in range(4)}
    poolers["mute"] = FakePooler(hang={"POOLS"})
    async with watching(poolers) as watched:
        await watched.until(lambda fleet: all(fresh(one) for one in fleet.poolers[:4]))
    assert [one.open_sessions for one in poolers.values()] == [0, 0, 0, 0, 0]
