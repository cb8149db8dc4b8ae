"""What a plan says of who is hit, and what it warns of: lines of 80 columns, names that cannot draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from console.operations.lease import keeper_wire
from console.operations.lease.base import GUARDIAN_NAME, KEEPER_NAME
from console.operations.radius import Radius, radius_lines
from console.operations.radius_warnings import (
    idle_in_transaction,
    old_transactions,
    replication_clients,
    waited_long,
    waiting_warnings,
)
from console.postgres.activity import Backend, Blocker
from tests.unit.operations.radius_kit import Console, Nodes, backend, busy, radius_of


def blocked(**fields: Any) -> Backend:
    by = Blocker(71, "app", "billing", "idle in transaction", 41.0)
    return backend(72, 4002, wait_event_type="Lock", wait_event="transactionid", blocked_by=(by,), **fields)


async def test_the_lines_of_a_busy_pooler() -> None:
    idle = backend(71, 4001, state="idle in transaction", xact_age_s=34.1, query_age_s=33.0)
    found = await radius_of(busy(), backends=Nodes(idle, blocked(xact_age_s=120.0)))
    assert radius_lines(found) == [
        "clients: 5 connected, 2 hold a server, 1 wait (the longest 1.2 s)",
        "by database: app 4, tiny 1",
        "by user: app 4, worker 1",
        "by application: web 2, (no name) 1, batch 1, billing 1",
        "by address: 10.0.0.8 2, 10.0.0.7 1, 10.0.0.9 1, unix 1",
        "servers held by a client: 2, the oldest request 2026-11-21",
        "  09:30:00 UTC",
        "longest transaction: 2m 00s, active",
        "  web (app@10.0.0.8:52, app)",
        "  pid 72 on pg-1 as app, its query began 33.0 s ago",
        "  waits for a lock (transactionid) of pid 71 (billing, idle in",
        "  transaction, 41.0 s)",
        "at the admin console besides: 2",
        "  root@unix psql since 2026-11-21 09:00:00 UTC (admin)",
        "  stats@10.0.0.5:99 since 2026-11-21 09:00:00 UTC (may only look)",
    ]


async def test_a_pooler_without_clients_has_little_to_say() -> None:
    found = await radius_of(Console(active=[("pgbouncer", "k1", "25", "25")]))
    assert radius_lines(found) == [
        "clients: 0 connected, 0 hold a server, 0 wait",
        "servers held by a client: none",
    ]


async def test_no_line_is_wider_than_a_plan_and_no_name_draws_on_the_terminal() -> None:
    console = busy()
    evil = "x\x1b[2J\n  undo       none" + "y" * 200
    for number, cells in enumerate(console.clients):
        cells["application_name"] = f"{number}{evil}"
        cells["user"] = f"{evil}{number}"
    found = await radius_of(console, backends=Nodes(blocked(user=evil, state=evil)))
    texts = [*radius_lines(found), *found.warnings, *pause_warnings(found)]
    assert not any(char in text for text in texts for char in "\x1b\n")
    assert max(map(len, radius_lines(found))) <= 66


async def test_a_guardian_and_a_keeper_are_not_taken_for_somebody_else() -> None:
    console = busy()
    guard = {"database": "pgbouncer", "user": "admin", "addr": "unix", "port": 6432}
    console.clients.append({**guard, "ptr": "k4", "application_name": GUARDIAN_NAME})
    console.clients.append({**guard, "ptr": "k5", "application_name": KEEPER_NAME})
    person, standing_by = (await radius_of(console)).warnings
    assert person.startswith("somebody else is at this admin console and may act too: root@unix psql")
    assert "pooldeck" not in person
    assert standing_by.startswith("a run of Pooldeck holds something here, or is about to, and")
    assert "pooldeck_guardian" in standing_by
    assert "pooldeck_keeper" in standing_by
    assert standing_by.endswith("; pooldeck leases")


def test_a_keeper_calls_itself_what_it_is_known_by() -> None:
    source = Path(keeper_wire.__file__).read_text()
    assert f'"application_name", "{KEEPER_NAME}"' in source


async def test_groups_that_do_not_fit_the_line_are_summed() -> None:
    console = Console(clients=[{"application_name": f"application-{n}", "ptr": str(n)} for n in range(9)])
    lines = radius_lines(await radius_of(console))
    line = next(line for line in lines if line.startswith("by application"))
    assert line == "by application: application-0 1, application-1 1, 7 more 7"


def pause_warnings(found: Radius, budget_s: float = 5.0, timeout_s: float | None = 120.0) -> tuple[str, ...]:
    return waiting_warnings(found, budget_s=budget_s, query_wait_timeout_s=timeout_s)


@pytest.mark.trap("T10")
async def test_transactions_older_than_the_pause_may_take_are_told_with_the_oldest() -> None:
    found = await radius_of(
        busy(), backends=Nodes(backend(71, 4001, xact_age_s=4.9), blocked(xact_age_s=60.0))
    )
    (one,) = old_transactions(found, 5.0)
    assert one.startswith("a transaction is older than the 5 s")
    assert "web (app@10.0.0.8:52, app), blocked by pid 71" in one
    (both,) = old_transactions(found, 4.0)
    assert both.startswith("2 transactions are older")
    assert old_transactions(found, 61.0) == ()


@pytest.mark.parametrize("state", ["idle in transaction", "idle in transaction (aborted)"])
async def test_who_sits_in_a_transaction_is_named_with_application_and_address(state: str) -> None:
    found = await radius_of(busy(), backends=Nodes(backend(71, 4001, state=state), backend(72, 4002)))
    (warning,) = idle_in_transaction(found)
    assert "billing (app@10.0.0.7:51, app) for 33.0 s" in warning
    assert "web" not in warning


async def test_replication_is_told_since_no_pause_outlasts_it() -> None:
    console = busy()
    console.servers[0]["replication"] = "logical"
    found = await radius_of(console)
    (warning,) = replication_clients(found)
    assert "billing" in warning
    assert replication_clients(await radius_of(busy())) == ()


@pytest.mark.parametrize(
    ("waited_us", "limit_s", "told"),
    [
        (30_000_000, 120.0, False),
        (30_100_000, 120.0, True),
        (500_000_000, 0.0, False),
        (500_000_000, None, False),
    ],
)
async def test_clients_that_wait_long_already_are_told(
    waited_us: int, limit_s: float | None, told: bool
) -> None:
    found = await radius_of(busy())
    found = replace(found, clients=replace(found.clients, longest_wait_us=waited_us))
    assert bool(waited_long(found, limit_s)) is told


async def test_a_calm_pooler_gives_no_warning() -> None:
    calm = await radius_of(
        busy(), backends=Nodes(backend(71, 4001, xact_age_s=0.01), backend(72, 4002, xact_age_s=None))
    )
    assert pause_warnings(calm) == ()


async def test_it_is_json_and_bounded_and_has_no_query_text() -> None:
    console = busy()
    console.servers = [
        {"ptr": f"s{n}", "link": "c1", "local_port": 4000 + n, "remote_pid": 100 + n} for n in range(50)
    ]
    found = await radius_of(
        console, backends=Nodes(*(backend(100 + n, 4000 + n, xact_age_s=n + 1.0) for n in range(50)))
    )
    told: Mapping[str, Any] = json.loads(json.dumps(found.as_dict()))
    assert told["held"]["total"] == 50
    assert len(told["held"]["rows"]) == 20
    assert told["held"]["longest_xact_age_s"] == 50.0
    assert told["held"]["rows"][0]["backend"]["xact_started_at"] == "2026-11-21T09:00:00+00:00"
    assert "query" not in told["held"]["rows"][0]["backend"]
    assert told["clients"]["by_application"]["top"][0] == {"name": "web", "clients": 2}


async def test_blockers_that_are_no_backend_or_are_not_known_are_told_as_such() -> None:
    prepared = Blocker(0, None, None, None, None)
    for blockers, told in (
        ((prepared,), "of a prepared transaction"),
        (None, ", of whom is not known"),
        (tuple(Blocker(n, "app", "web", "active", None) for n in range(80, 85)), "and 2 more"),
    ):
        waits = replace(blocked(), blocked_by=blockers)
        found = await radius_of(busy(), backends=Nodes(waits, backend(71, 4001, xact_age_s=None)))
        assert told in " ".join(line.strip() for line in radius_lines(found))
