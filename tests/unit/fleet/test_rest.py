"""A pooler that is left alone: what proves that another process answers, and what does not."""

from __future__ import annotations

import pytest

from console.errors import DeadlineError, NodeError, Phase
from console.fleet.rest import Knocks, Rest
from console.model.fleet import PoolerState, Resting
from console.model.rows import PauseState, Stats
from console.model.sample import Sample
from console.poolers.pgbouncer import PgBouncerDialect
from tests.unit.fleet.fakes import POOLS, FakePooler, refused, stats, table
from tests.unit.fleet.test_collector import watching

DIALECT = PgBouncerDialect()


def read(app: int | None, logins: int) -> tuple[Stats, ...]:
    rows = [] if app is None else [stats("app", total_received_bytes=app)]
    return (*rows, stats("pgbouncer", total_query_count=logins))


@pytest.mark.parametrize(
    ("before", "now", "another"),
    [
        (read(500, 9), read(500, 10), False),
        (read(500, 9), read(800, 10), False),
        (read(500, 9), read(3, 10), True),
        (read(500, 9), read(None, 10), True),
        (read(500, 9), read(500, 2), True),
        (read(None, 9), read(None, 10), False),
        (read(None, 9), read(None, 2), True),
        ((), read(500, 1), False),
    ],
    ids=["idle", "drains", "fewer bytes", "no bytes", "fewer logins", "unused", "unused anew", "never read"],
)
def test_a_restarted_process_counts_from_0_again(
    before: tuple[Stats, ...], now: tuple[Stats, ...], another: bool
) -> None:
    assert Rest("shutting down", lets_consoles_in=True, stats=before).is_another(now) is another


def test_one_database_that_lost_its_counters_is_no_restart() -> None:
    both = (stats("app", total_sent_bytes=7), stats("tiny", total_sent_bytes=9))
    rest = Rest("shutting down", lets_consoles_in=True, stats=both)
    assert not rest.is_another((stats("app", total_sent_bytes=7),))


@pytest.mark.parametrize(
    ("phase", "consoles", "ended"),
    [
        (Phase.CONNECT, True, True),
        (Phase.TUNNEL, True, True),
        (Phase.CONNECT, False, False),
        (Phase.SSH, True, False),
        (Phase.AUTH, True, False),
    ],
)
def test_a_refusal_proves_the_end_only_where_the_old_process_would_let_us_in(
    phase: Phase, consoles: bool, ended: bool
) -> None:
    rest = Rest("shutting down", lets_consoles_in=consoles)
    assert rest.ended_with(NodeError(phase, "no")) is ended
    assert not rest.ended_with(DeadlineError(phase, "no answer", limit_s=1))


def test_who_insists_takes_whoever_answers() -> None:
    assert Rest("shutting down", lets_consoles_in=True).needs_evidence
    assert not Rest("shutting down", lets_consoles_in=True, insisted=True).needs_evidence
    assert not Rest("shutting down", lets_consoles_in=False).needs_evidence


def sample(version: str, *, clients: int = 0, login_clients: int = 0) -> Sample:
    pooler = FakePooler(version=version)
    pool = {"database": "app", "user": "web", "cl_active": str(clients), "pool_mode": "transaction"}
    own = {"database": "pgbouncer", "user": "pgbouncer", "cl_active": "1", "pool_mode": "statement"}
    return Sample(
        pooler="edge",
        taken_at_s=0.0,
        monotonic_s=0.0,
        version=DIALECT.parse_version(pooler.answer("VERSION")),
        state=PauseState(False, False),
        pools=DIALECT.parse_pools(table(POOLS, pool, own)),
        databases=(),
        lists={"login_clients": login_clients},
    )


def test_one_that_only_consoles_keep_is_knocked_at_now_and_then() -> None:
    knocks = Knocks(period_s=5)
    idle = sample("1.24.1")
    assert [knocks.due(idle, DIALECT, now_s) for now_s in (0.0, 1.0, 4.9, 5.0, 6.0)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert not knocks.due(sample("1.24.1", clients=1), DIALECT, 12.0)
    assert not knocks.due(sample("1.24.1", login_clients=1), DIALECT, 13.0)
    assert knocks.due(idle, DIALECT, 14.0), "its last client left"


def test_one_that_cannot_wait_for_clients_is_not_knocked_at() -> None:
    assert not Knocks(period_s=5).due(sample("1.22.0"), DIALECT, 0.0)


async def test_nobody_is_knocked_at_while_clients_are_there() -> None:
    pooler = FakePooler(version="1.24.1", shut=True)
    async with watching({"a": pooler}) as watched:
        await watched.until_pooler("a", lambda one: len(one.xact_trend) > 5)
        assert watched.store.latest is not None
        assert watched.store.latest.by_name["a"].state is PoolerState.UP
        pooler.connect_error = refused()
        pooler.tables["POOLS"] = table(POOLS)
        seen = await watched.until_pooler("a", lambda one: one.state is PoolerState.SHUTDOWN)
        assert isinstance(seen.freshness, Resting)
        assert "nothing listens at its address" in seen.freshness.reason
