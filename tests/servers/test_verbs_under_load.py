"""Every verb while pgbench works through the bouncer: its state before and after, and what clients see."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PACKAGE, PostgresServer
from console.lab.server import program
from console.model.version import Version
from console.operations.outcome import EventKind, Outcome
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import LIMIT_S, until
from tests.servers.verbs_kit import (
    Sleeper,
    VerbDesk,
    backends_asleep,
    client_row,
    message_of,
    setting,
    shown,
)

CLIENTS = 4
CUT = (
    *("database removed", "server closed the connection unexpectedly", "perhaps the backend died"),
    "Run was aborted",
)
"""What pgbench may say of clients that were cut."""
MODES_SINCE, KILL_CLIENT_SINCE = Version(1, 23), Version(1, 24)


class PgBench:
    """pgbench with 4 clients on the database `app`, at 200 transactions a second, until it is ended."""

    def __init__(self, server: PgBouncerServer, folder: Path) -> None:
        self._server = server
        self._said = folder / "pgbench.err"
        script, pgpass = folder / "load.sql", folder / "load-pgpass"
        script.write_text("SELECT 1;\n")
        pgpass.touch(mode=0o600)
        pgpass.write_text(server.secrets.pgpass())
        command = [
            program("pgbench", PACKAGE),
            "-n",
            "-f",
            script,
            "-c",
            str(CLIENTS),
            "-R",
            "200",
            "-T",
            "90",
        ]
        environment = {
            **os.environ,
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": "app",
            "PGDATABASE": "app",
            "PGAPPNAME": "pgbench",
            "PGPASSFILE": str(pgpass),
        }
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [*map(str, command)], env=environment, stdout=subprocess.DEVNULL, stderr=said
            )

    @property
    def done(self) -> int:
        """Transactions so far, by the bouncer's own count; it begins anew with its pools."""
        rows = {row["database"]: row for row in shown(self._server, "STATS")}
        return int(rows["app"]["total_xact_count"]) if "app" in rows else 0

    @property
    def waiting(self) -> int:
        return sum(row["cl_waiting"] for row in shown(self._server, "POOLS") if row["database"] == "app")

    @property
    def errors(self) -> list[str]:
        """What its clients were told."""
        return [line for line in self._said.read_text().splitlines() if "pgbench: error" in line]

    async def works_on(self) -> None:
        before = await asyncio.to_thread(lambda: self.done)
        await until(lambda: self.done >= before + 20)

    async def all_cut(self) -> None:
        """Wait until it ended because its clients were cut."""
        await until(lambda: self.process.poll() is not None)

    def end(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        self.process.wait(5)


@contextmanager
def pgbench(server: PgBouncerServer, folder: Path) -> Iterator[PgBench]:
    load = PgBench(server, folder)
    try:
        yield load
    finally:
        load.end()


@pytest.fixture
def server(make_pgbouncer: MakePgBouncer, pgbouncer_version: str) -> PgBouncerServer:
    return make_pgbouncer(pgbouncer_version)


@pytest_asyncio.fixture
async def desk(server: PgBouncerServer, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[VerbDesk]:
    made = VerbDesk(server, postgres, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


async def ok(desk: VerbDesk, op: str, selector: str, after: str | None, **parameters: object) -> None:
    receipt = await desk.do(op, selector, **parameters)
    assert (receipt.outcome, receipt.after) == (Outcome.OK, after), receipt.detail


@pytest.mark.under_load("pause", "resume", "mend", "reload", "reconnect", "set", "disable", "enable")
async def test_clients_that_stay_connected_wait_at_most(desk: VerbDesk, tmp_path: Path) -> None:
    with pgbench(desk.server, tmp_path) as load:
        await until(lambda: load.done > 0)
        for selector in ("edge", "edge/app"):
            run = await desk.hold(selector)
            await until(lambda: load.waiting == CLIENTS)
            receipt = await desk.let_go(run)
            assert (receipt.outcome, receipt.before, receipt.after) == (Outcome.OK, "running", "running")
            await load.works_on()
        for op, statement in (("resume", "PAUSE"), ("mend", "PAUSE")):
            with desk.server.admin() as console:
                console.execute(statement)
            await until(lambda: load.waiting == CLIENTS)
            await ok(desk, op, "edge", "running")
            await load.works_on()
        await ok(desk, "set", "edge", "default_pool_size = 7", key="default_pool_size", value="7")
        await load.works_on()
        await ok(desk, "reload", "edge", "running", unchecked=True)
        assert setting(desk.server, "default_pool_size") == "10", "the file's again"
        await ok(desk, "reconnect", "edge/app", "running")
        await load.works_on()
        await ok(desk, "disable", "edge/app", "disabled")
        with pytest.raises(psycopg.OperationalError, match='database "app" is disabled'):
            desk.server.connect()
        await load.works_on()
        await ok(desk, "enable", "edge/app", "enabled")
        desk.server.connect().close()
        await load.works_on()
        assert load.process.poll() is None
        assert load.errors == []


@pytest.mark.under_load("cancel", "terminate", "kill-client")
async def test_one_client_is_hit_and_the_others_are_not(
    desk: VerbDesk, postgres: PostgresServer, tmp_path: Path
) -> None:
    with pgbench(desk.server, tmp_path) as load:
        await until(lambda: load.done > 0)
        for op, words in (
            ("cancel", "canceling statement due to user request"),
            ("terminate", "terminating connection due to administrator command"),
        ):
            sleeper = Sleeper(desk.server, "victim")
            await until(lambda: len(backends_asleep(postgres)) == 1)
            (pid,) = backends_asleep(postgres)
            receipt = await desk.do(op, "primary", pids=(pid,))
            assert receipt.outcome is Outcome.OK, receipt.detail
            assert await sleeper.ended() == words
            await load.works_on()
        if desk.server.version >= KILL_CLIENT_SINCE:
            with desk.server.connect(application_name="victim") as victim:
                number = str(client_row(desk.server, "victim")["id"])
                await ok(desk, "kill-client", "edge", "running", ids=(number,))
                with pytest.raises(psycopg.OperationalError) as cut:
                    victim.execute("SELECT 1")
                assert message_of(cut.value) == "admin forced disconnect"
            await load.works_on()
        assert load.process.poll() is None
        assert load.errors == []


@pytest.mark.under_load("kill", "shutdown")
async def test_who_is_cut_is_cut_once_and_the_next_ones_are_served(desk: VerbDesk, tmp_path: Path) -> None:
    with pgbench(desk.server, tmp_path) as load:
        await until(lambda: load.done > 0)
        await ok(desk, "kill", "edge/app", "running")
        await load.all_cut()
        assert load.errors, "its clients were told"
        assert all(any(words in line for words in CUT) for line in load.errors), load.errors
    with pgbench(desk.server, tmp_path) as load:
        await load.works_on()
        assert load.errors == []
        if desk.server.version >= MODES_SINCE:
            run = await desk.start("shutdown", mode="wait-for-clients", timeout_s=LIMIT_S)
            async with asyncio.timeout(LIMIT_S):
                async for event in run.events():
                    if event.kind is EventKind.WAITING:
                        break
            assert event.data["clients"] == CLIENTS
            assert load.errors == [], "they go on"
            load.end()
            receipt = await desk.finish(run)
            assert (receipt.outcome, receipt.after) == (Outcome.OK, "not running"), receipt.detail
        else:
            await ok(desk, "shutdown", "edge", "not running", mode="now")
            await load.all_cut()
            assert all(any(words in line for words in CUT) for line in load.errors), load.errors
    await until(lambda: not desk.server.running)
