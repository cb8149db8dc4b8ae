"""The past is kept for an hour, in memory that does not grow, with its gaps."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from console.fleet.history import METRICS, History, Ring
from console.model.rows import Pool

NOTHING = (None,) * len(METRICS)


def values(waiting: float) -> tuple[float | None, ...]:
    return tuple(waiting if metric == "clients_waiting" else 0.0 for metric in METRICS)


def pool(database: str, cl_waiting: int, sv_active: int) -> Pool:
    return Pool(database, "web", 0, cl_waiting, sv_active, 0, 0, 0, 0, 0)


def test_a_trend_is_oldest_first_and_as_long_as_what_is_known() -> None:
    history = History()
    assert history.trend("clients_waiting", 60) == ()
    for tick in range(5, 9):
        history.record(tick, values(tick))
    assert history.trend("clients_waiting", 60) == (5, 6, 7, 8)
    assert history.trend("clients_waiting", 2) == (7, 8)
    assert history.series("clients_waiting") == (5, 6, 7, 8)
    assert history.newest_tick == 8


def test_ticks_without_a_sample_are_gaps_not_zeros() -> None:
    history = History()
    history.record(1, values(4))
    history.record(4, values(5))
    history.skip_to(6)
    assert history.trend("clients_waiting", 60) == (4, None, None, 5, None, None)


def test_a_late_answer_fills_its_own_tick() -> None:
    history = History()
    history.record(1, values(4))
    history.skip_to(3)
    history.record(2, values(9))
    assert history.trend("clients_waiting", 60) == (4, 9, None)


def test_a_value_that_is_not_known_stays_unknown() -> None:
    history = History()
    history.record(0, NOTHING)
    assert history.trend("xact_per_s", 5) == (None,)


def test_an_hour_is_kept_and_no_more() -> None:
    history = History()
    for tick in range(4000):
        history.record(tick, values(tick))
    series = history.series("clients_waiting")
    assert len(series) == 3600
    assert (series[0], series[-1]) == (400, 3999)


def test_a_pool_has_a_past_of_its_own_with_gaps_where_it_was_not_listed() -> None:
    history = History()
    history.record(0, values(0))
    history.record_pools(0, [pool("app", 3, 2)])
    history.record(1, values(0))
    history.record_pools(1, [pool("crm", 9, 9)])
    history.record(2, values(0))
    history.record_pools(2, [pool("crm", 9, 9), pool("app", 5, 4)])
    assert history.pool_trend(("app", "web"), "cl_waiting", 9) == (3, None, 5)
    assert history.pool_trend(("app", "web"), "sv_active", 1) == (4,)
    history.skip_to(3)
    assert history.pool_trend(("app", "web"), "sv_active", 2) == (4, None)
    assert history.pool_trend(("app", "nobody"), "cl_waiting", 9) == ()


def test_pools_that_come_and_go_do_not_grow_the_memory() -> None:
    history = History(pools=3, pool_ticks=5)
    for tick in range(10):
        history.record(tick, values(0))
        history.record_pools(tick, [pool(f"auto{tick}-{number}", 0, 0) for number in range(9)])
    assert history.pools == tuple((f"auto9-{number}", "web") for number in range(3))
    assert history.pool_trend(("auto5-0", "web"), "cl_waiting", 99) == (0, None, None, None, None)
    assert history.pool_trend(("auto4-0", "web"), "cl_waiting", 99) == ()


def test_a_tick_that_is_read_twice_counts_once() -> None:
    history = History()
    for waiting in (1, 2):
        history.record(0, values(waiting))
        history.record_pools(0, [pool("app", waiting, 0)])
    assert history.series("clients_waiting") == (2,)
    assert history.pool_trend(("app", "web"), "cl_waiting", 9) == (2,)


def test_a_hundred_poolers_of_twenty_pools_fit_the_budget() -> None:
    tracemalloc.start()
    try:
        histories = [History() for _ in range(20)]
        for history in histories:
            pools = [pool(f"db{number}", 0, 0) for number in range(20)]
            for tick in range(300):
                history.record(tick, values(1))
                history.record_pools(tick, pools)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used * 100 / 20 < 30 * 2**20


@given(
    length=st.integers(1, 12),
    ticks=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=40),
    count=st.integers(1, 15),
)
def test_a_ring_agrees_with_a_plain_list(length: int, ticks: list[tuple[int, bool]], count: int) -> None:
    ring = Ring(1, length)
    plain: dict[int, float] = {}
    first = newest = None
    for tick, skipped in ticks:
        if skipped:
            ring.skip_to(tick)
            if newest is not None:
                newest = max(newest, tick)
            continue
        ring.record(tick, (float(tick),))
        if first is None:
            first = newest = tick
        if newest is not None and first <= tick and tick > max(newest, tick) - length:
            newest = max(newest, tick)
            plain[tick] = float(tick)
    if first is None or newest is None:
        assert ring.tail(0, count) == ()
        return
    start = max(first, newest - min(count, length) + 1)
    assert ring.tail(0, count) == tuple(plain.get(tick) for tick in range(start, newest + 1))
