"""A suspended bouncer in the console, shown so or as unreachable: its key reaches the plan that helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from console.lab.postgres import PostgresServer
from console.tui.app import PooldeckApp
from tests.harness.servers import MakePgBouncer
from tests.servers.test_verbs_suspended import suspended
from tests.servers.verbs_kit import VerbDesk
from tests.tui.driving import text_of, until
from tests.tui.test_app_shutdown import console_on
from widgets.confirm import Confirm


async def resumed(app: PooldeckApp, pilot: Pilot[Any], key: str, pid: int | None) -> None:
    """Press the key of a verb, read its plan, agree, and wait for the end."""
    await pilot.press(key)
    await until(pilot, lambda: f"kill -USR2 {pid}" in text_of(app))
    assert "could not be counted" in text_of(app)
    panel = app.screen.query_one(Confirm)
    await until(pilot, lambda: panel.ready)
    await pilot.press("enter")
    await until(pilot, lambda: "the signal was sent, and it lets logins in" in text_of(app))
    await pilot.press("escape")


@pytest.mark.parametrize("opened_before", [True, False], ids=["seen suspended", "unreachable"])
async def test_its_key_plans_the_signal_and_enter_sends_it(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path, opened_before: bool
) -> None:
    server = make_pgbouncer("1.24")
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl", patience_s=0.7)
    if opened_before:
        async with console_on(desk) as (app, pilot):
            with suspended(server) as client:
                await until(pilot, lambda: "suspended" in text_of(app))
                await resumed(app, pilot, "R", server.pid)
                assert client.execute("SELECT 42").fetchone() == (42,)
                await until(pilot, lambda: "● up" in text_of(app))
        return
    with suspended(server) as client:
        async with console_on(desk, answering=0) as (app, pilot):
            await until(pilot, lambda: "unreachable" in text_of(app))
            await resumed(app, pilot, "M", server.pid)
            assert client.execute("SELECT 42").fetchone() == (42,)
