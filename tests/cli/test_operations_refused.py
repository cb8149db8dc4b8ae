"""What the guard refuses: the way on where there is one, and no command that would be refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from console.cli.answers import refusal
from console.cli.operation_output import show_plan
from console.guard.verdict import Deny, Tier
from console.operations.rollout import Share
from tests.cli.test_operations_options import wish_of
from tests.unit.operations.test_many import Fleet, outcomes, rolling

TWO_PERSON = Deny(Tier.CUT, "planned by one, approved by another", "policy.two_person")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


async def hint_of(fleet: Fleet, op: str, selector: str, key: str, value: str) -> str | None:
    plan = await fleet.service.plan(op, selector, key=key, value=value)
    verdict = fleet.service.judge(plan)
    assert isinstance(verdict, Deny)
    return refusal(verdict, plan).hint


async def test_a_bouncer_that_is_down_says_how_to_go_on_without_it(fleet: Fleet) -> None:
    fleet.unreachable = {"a2"}
    hint = await hint_of(fleet, "set", "a*,b1", key="default_pool_size", value="31")
    assert hint == "leave out what is in the way: 'a*,b1,!a2', or let it fail: --max-failed 1"

    without = await fleet.do("set", "a*,b1,!a2", rolling("100%"), key="default_pool_size", value="31")
    assert outcomes(without) == {"a1": "ok", "b1": "ok"}
    fails = rolling("100%", max_failed=Share(1))
    allowed = await fleet.do("set", "a*,b1", fails, key="default_pool_size", value="32")
    assert outcomes(allowed) == {"a1": "ok", "b1": "ok"}


async def test_where_nothing_is_left_no_way_on_is_told(fleet: Fleet) -> None:
    assert await hint_of(fleet, "set", "a1", key="nosuch", value="1") is None
    assert await hint_of(fleet, "set", "all", key="nosuch", value="1") is None


@pytest.mark.parametrize(
    ("verdict", "save", "command"),
    [
        (Deny(Tier.CUT, "never", "policy.forbid"), None, None),
        (TWO_PERSON, None, None),
        (
            TWO_PERSON,
            "/srv/k 1.json",
            "another user: tilt --approve '/srv/k 1.json'",
        ),
    ],
)
async def test_no_command_is_shown_that_would_be_refused(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], verdict: Deny, save: str | None, command: str | None
) -> None:
    plan = await fleet.service.plan("reload", "b1")
    words = ["--save", save] if save else ["--plan"]
    show_plan(plan, verdict, {"command": "tilt"}, wish_of("b1", "1", *words))
    lines = [
        line.split("to run it")[1].strip()
        for line in capsys.readouterr().out.splitlines()
        if "to run it" in line
    ]
    assert lines == ([command] if command else [])


async def test_what_may_run_is_shown_with_its_hash_and_json_as_it_is(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = await fleet.service.plan("reload", "b1")
    verdict = fleet.service.judge(plan)
    show_plan(plan, verdict, {"command": "tilt"}, wish_of("b1", "1", "--plan"))
    assert f"  to run it  tilt --approve {plan.hash[:12]}\n" in capsys.readouterr().out
    show_plan(plan, verdict, {"command": "tilt"}, wish_of("b1", "1", "--plan", "--json"))
    assert json.loads(capsys.readouterr().out) == {"command": "tilt"}
