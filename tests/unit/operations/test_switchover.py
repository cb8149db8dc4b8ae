"""What a switchover is told, whom it concerns, and when the nodes are not fit for it. Real ones: servers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from console.config.schema import Bouncer, Inventory, PostgresNode
from console.errors import UsageError
from console.model.switching import NodeState, PatroniMember, PatroniView
from console.operations.switchover.by_patroni import Patronis
from console.operations.switchover.choosing import choose, leads_to, spread
from console.operations.switchover.commands import place_of
from console.operations.switchover.looking import Pair
from console.operations.switchover.parameters import SwitchoverParameters, address_of
from console.operations.switchover.standing import why_not
from tests.unit.operations.radius_kit import database, observation

OLD, NEW = ("10.0.0.1", 5432), ("10.0.0.2", 5433)


def _node(name: str, **fields: Any) -> PostgresNode:
    return PostgresNode(name=name, role="primary", **({"tcp": "10.0.0.1:5432"} | fields))


INVENTORY = Inventory(
    fleet="test",
    environment="development",
    bouncers=(Bouncer(name="edge-1", tcp="10.0.1.1:6432"), Bouncer(name="edge-2", tcp="10.0.1.2:6432")),
    postgres=(_node("db1"), _node("db2", tcp="10.0.0.2:5433")),
)


def _wish(**fields: Any) -> SwitchoverParameters:
    return SwitchoverParameters(**({"to": "db2", "fence": "read-only"} | fields))


def _bound(**fields: Any) -> SwitchoverParameters:
    wish = _wish(**fields)
    wish.bind((INVENTORY.postgres[0], INVENTORY.postgres[1]), frozenset({OLD}), NEW)
    return wish


PRIMARY = NodeState(
    name="db1",
    in_recovery=False,
    started="1.0",
    system_id="7",
    read_only=False,
    position=1000,
    received=None,
    streams=False,
    may_fence=True,
    may_promote=True,
    role="admin",
)
REPLICA = replace(PRIMARY, name="db2", in_recovery=True, started="2.0", received=1000, streams=True)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("db:5432", ("db", 5432)),
        ("[fe80::1]:6000", ("fe80::1", 6000)),
        ("/run/postgresql:5432", ("/run/postgresql", 5432)),
        ("db", None),
        ("db:0", None),
        ("a b:5432", None),
    ],
)
def test_addresses(text: str, address: tuple[str, int] | None) -> None:
    if address is None:
        with pytest.raises(ValueError, match="write host:port"):
            address_of(text)
    else:
        assert address_of(text) == address


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"fence": "stop"}, "--stop-command go together"),
        ({"stop_command": "pg_ctl stop"}, "--stop-command go together"),
        ({"retarget": "command"}, "--retarget-command go together"),
        ({"catch_up_s": 30.0}, "longer than --within"),
        ({"promote_command": "sh -c 'open"}, "no command line"),
        ({"to_address": "nowhere"}, "write host:port"),
    ],
)
def test_what_does_not_go_together(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        _wish(**fields)


async def test_bouncers_are_chosen_by_the_node_behind_them() -> None:
    wish = _wish()
    assert [one.name for one in await choose(INVENTORY, "db1", wish)] == ["edge-1", "edge-2"]
    assert wish.old == {OLD}
    assert wish.new == NEW
    few = _wish(bouncers="edge-2")
    assert [one.name for one in await choose(INVENTORY, "db1", few)] == ["edge-2"]


@pytest.mark.parametrize(
    ("selector", "fields", "reason"),
    [
        ("all", {}, "name one Postgres node"),
        ("edge-1", {}, "is a bouncer"),
        ("db1", {"to": "db1"}, "is no other Postgres node"),
        ("db1", {"to": "db9"}, "is no other Postgres node"),
        ("db1", {"to_address": "10.0.0.1:5432"}, "the same address"),
    ],
)
async def test_what_cannot_be_chosen(selector: str, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        await choose(INVENTORY, selector, _wish(**fields))


async def test_an_address_that_only_its_own_host_knows_has_to_be_told() -> None:
    here = _node("db1", tcp="127.0.0.1:5432", host="db1")
    inventory = INVENTORY.model_copy(update={"postgres": (here, INVENTORY.postgres[1])})
    with pytest.raises(UsageError, match="not in the inventory"):
        await choose(inventory, "db1", _wish())
    wish = _wish(from_address="10.0.0.1:5432")
    await choose(inventory, "db1", wish)
    assert wish.old == {OLD}


def test_a_bouncer_is_paused_whole_when_all_of_it_leads_there() -> None:
    there = replace(database("app"), host=OLD[0], port=OLD[1])
    elsewhere = replace(database("other"), host="10.9.9.9", port=5432)
    wish = _bound()
    assert spread(replace(observation(), databases=(there,)), wish) == (None,)
    assert spread(replace(observation(), databases=(there, elsewhere)), wish) == ("app",)
    assert spread(replace(observation(), databases=(elsewhere,)), wish) == ()
    assert spread(replace(observation(), databases=()), wish) == ()
    assert not leads_to(replace(there, host=None), wish.old)


@pytest.mark.parametrize(
    ("pair", "fields", "reason"),
    [
        (Pair(PRIMARY, REPLICA), {}, None),
        (Pair("refused", REPLICA), {}, "planned moves"),
        (Pair(PRIMARY, "refused"), {}, "db2 cannot be read"),
        (Pair(PRIMARY, replace(REPLICA, system_id="8")), {}, "two different clusters"),
        (Pair(PRIMARY, replace(REPLICA, system_id=None)), {}, None),
        (Pair(PRIMARY, replace(REPLICA, streams=False)), {}, "does not stream"),
        (Pair(replace(PRIMARY, in_recovery=True), REPLICA), {}, "is a replica itself"),
        (Pair(PRIMARY, replace(REPLICA, in_recovery=False)), {}, "both take writes"),
        (Pair(replace(PRIMARY, read_only=True), replace(REPLICA, in_recovery=False)), {}, None),
        (Pair("refused", replace(REPLICA, in_recovery=False)), {}, None),
        (Pair(replace(PRIMARY, may_fence=False), REPLICA), {}, "may not fence"),
        (Pair(replace(PRIMARY, may_fence=False), REPLICA), {"fence": "none"}, None),
        (Pair(replace(PRIMARY, may_fence=False, read_only=True), REPLICA), {}, None),
        (Pair(PRIMARY, replace(REPLICA, may_promote=False)), {}, "may not promote"),
        (Pair(PRIMARY, REPLICA), {"promote_command": "x"}, "names no host for db2"),
    ],
)
def test_when_the_nodes_are_fit_for_it(pair: Pair, fields: dict[str, Any], reason: str | None) -> None:
    found = why_not(pair, _bound(**fields))
    assert (found is None) == (reason is None), found
    assert reason is None or reason in (found or "")


API_1, API_2 = {"patroni": "http://10.0.0.1:8008"}, {"patroni": "http://10.0.0.2:8008/"}


def _with_patroni(one: dict[str, str], other: dict[str, str]) -> Inventory:
    nodes = (_node("db1", **one), _node("db2", tcp="10.0.0.2:5433", **other))
    return INVENTORY.model_copy(update={"postgres": nodes})


@pytest.mark.parametrize(
    ("apis", "fields", "reason"),
    [
        ((API_1, API_2), {"fence": "patroni"}, None),
        ((API_1, API_2), {"fence": "read-only"}, "stops it itself"),
        ((API_1, API_2), {"fence": "none"}, "stops it itself"),
        ((API_1, API_2), {"fence": "none", "promote_command": "patronictl switchover"}, None),
        ((API_1, API_2), {"fence": "patroni", "promote_command": "x"}, "no Patroni"),
        ((API_1, {}), {"fence": "patroni"}, "a Patroni for db1 and none for db2"),
        (({}, {}), {"fence": "patroni"}, "no Patroni that the inventory names"),
    ],
)
async def test_patroni_is_asked_where_it_runs_both(
    apis: tuple[dict[str, str], dict[str, str]], fields: dict[str, Any], reason: str | None
) -> None:
    wish = _wish(**fields)
    if reason is None:
        await choose(_with_patroni(*apis), "db1", wish)
        assert wish.by_patroni == (fields["fence"] == "patroni")
    else:
        with pytest.raises(UsageError, match=reason):
            await choose(_with_patroni(*apis), "db1", wish)


LEADER = PatroniMember("one", "leader", "running", ("10.0.0.1", 8008))
FOLLOWER = PatroniMember("two", "replica", "streaming", ("10.0.0.2", 8008))
VIEW = PatroniView("one", "demo", "4.1.5", "primary", "running", (LEADER, FOLLOWER), False, False)
OTHER = replace(VIEW, name="two", role="replica")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (VIEW, OTHER, None),
        (VIEW, replace(OTHER, name=None), "does not tell what it calls db2"),
        (VIEW, replace(OTHER, scope="another"), "two clusters: demo, another"),
        (replace(VIEW, members=(replace(LEADER, role="replica"), FOLLOWER)), OTHER, "nobody leads"),
        (replace(VIEW, members=(replace(FOLLOWER, role="leader"),)), OTHER, "two leads, not one"),
        (replace(VIEW, members=(LEADER,)), OTHER, "is no member"),
        (replace(VIEW, members=(LEADER, replace(FOLLOWER, state="stopped"))), OTHER, "is stopped"),
        (replace(VIEW, is_scheduled=True), OTHER, "scheduled"),
    ],
)
async def test_what_patroni_says_has_to_fit(old: PatroniView, new: PatroniView, reason: str | None) -> None:
    wish = _wish(fence="patroni")
    await choose(_with_patroni(API_1, API_2), "db1", wish)
    found = why_not(Pair(PRIMARY, replace(REPLICA, may_promote=False), Patronis(old, new)), wish)
    assert (found is None) == (reason is None), found
    assert reason is None or reason in (found or "")
    assert why_not(Pair(PRIMARY, REPLICA, "no answer"), wish) == "Patroni cannot be asked: no answer"


def test_commands_are_run_where_the_inventory_says() -> None:
    assert place_of(_node("a", host="db1")) == "on host db1"
    assert place_of(_node("a", tcp="127.0.0.1:5432")) == "on this machine"
    assert place_of(_node("a")) is None
