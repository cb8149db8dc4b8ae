"""Rates are what moved, or unknown: never negative, never made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.fleet.rates import StatsReading, database_rates, rates_between, total_per_s
from console.model.rows import Stats
from console.model.sample import Reading
from tests.unit.fleet.fakes import stats

COUNTERS = (
    "total_xact_count",
    "total_query_count",
    "total_received_bytes",
    "total_sent_bytes",
    "total_xact_time_us",
    "total_query_time_us",
    "total_wait_time_us",
)
counts = st.integers(min_value=0, max_value=2**63)
totals = st.builds(
    stats,
    st.sampled_from(["app", "crm", "pgbouncer"]),
    **{name: counts for name in (*COUNTERS, "total_server_assignment_count")},
)
readings = st.lists(totals, max_size=3, unique_by=lambda row: row.database).map(tuple)


def at(monotonic_s: float, *rows: Stats) -> StatsReading:
    return Reading(tuple(rows), monotonic_s)


def test_rates_are_deltas_over_the_time_between_the_readings() -> None:
    before = stats("app", total_xact_count=100, total_query_count=1000, total_received_bytes=10)
    after = stats(
        "app",
        total_xact_count=150,
        total_query_count=1500,
        total_received_bytes=1010,
        total_sent_bytes=500,
        total_xact_time_us=100_000,
        total_query_time_us=50_000,
        total_wait_time_us=5_000,
    )
    rates = rates_between(at(10.0, before), at(15.0, after))
    assert rates is not None
    rate = rates["app"]
    assert (rate.xact_per_s, rate.query_per_s) == (10.0, 100.0)
    assert (rate.received_bytes_per_s, rate.sent_bytes_per_s) == (200.0, 100.0)
    assert (rate.mean_xact_time_us, rate.mean_query_time_us) == (2000.0, 100.0)
    assert rate.mean_wait_time_us == 100.0, "per transaction where assignments are not counted"


def test_waiting_is_per_server_assignment_where_the_version_counts_them() -> None:
    before = stats("app", total_server_assignment_count=10)
    after = stats("app", total_xact_count=100, total_server_assignment_count=20, total_wait_time_us=1000)
    rate = database_rates(before, after, 1.0)
    assert rate is not None
    assert rate.mean_wait_time_us == 100.0


def test_means_of_an_interval_in_which_nothing_ran_are_unknown() -> None:
    rate = database_rates(stats("app", total_xact_count=7), stats("app", total_xact_count=7), 1.0)
    assert rate is not None
    assert rate.xact_per_s == 0.0
    assert (rate.mean_xact_time_us, rate.mean_query_time_us, rate.mean_wait_time_us) == (None, None, None)


@pytest.mark.parametrize("counter", [*COUNTERS, "total_server_assignment_count"])
@pytest.mark.trap("T30")
def test_any_counter_that_went_back_voids_the_interval(counter: str) -> None:
    high = dict.fromkeys((*COUNTERS, "total_server_assignment_count"), 1000)
    assert database_rates(stats("app", **high), stats("app", **(high | {counter: 999})), 1.0) is None


def test_a_restarted_pooler_has_no_rates_for_that_interval() -> None:
    before = at(0.0, stats("app", total_xact_count=5000), stats("crm", total_xact_count=70))
    after = at(5.0, stats("app", total_xact_count=3), stats("crm", total_xact_count=1))
    assert rates_between(before, after) is None


def test_one_database_s_reset_leaves_the_others_rates() -> None:
    before = at(0.0, stats("app", total_xact_count=5000), stats("crm", total_xact_count=70))
    after = at(5.0, stats("app", total_xact_count=3), stats("crm", total_xact_count=80), stats("new"))
    rates = rates_between(before, after)
    assert rates is not None
    assert list(rates) == ["crm"]


def test_the_admin_console_s_own_traffic_is_not_the_fleet_s() -> None:
    before = at(0.0, stats("pgbouncer"), stats("app"))
    after = at(1.0, stats("pgbouncer", total_query_count=900), stats("app", total_query_count=5))
    rates = rates_between(before, after)
    assert rates is not None
    assert total_per_s(rates) == (0.0, 5.0)


def test_no_application_database_means_nothing_ran() -> None:
    assert total_per_s(rates_between(at(0.0), at(1.0, stats("pgbouncer", total_query_count=9)))) == (0.0, 0.0)


def test_one_reading_gives_no_rates() -> None:
    assert rates_between(None, at(1.0, stats("app"))) is None
    assert rates_between(at(1.0, stats("app")), at(1.0, stats("app"))) is None, "no time passed"
    assert total_per_s(None) == (None, None)


@given(before=readings, after=readings, interval_s=st.floats(min_value=-5, max_value=1e6))
def test_rates_are_never_negative_and_only_of_databases_seen_twice(
    before: tuple[Stats, ...], after: tuple[Stats, ...], interval_s: float
) -> None:
    rates = rates_between(Reading(before, 100.0), Reading(after, 100.0 + interval_s))
    if interval_s <= 0:
        assert rates is None
    seen_twice = {row.database for row in before} & {row.database for row in after} - {"pgbouncer"}
    for name, rate in (rates or {}).items():
        assert name in seen_twice
        for value in (rate.xact_per_s, rate.query_per_s, rate.received_bytes_per_s, rate.sent_bytes_per_s):
            assert value >= 0
        for mean in (rate.mean_xact_time_us, rate.mean_query_time_us, rate.mean_wait_time_us):
            assert mean is None or mean >= 0


@given(
    before=totals,
    moved=st.lists(st.integers(min_value=0, max_value=10**12), min_size=7, max_size=7),
    interval_s=st.floats(min_value=0.1, max_value=3600),
)
def test_rates_times_time_give_the_movement_back(before: Stats, moved: list[int], interval_s: float) -> None:
    after = stats(
        before.database,
        **{name: getattr(before, name) + delta for name, delta in zip(COUNTERS, moved, strict=True)},
    )
    rate = database_rates(before, after, interval_s)
    assert rate is not None
    assert rate.xact_per_s * interval_s == pytest.approx(moved[0])
    assert rate.query_per_s * interval_s == pytest.approx(moved[1])
    if moved[0]:
        assert rate.mean_xact_time_us is not None
        assert rate.mean_xact_time_us * moved[0] == pytest.approx(moved[4])
