"""One shape for every benchmark's result, and the table that `make bench` prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class BenchRow:
    """One figure against its limit."""

    name: str
    figure: str
    limit: str
    ok: bool
    detail: str


def print_table(rows: Sequence[BenchRow]) -> None:
    """Write the rows to standard output, one line each, columns aligned."""
    lines = [("bench", "figure", "limit", "", "detail")]
    lines += [
        (name, figure, limit, "ok" if ok else "MISSED", detail)
        for name, figure, limit, ok, detail in map(astuple, rows)
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    for line in lines:
        sys.stdout.write(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        )
