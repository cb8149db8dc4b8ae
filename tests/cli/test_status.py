"""What `pooldeck status` prints: every key always there, null where nothing is known, words for people."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from console.cli.status_output import Choice, all_answer, as_csv, as_json, as_plain, as_table
from console.config.selector import Selectable, parse_selector
from console.errors import Phase, SelectorError
from console.model.fleet import (
    FleetSnapshot,
    Fresh,
    PoolerInfo,
    PoolerSnapshot,
    PoolerState,
    PostgresReading,
    PostgresSnapshot,
    PostgresState,
    Unreachable,
)
from console.model.rows import Database, PauseState, Pool, User
from console.model.sample import DatabaseRates, Reading, Sample
from console.model.version import Version

EVERYTHING = Choice(None, ())
BOUNCER_KEYS = [
    "name",
    "kind",
    "version",
    "state",
    "error",
    "phase",
    "clients_active",
    "clients_waiting",
    "servers_active",
    "servers_idle",
    "maxwait_us",
    "transactions_per_s",
    "queries_per_s",
    "advisories",
    "pools",
]
POOL_KEYS = [
    "database",
    "user",
    "pool_mode",
    "pool_size",
    "cl_active",
    "cl_waiting",
    "sv_active",
    "sv_idle",
    "sv_used",
    "sv_tested",
    "sv_login",
    "maxwait_us",
]
POSTGRES_KEYS = ["name", "role", "version", "state", "max_connections", "backends", "replication_lag_s"]


def database(name: str, pool_size: int = 20) -> Database:
    return Database(name, "db", 5432, name, None, pool_size, None, 0, 0, False, False)


def rate(name: str, xact_per_s: float) -> DatabaseRates:
    return DatabaseRates(name, 1.0, xact_per_s, xact_per_s * 2, 0, 0, None, None, None)


SAMPLE = Sample(
    pooler="edge-1",
    taken_at_s=0,
    monotonic_s=0,
    version=Version(1, 24, 1),
    state=PauseState(False, False),
    pools=(
        Pool("app", "web", 5, 2, 3, 1, 4, 0, 0, 1_500_000, "transaction"),
        Pool("crm", "batch", 1, 0, 1, 0, 0, 0, 0, 0, "session"),
        Pool("pgbouncer", "pgbouncer", 9, 0, 0, 0, 0, 0, 0, 0, "statement"),
    ),
    databases=(database("app"), database("crm"), database("pgbouncer", 2)),
    lists={},
    users=Reading((User("batch", pool_size=7),), 0),
)
UP = PoolerSnapshot(
    PoolerInfo("edge-1", "pgbouncer", None, "127.0.0.1:6432", {}),
    Fresh(0.1),
    PoolerState.UP,
    SAMPLE,
    {"app": rate("app", 10.12345), "crm": rate("crm", 1)},
)
DOWN = PoolerSnapshot(
    PoolerInfo("edge-2", "pgbouncer", None, "127.0.0.1:6433", {}),
    Unreachable(Phase.CONNECT, "Connection refused", None, None, "is the pooler running?"),
    PoolerState.UNREACHABLE,
    None,
    None,
)
READING = PostgresReading(Version(15, 18), True, 100, 3, None, {"active": 2, "idle": 5}, 1.23456)
REPLICA = PostgresSnapshot("pg-2", "primary", "127.0.0.1:5432", {}, Fresh(0.1), PostgresState.UP, READING)
LOST = PostgresSnapshot(
    "pg-1",
    "primary",
    "127.0.0.1:5433",
    {},
    Unreachable(Phase.AUTH, "password refused", None, None),
    PostgresState.UNREACHABLE,
    None,
)
FLEET = FleetSnapshot("shop", "staging", 1_790_000_000.5, 0, 1, (UP, DOWN), (REPLICA, LOST))


def read(choice: Choice = EVERYTHING) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(as_json(FLEET, choice))
    return found


def chosen(text: str) -> Choice:
    class Node:
        def __init__(self, name: str) -> None:
            self.name = name
            self.labels: dict[str, str] = {}

    nodes: list[Selectable] = [Node("edge-1"), Node("edge-2")]
    selected = parse_selector(text).select(nodes)
    return Choice(frozenset(one.name for one in selected), selected)


def test_the_json_has_every_key_in_order_whether_the_node_answers_or_not() -> None:
    found = read()
    assert list(found) == ["fleet", "environment", "taken_at", "bouncers", "postgres"]
    assert (found["fleet"], found["environment"]) == ("shop", "staging")
    assert found["taken_at"] == "2026-09-21T14:13:20.500Z"
    assert [list(one) for one in found["bouncers"]] == [BOUNCER_KEYS, BOUNCER_KEYS]
    assert [list(pool) for pool in found["bouncers"][0]["pools"]] == [POOL_KEYS, POOL_KEYS]
    assert [list(one) for one in found["postgres"]] == [POSTGRES_KEYS, POSTGRES_KEYS]


def test_sums_leave_the_admin_console_s_own_pool_out() -> None:
    up = read()["bouncers"][0]
    assert (up["clients_active"], up["clients_waiting"]) == (6, 2)
    assert (up["servers_active"], up["servers_idle"]) == (4, 1)
    assert up["maxwait_us"] == 1_500_000
    assert (up["transactions_per_s"], up["queries_per_s"]) == (11.123, 22.247)
    assert (up["version"], up["state"], up["error"], up["phase"]) == ("1.24.1", "up", None, None)
    assert [pool["database"] for pool in up["pools"]] == ["app", "crm"]


def test_a_user_s_own_pool_size_wins_over_the_database_s() -> None:
    assert [pool["pool_size"] for pool in read()["bouncers"][0]["pools"]] == [20, 7]


def test_what_is_not_known_is_null_and_never_nought() -> None:
    down = read()["bouncers"][1]
    assert (down["state"], down["phase"], down["error"]) == ("unreachable", "connect", "Connection refused")
    assert {down[key] for key in BOUNCER_KEYS if key not in ("name", "kind", "state", "phase", "error")} == {
        None
    }
    lost = read()["postgres"][1]
    assert (lost["state"], lost["role"]) == ("unreachable", "primary")
    assert {lost[key] for key in ("version", "max_connections", "backends", "replication_lag_s")} == {None}


def test_a_postgres_node_s_role_is_what_the_server_says() -> None:
    assert read()["postgres"][0] == {
        "name": "pg-2",
        "role": "replica",
        "version": "15.18",
        "state": "up",
        "max_connections": 100,
        "backends": 7,
        "replication_lag_s": 1.235,
    }


def test_a_chosen_database_restricts_pools_sums_and_rates() -> None:
    up = read(chosen("edge-1/crm"))["bouncers"][0]
    assert [pool["database"] for pool in up["pools"]] == ["crm"]
    assert (up["clients_active"], up["maxwait_us"], up["transactions_per_s"]) == (1, 0, 1.0)


def test_a_database_that_is_nowhere_is_a_mistake_and_one_that_is_only_here_a_remark() -> None:
    with pytest.raises(SelectorError, match="it has app, crm"):
        chosen("edge-1/ap").complaints(FLEET)
    choice = chosen("edge-1/ap,edge-1/crm")
    assert choice.complaints(FLEET) == ("edge-1/ap: edge-1 has no such database; it has app, crm",)
    assert chosen("all").complaints(FLEET) == ()
    assert chosen("edge-2/app").complaints(FLEET) == (), "a bouncer that is down cannot say what it has"


def test_strict_asks_that_every_node_answers() -> None:
    assert not all_answer(FLEET)
    assert all_answer(FleetSnapshot("shop", "staging", 0, 0, 1, (UP,), (REPLICA,)))


def test_csv_has_one_line_for_each_bouncer_and_nothing_where_nothing_is_known() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(FLEET, EVERYTHING))))
    assert list(rows[0]) == BOUNCER_KEYS[:-2]
    assert [row["name"] for row in rows] == ["edge-1", "edge-2"]
    assert rows[0]["clients_waiting"] == "2"
    assert (rows[1]["clients_waiting"], rows[1]["error"]) == ("", "Connection refused")


def test_plain_lines_stand_alone() -> None:
    lines = as_plain(FLEET, EVERYTHING).splitlines()
    assert all(": " in line for line in lines)
    assert "bouncer edge-1 clients waiting: 2" in lines
    assert "bouncer edge-1 maxwait: 1.5 s" in lines
    assert any(line.startswith("bouncer edge-1 advisories: CVE-") for line in lines)
    assert "bouncer edge-2 advisories: n/a" in lines
    assert "bouncer edge-1 transactions per second: 11.123" in lines
    assert "bouncer edge-1 pool app of web cl waiting: 2" in lines
    assert "bouncer edge-2 state: unreachable" in lines
    assert "bouncer edge-2 error: Connection refused" in lines
    assert "bouncer edge-2 clients active: n/a" in lines
    assert "postgres pg-2 replication lag: 1.2 s" in lines
    assert "postgres pg-1 phase: auth" in lines
    assert "bouncer edge-1 error" not in as_plain(FLEET, EVERYTHING)


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs" / "status.md").read_text(encoding="utf-8")
    example = json.loads(text[text.index("{\n") : text.index("\n}\n") + 3])
    assert list(example) == list(read())
    assert list(example["bouncers"][0]) == BOUNCER_KEYS
    assert list(example["bouncers"][0]["pools"][0]) == POOL_KEYS
    for key in (*BOUNCER_KEYS, *POOL_KEYS, *POSTGRES_KEYS):
        assert f"`{key}`" in text
    for state in PoolerState:
        assert f"| `{state}` |" in text or state is PoolerState.CONNECTING


def test_the_table_is_aligned_and_tells_what_is_wrong_below() -> None:
    lines = as_table(FLEET, EVERYTHING).splitlines()
    assert lines[0] == "shop  staging  2026-09-21T14:13:20.500Z"
    head, first, second = lines[2:5]
    for title in ("CLIENTS", "WAITING", "QUERIES/S"):
        end = head.index(title) + len(title)
        assert first[end - 1] not in " "
        assert second[end - 3 : end] == "n/a"
    assert lines[-2:] == [
        "edge-2: connect: Connection refused; is the pooler running?",
        "pg-1: auth: password refused",
    ]
    assert "\x1b" not in as_table(FLEET, EVERYTHING)


def test_a_bouncer_that_is_down_still_is_one_row_on_a_terminal_of_80_columns() -> None:
    wide, narrow = as_table(FLEET, EVERYTHING), as_table(FLEET, EVERYTHING, width=80)
    down = next(line for line in wide.splitlines() if "unreachable" in line)
    assert len(down) > 80, "else this shows nothing"
    assert max(len(line) for line in narrow.splitlines()[:5]) <= 80
    assert narrow.split() == wide.split(), "nothing is left out"
    assert as_table(FLEET, EVERYTHING, width=200) == wide
