"""Many targets, verbs that cannot be had, reasons, forgotten pauses and leases in the console."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot

from console.clock import FixedClock
from console.config.policy_schema import Policies
from console.fleet.store import FleetStore
from console.model.claims import Claim
from console.operations import lasting
from console.tui.app import PooldeckApp
from console.tui.progress import Progress
from console.tui.screens import plan as plan_module
from console.tui.screens.plan import PlanScreen, interval_s
from console.tui.screens.runs import RunScreen
from console.tui.screens.tables import FleetScreen, TableScreen
from tests.tui.driving import burst, fake_service, inventory_of, recorded_app, text_of, until
from tests.tui.fakes import FakeFleet
from tests.tui.pauses import CLAIMS, forgotten_snapshot
from tests.tui.recording import MONOTONIC_S, WALL_S, snapshot
from tests.unit.operations.fake_pooler import FakePooler, FakeSession

Deck = Pilot[Any]
SIZE = (120, 40)


@pytest.fixture(autouse=True)
def quick_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "REPLAN_S", 0.25)


def make_app(folder: Path, fleet: FakeFleet, *, environment: str = "development", **more: Any) -> PooldeckApp:
    picture = more.pop("picture", None) or snapshot(environment=environment)
    clock = FixedClock(wall=WALL_S, monotonic=MONOTONIC_S)
    inventory = inventory_of(picture)
    if "policy" in more:
        inventory = inventory.model_copy(update={"policy": more.pop("policy")})
    read_only = more.get("read_only", False)
    service = fake_service(
        picture, fleet, folder / "journal.jsonl", clock, read_only=read_only, inventory=inventory
    )
    return recorded_app(picture, service=service, clock=clock, **more)


async def asked(pilot: Deck, text: str) -> None:
    await until(pilot, lambda: text in text_of(pilot.app))


async def command(pilot: Deck, line: str) -> None:
    await asked(pilot, "answer")
    await burst(pilot, "colon", *line, "enter")


async def choose(pilot: Deck, name: str) -> None:
    def found() -> bool:
        screen = pilot.app.screen
        return isinstance(screen, TableScreen) and screen.panel.grid.move_cursor(name)

    await until(pilot, found)
    await pilot.pause()


async def answered(pilot: Deck, phrase: str) -> None:
    await asked(pilot, f"Type {phrase} to go on")
    await until(pilot, lambda: "OK can be used" not in text_of(pilot.app))
    await burst(pilot, *phrase, "enter")


async def test_many_are_held_together_and_let_go_early(tmp_path: Path) -> None:
    fleet = FakeFleet()
    app = make_app(tmp_path, fleet)
    async with app.run_test(size=SIZE) as pilot:
        await command(pilot, "pause edge-* for=60s")
        await answered(pilot, "shop 12")
        await asked(pilot, "HOLDING 4 targets:")
        assert all(fleet.of(name).paused for name in ("edge-1a", "edge-1b", "edge-2a", "edge-2b"))
        await pilot.press("escape")
        await asked(pilot, "HOLDING 4 targets")
        assert isinstance(app.screen, FleetScreen)
        await command(pilot, "runs")
        await pilot.press("enter")
        await asked(pilot, "End hold")
        await pilot.press("e")
        await asked(pilot, "OK  4 ok")
        assert not any(pooler.anything_paused for pooler in fleet.poolers.values())


async def test_stop_once_waits_for_the_step_and_twice_does_not(tmp_path: Path) -> None:
    fleet = FakeFleet(edge_1b=FakePooler(busy_servers=1))
    app = make_app(tmp_path, fleet)
    async with app.run_test(size=SIZE) as pilot:
        await command(pilot, "pause edge-1* for=30s timeout=30")
        await answered(pilot, "shop 6")
        await until(pilot, lambda: "PAUSE" in fleet.of("edge-1b").executed)
        await asked(pilot, "^x Stop")
        await pilot.press("ctrl+x", "ctrl+x")
        await until(pilot, lambda: app.operating.runs[0].done)
        assert not any(pooler.anything_paused for pooler in fleet.poolers.values())


async def test_the_typed_number_may_be_a_little_off_and_the_shown_one_follows(tmp_path: Path) -> None:
    fleet = FakeFleet()
    app = make_app(tmp_path, fleet)
    async with app.run_test(size=SIZE) as pilot:
        await command(pilot, "pause edge-* for=60s")
        await answered(pilot, "shop 12")
        await asked(pilot, "HOLDING")
        await pilot.press("e")
        await asked(pilot, "OK  4 ok")
        await pilot.press("escape")
        await command(pilot, "pause edge-* for=60s")
        await asked(pilot, "Type shop 12")
        await until(pilot, lambda: "OK can be used" not in text_of(app))
        await burst(pilot, *"shop 30", "enter")
        await asked(pilot, "That is not the phrase")
        await pilot.press("backspace", "backspace", *"14", "enter")
        await asked(pilot, "HOLDING")


async def test_a_verb_that_the_version_lacks_is_shown_with_the_reason(tmp_path: Path) -> None:
    app = make_app(tmp_path, FakeFleet())
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "legacy-118")
        await pilot.press("colon", *"kill-c")
        await asked(pilot, "not here: needs PgBouncer 1.24; this is 1.18.0")
        await pilot.press("escape", "a")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.press(*"kill client")
        await asked(pilot, "(Kill client legacy-118)")
        await asked(pilot, "Not here: needs PgBouncer 1.24; this is 1.18.0.")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FleetScreen))
        assert any("needs PgBouncer 1.24" in note.message for note in app._notifications)


async def test_a_verb_that_wants_more_goes_on_in_the_command_line(tmp_path: Path) -> None:
    app = make_app(tmp_path, FakeFleet())
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.press(*"shut down")
        await asked(pilot, "Shut down edge-1a ...")
        await pilot.press("enter")
        screen = app.screen_stack[0]
        assert isinstance(screen, FleetScreen)
        await until(pilot, lambda: screen.command_line.is_open)
        assert screen.command_line.text == "shutdown edge-1a "


async def test_read_only_says_so_at_every_verb(tmp_path: Path) -> None:
    app = make_app(tmp_path, FakeFleet(), read_only=True)
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        assert {app.operating.cannot(verb) for verb in app.verbs} == {"this session is read-only"}


async def test_verbs_of_postgres_nodes_are_for_their_rows(tmp_path: Path) -> None:
    app = make_app(tmp_path, FakeFleet())
    verbs = {verb.name: verb for verb in app.verbs}
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1a")
        assert app.operating.cannot(verbs["terminate"]) == "it acts on a Postgres node"
        await pilot.press("tab")
        await choose(pilot, "pg-1")
        assert app.operating.cannot(verbs["terminate"]) is None
        assert app.operating.line_of(verbs["terminate"]) == ("terminate pg-1 ", True)
        assert app.operating.cannot(verbs["pause"]) is not None


async def test_a_reason_that_the_policy_wants_is_asked_for_first(tmp_path: Path) -> None:
    policy = Policies.model_validate({"require_reason": ["pause"]})
    fleet = FakeFleet()
    app = make_app(tmp_path, fleet, policy=policy)
    async with app.run_test(size=SIZE) as pilot:
        await command(pilot, "pause edge-1a")
        await asked(pilot, "wants a reason for pause")
        await burst(pilot, *"why? change 4711", "enter")
        await asked(pilot, "why? change 4711")
        await answered(pilot, "edge-1a")
        await asked(pilot, "HOLDING edge-1a:")
        await pilot.press("e")
        await asked(pilot, "OK  edge-1a")
    assert '"reason":"why? change 4711"' in (tmp_path / "journal.jsonl").read_text().replace(": ", ":")


async def test_help_in_a_plan_tells_its_own_keys_even_while_a_phrase_is_asked_for(tmp_path: Path) -> None:
    app = make_app(tmp_path, FakeFleet())
    async with app.run_test(size=SIZE) as pilot:
        await command(pilot, "pause edge-1a")
        await asked(pilot, "Type edge-1a")
        await pilot.press("question_mark")
        await asked(pilot, "goes to the phrase, where one is asked for")
        await pilot.press("escape")
        await asked(pilot, "Type edge-1a")


async def test_how_far_a_plan_of_many_is_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "FIRST_S", 0.0)
    answered = asyncio.Event()

    class Slow(FakeFleet):
        async def reader(self, name: str, *, as_admin: bool = False) -> FakeSession:
            await answered.wait()
            return await super().reader(name, as_admin=as_admin)

    app = make_app(tmp_path, Slow())
    async with app.run_test(size=SIZE) as pilot:
        await command(pilot, "pause edge-*")
        await asked(pilot, "Making the plan: pause edge-*: 0 of 4 bouncers read")
        answered.set()
        await asked(pilot, "Type shop 12 to go on")


async def test_a_plan_of_many_is_made_anew_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "REPLAN_S", 1.0)
    picture = snapshot(environment="development")
    clock = FixedClock(wall=WALL_S, monotonic=MONOTONIC_S)
    fleet = FakeFleet(legacy_118=FakePooler(version="1.18.0"))
    service = fake_service(picture, fleet, tmp_path / "journal.jsonl", clock)
    assert interval_s(None) == 1.0
    assert interval_s(await service.plan("resume", "edge-1a")) == 1.0
    assert interval_s(await service.plan("resume", "all,!legacy-118")) >= 3.0
    assert interval_s(await service.plan("resume", "legacy-118")) >= 5.0


@pytest.mark.trap("T3")
async def test_a_forgotten_pause_comes_first_and_m_plans_its_mend(tmp_path: Path) -> None:
    async def read() -> tuple[Claim, ...]:
        return CLAIMS

    fleet = FakeFleet(edge_1b=FakePooler(paused=True))
    app = make_app(tmp_path, fleet, picture=forgotten_snapshot(), claims=read)
    async with app.run_test(size=SIZE) as pilot:
        await asked(pilot, "5 FORGOTTEN")
        await choose(pilot, "edge-1b")
        await asked(pilot, "M Mend")
        await asked(pilot, "by nobody alive (PAUSE edge-1b of alice@bastion is dead)")
        await pilot.press("M")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        assert app.screen.place == "plan: mend edge-1b"  # type: ignore[attr-defined]
        await pilot.press("escape")
        await choose(pilot, "edge-1a")
        await pilot.press("M")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        place = app.screen.place  # type: ignore[attr-defined]
        assert place == "plan: mend stopped-124,edge-1b,edge-2b,legacy-118,edge-2a"
        await asked(pilot, "RESUME")


async def test_a_pause_is_not_called_forgotten_before_the_leases_were_read_again(tmp_path: Path) -> None:
    claims: tuple[Claim, ...] = ()

    async def read() -> tuple[Claim, ...]:
        return claims

    calm = replace(forgotten_snapshot(), poolers=(forgotten_snapshot().poolers[0],))
    app = make_app(tmp_path, FakeFleet(), picture=calm, claims=read)
    async with app.run_test(size=SIZE) as pilot:
        await asked(pilot, "1 of 1 answer")
        store = app._store
        assert isinstance(store, FleetStore)
        store.publish(forgotten_snapshot(5))
        await choose(pilot, "edge-1b")
        await asked(pilot, "by whom is not known here")
        assert "FORGOTTEN" not in text_of(app)
        assert isinstance(app.clock, FixedClock)
        app.clock.advance(6)
        await asked(pilot, "6 FORGOTTEN")


async def test_enter_in_the_leases_plans_the_resume(tmp_path: Path) -> None:
    async def read() -> tuple[Claim, ...]:
        return CLAIMS

    app = make_app(tmp_path, FakeFleet(), picture=forgotten_snapshot(), claims=read)
    async with app.run_test(size=SIZE) as pilot:
        await asked(pilot, "FORGOTTEN")
        await command(pilot, "leases")
        await asked(pilot, "by nobody")
        await asked(pilot, "in 23 s")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        assert app.screen.place == "plan: resume edge-1b"  # type: ignore[attr-defined]


async def test_leases_that_cannot_be_read_accuse_nobody(tmp_path: Path) -> None:
    async def read() -> tuple[Claim, ...]:
        raise OSError("disk on fire")

    app = make_app(tmp_path, FakeFleet(), picture=forgotten_snapshot(), claims=read)
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, "edge-1b")
        await asked(pilot, "by whom is not known here")
        assert "FORGOTTEN" not in text_of(app)
        await command(pilot, "leases")
        await asked(pilot, "what is held cannot be read here")


async def test_the_run_screen_follows_a_run_that_is_left_and_found_again(tmp_path: Path) -> None:
    app = make_app(tmp_path, FakeFleet())
    async with app.run_test(size=SIZE) as pilot:
        await command(pilot, "pause edge-1a for=60s")
        await answered(pilot, "edge-1a")
        await asked(pilot, "HOLDING edge-1a:")
        assert isinstance(app.screen, RunScreen)
        first = app.screen.progress
        assert isinstance(first, Progress)
        await pilot.press("escape", "o", "enter")
        await asked(pilot, "HOLDING edge-1a:")
        assert isinstance(app.screen, RunScreen)
        assert app.screen.progress is first
        await pilot.press("ctrl+c")
        await asked(pilot, "it will be resumed")
        await pilot.press("escape", "e")
        await asked(pilot, "OK  edge-1a")
