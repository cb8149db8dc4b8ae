"""A bouncer that is down in the console: unreachable, started by its command, and up again."""

from __future__ import annotations

from pathlib import Path

from console.config.schema import Process
from console.lab.postgres import PostgresServer
from tests.harness.servers import MakePgBouncer
from tests.servers.verbs_kit import VerbDesk
from tests.tui.driving import text_of, until
from tests.tui.test_app_shutdown import console_on
from widgets.confirm import Confirm


async def test_its_command_plans_the_start_and_enter_brings_it_up(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path
) -> None:
    server = make_pgbouncer("1.24")
    account = server.launcher.account
    drop = ("setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups")
    words = (*(drop if account.switch else ()), *server.start_command)
    process = Process(kind="command", start_command=words, pid_file=server.pid_path)
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl", process=process)
    server.stop()
    try:
        async with console_on(desk, answering=0) as (app, pilot):
            await until(pilot, lambda: "unreachable" in text_of(app))
            await pilot.press("colon", *"start edge", "enter")
            await until(pilot, lambda: f"-d {server.config_path}" in text_of(app))
            panel = app.screen.query_one(Confirm)
            await until(pilot, lambda: panel.ready)
            await pilot.press("enter")
            await until(pilot, lambda: "started: first login" in text_of(app))
            await pilot.press("escape")
            await until(pilot, lambda: "● up" in text_of(app))
    finally:
        server.adopt()
