"""What keeps the gate between waves shut: what is worse than before, and not what was so already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.model.rows import Pool
from console.operations.health import (
    NEVER_SEEN,
    Baseline,
    Before,
    logins_hang,
    waited_already,
    waits_too_long,
)
from console.operations.observe import Observation
from tests.unit.operations.radius_kit import observation, pool

LIMIT_S = 1.0
BEGUN_S = 100.0
"""The monotonic clock at the last look before."""


def waits(**longest_s: float) -> Observation:
    """A pooler with a pool of each name whose oldest waiter waits so long."""
    pools = [
        pool(name, 1, int(bool(longest)), maxwait_us=round(longest * 1e6))
        for name, longest in longest_s.items()
    ]
    return observation("1.24.1", *pools)


def before(*looks: Observation) -> Before:
    baseline = Baseline()
    for seen in looks:
        baseline.note(seen, BEGUN_S)
    return baseline.of("edge") or NEVER_SEEN


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        ({"app": 0.0}, {"app": 0.9}, None),
        ({"app": 0.9}, {"app": 1.1}, "a client of app/app has waited 1.1 s, the limit is 1 s"),
        ({}, {"app": 1.1}, "a client of app/app has waited 1.1 s, the limit is 1 s"),
        ({"app": 1.6}, {"app": 2.3}, None),
        (
            {"app": 1.6},
            {"app": 2.5},
            "a client of app/app has waited 2.5 s, the limit is 1 s, and 1.6 s was seen before",
        ),
        ({"app": 35.0}, {"app": 45.0}, None),
        (
            {"tiny": 35.0, "app": 0.0},
            {"tiny": 36.0, "app": 2.0},
            "a client of app/app has waited 2.0 s, the limit is 1 s",
        ),
    ],
    ids=[
        "short",
        "longer than before",
        "a new pool",
        "as before",
        "much longer",
        "the same client",
        "another pool",
    ],
)
def test_a_wait_counts_when_it_is_longer_than_the_limit_and_than_before(
    then: dict[str, float], now: dict[str, float], told: str | None
) -> None:
    at_s = BEGUN_S + 10.0
    assert waits_too_long(before(waits(**then)), waits(**now), limit_s=LIMIT_S, at_s=at_s) == told


def test_a_client_that_waited_before_may_go_on_but_only_where_clients_waited_too_long_before() -> None:
    """It has waited for 60 s, the last look before was 50 s ago: nothing that was done since made it wait."""
    at_s = BEGUN_S + 50.0
    assert waits_too_long(before(waits(app=10.0)), waits(app=60.0), limit_s=LIMIT_S, at_s=at_s) is None
    stuck = waits_too_long(before(waits(app=0.5)), waits(app=50.5), limit_s=LIMIT_S, at_s=at_s)
    assert stuck is not None, "it waited as all do, and what was done keeps it waiting"
    new = waits_too_long(before(waits(app=10.0)), waits(app=49.0), limit_s=LIMIT_S, at_s=at_s)
    assert new is not None, "it came after that"


def test_of_several_looks_before_the_worst_counts() -> None:
    looks = [
        observation("1.24.1", pool("app", 1, 3, maxwait_us=500_000), pool("tiny", 1, 1)),
        replace(observation("1.24.1", pool("app", 1, 2, maxwait_us=900_000)), logging_in=4),
    ]
    found = before(*looks)
    assert (found.waiting, found.logging_in) == (4, 4)
    assert found.longest_s == {("app", "app"): 0.9, ("tiny", "app"): 0.0}
    baseline = Baseline()
    baseline.note("a backend of a Postgres node", BEGUN_S)
    assert baseline.of("edge") is None


def logs_in(logins: int, *, others: int = 0) -> Pool:
    return replace(pool("app", others, 0), sv_active=others, sv_login=logins)


def test_a_pool_with_nothing_but_a_server_login_is_not_served() -> None:
    seen = observation("1.24.1", logs_in(1))
    assert logins_hang(NEVER_SEEN, None, seen) == "pool app/app is still logging in to its server"
    assert logins_hang(before(seen), None, seen) is None, "it was so before"


def test_a_server_login_beside_others_hangs_when_two_looks_see_it() -> None:
    seen, done = observation("1.24.1", logs_in(1, others=3)), observation("1.24.1", logs_in(0, others=3))
    assert logins_hang(NEVER_SEEN, None, seen) is None, "a pool that grows logs in"
    assert logins_hang(NEVER_SEEN, done, seen) is None
    assert logins_hang(NEVER_SEEN, seen, seen) is not None
    assert logins_hang(before(seen), seen, seen) is None, "it was so before"


@pytest.mark.parametrize(
    ("then", "last", "now", "told"),
    [
        (0, None, 5, None),
        (0, None, 30, "30 clients in their login, 0 before"),
        (28, None, 30, None),
        (0, 30, 30, "30 clients in their login, 0 before"),
        (0, 40, 30, None),
        (None, None, None, None),
    ],
    ids=["a few", "a pile", "as before", "not fewer", "draining", "not known"],
)
def test_clients_in_their_login_have_to_drain(
    then: int | None, last: int | None, now: int | None, told: str | None
) -> None:
    def seen(count: int | None) -> Observation:
        return replace(observation("1.24.1"), logging_in=count)

    assert logins_hang(before(seen(then)), None if last is None else seen(last), seen(now)) == told


def test_the_plan_warns_where_clients_wait_too_long_already() -> None:
    looks = [
        waits(app=0.2, tiny=1.4),
        replace(waits(app=0.9), bouncer="calm"),
        replace(waits(), bouncer="new"),
    ]
    (warning,) = waited_already(looks, limit_s=LIMIT_S)
    assert "longer than --max-wait (1 s) already: edge (tiny/app, 1.4 s); after that wave the gate" in warning
    assert waited_already(looks, limit_s=2.0) == ()
