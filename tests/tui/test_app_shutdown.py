"""A bouncer is shut down from the console that watches it: trap T13, with a real PgBouncer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from console.fleet.collector import FleetCollector
from console.fleet.store import FleetStore
from console.lab.postgres import PostgresServer
from console.poolers.connect import PoolerConnector
from console.postgres.connect import PostgresConnector
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer
from console.tui.screens.tables import FleetScreen
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import Direct, LabPasswords
from tests.servers.verbs_kit import VerbDesk
from tests.tui.driving import burst, text_of, until
from widgets.confirm import Confirm


@asynccontextmanager
async def console_on(desk: VerbDesk, answering: int = 1) -> AsyncIterator[tuple[PooldeckApp, Pilot[Any]]]:
    """Run the console on one bouncer, with a collector of its own."""
    store = FleetStore()
    passwords = LabPasswords(desk.server.secrets)
    nodes = PostgresConnector(desk.inventory, Direct(), passwords)
    bouncers = PoolerConnector(desk.inventory, Direct(), passwords)
    app = PooldeckApp(
        store,
        desk.inventory,
        desk.service,
        clock=desk.clock,
        log=LogBuffer(),
        collector=FleetCollector(desk.inventory, bouncers, nodes, store, desk.clock),
    )
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: f"{answering} of 1 answer" in text_of(app))
        yield app, pilot


async def shut_down(app: PooldeckApp, pilot: Pilot[Any], clients: int) -> None:
    await burst(pilot, "colon", *"shutdown edge mode=wait-for-clients timeout=1", "enter")
    await until(pilot, lambda: f"Type edge {clients} to go on" in text_of(app))
    await pilot.press(*f"edge {clients}")
    panel = app.screen.query_one(Confirm)
    await until(pilot, lambda: panel.ready)
    await pilot.press("enter")


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
async def test_the_process_ends_although_the_console_is_open(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path, unix: bool
) -> None:
    server = make_pgbouncer("1.26")
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl", unix=unix)
    with server.connect() as client:
        client.execute("SELECT 1")
        async with console_on(desk) as (app, pilot):
            await shut_down(app, pilot, clients=1)
            await until(pilot, lambda: "shutting down: 1 client" in text_of(app))
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, FleetScreen))
            await until(pilot, lambda: "shutdown" in text_of(app))
            shown = text_of(app)
            assert "1 shutting down" in shown
            assert "our own session is closed" in shown
            row = next(line for line in shown.splitlines() if "shutdown" in line)
            assert "n/a" in row
            assert "0 of 1 answer" in shown
            client.close()
            await until(pilot, lambda: not server.running)
            server.start()
            await until(pilot, lambda: "1 of 1 answer" in text_of(app))


async def test_what_somebody_else_shuts_down_is_left_alone_once_it_says_so(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path
) -> None:
    server = make_pgbouncer("1.26")
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl", unix=True)
    async with console_on(desk) as (app, pilot):
        with server.connect() as client:
            client.execute("SELECT 1")
            with server.admin() as console:
                console.execute("PAUSE")
                console.execute("SHUTDOWN WAIT_FOR_CLIENTS")
            await until(pilot, lambda: "paused" in text_of(app))
            await pilot.press("R")
            await until(pilot, lambda: getattr(app.focused, "id", "") == "confirm-ok")
            await pilot.press("enter")
            await until(pilot, lambda: "pooler is shutting down" in text_of(app))
            await pilot.press("escape")
            await until(pilot, lambda: "our own session is closed" in text_of(app))
        await until(pilot, lambda: not server.running)
