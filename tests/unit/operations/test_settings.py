"""What the plan of a SET tells of settings that do something else, or more, than one expects."""

from __future__ import annotations

import pytest

from console.operations.settings import SetParameters, set_standing
from console.operations.spec import Ask
from console.poolers.pgbouncer import PgBouncerDialect
from tests.unit.operations.radius_kit import WHOLE, observation, pool

ROOM = "is there room in max_connections of Postgres?"
POOLS = (pool("app", 1, 0), pool("app", 1, 0, user="other"), pool("tiny", 1, 0))


def told(key: str, value: str, **config: str) -> str:
    seen = observation("1.26.1", *POOLS, **config)
    ask = Ask(WHOLE, seen, SetParameters(key=key, value=value), PgBouncerDialect())
    return "\n".join(set_standing(ask).warnings)


@pytest.mark.parametrize(
    ("key", "now", "value", "words"),
    [
        # Every database of the observation has a pool_size of 20.
        ("default_pool_size", "20", "50", f"3 pools may hold 50 server connections instead of 20, {ROOM}"),
        ("default_pool_size", "10", "50", f"pools may hold 50 server connections instead of 10, {ROOM}"),
        ("min_pool_size", "0", "5", f"may hold more server connections then, {ROOM}"),
        ("reserve_pool_size", "0", "5", f"may hold more server connections then, {ROOM}"),
        ("max_db_connections", "100", "200", f"may hold more server connections then, {ROOM}"),
        ("max_db_connections", "100", "0", f"may hold any number of server connections then, {ROOM}"),
        ("max_user_connections", "100", "0", f"may hold any number of server connections then, {ROOM}"),
    ],
)
@pytest.mark.trap("T20")
def test_more_server_connections_ask_for_room_in_postgres(key: str, now: str, value: str, words: str) -> None:
    assert words.replace(f", {ROOM}", f", and so may those of each peer: {ROOM}") in told(
        key, value, **{key: now}
    )


@pytest.mark.parametrize(
    ("key", "now", "value"),
    [
        ("default_pool_size", "20", "10"),
        ("reserve_pool_size", "5", "0"),
        ("max_db_connections", "0", "200"),
        ("max_db_connections", "200", "100"),
        ("default_pool_size", "20", "many"),
    ],
)
def test_fewer_ask_for_none(key: str, now: str, value: str) -> None:
    assert ROOM not in told(key, value, **{key: now})


@pytest.mark.parametrize(
    ("key", "now", "value", "words"),
    [
        ("stats_period", "60", "30", "averages keep the old period until a restart"),
        ("peer_id", "1", "2", "cancel requests in flight are lost"),
        ("conffile", "/a", "/b", "the next RELOAD reads that file instead"),
        ("max_client_conn", "100", "5000", "the limit of open files was set at its start"),
    ],
)
@pytest.mark.trap("T25")
def test_what_a_live_change_does_not_reach_is_told(key: str, now: str, value: str, words: str) -> None:
    assert words in told(key, value, **{key: now})
