"""Who holds which server and who else is at the console: what is known, and what is said not to be."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from console.errors import AdminError, DeadlineError, NodeError, Phase
from console.operations.radius import radius_lines, read_radii
from console.operations.radius_join import HIDDEN
from console.operations.target import Target
from console.poolers.pgbouncer import PgBouncerDialect
from console.postgres.activity import Backend, BackendGap
from tests.unit.operations.radius_kit import (
    LIMIT_S,
    WHOLE,
    Nodes,
    backend,
    busy,
    observation,
    pool,
    radius_of,
)


async def test_a_server_is_shown_with_the_client_behind_it_when_both_ends_agree() -> None:
    console = busy()
    console.clients[1]["link"] = ""
    console.servers.append({"ptr": "s4", "link": "gone", "local_port": 4004, "remote_pid": 74})
    found = await radius_of(console)
    agreeing = {held.pid: held.agrees for held in found.held or ()}
    assert agreeing == {71: True, 72: False, 74: False}
    names = {held.pid: held.client and held.client.application_name for held in found.held or ()}
    assert names == {71: "billing", 72: "web", 74: None}
    assert found.changed_hands == 2
    assert any("2 of them changed hands" in line for line in radius_lines(found))


async def test_a_backend_is_found_by_pid_and_port_together() -> None:
    nodes = Nodes(
        backend(71, 4001, xact_age_s=2.0),
        backend(71, 9999, node="pg-2", xact_age_s=5_000.0),
        backend(72, 4002, xact_age_s=60.0),
    )
    found = await radius_of(busy(), backends=nodes)
    assert nodes.pids == [{71, 72}], "only of servers that are held"
    assert [(held.pid, held.xact_age_s) for held in found.held or ()] == [(72, 60.0), (71, 2.0)]
    assert found.longest is not None
    assert found.longest.client is not None
    assert found.longest.client.application_name == "web"
    assert found.gaps == ()


async def test_behind_another_pooler_nothing_matches_and_that_is_said() -> None:
    nodes = Nodes(backend(71, 33_000), backend(72, 33_001))
    found = await radius_of(busy(), backends=nodes)
    assert found.longest is None
    assert found.without_backend == 2
    assert "2 of 2" in found.gaps[0].why
    assert "another pooler" in found.gaps[0].why
    lines = radius_lines(found)
    assert any(line.startswith("transactions not known: 2 of 2") for line in lines)
    assert not any("none is open" in line for line in lines)


async def test_two_backends_that_both_fit_are_no_answer() -> None:
    found = await radius_of(busy(), backends=Nodes(backend(71, 4001), backend(71, 4001, node="pg-2")))
    assert found.longest is None
    assert found.without_backend == 2


@pytest.mark.parametrize(
    ("user", "real", "port", "known"),
    [
        ("app", "shop", -1, True),
        ("other", "shop", -1, False),
        ("app", "else", -1, False),
        ("app", "shop", 6, False),
    ],
)
async def test_over_a_unix_socket_database_and_user_stand_in_for_the_port(
    user: str, real: str, port: int, known: bool
) -> None:
    console = busy()
    console.servers = [
        {
            "addr": "unix",
            "local_addr": "unix",
            "port": 5432,
            "local_port": 6432,
            "ptr": "s1",
            "link": "c1",
            "remote_pid": 71,
        }
    ]
    found = await radius_of(console, backends=Nodes(backend(71, port, user=user, database=real)))
    assert (found.longest is not None) is known


async def test_a_role_that_may_not_see_is_named_as_the_reason() -> None:
    blind: dict[str, Any] = dict.fromkeys(("started_at", "state", "xact_started_at", "xact_age_s"))
    found = await radius_of(busy(), backends=Nodes(backend(71, None, **blind), backend(72, 4002)))
    assert found.gaps == (BackendGap("pg-1", HIDDEN),)
    assert found.longest is not None
    assert any(line.startswith("longest transaction known: 34.1 s") for line in radius_lines(found))


async def test_a_node_that_does_not_answer_is_told_and_the_others_are_shown() -> None:
    gap = BackendGap("pg-2", "no answer within 3 s")
    found = await radius_of(busy(), backends=Nodes(gap, backend(71, 4001), backend(72, 4002)))
    assert found.gaps == (gap,)
    assert found.longest is not None
    alone = await radius_of(busy(), backends=Nodes(gap))
    assert alone.gaps == (gap,), "no guess about pools behind a node that said nothing"
    assert "transactions not known: pg-2: no answer within 3 s" in radius_lines(alone)


async def test_without_nodes_the_reason_is_said() -> None:
    found = await radius_of(busy())
    assert found.gaps == (BackendGap("", "no Postgres node can be asked from here"),)


async def test_nodes_have_the_time_that_is_left_and_no_more() -> None:
    class Silent:
        async def backends(self, pids: Collection[int]) -> tuple[Backend, ...]:  # noqa: ARG002
            await asyncio.Event().wait()
            raise AssertionError("never")

    found = await radius_of(busy(), backends=Silent(), timeout_s=0.05)
    assert found.clients.total == 5
    assert found.gaps == (BackendGap("", "no time was left to ask the Postgres nodes"),)


async def test_a_node_source_that_fails_costs_only_its_part() -> None:
    class Broken:
        async def backends(self, pids: Collection[int]) -> tuple[Backend, ...]:  # noqa: ARG002
            raise NodeError(Phase.CREDENTIALS, "no password", where="pg-1")

    found = await radius_of(busy(), backends=Broken())
    assert found.gaps == (BackendGap("", "pg-1: no password"),)


async def test_others_at_the_console_are_named_and_this_session_is_not() -> None:
    found = await radius_of(busy())
    assert found.own_console_known
    others = [(one.user, one.application_name, one.address, one.admin) for one in found.consoles or ()]
    assert others == [("root", "psql", "unix", True), ("stats", "", "10.0.0.5:99", False)]
    assert len(found.warnings) == 1
    assert "root@unix psql" in found.warnings[0]


@pytest.mark.parametrize(
    "active",
    [
        [],
        [("pgbouncer", "k1", "25", "25"), ("pgbouncer", "k3", "9", "9")],
        [("pgbouncer", "k1", "25", "0")],
    ],
)
async def test_a_session_that_cannot_be_told_from_others_says_so(
    active: list[tuple[str, str, str, str]],
) -> None:
    console = busy()
    console.active = active
    found = await radius_of(console)
    assert not found.own_console_known
    assert len(found.consoles or ()) == 3
    assert any("this session included" in line for line in radius_lines(found))
    assert "may be this session" in found.warnings[0]


async def test_those_who_can_only_look_are_no_warning() -> None:
    console = busy()
    console.clients = [cells for cells in console.clients if cells.get("ptr") != "k2"]
    found = await radius_of(console)
    assert len(found.consoles or ()) == 1
    assert found.warnings == ()


@pytest.mark.parametrize("what", ["CLIENTS", "SERVERS", "ACTIVE_SOCKETS", "LISTS"])
async def test_a_refused_question_costs_only_its_part(what: str) -> None:
    console = busy()
    console.fails = {what: AdminError("invalid command", sqlstate="08P01")}
    seen = observation("1.24.1", pool("app", 4, 1))
    found = await radius_of(console, seen=seen)
    assert any(text.startswith(f"SHOW {what}: invalid command") for text in found.unread)
    assert found.clients.counted_by_pool is (what in ("CLIENTS", "LISTS"))
    assert (found.held is None) is (what in ("SERVERS", "LISTS"))
    assert found.clients.total == 5


async def test_after_a_lost_session_nothing_more_is_asked_of_it() -> None:
    console = busy()
    console.fails = {"CLIENTS": DeadlineError(Phase.PROTOCOL, "no answer within 5 s", limit_s=5)}
    found = await radius_of(console, seen=observation("1.24.1", pool("app", 4, 1)))
    assert console.asked == ["LISTS", "ACTIVE_SOCKETS", "CLIENTS"]
    assert found.unread == (
        "SHOW CLIENTS: no answer within 5 s",
        "SHOW SERVERS: not asked, the session was lost",
    )
    assert found.held is None


async def test_a_table_that_cannot_be_read_does_not_end_the_reading() -> None:
    console = busy()
    console.clients[0]["wait_us"] = "soon"
    found = await radius_of(console, seen=observation("1.24.1", pool("app", 4, 1)))
    assert "wait_us" in found.unread[0]
    assert len(found.held or ()) == 2


async def test_several_targets_of_one_pooler_cost_it_one_reading() -> None:
    console = busy()
    nodes = Nodes(backend(71, 4001))
    targets = [Target("edge", "app"), Target("edge", "tiny"), WHOLE]
    found = await read_radii(
        console, PgBouncerDialect(), observation(), targets, backends=nodes, timeout_s=LIMIT_S
    )
    assert [one.clients.total for one in found] == [4, 1, 5]
    assert console.asked == ["LISTS", "ACTIVE_SOCKETS", "CLIENTS", "SERVERS"]
    assert len(nodes.pids) == 1
