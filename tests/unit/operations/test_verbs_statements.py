"""What each verb sends to a pooler in each state, as data; and that nothing else is ever sent."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import LostConnection, Phase, PooldeckError, UsageError
from console.operations.backends import BackendParameters
from tests.unit.operations.conftest import Bench
from tests.unit.operations.fake_pooler import FakePooler
from tests.unit.operations.patience import impatient

RETRY_OFF, RETRY_BACK = "SET server_login_retry = 0", "SET server_login_retry = 15"
OK: dict[str, Any] = {}
PAUSED = {"paused": True}
DB_PAUSED = {"paused_databases": {"app"}}
DISABLED = {"disabled_databases": {"app"}}
SUSPENDED = {"suspended": True}
OLD = {"version": "1.18.0"}
BLOCKED = None
"""The plan says why it cannot be; nothing is sent."""
APP = "edge/app"

# state, verb, selector, parameters -> statements; () is "so already"
CASES: list[tuple[dict[str, Any], str, str, dict[str, Any], tuple[str, ...] | None]] = [
    (OK, "reconnect", "edge", {}, ("RECONNECT",)),
    (OK, "reconnect", APP, {}, ('RECONNECT "app"',)),
    (OK, "reconnect", 'edge/"odd ""name"""', {}, ('RECONNECT "odd ""name"""',)),
    (PAUSED, "reconnect", "edge", {}, ("RECONNECT",)),
    (OK, "disable", APP, {}, ('DISABLE "app"',)),
    (DISABLED, "disable", APP, {}, ()),
    (PAUSED, "disable", APP, {}, ('DISABLE "app"',)),
    (OK, "enable", APP, {}, ()),
    (DISABLED, "enable", APP, {}, ('ENABLE "app"',)),
    (OK, "kill", APP, {}, ('KILL "app"', RETRY_OFF, 'RESUME "app"', RETRY_BACK)),
    (OLD, "kill", APP, {}, ('KILL "app"', RETRY_OFF, 'RESUME "app"', RETRY_BACK)),
    (DISABLED, "kill", APP, {}, ('KILL "app"', RETRY_OFF, 'RESUME "app"', RETRY_BACK)),
    (OK, "kill", 'edge/"odd ""name"""', {}, ()),
    (PAUSED, "kill", APP, {}, BLOCKED),
    (SUSPENDED, "kill", APP, {}, BLOCKED),
    (DB_PAUSED, "kill", APP, {}, BLOCKED),
    (OK, "kill-client", "edge", {"ids": ("8", "7", "8")}, ("KILL_CLIENT 8", "KILL_CLIENT 7")),
    (PAUSED, "kill-client", "edge", {"ids": ("7",)}, ("KILL_CLIENT 7",)),
    (OK, "kill-client", "edge", {"ids": ("7", "70")}, BLOCKED),
    (OLD, "kill-client", "edge", {"ids": ("7",)}, BLOCKED),
    (OK, "shutdown", "edge", {"mode": "now"}, ("SHUTDOWN",)),
    (OLD, "shutdown", "edge", {"mode": "now"}, ("SHUTDOWN",)),
    (PAUSED, "shutdown", "edge", {"mode": "now"}, ("SHUTDOWN",)),
    (OK, "shutdown", "edge", {"mode": "wait-for-servers"}, ("SHUTDOWN WAIT_FOR_SERVERS",)),
    (OK, "shutdown", "edge", {"mode": "wait-for-clients"}, ("SHUTDOWN WAIT_FOR_CLIENTS",)),
    (PAUSED, "shutdown", "edge", {"mode": "wait-for-servers"}, ("SHUTDOWN WAIT_FOR_SERVERS",)),
    (PAUSED, "shutdown", "edge", {"mode": "wait-for-clients"}, BLOCKED),
    (DB_PAUSED, "shutdown", "edge", {"mode": "wait-for-clients"}, BLOCKED),
    (SUSPENDED, "shutdown", "edge", {"mode": "wait-for-servers"}, BLOCKED),
    (OLD, "shutdown", "edge", {"mode": "wait-for-servers"}, BLOCKED),
    (OK, "set", "edge", {"key": "default_pool_size", "value": "7"}, ("SET default_pool_size TO '7'",)),
    (OK, "set", "edge", {"key": "auth_file", "value": "o'k"}, ("SET auth_file TO 'o''k'",)),
    (OK, "set", "edge", {"key": "default_pool_size", "value": "30"}, ()),
    (OK, "set", "edge", {"key": "default_pol_size", "value": "7"}, BLOCKED),
    (OK, "set", "edge", {"key": "auth_file", "value": "a\nb"}, BLOCKED),
]


def _pooler(state: dict[str, Any]) -> FakePooler:
    pooler = FakePooler(lists_clients=True)
    for key, value in state.items():
        setattr(pooler, key, set(value) if isinstance(value, set) else value)
    return pooler


@pytest.mark.parametrize(("state", "verb", "selector", "parameters", "statements"), CASES)
async def test_state_and_verb_give_exactly_these_statements(
    tmp_path: Path,
    state: dict[str, Any],
    verb: str,
    selector: str,
    parameters: dict[str, Any],
    statements: tuple[str, ...] | None,
) -> None:
    pooler = _pooler(state)
    bench = Bench(pooler, tmp_path / "journal.jsonl")
    async with bench.service:
        plan = await bench.service.plan(verb, selector, timeout_s=0.2, **parameters)
        (item,) = plan.targets
        assert (item.blocked is None) == (statements is not BLOCKED), item.blocked
        assert item.statements == (statements or ())
        if statements is not BLOCKED:
            await bench.submit(plan).receipt()
    assert pooler.changing() == list(statements or ())


async def test_ids_of_one_bouncer_are_never_taken_for_anothers(bench: Bench, pooler: FakePooler) -> None:
    pooler.lists_clients = True
    with pytest.raises(UsageError, match="a number of one bouncer, and the selector names edge and edge-2"):
        await bench.service.plan("kill-client", "all", ids=("7",))


def test_pids_of_one_node_are_never_taken_for_anothers() -> None:
    pids = BackendParameters.model_validate({"pids": ("4711", "4711", "4712")})
    assert pids.pids == (4711, 4712)
    pids.bind("primary")
    pids.bind("primary")
    with pytest.raises(UsageError, match="the selector names primary and replica"):
        pids.bind("replica")


PARAMETERS: dict[str, dict[str, Any]] = {
    "kill-client": {"ids": ("7", "9")},
    "shutdown": {"mode": "now"},
    "set": {"key": "default_pool_size", "value": "7"},
}
VERBS = ["reconnect", "disable", "enable", "kill", "kill-client", "shutdown", "set"]


@settings(max_examples=60, deadline=None)
@given(
    op=st.sampled_from(VERBS),
    version=st.sampled_from(["1.18.0", "1.24.1", "1.26.1"]),
    state=st.sampled_from([OK, PAUSED, DB_PAUSED, DISABLED, SUSPENDED]),
    lost=st.sampled_from(["", "before", "after"]),
    read_only=st.booleans(),
    journal_works=st.booleans(),
)
def test_nothing_is_sent_that_was_not_planned_and_recorded(
    op: str, version: str, state: dict[str, Any], lost: str, read_only: bool, journal_works: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        if not journal_works:
            journal.mkdir()
        pooler = _pooler({**state, "version": version})
        bench = Bench(pooler, journal, read_only=read_only)

        def must_be_recorded(statement: str) -> None:
            if statement == "PAUSE pgbouncer":
                assert not read_only
                return
            record = json.loads(journal.read_text().splitlines()[-1])
            assert record["kind"] == "intent"
            assert statement in record["statements"] + record["rescue"]
            if lost == "before":
                raise _lost()

        def and_lost(statement: str) -> None:
            if lost == "after" and statement != "PAUSE pgbouncer":
                raise _lost()

        pooler.before_execute, pooler.after_execute = must_be_recorded, and_lost
        selector = "edge" if op in ("kill-client", "shutdown", "set") else "edge/app"
        with impatient():
            asyncio.run(_drive(bench, op, selector))
        if read_only or not journal_works:
            assert pooler.changing() == []


def _lost() -> LostConnection:
    return LostConnection(Phase.PROTOCOL, "the connection was closed")


async def _drive(bench: Bench, op: str, selector: str) -> None:
    async with bench.service:
        try:
            plan = await bench.service.plan(op, selector, timeout_s=0.2, **PARAMETERS.get(op, {}))
            await bench.submit(plan).receipt()
        except PooldeckError:
            return
