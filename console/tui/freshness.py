"""What the top line says of every screen: mode, what runs and is held, and how old the numbers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.view import numbers
from console.view.cells import Cell, Tone

if TYPE_CHECKING:
    from console.tui.app import PooldeckApp

LATE_S = 3.0
"""A snapshot older than this means that our own collector is late, and the top line says so."""
_SILENT = ("unreachable", "connecting", "shutdown")


def freshness_of(deck: PooldeckApp, *, not_reading: bool) -> tuple[Cell, ...]:
    """Return the cells, what is most urgent first.

    Args:
        deck: the app.
        not_reading: what feeds the screen has ended.
    """
    cells: list[Cell] = [*deck.operating.status]
    if deck.read_only:
        cells.append(Cell("READ-ONLY", Tone.INFO))
    if not_reading:
        return (*cells, Cell("NOT READING (l tells why)", Tone.BAD))
    if deck.snapshot is None:
        return (*cells, Cell("waiting for answers", Tone.INFO))
    age = deck.clock.monotonic_s() - deck.snapshot.monotonic_s
    if deck.frozen:
        cells.append(Cell(f"FROZEN {numbers.age(age)} (f goes on)", Tone.WARN))
    elif age > LATE_S:
        cells.append(Cell(f"LATE: {numbers.age(age)} old", Tone.BAD))
    else:
        answering = sum(pooler.state not in _SILENT for pooler in deck.snapshot.poolers)
        total = len(deck.snapshot.poolers)
        tone = Tone.GOOD if answering == total else Tone.WARN
        cells.append(Cell(f"live, {answering} of {total} answer", tone))
    return tuple(cells)
