"""The console on the real lab: real SSH, real PgBouncers, a real pause and resume through the plan screen."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.cli.context import Globals, open_stack
from console.fleet.collector import FleetCollector
from console.fleet.store import FleetStore
from console.lab.fleet import Lab
from console.operations.reach import Reach
from console.operations.service import OperationService
from console.postgres.connect import PostgresConnector
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer
from console.tui.screens.tables import PoolsScreen, TableScreen
from tests.harness.leases import FakeLeases
from tests.tui.driving import burst, text_of, until

FIRST_ANSWERS_S = 30.0


@asynccontextmanager
async def console_on(lab: Lab, folder: Path) -> AsyncIterator[tuple[PooldeckApp, Pilot[Any]]]:
    """Run the console as `pooldeck` does, on a terminal that a test reads."""
    async with open_stack(Globals(fleet=lab.inventory_path)) as stack:
        store = FleetStore()
        nodes = PostgresConnector(stack.inventory, stack.transport, stack.credentials)
        journal = Journal(folder / "journal.jsonl", stack.clock, Actor.current(os.environ))
        app = PooldeckApp(
            store,
            stack.inventory,
            OperationService(
                stack.inventory,
                Reach(stack.connector, leases=FakeLeases()),
                journal,
                stack.clock,
                read_only=False,
            ),
            clock=stack.clock,
            log=LogBuffer(),
            collector=FleetCollector(stack.inventory, stack.connector, nodes, store, stack.clock),
        )
        async with app.run_test(size=(160, 40)) as pilot:
            total = len(stack.inventory.bouncers)
            await until(pilot, lambda: f"{total} of {total} answer" in text_of(app), within_s=FIRST_ANSWERS_S)
            yield app, pilot


def cursor_on(app: PooldeckApp, key: Any) -> bool:
    screen = app.screen
    return isinstance(screen, TableScreen) and screen.panel.grid.move_cursor(key)


async def test_the_fleet_is_there_and_its_pools_open_filter_and_sort(lab: Lab, tmp_path: Path) -> None:
    names = [bouncer.name for bouncer in lab.inventory.bouncers]
    async with console_on(lab, tmp_path) as (app, pilot):
        text = text_of(app)
        assert all(name in text for name in names)
        await until(pilot, lambda: "primary" in text_of(app) and "replica" in text_of(app))
        await burst(pilot, "colon", *"pools", "enter")
        await until(pilot, lambda: isinstance(app.screen, PoolsScreen))
        await burst(pilot, "slash", *f"bouncer={names[0]}", "enter")
        screen = app.screen
        assert isinstance(screen, PoolsScreen)
        assert {key[0] for key in screen.panel.grid.keys} <= {names[0]}  # type: ignore[index]
        await pilot.press("escape", "N", "N")
        shown = [key[0] for key in screen.panel.grid.keys]  # type: ignore[index]
        assert shown == sorted(shown, reverse=True)


async def test_details_tell_the_servers_own_settings(lab: Lab, tmp_path: Path) -> None:
    name = lab.inventory.bouncers[0].name
    async with console_on(lab, tmp_path) as (app, pilot):
        await until(pilot, lambda: cursor_on(app, name))
        await pilot.press("d")
        await until(pilot, lambda: "Settings (SHOW CONFIG)" in _details(app))
        assert "pgbouncer.ini" in _details(app)
        assert lab.secrets.password("pooldeck_admin") not in _details(app)


async def test_a_database_is_held_through_the_plan_screen_and_let_go_early(lab: Lab, tmp_path: Path) -> None:
    name, database = lab.inventory.bouncers[0].name, "app"
    async with console_on(lab, tmp_path) as (app, pilot):
        await burst(pilot, "colon", *f"pause {name}/{database}", "enter")
        await until(pilot, lambda: f"Type {name}/{database} to go on" in text_of(app), within_s=20)
        assert f'PAUSE "{database}"' in text_of(app)
        await pilot.press(*f"{name}/{database}", "enter")
        await until(pilot, lambda: f"HOLDING {name}/{database}:" in text_of(app), within_s=20)
        await pilot.press("escape")
        await until(pilot, lambda: "held 2" in text_of(app), within_s=20)
        await until(pilot, lambda: f"HOLDING {name}/{database} 2" in text_of(app))
        await pilot.press("o", "enter")
        await until(pilot, lambda: "End hold" in text_of(app))
        await pilot.press("e")
        await until(pilot, lambda: f"OK  {name}/{database}" in text_of(app), within_s=20)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: "held" not in text_of(app) and "db paus" not in text_of(app), within_s=20)


def _details(app: PooldeckApp) -> str:
    from console.tui.screens.text import TextScreen
    from console.view.details import as_text

    screen = app.screen
    return as_text(screen._shown) if isinstance(screen, TextScreen) else ""
