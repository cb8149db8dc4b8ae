"""What a plan knows of who is hit: tables as each version sends them, Postgres nodes of all moods."""

from __future__ import annotations

import pytest

from console.operations import radius as radius_module
from console.operations.radius import radius_lines
from console.operations.target import Target
from tests.unit.operations.radius_kit import (
    VERSIONS,
    Console,
    busy,
    counts,
    observation,
    pool,
    radius_of,
)


@pytest.mark.parametrize("version", VERSIONS)
async def test_clients_are_counted_by_what_they_have_in_common(version: str) -> None:
    clients = (await radius_of(busy(version))).clients

    assert (clients.total, clients.holding, clients.waiting) == (5, 2, 1)
    assert clients.longest_wait_us == 1_200_000
    assert counts(clients.by_database) == {"app": 4, "tiny": 1}
    assert counts(clients.by_user) == {"app": 4, "worker": 1}
    assert clients.by_address is not None
    assert counts(clients.by_address) == {"10.0.0.8": 2, "10.0.0.7": 1, "10.0.0.9": 1, "unix": 1}
    if version == "1.17.0":
        assert clients.by_application is None, "not asked is not the same as nobody"
    else:
        assert counts(clients.by_application) == {"web": 2, "": 1, "batch": 1, "billing": 1}


async def test_one_database_counts_its_own_clients_and_servers_only() -> None:
    found = await radius_of(busy(), Target("edge", "tiny"))
    assert (found.clients.total, found.clients.holding) == (1, 0)
    assert found.held == ()
    assert found.gaps == (), "nothing is held, so nothing is unknown of it"


async def test_only_the_largest_groups_are_named_and_the_rest_is_summed() -> None:
    console = Console(
        clients=[
            {"application_name": f"app-{number:02}", "ptr": f"c{number}-{copy}"}
            for number in range(14)
            for copy in range(number + 1)
        ]
    )
    grouped = (await radius_of(console)).clients.by_application
    assert grouped is not None
    assert [group.name for group in grouped.top] == [f"app-{number:02}" for number in range(13, 3, -1)]
    assert (grouped.more, grouped.more_clients) == (4, 1 + 2 + 3 + 4)


async def test_names_that_the_pooler_lengthened_are_counted_as_they_were_given() -> None:
    console = Console(
        clients=[
            {"application_name": "web - 10.0.0.8:52", "ptr": "c1"},
            {"application_name": "web - 10.0.0.8:53", "ptr": "c2"},
            {"application_name": "web - unix(17@host):6432", "ptr": "c3"},
            {"application_name": "a - b", "ptr": "c4"},
        ]
    )
    grouped = (await radius_of(console, seen=observation(application_name_add_host="1"))).clients
    assert counts(grouped.by_application) == {"web": 3, "a - b": 1}
    as_sent = (await radius_of(console)).clients
    assert len(counts(as_sent.by_application)) == 4


async def test_above_the_limit_clients_are_not_asked_for_and_the_pools_are_counted() -> None:
    console = busy()
    console.lists = {"used_clients": 5_001}
    seen = observation("1.24.1", pool("app", 4_000, 3, maxwait_us=9_000), pool("tiny", 900, 1, user="worker"))
    found = await radius_of(console, seen=seen)

    assert "CLIENTS" not in console.asked
    assert "SERVERS" in console.asked
    assert found.clients.counted_by_pool
    assert (found.clients.total, found.clients.waiting, found.clients.longest_wait_us) == (4_904, 4, 9_000)
    assert counts(found.clients.by_user) == {"app": 4_003, "worker": 901}
    assert found.clients.by_application is None
    assert found.clients.by_address is None
    assert found.clients.holding == 2, "SHOW SERVERS tells it still"
    assert found.consoles is None, "not asked, so not nobody"
    assert [held.client for held in found.held or ()] == [None, None]
    assert [held.agrees for held in found.held or ()] == [None, None]
    assert "5,001 clients" in found.unread[0]
    assert any("5,001 clients" in line for line in radius_lines(found))


async def test_exactly_at_the_limit_clients_are_asked_for() -> None:
    console = busy()
    console.lists = {"used_clients": radius_module.CLIENTS_LIMIT}
    assert not (await radius_of(console)).clients.counted_by_pool


async def test_too_many_servers_are_not_asked_for() -> None:
    console = busy()
    console.lists = {"used_servers": 5_001}
    found = await radius_of(console)
    assert "SERVERS" not in console.asked
    assert found.held is None
    assert found.clients.holding == 2, "SHOW CLIENTS tells it"
    assert not any("held by a client: none" in line for line in radius_lines(found))
