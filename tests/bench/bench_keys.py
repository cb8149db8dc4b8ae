"""Bench (c): from a key to its effect on the terminal, in the console's pools table of 2,000 moving pools.

The whole console, its collector included, runs on a real pseudo-terminal against the simulator. The bench
writes an arrow key at a random moment and waits for the bytes that draw the cursor on another line.
"""

from __future__ import annotations

import random
import re
import statistics
import sys

from tests.bench.bench_grid import COLUMNS, LIMIT_MS, LINES, Terminal
from tests.bench.bench_idle import BOUNCERS, POOLS, simulated_fleet
from tests.bench.table import BenchRow

KEYS = 200
CURSOR = re.compile("\x1b\\[([0-9]+);1H(?:\x1b\\[[0-9;]*m| )*›".encode())
"""The cursor's mark at the start of a line; the group is the line's number."""
TURN_AT = 30
"""Keys in one direction: fewer than the table has lines, so that no key scrolls it."""


def run() -> list[BenchRow]:
    """Measure; one row."""
    chance = random.Random(7)
    with simulated_fleet() as inventory:
        command = [sys.executable, "-m", "console.cli.main", "--fleet", str(inventory)]
        terminal = Terminal(command, CURSOR)
        try:
            terminal.await_cursor()
            # Past the connecting of a hundred bouncers, and past the first rates.
            terminal.drain(8.0)
            terminal.write(b":pools\r")
            terminal.drain(3.0)
            taken = []
            for number in range(KEYS):
                taken.append(terminal.press("down" if number // TURN_AT % 2 == 0 else "up"))
                terminal.drain(chance.uniform(0.01, 0.12))
        finally:
            terminal.close()
    taken.sort()
    p95 = taken[int(len(taken) * 0.95)]
    return [
        BenchRow(
            name="(c) key to paint in the console's pools",
            figure=f"p95 {p95:.1f} ms",
            limit=f"<= {LIMIT_MS:.0f} ms",
            ok=p95 <= LIMIT_MS,
            detail=f"{KEYS} keys, {BOUNCERS * POOLS:,} pools of {BOUNCERS} simulated bouncers,"
            f" collector included, {COLUMNS}x{LINES}: median {statistics.median(taken):.1f} ms,"
            f" max {taken[-1]:.1f} ms",
        )
    ]
