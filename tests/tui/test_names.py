"""What completes the names behind a verb: from the inventory and what was read, of that very version."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from console.operations.registry import REGISTRY
from console.tui import chosen, wishes
from console.tui.names import Names
from console.view.postgres import postgres_rows
from tests.tui.driving import inventory_of
from tests.tui.recording import snapshot


@pytest.fixture
def names() -> Names:
    picture = snapshot()
    return Names(cast("Any", SimpleNamespace(inventory=inventory_of(picture), snapshot=picture)))


def offered(names: Names, op: str, text: str) -> list[str]:
    return [found for found, _, _ in wishes.completions(REGISTRY[op].verb, text, names.of)]


def test_roles_are_those_that_have_pools_there(names: Names) -> None:
    assert offered(names, "rotate", "edge-1a ")[:2] == ["web", "analyst"]
    assert offered(names, "rotate", "far-away-datacentre-bouncer-07 ")[0].startswith("service_account")
    assert offered(names, "rotate", "edge-1a web to=an") == ["analyst"]


def test_keys_are_those_that_the_bouncer_runs_with(names: Names) -> None:
    assert offered(names, "config set", "edge-1a def") == ["default_pool_size="]
    assert dict(names.of("setting=", "edge-1a", "listen"))["listen_port="] == "now 6432; needs a restart"
    assert "listen_port" in offered(names, "config set", "edge-1a remove=listen_p")
    assert offered(names, "set", "edge-1a max_cl") == ["max_client_conn"]


def test_options_are_those_of_the_version(names: Names) -> None:
    assert offered(names, "config set", "edge-1a databases.rep") == ["databases.reporting."]
    assert "databases.app.load_balance_hosts=" in offered(names, "config set", "edge-1a databases.app.")
    assert "databases.app.load_balance_hosts=" not in offered(
        names, "config set", "legacy-118 databases.app."
    )
    assert not any("password" in one for one in offered(names, "config set", "edge-1a databases.app."))


def test_words_of_a_setting_are_offered_behind_the_first_pair_too(names: Names) -> None:
    words = ["pool_mode=session", "pool_mode=statement"]
    assert offered(names, "config set", "edge-1a pool_mode=s") == words
    assert offered(names, "config set", "edge-1a a=1 pool_mode=s") == words


def test_where_a_node_is_named_nodes_are_offered(names: Names) -> None:
    assert offered(names, "switchover", "pg-") == ["pg-1", "pg-2", "pg-3"]
    assert offered(names, "switchover", "pg-1 to=pg-2 bouncers=edge-2")[:2] == ["edge-2a", "edge-2b"]
    assert offered(names, "terminate", "pg-1") == []
    assert "all" not in offered(names, "cancel", "")


def test_a_switchover_can_be_had_for_the_row_of_a_node(names: Names) -> None:
    spec, picture = REGISTRY["switchover"], snapshot()
    (row, *_) = postgres_rows(picture)
    assert chosen.selectors(spec, [row]) == [row.key]
    assert chosen.cannot(spec, [row], inventory_of(picture), read_only=False) is None
    pause = chosen.cannot(REGISTRY["pause"], [row], inventory_of(picture), read_only=False)
    assert pause == "it acts on a database of a bouncer or a whole bouncer"


def test_in_the_console_clients_that_stay_are_asked_about() -> None:
    verb, serial = REGISTRY["restart"].verb, REGISTRY["restart"].serial
    assert wishes.parse(verb, "edge-1a", serial=serial).parameters["stragglers"] == "ask"
    assert wishes.plain(verb, "edge-1a").parameters["stragglers"] == "ask"
    said = wishes.parse(verb, "edge-1a stragglers=give-up", serial=serial)
    assert said.parameters["stragglers"] == "give-up"
    option = next(one for one in verb.options if one.field == "stragglers")
    assert "ask" not in option.choices, "nobody is there to be asked on the command line"
