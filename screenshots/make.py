"""Makes the pictures of this folder from a real lab fleet: `make screenshots`.

It starts a lab, drives the console on it without a terminal, writes fleet.svg, pools.svg, plan.svg and
help.svg, and takes the lab down. It must not show anything of the machine it runs on: so the lab lies in
/tmp/pooldeck-lab.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.cli.context import Globals, open_stack
from console.fleet.collector import FleetCollector
from console.fleet.store import FleetStore
from console.lab.fleet import Lab
from console.lab.packages import pgbouncer_binaries
from console.operations.service import OperationService
from console.postgres.connect import PostgresConnector
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer
from console.tui.screens.plan import PlanScreen
from console.tui.screens.tables import PoolsScreen, TableScreen
from console.tui.screens.text import HelpScreen
from widgets.confirm import Confirm

FOLDER = Path(__file__).parent
LAB = Path("/tmp/pooldeck-lab")
SIZE = (150, 32)
LOAD_S = 180
TREND_STEPS = 14
LIMIT_S = 90.0


async def until(pilot: Pilot[Any], holds: Callable[[], bool], what: str) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it was not within `LIMIT_S`.
    """
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {LIMIT_S:g} s")
        await pilot.pause(0.1)


def has_history(app: PooldeckApp) -> bool:
    """Say whether every bouncer has rates and a trend to draw."""
    snapshot = app.snapshot
    return snapshot is not None and all(
        pooler.rates is not None and sum(value is not None for value in pooler.xact_trend) >= TREND_STEPS
        for pooler in snapshot.poolers
    )


async def picture(app: PooldeckApp, pilot: Pilot[Any], name: str) -> None:
    """Write what is on screen."""
    await pilot.pause()
    # Some viewers collapse the spaces of an SVG's text unless told otherwise.
    svg = app.export_screenshot().replace("<text ", '<text xml:space="preserve" ')
    (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")
    sys.stdout.write(f"screenshots/{name}.svg\n")


async def drive(app: PooldeckApp) -> None:
    """Walk through the console and take the pictures."""
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: has_history(app), "trends of every bouncer")
        await picture(app, pilot, "fleet")
        await pilot.press("colon", *"pools", "enter")
        await until(pilot, lambda: isinstance(app.screen, PoolsScreen), "the pools")
        await picture(app, pilot, "pools")
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen), "the help")
        await picture(app, pilot, "help")
        await pilot.press("escape")
        screen = app.screen
        assert isinstance(screen, TableScreen)
        grid = screen.panel.grid
        grid.move_cursor(next(key for key in grid.keys if isinstance(key, tuple) and key[1] == "app"))
        await pilot.press("P")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen), "the plan's screen")
        await until(pilot, lambda: bool(app.screen.query(Confirm)), "the plan")
        await picture(app, pilot, "plan")
        await pilot.press("escape")


async def make() -> None:
    """Build the console's parts on the running lab, as `pooldeck` does."""
    async with open_stack(Globals(fleet=LAB / "fleet.toml")) as stack:
        store = FleetStore()
        nodes = PostgresConnector(stack.inventory, stack.transport, stack.credentials)
        with tempfile.TemporaryDirectory() as scratch:
            journal = Journal(Path(scratch) / "journal.jsonl", stack.clock, Actor.current(os.environ))
            service = OperationService(stack.inventory, stack.connector, journal, stack.clock, False)
            collector = FleetCollector(stack.inventory, stack.connector, nodes, store, stack.clock)
            await drive(
                PooldeckApp(
                    store, stack.inventory, service, clock=stack.clock, log=LogBuffer(), collector=collector
                )
            )


def main() -> None:
    """Start the lab, take the pictures, end the lab."""
    os.environ.pop("NO_COLOR", None)
    try:
        Lab.up(LAB, load_s=LOAD_S, pgbouncer=list(pgbouncer_binaries().values()))
        asyncio.run(make())
    finally:
        Lab.down(LAB)
        shutil.rmtree(LAB, ignore_errors=True)


if __name__ == "__main__":
    main()
