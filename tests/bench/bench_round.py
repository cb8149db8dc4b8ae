"""Bench (a): CPU of one fleet round through our reader and dialect, beside psycopg and bare libpq.

A round is POOLS, DATABASES, LISTS and STATE of 100 simulated bouncers × 20 pools: 400 answers, asked by
one task a bouncer. The simulator is another process, so only the reader's CPU is counted; its numbers
move with every answer. Rounds of all contestants are interleaved and medians compared.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq

from console.poolers.admin import AdminReader, Login
from console.poolers.dialects import dialect_for
from console.transport.base import Endpoint
from tests.bench.table import BenchRow, print_table

BOUNCERS = 100
POOLS = 20
ASKED = ("POOLS", "DATABASES", "LISTS", "STATE")
WARM_UPS = 3
ROUNDS = 25
LIMIT = 1.5
START_LIMIT_S = 20.0
USER = "monitor"

Round = Callable[[], Awaitable[None]]


@contextmanager
def simulator(*options: str) -> Iterator[list[int]]:
    """Run the simulator in a process of its own and give the ports of its bouncers."""
    with tempfile.TemporaryDirectory(prefix="pd-sim") as folder:
        command = [sys.executable, "-m", "console.lab.simulator", "--until-eof", "--dir", folder, *options]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=Path(__file__).parents[2])
        try:
            inventory = Path(folder, "fleet.toml")
            end = time.monotonic() + START_LIMIT_S
            while not inventory.exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("the simulator did not start")
                time.sleep(0.02)
            entries = tomllib.loads(inventory.read_text())["bouncers"]
            yield [int(entry["tcp"].rpartition(":")[2]) for entry in entries]
        finally:
            process.communicate()


async def _ours(ports: list[int], *, parsed: bool) -> tuple[Round, Callable[[], Awaitable[None]]]:
    dialect = dialect_for("pgbouncer")
    readers = [
        await AdminReader.connect(
            Login(f"sim-{port}", Endpoint("127.0.0.1", port), USER, None, {"sslmode": "disable"}), timeout_s=5
        )
        for port in ports
    ]

    async def node(reader: AdminReader) -> None:
        pools = await reader.show("POOLS", timeout_s=5)
        databases = await reader.show("DATABASES", timeout_s=5)
        lists = await reader.show("LISTS", timeout_s=5)
        state = await reader.show("STATE", timeout_s=5)
        if parsed:
            dialect.parse_pools(pools)
            dialect.parse_databases(databases)
            dialect.parse_lists(lists)
            dialect.parse_state(state)

    async def one_round() -> None:
        await asyncio.gather(*map(node, readers))

    async def close() -> None:
        for reader in readers:
            await reader.close()

    return one_round, close


async def _psycopg(ports: list[int], *, fetched: bool) -> tuple[Round, Callable[[], Awaitable[None]]]:
    connections = [
        await psycopg.AsyncConnection.connect(
            f"host=127.0.0.1 port={port} user={USER} dbname=pgbouncer sslmode=disable",
            autocommit=True,
            prepare_threshold=None,
        )
        for port in ports
    ]

    async def node(connection: psycopg.AsyncConnection[Any]) -> None:
        for what in ASKED:
            cursor = await connection.execute(f"SHOW {what}")
            if fetched:
                await cursor.fetchall()

    async def one_round() -> None:
        await asyncio.gather(*map(node, connections))

    async def close() -> None:
        for connection in connections:
            await connection.close()

    return one_round, close


async def _bare(ports: list[int]) -> tuple[Round, Callable[[], Awaitable[None]]]:
    """Answer by answer through libpq, no asyncio, rows never looked at: the limit."""
    selector = selectors.DefaultSelector()
    connections = []
    for port in ports:
        connection = pq.PGconn.connect(
            f"host=127.0.0.1 port={port} user={USER} dbname=pgbouncer sslmode=disable".encode()
        )
        connection.nonblocking = 1
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connections.append(connection)

    async def one_round() -> None:
        left = {connection.socket: list(ASKED) for connection in connections}
        for connection in connections:
            connection.send_query(f"SHOW {left[connection.socket].pop()}".encode())
            connection.flush()
        while left:
            for key, _ in selector.select(5):
                connection = key.data
                connection.consume_input()
                while not connection.is_busy():
                    if connection.get_result() is not None:
                        continue
                    asked = left[connection.socket]
                    if not asked:
                        del left[connection.socket]
                        break
                    connection.send_query(f"SHOW {asked.pop()}".encode())
                    connection.flush()

    async def close() -> None:
        for connection in connections:
            connection.finish()
        selector.close()

    return one_round, close


async def _measure(ports: list[int]) -> dict[str, float]:
    """Return the median CPU of a round in ms, by contestant."""
    made = {
        "ours": await _ours(ports, parsed=True),
        "ours unparsed": await _ours(ports, parsed=False),
        "psycopg": await _psycopg(ports, fetched=True),
        "psycopg unfetched": await _psycopg(ports, fetched=False),
        "libpq": await _bare(ports),
    }
    taken: dict[str, list[float]] = {name: [] for name in made}
    for number in range(WARM_UPS + ROUNDS):
        for name, (one_round, _) in made.items():
            gc.collect()
            started = time.process_time()
            await one_round()
            spent = time.process_time() - started
            if number >= WARM_UPS:
                taken[name].append(spent * 1_000)
    for _, close in made.values():
        await close()
    return {name: statistics.median(spent) for name, spent in taken.items()}


def run() -> list[BenchRow]:
    """Measure all contestants in one run."""
    options = ["--bouncers", str(BOUNCERS), "--pools", str(POOLS), "--tick", "0"]
    with simulator(*options, "--pgbouncer", "1.24.1", "1.26.1") as ports:
        ms = asyncio.run(_measure(ports))
    ratio = ms["ours"] / ms["psycopg"]
    return [
        BenchRow(
            name="(a) fleet round, CPU against psycopg",
            figure=f"{ratio:.2f}",
            limit=f"<= {LIMIT}",
            ok=ratio <= LIMIT,
            detail=f"ours, parsed {ms['ours']:.1f} ms; psycopg, rows thrown away {ms['psycopg']:.1f} ms",
        ),
        BenchRow(
            name="(a) the same, psycopg without fetchall",
            figure=f"{ms['ours'] / ms['psycopg unfetched']:.2f}",
            limit=f"<= {LIMIT}",
            ok=ms["ours"] / ms["psycopg unfetched"] <= LIMIT,
            detail=f"psycopg {ms['psycopg unfetched']:.1f} ms; ours as text {ms['ours unparsed']:.1f} ms",
        ),
        BenchRow(
            name="(a) the same against bare libpq",
            figure=f"{ms['ours'] / ms['libpq']:.1f}",
            limit="(said beside)",
            ok=True,
            detail=f"psycopg.pq, no event loop, rows never read: {ms['libpq']:.1f} ms",
        ),
    ]


if __name__ == "__main__":
    rows = run()
    print_table(rows)
    sys.exit(0 if all(row.ok for row in rows) else 1)
