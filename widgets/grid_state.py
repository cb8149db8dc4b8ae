"""What a grid remembers between two pictures of the data: order, cursor and marks, all by row identity.

Must not draw and knows no terminal, so that its promises can be tested without one:
a refresh never puts another row under the cursor unless the cursor's own row is gone, and never
leaves a mark on a row that is not there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from widgets.grid_sort import sort_order
from widgets.grid_source import ListSource, RowSource, all_keys, all_sort_values


@dataclass(frozen=True, slots=True)
class SourceChange:
    """What a new source did to cursor and marks."""

    lost_cursor: Hashable | None = None
    """The key the cursor stood on, when that row is gone."""
    cursor_changed: bool = False
    """Whether `cursor_key` differs from before."""
    lost_marks: frozenset[Hashable] = frozenset()
    """Marked rows that are gone, and their marks with them."""


class GridState:
    """Rows in display order, with a cursor and marks.

    Attributes:
        source: the current picture.
        order: source index by display position.
        keys: row key by display position.
        cursor: display position of the cursor; -1 without rows.
        marked: keys of the marked rows, all of them present.
        sort_key: column sorted by, or None for the source's own order.
        sort_reverse: greatest first; missing values stay last.
    """

    def __init__(self) -> None:
        self.source: RowSource = ListSource()
        self.order: list[int] = []
        self.keys: list[Hashable] = []
        self.cursor = -1
        self.marked: frozenset[Hashable] = frozenset()
        self.sort_key: str | None = None
        self.sort_reverse = False
        self._positions: dict[Hashable, int] = {}
        self._range_start: Hashable | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def cursor_key(self) -> Hashable | None:
        """Key of the row under the cursor; None without rows."""
        return self.keys[self.cursor] if 0 <= self.cursor < len(self.keys) else None

    def position_of(self, key: Hashable) -> int | None:
        """Display position of a row, or None when it is not there."""
        return self._positions.get(key)

    def replace(self, source: RowSource) -> SourceChange:
        """Take a new picture: sort it and find cursor and marks again by key."""
        old_keys, old_cursor, old_key = self.keys, self.cursor, self.cursor_key
        self.source = source
        self._arrange()
        lost: Hashable | None = None
        if old_key is None:
            self.cursor = 0 if self.keys else -1
        elif old_key in self._positions:
            self.cursor = self._positions[old_key]
        else:
            lost = old_key
            self.cursor = self._neighbour(old_keys, old_cursor)
        gone = frozenset(key for key in self.marked if key not in self._positions)
        self.marked -= gone
        return SourceChange(lost, self.cursor_key != old_key, gone)

    def sort(self, column_key: str | None, reverse: bool) -> None:
        """Change the order; the cursor stays on its row."""
        self.sort_key, self.sort_reverse = column_key, reverse
        key = self.cursor_key
        self._arrange()
        if key is not None:
            self.cursor = self._positions[key]

    def move_to(self, position: int) -> bool:
        """Put the cursor on a display position, clamped; False when it does not move."""
        target = max(0, min(position, len(self.keys) - 1)) if self.keys else -1
        moved = target != self.cursor
        self.cursor = target
        return moved

    def mark(self, keys: Iterable[Hashable]) -> bool:
        """Make `keys` the marked rows, leaving out those not there; False when nothing changes."""
        marked = frozenset(key for key in keys if key in self._positions)
        changed = marked != self.marked
        self.marked = marked
        return changed

    def toggle_mark(self) -> bool:
        """Mark or unmark the cursor's row; False without rows."""
        key = self.cursor_key
        if key is None:
            return False
        self._range_start = key
        self.marked ^= {key}
        return True

    def mark_range(self) -> bool:
        """Mark from the row marked or unmarked last to the cursor; False when nothing changes."""
        if self.cursor < 0:
            return False
        start = self._positions.get(self._range_start, self.cursor)
        low, high = sorted((start, self.cursor))
        return self.mark(self.marked.union(self.keys[low : high + 1]))

    def _arrange(self) -> None:
        keys = all_keys(self.source)
        if self.sort_key is None:
            self.order, self.keys = list(range(len(keys))), keys
        else:
            values = all_sort_values(self.source, self.sort_key)
            self.order = sort_order(values, reverse=self.sort_reverse)
            self.keys = [keys[index] for index in self.order]
        # Built backwards so that of rows with the same key, a mistake of the source, the first counts.
        self._positions = {self.keys[i]: i for i in range(len(self.keys) - 1, -1, -1)}

    def _neighbour(self, old_keys: list[Hashable], old_cursor: int) -> int:
        """The row that stood next to the vanished one: below it if any is left there, else above."""
        for key in (*old_keys[old_cursor + 1 :], *reversed(old_keys[:old_cursor])):
            if key in self._positions:
                return self._positions[key]
        return 0 if self.keys else -1
