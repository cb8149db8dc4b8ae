"""The simulator behaves like a console where our reader and writer can tell, and scales."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from console.config.load import load_inventory
from console.errors import AdminError, LabError, NodeError, Phase
from console.lab.simulator import SimulatedFleet
from console.poolers.admin import AdminReader, AdminWriter, Login
from console.poolers.dialects import dialect_for
from console.poolers.results import SLICE_ROWS, parse_in_slices
from console.transport.base import Endpoint

DIALECT = dialect_for("pgbouncer")
LIMIT_S = 5.0


def login(port: int, user: str = "monitor") -> Login:
    return Login("sim", Endpoint("127.0.0.1", port), user, None, {"sslmode": "disable"})


async def test_it_reads_like_the_version_it_plays() -> None:
    async with SimulatedFleet(bouncers=3, pools=6) as fleet:
        for port, version in zip(fleet.ports, ("1.18.0", "1.24.1", "1.26.1"), strict=True):
            reader = await AdminReader.connect(login(port), timeout_s=LIMIT_S)
            assert reader.version_text == f"PgBouncer {version}"
            pools = DIALECT.parse_pools(await reader.show("POOLS", timeout_s=LIMIT_S))
            assert len(pools) == 7
            servers = DIALECT.parse_servers(await reader.show("SERVERS", timeout_s=LIMIT_S))
            assert len(servers) == sum(pool.servers for pool in pools)
            await reader.close()


async def test_its_numbers_move_and_its_totals_never_fall() -> None:
    async with SimulatedFleet(bouncers=1, pools=4, tick_s=0) as fleet:
        reader = await AdminReader.connect(login(fleet.ports[0]), timeout_s=LIMIT_S)
        totals: list[int] = []
        waiting: set[int] = set()
        for _ in range(80):
            stats = DIALECT.parse_stats(await reader.show("STATS", timeout_s=LIMIT_S))
            totals.append(sum(row.total_xact_count for row in stats))
            pools = DIALECT.parse_pools(await reader.show("POOLS", timeout_s=LIMIT_S))
            waiting.add(sum(pool.cl_waiting for pool in pools))
        await reader.close()
    assert totals == sorted(totals)
    assert totals[0] < totals[-1]
    assert len(waiting) > 5


async def test_a_pause_stops_it_and_a_resume_starts_it() -> None:
    async with SimulatedFleet(bouncers=1, pools=4, versions=("1.24.1",), tick_s=0) as fleet:
        writer = await AdminWriter.connect(login(fleet.ports[0], "admin"), timeout_s=LIMIT_S)

        async def servers() -> int:
            pools = DIALECT.parse_pools(await writer.show("POOLS", timeout_s=LIMIT_S))
            return sum(pool.servers for pool in pools)

        async def done() -> int:
            stats = DIALECT.parse_stats(await writer.show("STATS", timeout_s=LIMIT_S))
            return sum(row.total_xact_count for row in stats)

        assert await servers() > 0
        assert await writer.execute(DIALECT.pause(None), LIMIT_S) == "PAUSE"
        assert DIALECT.parse_state(await writer.show("STATE", timeout_s=LIMIT_S)).paused
        assert await servers() == 0
        assert await done() == await done()
        with pytest.raises(AdminError, match="already suspended/paused"):
            await writer.execute(DIALECT.pause(None), LIMIT_S)
        assert await writer.execute(DIALECT.resume(None), LIMIT_S) == "RESUME"
        assert await servers() > 0
        assert await done() < await done()
        await writer.close()


async def test_it_refuses_what_a_console_refuses() -> None:
    async with SimulatedFleet(bouncers=1) as fleet:
        reader = await AdminWriter.connect(login(fleet.ports[0]), timeout_s=LIMIT_S)
        with pytest.raises(AdminError, match="admin access needed"):
            await reader.execute("PAUSE", LIMIT_S)
        with pytest.raises(AdminError, match="invalid command"):
            await reader.execute("BEGIN", LIMIT_S)
        await reader.close()
        with pytest.raises(NodeError, match="not allowed") as caught:
            await AdminReader.connect(login(fleet.ports[0], "app"), timeout_s=LIMIT_S)
        assert caught.value.phase is Phase.AUTH
        connection = await psycopg.AsyncConnection.connect(
            f"host=127.0.0.1 port={fleet.ports[0]} user=monitor dbname=pgbouncer sslmode=disable",
            autocommit=True,
        )
        with pytest.raises(psycopg.errors.ProtocolViolation, match="extended query protocol"):
            await connection.execute("SHOW %s", ["POOLS"])
        await connection.close()


async def test_a_large_answer_lets_everything_else_go_on() -> None:
    """10,000 clients are loaded and parsed in slices; the loop turns in between."""
    rows = 10_000
    async with SimulatedFleet(bouncers=1, clients=rows) as fleet:
        reader = await AdminReader.connect(login(fleet.ports[0]), timeout_s=LIMIT_S)
        await reader.show("CLIENTS", timeout_s=30)  # the simulator encodes it once
        over = False
        turns = 0

        async def others() -> None:
            nonlocal turns
            while not over:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        table = await reader.show("CLIENTS", timeout_s=30)
        before = turns
        clients = await parse_in_slices(DIALECT.parse_clients, table)
        parsing = turns - before
        over = True
        await task
        await reader.close()
    assert len(table.rows) == len(clients) == rows
    assert clients == DIALECT.parse_clients(table)
    assert parsing >= rows / 500 - 1
    assert before >= rows / SLICE_ROWS - 1


def test_it_serves_from_a_process_of_its_own_until_its_owner_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "console.lab.simulator", "--bouncers", "3", "--unix", "--until-eof"]
    folder = Path(os.environ["XDG_RUNTIME_DIR"]) / "sim"
    process = subprocess.Popen(
        [*command, "--dir", str(folder)], stdin=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    try:
        end = time.monotonic() + 20
        while not (folder / "fleet.toml").exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        inventory = load_inventory(folder / "fleet.toml")
        names = [bouncer.name for bouncer in inventory.bouncers]
        reader = asyncio.run(_version(inventory.bouncers[2].unix or tmp_path))
    finally:
        process.communicate(timeout=10)
    assert names == ["sim-000", "sim-001", "sim-002"]
    assert reader == "PgBouncer 1.26.1"
    assert process.returncode == 0
    assert not (folder / "fleet.toml").exists()


async def _version(directory: Path) -> str:
    wanted = Login("sim", Endpoint(str(directory), 6432), "monitor", None)
    reader = await AdminReader.connect(wanted, timeout_s=LIMIT_S)
    await reader.close()
    return reader.version_text


def test_a_version_it_cannot_play_is_named() -> None:
    with pytest.raises(LabError, match=r"1\.17\.0"):
        SimulatedFleet(bouncers=1, versions=("1.17.0",))
