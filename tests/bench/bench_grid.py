"""Bench (c), the grid alone: from a key to the terminal, in 2,000 rows that all move every second.

`bench_keys` measures the same in the whole console. The grid runs in a process of its own on a real
pseudo-terminal. The bench writes a key to it at
a random moment and waits for the bytes that draw the cursor on another row: what a user would see, the
terminal's own drawing left out.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import random
import re
import resource
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from tests.bench.table import BenchRow
from tests.tui.apps.pools import Pools, PoolsApp

ROWS = 2_000
LINES, COLUMNS = 50, 180
KEYS = 200
LIMIT_MS = 50.0
DEADLINE_S = 10.0
KEY_BYTES = {"down": b"\x1b[B", "up": b"\x1b[A", "pagedown": b"\x1b[6~", "pageup": b"\x1b[5~"}
STEPS = {"down": 1, "up": -1, "pagedown": LINES - 1, "pageup": 1 - LINES}
CURSOR = re.compile("› +([0-9]{4}/)".encode())
PICTURES = 8


class BenchApp(PoolsApp):
    """The pools table with a new picture every second; leaves its own figures in a file at the end."""

    def __init__(self, report: Path) -> None:
        super().__init__(ROWS)
        self._report = report
        self._pictures = [Pools(seed, ROWS) for seed in range(PICTURES)]
        self._ticks = 0
        self._set_source_ms: list[float] = []
        self._started = (0.0, 0.0)

    def on_mount(self) -> None:
        super().on_mount()
        self._started = (time.monotonic(), time.process_time())
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        self._ticks += 1
        started = time.perf_counter()
        self.grid.set_source(self._pictures[self._ticks % PICTURES])
        self._set_source_ms.append((time.perf_counter() - started) * 1000)

    def on_unmount(self) -> None:
        wall, cpu = time.monotonic() - self._started[0], time.process_time() - self._started[1]
        figures = {
            "set_source_mean_ms": statistics.fmean(self._set_source_ms),
            "set_source_max_ms": max(self._set_source_ms),
            "cpu_percent": 100 * cpu / wall,
            "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        self._report.write_text(json.dumps(figures))


class Terminal:
    """The near end of the pseudo-terminal of a program.

    Args:
        command: what to run.
        cursor: matches where the cursor is drawn; what its group holds differs from row to row.
    """

    def __init__(self, command: list[str], cursor: re.Pattern[bytes] = CURSOR) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self._pattern = cursor
        self._cursor = b""

    def write(self, keys: bytes) -> None:
        """Type."""
        os.write(self._master, keys)

    def press(self, key: str) -> float:
        """Press a key; milliseconds until the cursor was drawn on another row."""
        self.drain(0.0)
        started = time.monotonic()
        self.write(KEY_BYTES[key])
        self.await_cursor()
        return (time.monotonic() - started) * 1000

    def await_cursor(self) -> None:
        """Read until the cursor is drawn on a row it was not on."""
        ends, buffer = time.monotonic() + DEADLINE_S, b""
        while time.monotonic() < ends:
            if select.select([self._master], [], [], 0.1)[0]:
                buffer += os.read(self._master, 65536)
                other = [found for found in self._pattern.findall(buffer) if found != self._cursor]
                if other:
                    self._cursor = other[-1]
                    return
        raise TimeoutError(f"the cursor was not drawn within {DEADLINE_S} s, only {buffer[-300:]!r}")

    def drain(self, seconds: float) -> None:
        """Throw away what is drawn during `seconds`."""
        ends = time.monotonic() + seconds
        with contextlib.suppress(OSError):  # EIO: the application is gone
            while select.select([self._master], [], [], max(0.0, ends - time.monotonic()))[0]:
                os.read(self._master, 65536)

    def close(self) -> None:
        """End the application as a user would, by force if it must be."""
        self.write(b"\x11")  # ctrl+q
        ends = time.monotonic() + DEADLINE_S
        while self.process.poll() is None and time.monotonic() < ends:
            self.drain(0.05)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        os.close(self._master)


def _measure(report: Path) -> list[float]:
    chance = random.Random(7)
    terminal = Terminal([sys.executable, "-m", "tests.bench.bench_grid", str(report)])
    try:
        terminal.await_cursor()
        terminal.drain(1.5)
        taken = []
        row = 0
        for _ in range(KEYS):
            # A key at either end of the table would move nothing.
            away = [key for key, rows in STEPS.items() if 100 < row + rows < ROWS - 100]
            key = chance.choice(away or ["pagedown"])
            row += STEPS[key]
            taken.append(terminal.press(key))
            terminal.drain(chance.uniform(0.01, 0.12))
        return taken
    finally:
        terminal.close()


def run() -> list[BenchRow]:
    """Measure; one row."""
    with tempfile.TemporaryDirectory(prefix="pd-bench-") as folder:
        report = Path(folder) / "figures.json"
        taken = sorted(_measure(report))
        figures = json.loads(report.read_text())
    p95 = taken[int(len(taken) * 0.95)]
    return [
        BenchRow(
            name="(c) the grid alone, 2,000 moving rows",
            figure=f"p95 {p95:.1f} ms",
            limit=f"<= {LIMIT_MS:.0f} ms",
            ok=p95 <= LIMIT_MS,
            detail=f"{KEYS} keys on a {COLUMNS}x{LINES} terminal: median {statistics.median(taken):.1f} ms, "
            f"max {taken[-1]:.1f} ms; set_source holds the loop {figures['set_source_mean_ms']:.1f} ms "
            f"(max {figures['set_source_max_ms']:.1f}); CPU {figures['cpu_percent']:.0f} % of a core, "
            f"{figures['memory_mib']:.0f} MiB",
        )
    ]


if __name__ == "__main__":
    BenchApp(Path(sys.argv[1])).run()
