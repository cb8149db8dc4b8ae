"""A saved plan beside the one made anew: equal, of another command, or what has moved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import UsageError
from console.operations.plan import Plan
from console.operations.rollout import Rollout, Share, parse_serial
from console.operations.saved import SavedPlan, asked_otherwise, plan_document, read_plan, what_moved
from tests.unit.operations.test_many import Fleet

ALLOWED = Rollout(parse_serial("100%"), max_failed=Share(3))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


async def made(fleet: Fleet, selector: str = "all", rollout: Rollout = ALLOWED, **parameters: Any) -> Plan:
    return await fleet.service.plan("pause", selector, rollout=rollout, **parameters)


def document_of(fleet: Fleet, plan: Plan) -> dict[str, Any]:
    verdict = fleet.service.judge(plan)
    return plan_document(plan, verdict, user="alice", command="pooldeck pause all", reason=None)


def saved(fleet: Fleet, plan: Plan) -> SavedPlan:
    return read_plan(json.dumps(document_of(fleet, plan)), where="plan.json")


async def test_the_same_world_gives_the_same_plan_and_nothing_moved(fleet: Fleet) -> None:
    before = saved(fleet, await made(fleet))
    again = await made(fleet)
    assert before.hash == again.hash
    assert asked_otherwise(before, again) == ()
    assert what_moved(before, again) == ()
    assert before.user == "alice"


def _resized(fleet: Fleet) -> None:
    fleet.poolers["a1"].config["default_pool_size"] = ("40", "20")


def _paused(fleet: Fleet) -> None:
    fleet.poolers["b1"].paused = True


def _gone(fleet: Fleet) -> None:
    fleet.unreachable = {"b2"}


def _replaced(fleet: Fleet) -> None:
    fleet.poolers["a2"].version = "1.26.1"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_resized, {"a1: setting default_pool_size: 30 → 40"}),
        (
            _paused,
            {
                "b1: pooler paused: no → yes",
                "b1: would be sent: PAUSE → nothing",
                "b1: would be sent if it goes wrong: "
                "SET server_login_retry = 0; RESUME; SET server_login_retry = 15 → nothing",
                "b1: it is so already",
            },
        ),
        (_gone, {"b2: cannot be reached now: connection refused (connect)"}),
        (_replaced, {"a2: version: 1.24.1 → 1.26.1"}),
    ],
)
async def test_what_changed_behind_ones_back_is_named(
    fleet: Fleet, change: Callable[[Fleet], None], told: set[str]
) -> None:
    before = saved(fleet, await made(fleet))
    change(fleet)
    after = await made(fleet)
    assert before.hash != after.hash
    assert asked_otherwise(before, after) == (), "the command is the same"
    assert set(what_moved(before, after)) == told


async def test_what_came_back_and_what_is_new_is_named_too(fleet: Fleet) -> None:
    fleet.unreachable = {"b2"}
    fleet.poolers["a1"].databases = ("app",)
    before = saved(fleet, await made(fleet, "all/*"))
    fleet.unreachable = set()
    fleet.poolers["a1"].databases = ("app", "fresh")
    fleet.poolers["b1"].databases = ("app",)
    lines = set(what_moved(before, await made(fleet, "all/*")))
    assert 'b1/odd "name": is not there any more' in lines
    assert "a1/fresh: was not in the plan" in lines
    assert "b2/app: was not in the plan" in lines


async def test_other_waves_are_another_plan(fleet: Fleet) -> None:
    before = saved(fleet, await made(fleet))
    other = await made(fleet, rollout=Rollout(parse_serial("1,100%"), max_failed=Share(3)))
    assert asked_otherwise(before, other) == ("--serial: 100%, not 1,100%",)
    assert "waves: a1, a2, b1, b2 | " in what_moved(before, other)[0].replace(" → ", " | ")


async def test_a_plan_of_another_command_says_which_option_differs(fleet: Fleet) -> None:
    before = saved(fleet, await made(fleet, hold_s=20))
    assert asked_otherwise(before, await made(fleet, hold_s=30)) == ("--for: 20, not 30",)
    assert asked_otherwise(before, await made(fleet, hold_s=20, timeout_s=2)) == ("--timeout: 5, not 2",)
    assert asked_otherwise(before, await made(fleet, "a1,a2,b1,b2", hold_s=20)) == (
        "selector: all, not a1,a2,b1,b2",
    )
    reload = await fleet.service.plan("reload", "all", rollout=ALLOWED)
    assert asked_otherwise(before, reload) == ("op: pause, not reload",)
    fewer = await made(fleet, rollout=Rollout(parse_serial("100%")), hold_s=20)
    assert asked_otherwise(before, fewer) == ("--max-failed: 3, not 0",)


async def test_a_plan_that_differs_in_nothing_known_is_never_called_the_same(fleet: Fleet) -> None:
    values = document_of(fleet, await made(fleet))
    values["hash"] = "0" * 64
    other = read_plan(json.dumps(values), where="plan.json")
    assert what_moved(other, await made(fleet)) == (
        "nothing that can be named: another Pooldeck may have made it",
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"type": "plan", "format": 1}', "[" * 100_000])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"plan\.json: it is no plan of Pooldeck's"):
        read_plan(text, where="plan.json")


def test_a_plan_of_another_format_says_so() -> None:
    with pytest.raises(UsageError, match="a plan of format 2, and this Pooldeck reads 1"):
        read_plan('{"type": "plan", "format": 2}', where="plan.json")


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    key=st.sampled_from(
        ["op", "parameters", "rollout", "hash", "made_at", "waves", "targets", "unreachable"]
    ),
    value=_json,
)
def test_a_damaged_plan_is_read_or_refused_and_never_breaks(key: str, value: Any) -> None:
    good: dict[str, Any] = {
        "type": "plan",
        "format": 1,
        "made_by": "alice",
        "op": "pause",
        "selector": "all",
        "parameters": {},
        "fleet": "f",
        "environment": "production",
        "rollout": {},
        "hash": "a" * 64,
        "made_at": 1.0,
        "waves": [["a"]],
        "targets": [{"target": "a", "statements": [], "rescue": [], "changes": True, "facts": {}}],
        "unreachable": [],
    }
    assert read_plan(json.dumps(good), where="x").op == "pause"
    try:
        read_plan(json.dumps({**good, key: value}), where="x")
    except UsageError:
        return
