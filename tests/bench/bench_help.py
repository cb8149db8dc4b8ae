"""Bench (d): how long `pooldeck --help` takes, beside an empty Python of the same run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.table import BenchRow

LIMIT_S = 0.25
ROUNDS = 15


def _median_s(command: list[str]) -> float:
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def run() -> list[BenchRow]:
    """Measure; the ratio to an empty interpreter says what is ours."""
    pooldeck = str(Path(sys.executable).with_name("pooldeck"))
    empty_s = _median_s([sys.executable, "-c", "pass"])
    help_s = _median_s([pooldeck, "--help"])
    return [
        BenchRow(
            name="(d) pooldeck --help",
            figure=f"{help_s:.3f} s",
            limit=f"<= {LIMIT_S} s",
            ok=help_s <= LIMIT_S,
            detail=f"median of {ROUNDS}; {help_s / empty_s:.1f} x an empty Python ({empty_s:.3f} s)",
        )
    ]
