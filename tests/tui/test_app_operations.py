"""Operations from the console, on a pooler that answers as told: plans, confirmation, runs, and leaving."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from console.clock import FixedClock
from console.errors import NodeError, Phase
from console.operations.outcome import Event, EventKind
from console.tui.app import PooldeckApp
from console.tui.commands import complete
from console.tui.screens import plan as plan_module
from console.tui.screens.leave import LeaveScreen
from console.tui.screens.plan import PlanScreen
from console.tui.screens.runs import RunScreen, is_news
from console.tui.screens.tables import FleetScreen
from tests.harness.leases import FakeLeases
from tests.tui.driving import burst, fake_service, recorded_app, text_of, until
from tests.tui.recording import MONOTONIC_S, WALL_S, snapshot
from tests.unit.operations.fake_pooler import FakePooler

Deck = Pilot[Any]
SIZE = (120, 40)


@pytest.fixture(autouse=True)
def quick_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make plans anew often, so that a test need not wait for it."""
    monkeypatch.setattr(plan_module, "REPLAN_S", 0.25)
    monkeypatch.setattr(plan_module, "CHANGED_LOCK_S", 0.6)


@pytest.fixture
def pooler() -> FakePooler:
    return FakePooler()


def make_app(
    pooler: FakePooler,
    folder: Path,
    *,
    read_only: bool = False,
    environment: str = "development",
    leases: FakeLeases | None = None,
) -> PooldeckApp:
    picture = snapshot(environment=environment)
    clock = FixedClock(wall=WALL_S, monotonic=MONOTONIC_S)
    service = fake_service(
        picture, pooler, folder / "journal.jsonl", clock, read_only=read_only, leases=leases
    )
    return recorded_app(picture, service=service, clock=clock, read_only=read_only)


@pytest.fixture
def app(pooler: FakePooler, tmp_path: Path) -> PooldeckApp:
    return make_app(pooler, tmp_path)


async def choose(pilot: Deck, name: str) -> None:
    """Put the cursor on a bouncer."""
    screen = pilot.app.screen
    assert isinstance(screen, FleetScreen)
    await until(pilot, lambda: screen.panel.grid.move_cursor(name))
    await pilot.pause()


async def command(pilot: Deck, line: str) -> None:
    await burst(pilot, "colon", *line, "enter")


async def asked(pilot: Deck, text: str) -> None:
    await until(pilot, lambda: text in text_of(pilot.app))


async def test_pause_is_planned_confirmed_by_name_carried_out_and_reported(
    app: PooldeckApp, pooler: FakePooler
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("P")
        await asked(pilot, "Type edge-1a to go on")
        assert pooler.changing() == []
        assert "PAUSE" in text_of(app)
        await pilot.press(*"edge-1a", "enter")
        await asked(pilot, "HOLDING edge-1a:")
        assert pooler.paused
        await pilot.press("escape")
        assert isinstance(app.screen, FleetScreen)
        await pilot.press("o")
        await asked(pilot, "PAUSE edge-1a")
        await pilot.press("enter")
        await asked(pilot, "HOLDING edge-1a:")
        await pilot.press("e")
        await asked(pilot, "OK  edge-1a")
        assert not pooler.paused


@pytest.mark.parametrize("keys", [("escape",), ("enter",), (*"edge-1b", "enter", "escape")])
async def test_nothing_is_sent_without_the_right_name(
    app: PooldeckApp, pooler: FakePooler, keys: tuple[str, ...]
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("P")
        await asked(pilot, "Type edge-1a to go on")
        await pilot.press(*keys)
        await until(pilot, lambda: isinstance(app.screen, FleetScreen))
        assert pooler.changing() == []


async def test_no_lower_case_and_no_control_key_opens_a_plan(app: PooldeckApp) -> None:
    pressed = [*"bcdefghijklmnopstuvwxyz0123456789", *(f"ctrl+{letter}" for letter in "bdefgjkrsux")]
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        for key in pressed:
            await pilot.press(key)
            assert not isinstance(app.screen, PlanScreen), key
            while not isinstance(app.screen, FleetScreen):
                await pilot.press("escape")


async def test_resume_of_a_bouncer_with_a_paused_database_is_about_that_database(
    app: PooldeckApp, pooler: FakePooler
) -> None:
    pooler.paused_databases.add("app")
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-2b")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        assert app.screen.place == "plan: resume edge-2b/reporting"  # type: ignore[attr-defined]


async def test_a_harmless_plan_is_confirmed_by_enter(app: PooldeckApp, pooler: FakePooler) -> None:
    pooler.paused = True
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-2a")
        await pilot.press("R")
        await until(pilot, lambda: getattr(app.focused, "id", "") == "confirm-ok")
        await pilot.press("enter")
        await asked(pilot, "OK  edge-2a")
        assert not pooler.anything_paused


async def test_what_already_is_so_asks_nothing_and_sends_nothing(
    app: PooldeckApp, pooler: FakePooler
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("R")
        await asked(pilot, "No change")
        await pilot.press("enter", "escape")
        assert isinstance(app.screen, FleetScreen)
        assert pooler.changing() == []


async def test_when_the_world_moves_ok_locks_and_the_plan_is_made_anew(
    app: PooldeckApp, pooler: FakePooler
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("P")
        await asked(pilot, "Type edge-1a to go on")
        await pilot.press(*"edge-1")
        pooler.mode = "session"
        pooler.config["pool_mode"] = ("session", "session")
        await asked(pilot, "Locked: the plan changed")
        await pilot.press("a", "enter")
        assert isinstance(app.screen, PlanScreen)
        assert pooler.changing() == []
        await until(pilot, lambda: "Locked" not in text_of(app))
        await asked(pilot, "session: ")
        await pilot.press(*"edge-1a", "enter")
        await asked(pilot, "HOLDING edge-1a:")


async def test_numbers_move_while_the_plan_is_open(
    app: PooldeckApp, pooler: FakePooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("P")
        await asked(pilot, "0 held by a client")
        pooler.busy_servers = 7
        await asked(pilot, "7 held by a client")
        assert "Locked" not in text_of(app)


async def test_a_pooler_that_stops_answering_locks_the_plan_until_it_is_back(
    app: PooldeckApp, pooler: FakePooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(name: str, *, as_admin: bool = False) -> Any:
        raise NodeError(Phase.CONNECT, "connection refused", where=name)

    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("P")
        await asked(pilot, "Type edge-1a to go on")
        with monkeypatch.context() as broken:
            broken.setattr(pooler, "reader", refuse)
            broken.setattr(pooler, "writer", refuse)
            await asked(pilot, "Locked: it cannot be planned now")
            await asked(pilot, "connection refused")
        await until(pilot, lambda: "Locked" not in text_of(app))


async def test_what_cannot_be_planned_says_why(app: PooldeckApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await command(pilot, "pause edge-1a/nowhere")
        await asked(pilot, "This cannot be planned")
        assert "nowhere" in text_of(app)
        await pilot.press("escape")
        assert isinstance(app.screen, FleetScreen)


async def test_read_only_shows_the_plan_and_refuses_it(pooler: FakePooler, tmp_path: Path) -> None:
    leases = FakeLeases()
    app = make_app(pooler, tmp_path, read_only=True, leases=leases)
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await asked(pilot, "READ-ONLY")
        await pilot.press("P")
        await asked(pilot, "Refused: this session is read-only")
        assert not leases.waits()
        await pilot.press(*"edge-1a", "enter", "escape")
        assert pooler.changing() == []


async def test_a_guardian_is_ready_while_the_plan_of_a_pause_is_read(
    pooler: FakePooler, tmp_path: Path
) -> None:
    leases = FakeLeases()
    app = make_app(pooler, tmp_path, leases=leases)
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("P")
        await asked(pilot, "Type edge-1a to go on")
        assert leases.waits()
        await pilot.press("escape")
        await until(pilot, lambda: not leases.waits())
        await pilot.press("L")
        await asked(pilot, "plan: reload")
        assert not leases.waits(), "a RELOAD holds nobody"
        await pilot.press("escape", "P")
        await asked(pilot, "Type edge-1a to go on")
        await pilot.press(*"edge-1a", "enter")
        await asked(pilot, "HOLDING edge-1a:")
        assert len(leases.armed) == 1
        await pilot.press("e")
        await asked(pilot, "OK  edge-1a")


async def test_leaving_a_run_leaves_it_running_and_it_can_be_stopped(
    app: PooldeckApp, pooler: FakePooler
) -> None:
    pooler.busy_servers = 1
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("P")
        await asked(pilot, "Type edge-1a to go on")
        await pilot.press(*"edge-1a", "enter")
        await until(pilot, lambda: "PAUSE" in pooler.executed)
        await pilot.press("escape")
        await asked(pilot, "1 RUNNING")
        await pilot.press("o", "enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("ctrl+x")
        await until(pilot, lambda: app.service is not None and app.service.runs[0].done)
        assert not pooler.anything_paused


@pytest.mark.trap("T3")
async def test_leaving_the_console_while_an_operation_runs_asks_and_undoes(
    app: PooldeckApp, pooler: FakePooler
) -> None:
    pooler.busy_servers = 1
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("P")
        await asked(pilot, "Type edge-1a to go on")
        await pilot.press(*"edge-1a", "enter")
        await until(pilot, lambda: "PAUSE" in pooler.executed)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: isinstance(app.screen, LeaveScreen))
        await asked(pilot, "PAUSE edge-1a")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: isinstance(app.screen, LeaveScreen))
        await pilot.press("tab", "enter")
        await asyncio.sleep(0)
    assert app.return_value == 0
    assert not pooler.anything_paused
    assert app.service is not None
    assert app.service.runs[0].done


async def test_the_action_menu_lists_the_verbs_for_the_chosen_rows(app: PooldeckApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("a")
        await asked(pilot, "Reload edge-1a")
        await pilot.press(*"reload", "enter")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen), within_s=15)


async def test_a_plan_of_a_pause_says_how_long_it_lasts_and_when_clients_are_cut(app: PooldeckApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("P")
        await asked(pilot, "it lasts")
        shown = text_of(app)
        assert "drained within 5 s, held for 30 s; then it is resumed" in shown
        assert "query_wait_timeout" in shown
        await pilot.press("escape", "R")
        await asked(pilot, "plan: resume")
        await asked(pilot, "What it means")
        assert "it lasts" not in text_of(app)
        assert "clients are cut" not in text_of(app)


async def test_a_plan_can_be_answered_after_the_terminal_was_too_small(app: PooldeckApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("P")
        await asked(pilot, "Type edge-1a to go on")
        await pilot.resize_terminal(30, 8)
        await asked(pilot, "Terminal too small")
        await pilot.resize_terminal(*SIZE)
        await until(pilot, lambda: app.focused is not None)
        await pilot.press(*"edge-1a", "enter")
        await asked(pilot, "HOLDING edge-1a:")
        await pilot.press("e")
        await asked(pilot, "OK  edge-1a")
        await until(pilot, lambda: "^x Stop" not in text_of(app))


def test_a_run_tells_once_a_second_what_it_waits_for() -> None:
    def event(kind: EventKind, at_s: float) -> Event:
        return Event(at_s, "run-1", "edge-1a", kind, f"{kind} at {at_s}")

    waiting = event(EventKind.WAITING, 10.0)
    assert is_news(waiting, None)
    assert is_news(waiting, event(EventKind.SENT, 9.9))
    assert not is_news(event(EventKind.WAITING, 10.4), waiting)
    assert is_news(event(EventKind.WAITING, 11.0), waiting)
    assert is_news(event(EventKind.UNDOING, 10.1), waiting)


async def test_what_never_can_be_planned_is_not_promised_again(app: PooldeckApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await command(pilot, "pause edge-9*")
        await asked(pilot, "This cannot be planned")
        assert "tried again" not in text_of(app)


async def test_a_command_of_two_words_opens_its_plan_and_is_completed(app: PooldeckApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await command(pilot, "config")
        words = ":config wants one of set, push, rollback"
        await until(pilot, lambda: any(words in note.message for note in app._notifications))
        assert [one.text for one in complete(app, "config s", 8)] == ["config set"]
        assert "edge-1a" in [one.text for one in complete(app, "config set edge", 15)]
        await command(pilot, "config set edge-1a")
        await asked(pilot, "nothing is asked for")
        await pilot.press("escape")
        await command(pilot, "config set edge-1a pool_mode=session")
        await asked(pilot, "plan: config set edge-1a")
        await asked(pilot, "there is no such file")
