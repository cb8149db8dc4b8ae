"""RELOAD against real PgBouncers: what changed is told, and a broken file is never reported as success."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from console.errors import UsageError
from console.lab.bouncer import PgBouncerServer
from console.model.version import Version
from console.operations.outcome import Outcome
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import Desk, until


@pytest_asyncio.fixture
async def desk(make_pgbouncer: MakePgBouncer, pgbouncer_version: str, tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(make_pgbouncer(pgbouncer_version), tmp_path / "journal.jsonl")
    async with made.service:
        yield made


def _break(server: PgBouncerServer, line: str, *, last: bool = False) -> None:
    text = server.config_path.read_text()
    broken = f"{text}{line}\n" if last else text.replace("[pgbouncer]\n", f"[pgbouncer]\n{line}\n")
    server.launcher.write_file(server.config_path, broken)


async def test_a_reload_tells_what_changed(desk: Desk) -> None:
    desk.server.settings["default_pool_size"] = 7
    desk.server.databases["extra"] = desk.server.databases["app"]
    del desk.server.databases["tiny"]
    desk.server.write_config()
    receipt = await desk.do("reload")
    assert receipt.outcome is Outcome.OK, receipt.detail
    assert "default_pool_size: 10 → 7" in receipt.differences
    assert "database tiny: removed" in receipt.differences
    assert any(line.startswith("database extra: added") for line in receipt.differences)


async def test_a_reload_of_an_unchanged_file_differs_in_nothing(desk: Desk) -> None:
    receipt = await desk.do("reload")
    assert (receipt.outcome, receipt.differences) == (Outcome.OK, ())


async def test_a_reload_undoes_a_set_and_says_so(desk: Desk) -> None:
    with desk.server.admin() as console:
        console.execute("SET query_wait_timeout = 33")
    receipt = await desk.do("reload")
    assert receipt.differences == ("query_wait_timeout: 33 → 120 (its default)",)
    assert receipt.outcome is Outcome.OK


async def test_a_file_that_cannot_be_read_whole_is_a_failure_on_every_version(desk: Desk) -> None:
    _break(desk.server, "no_such_setting = 1")
    receipt = await desk.do("reload")
    assert receipt.outcome is Outcome.FAILED, receipt
    assert "fell back to the compiled default" in receipt.detail
    assert any(line.startswith("admin_users: ") for line in receipt.differences)
    assert any("SIGHUP" in step for step in receipt.next_steps), (
        "no new login is let in: say what still helps"
    )
    with pytest.raises(psycopg.Error):
        desk.server.admin().close()

    desk.server.write_config()
    desk.server.send_signal(signal.SIGHUP)
    await until(lambda: _lets_in(desk.server))


async def test_a_mistake_in_the_last_line_is_told_where_the_pooler_tells_it(desk: Desk) -> None:
    _break(desk.server, "no_such_setting = 1", last=True)
    plan = await desk.service.plan("reload", "edge")
    receipt = await desk.finish(desk.submit(plan))
    if desk.server.version >= Version(1, 25):
        assert receipt.outcome is Outcome.FAILED
        assert "RELOAD failed" in receipt.detail
    else:
        assert any("cannot be told from success" in text for text in plan.targets[0].warnings)


async def test_reload_is_of_a_whole_bouncer(desk: Desk) -> None:
    with pytest.raises(UsageError, match="acts on a whole bouncer"):
        await desk.service.plan("reload", "edge/app")


def _lets_in(server: PgBouncerServer) -> bool:
    try:
        server.admin().close()
    except psycopg.Error:
        return False
    return True
