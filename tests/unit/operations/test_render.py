"""Plans and receipts as text: what must be read is there, each thing once, and it fits the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from console.operations.outcome import Outcome, RunReceipt, TargetReceipt, Unreachable
from console.operations.plan import Plan
from console.operations.render import plan_text
from console.operations.render_layout import grouped, labelled, table
from console.operations.render_receipt import cut_text, receipt_text, run_text
from console.operations.rollout import Rollout, Share, parse_serial
from console.operations.target import Target
from tests.unit.operations.test_many import NAMES, Fleet

TERMINAL = 80


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


async def plan_of(fleet: Fleet, op: str = "pause", selector: str = "all", **rollout: object) -> Plan:
    how = Rollout(parse_serial("100%"), **rollout)  # type: ignore[arg-type]
    return await fleet.service.plan(op, selector, rollout=how if rollout else None)


def rows_of(text: str) -> dict[str, str]:
    """The table's rows by target."""
    return {
        word: line
        for line in text.splitlines()
        for word in line.split()[:2]
        if word in NAMES and ":" not in line
    }


async def test_a_plan_of_many_is_a_table_with_every_target_and_what_it_gets(fleet: Fleet) -> None:
    fleet.unreachable = {"a1"}
    fleet.poolers["a2"].paused = True
    fleet.poolers["b1"].suspended = True
    text = plan_text(await plan_of(fleet, max_failed=Share(50, is_percent=True)))
    rows = rows_of(text)
    assert rows["a1"].split() == ["a1", "n/a", "n/a", "n/a", "n/a", "unreachable"]
    assert rows["a2"].split()[1:3] == ["1.24.1", "paused"]
    assert rows["a2"].endswith("no change")
    assert rows["b1"].endswith("REFUSED")
    assert rows["b2"].split()[2:] == ["running", "3", "2", "PAUSE"]
    assert "no answer  a1: connection refused (connect)" in text
    assert "all are resumed when more than 2 (50%) failed" in text


async def test_what_is_true_of_all_is_said_once(fleet: Fleet) -> None:
    text = plan_text(await plan_of(fleet))
    assert text.count("clients finish their transaction") == 1
    assert text.count("or else") == 1
    assert text.count("query_wait_timeout") == 1
    for name in ("a2", "b2"):
        fleet.poolers[name].config["query_wait_timeout"] = ("60", "120")
    text = plan_text(await plan_of(fleet))
    assert "2 of 4: a client waits at most 60 s (query_wait_timeout) (a2, b2)" in text
    assert "2 of 4: a client waits at most 120 s (query_wait_timeout) (a1, b1)" in text


async def test_a_way_out_names_no_limit_that_cannot_be_reached(fleet: Fleet) -> None:
    fleet.poolers["a2"].paused = True
    assert "waves      all at once; goes on whatever fails\n" in plan_text(await plan_of(fleet, op="resume"))


async def test_few_targets_are_shown_in_full_and_many_when_asked_for(fleet: Fleet) -> None:
    three = plan_text(await plan_of(fleet, selector="all,!b2"))
    assert three.count("  undo       pooldeck resume") == 3
    assert "left out   b2 (not named by all,!b2)" in three
    four = await plan_of(fleet)
    assert "undo       pooldeck resume, for each target" in plan_text(four)
    assert plan_text(four, verbose=True).count("  undo       pooldeck resume a1") == 1


async def test_the_waves_are_columns_of_the_table_and_peers_are_apart(fleet: Fleet) -> None:
    text = plan_text(await fleet.service.plan("reload", "all", rollout=Rollout(parse_serial("1,100%"))))
    waves = {line.split()[1]: line.split()[0] for line in text.splitlines() if line[:1].isdigit()}
    assert waves == {"a1": "1", "a2": "2", "b1": "2", "b2": "2"}
    assert "2 waves: 1 and 3 targets; ends at the first failure; between waves healthy within 30 s" in text


@pytest.mark.parametrize("verbose", [False, True])
async def test_on_a_terminal_of_80_columns_nothing_is_wider(fleet: Fleet, verbose: bool) -> None:
    fleet.unreachable = {"b2"}
    fleet.poolers["a2"].paused_databases = {"app", 'odd "name"'}
    plan = await plan_of(fleet, max_failed=Share(1))
    long = tuple(
        replace(
            item, target=Target(f"bouncer-{number:03}-of-a-data-centre-far-away", "a_database_of_some_length")
        )
        for number, item in enumerate(plan.targets)
    )
    wide = replace(plan, targets=long, waves=(tuple(item.target for item in long),))
    text = plan_text(wide, width=TERMINAL, verbose=verbose)
    assert [line for line in text.splitlines() if len(line) > TERMINAL] == []
    assert "far-away" in text
    assert "a_database_of_some_length" in text.replace("\n", "").replace(" ", "") or verbose


@pytest.mark.parametrize(("verbose", "selector"), [(False, "all"), (True, "all"), (False, "a1")])
async def test_on_a_terminal_of_40_columns_the_table_does_without_some(
    fleet: Fleet, verbose: bool, selector: str
) -> None:
    fleet.unreachable = {"b2"}
    text = plan_text(await plan_of(fleet, selector=selector), width=40, verbose=verbose)
    assert [line for line in text.splitlines() if len(line) > 40] == []
    if selector == "all":
        assert next(line.split() for line in text.splitlines() if "TARGET" in line) == [
            "TARGET",
            "STATE",
            "CLIENTS",
            "SENDS",
        ]


async def test_how_to_see_more_comes_last(fleet: Fleet) -> None:
    plan = await plan_of(fleet)
    warned = replace(plan, group_warnings=("no healthy member of @zone=a is left: all are targets",))
    assert plan_text(warned).splitlines()[-1] == "  more       -v shows every target in full"
    assert "-v" not in plan_text(warned, verbose=True)


async def test_in_a_pipe_a_fact_is_a_line(fleet: Fleet) -> None:
    text = plan_text(await plan_of(fleet))
    (line,) = [line for line in text.splitlines() if "verified" in line]
    assert line.endswith("at the end it reads as running")


async def test_a_held_plan_says_how_long_and_who_ends_it(fleet: Fleet) -> None:
    held = await fleet.service.plan("pause", "a1", hold_s=12, timeout_s=3)
    assert "lasts      drained within 3 s, held for 12 s, then resumed" in plan_text(held)
    detached = await fleet.service.plan("pause", "a1", hold_s=12, detach=True)
    assert "by its guardian, which stays behind" in plan_text(detached)
    assert "lasts" not in plan_text(await fleet.service.plan("reload", "a1"))


def test_a_table_bends_only_what_may_and_loses_nothing() -> None:
    rows = [["edge", "1.24.1", "word " * 12], ["x" * 40, "1.26.1", "short"]]
    lines = table(["~TARGET", "<VERSION", "~SAYS"], rows, 60)
    assert max(map(len, lines)) <= 60
    assert "".join(lines).count("word") == 12
    assert "".join("".join(line.split()[:1]) for line in lines).count("x") == 40
    assert "1.24.1" in lines[1]
    assert len(table(["~TARGET", "<VERSION", "~SAYS"], rows, None)) == 3


def test_names_stand_with_a_text_only_when_it_is_not_true_of_all() -> None:
    assert grouped([("a", "x"), ("b", "x")], 2) == ["x"]
    assert grouped([("a", "x"), ("b", "x"), ("c", "y")], 3) == ["2 of 3: x (a, b)", "c: y"]
    many = [(f"n{number}", "x") for number in range(9)]
    assert grouped(many, 10) == ["9 of 10: x (n0, n1, n2, n3 and 5 more)"]
    assert grouped([("a", "x"), ("a", "x")], 1) == ["x"], "one target may say it twice"


def test_a_long_text_goes_on_below_itself() -> None:
    lines = list(labelled("warning", ["word " * 30], 40))
    assert lines[0].startswith("  warning    word")
    assert all(line.startswith(" " * 13) for line in lines[1:])


def receipt(name: str, outcome: Outcome, detail: str = "it is done", **more: object) -> TargetReceipt:
    values: dict[str, object] = {
        "before": "running",
        "after": "running",
        "started_at_s": 0.0,
        "duration_s": 1.5,
    }
    return TargetReceipt(Target(name), outcome, detail, **{**values, **more})  # type: ignore[arg-type]


def test_a_run_on_many_is_a_table_and_below_it_what_needs_attention() -> None:
    run = RunReceipt(
        "run",
        "reload",
        "hash",
        (
            receipt("a1", Outcome.OK, warnings=("be careful",)),
            receipt("a2", Outcome.OK, warnings=("be careful",)),
            receipt("b1", Outcome.FAILED, "it broke", next_steps=("mend it",)),
            receipt("b2", Outcome.SKIPPED, "not begun: b1 failed", skipped_because="b1 failed"),
        ),
        (Unreachable("b3", "connection refused (connect)"),),
    )
    lines = run_text(run).splitlines()
    assert [line.split()[:2] for line in lines[1:6]] == [
        ["a1", "ok"],
        ["a2", "ok"],
        ["b1", "failed"],
        ["b2", "skipped"],
        ["b3", "unreachable"],
    ]
    assert lines[6:] == ["", "b1:", "  next       mend it", "", "  warning    be careful"]
    assert run_text(run, brief=True).splitlines() == lines[:6]
    assert run.counts == "2 ok, 1 skipped, 1 failed, 1 unreachable"
    assert max(map(len, run_text(run, width=TERMINAL).splitlines())) <= TERMINAL


@pytest.mark.trap("T11")
def test_a_receipt_tells_when_clients_are_cut() -> None:
    cut = receipt("a1", Outcome.FAILED, clients_cut_at_s=1_000_060.0)
    assert cut_text(cut, 1_000_000.0) == "the first waiting clients are cut from 13:47:40 UTC (in 60 s) on"
    assert cut_text(receipt("a1", Outcome.OK), 0.0) is None
    assert receipt_text(cut).startswith("a1: FAILED in 1.50 s: it is done\n  state      running → running")


async def test_a_diff_that_several_have_is_shown_once_with_whose_it_is(fleet: Fleet) -> None:
    plan = await plan_of(fleet)
    one, *others = plan.targets
    same = ("/etc/pgbouncer.ini:", "@@ -1 +1 @@", "-a = 1", "+a = 2")
    targets = (replace(one, diff=(*same, "+b = 3")), *(replace(item, diff=same) for item in others))
    lines = plan_text(replace(plan, targets=targets)).splitlines()
    assert lines.count("  changes    +a = 2") == 2
    assert f"  changes    on {one.target}:" in lines
    assert f"  changes    on {', '.join(str(item.target) for item in others)}:" in lines
    alike = tuple(replace(item, diff=same) for item in plan.targets)
    lines = plan_text(replace(plan, targets=alike)).splitlines()
    assert lines.count("  changes    +a = 2") == 1
    assert not any(line.startswith("  changes    on ") for line in lines)
