"""What a grid tells its parents. Each message carries row keys, never positions.

Must not hold behaviour.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from widgets.grid import Grid


class GridMessage(Message, namespace="grid"):
    """Base of all of them.

    Attributes:
        grid: the sender.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    @property
    def control(self) -> Grid:
        """The sender, for `@on(…, "#id")`."""
        return self.grid


class Activated(GridMessage, namespace="grid"):
    """Enter or a double click on a row."""

    def __init__(self, grid: Grid, key: Hashable) -> None:
        super().__init__(grid)
        self.key = key


class CursorMoved(GridMessage, namespace="grid"):
    """The cursor is on another row, or on none (`key` None)."""

    def __init__(self, grid: Grid, key: Hashable | None) -> None:
        super().__init__(grid)
        self.key = key


class CursorLost(GridMessage, namespace="grid"):
    """The row under the cursor is gone from the data; the cursor went to its neighbour.

    Attributes:
        key: the row that is gone.
        moved_to: where the cursor is now; None when no row is left.
    """

    def __init__(self, grid: Grid, key: Hashable, moved_to: Hashable | None) -> None:
        super().__init__(grid)
        self.key = key
        self.moved_to = moved_to


class MarksChanged(GridMessage, namespace="grid"):
    """Other rows are marked than before.

    Attributes:
        keys: all marked rows.
        lost: those whose mark went because the row is gone from the data; mostly empty.
    """

    def __init__(self, grid: Grid, keys: frozenset[Hashable], lost: frozenset[Hashable]) -> None:
        super().__init__(grid)
        self.keys = keys
        self.lost = lost


class SortChanged(GridMessage, namespace="grid"):
    """The rows are in another order; `column` None is the source's own."""

    def __init__(self, grid: Grid, column: str | None, reverse: bool) -> None:
        super().__init__(grid)
        self.column = column
        self.reverse = reverse
