"""A table of made-up pools whose every number moves from one picture to the next, and an app around it."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from typing import Any

from textual.app import App, ComposeResult

from widgets.grid import Cell, Column, Grid
from widgets.sparkline import sparkline

NUMBERS = (
    ("cl_active", "cl act", 0),
    ("cl_waiting", "cl wait", 0),
    ("sv_active", "sv act", 0),
    ("sv_idle", "sv idle", 0),
    ("sv_used", "sv used", 3),
    ("sv_tested", "sv test", 5),
    ("sv_login", "sv login", 4),
    ("maxwait", "maxwait ms", 0),
    ("pool_size", "size", 2),
    ("use", "use %", 1),
    ("queries", "queries/s", 0),
    ("transactions", "xacts/s", 0),
    ("received", "in kB/s", 2),
    ("sent", "out kB/s", 2),
    ("query_time", "query ms", 1),
    ("wait_time", "wait ms", 1),
)
WAITING = 1
COLUMNS = (
    Column("pool", "pool", 22, min_width=16, help="bouncer/database.user"),
    *(Column(key, title, 7, "right", priority=priority) for key, title, priority in NUMBERS),
    Column("mode", "mode", 11, priority=3),
    Column("waiting", "waiting", 10, priority=1),
    Column("state", "state", 7),
)


class Pools:
    """One picture of `count` pools: made beforehand, formatted only when asked."""

    def __init__(self, seed: int, count: int) -> None:
        chance = random.Random(seed)
        self._values = [
            [chance.randrange(10 ** chance.randrange(1, 6)) for _ in NUMBERS] for _ in range(count)
        ]
        for index, values in enumerate(self._values):
            # Queues differ from pool to pool and move a little: rows change places, but not at random.
            # 41 times something would be a missing value, and its row go to the end.
            moved = index * 7919 % count * 11 + chance.randrange(60)
            values[WAITING] = moved + 1 if moved % 41 == 0 else moved
        self._index = {key: i for i, (key, _, _) in enumerate(NUMBERS)}
        self.formatted = 0
        """Rows asked for so far."""

    def __len__(self) -> int:
        return len(self._values)

    def key_at(self, index: int, /) -> Hashable:
        return index

    def cells_at(self, index: int, /) -> Sequence[Cell]:
        self.formatted += 1
        values = self._values[index]
        numbers = ["n/a" if value % 41 == 0 else f"{value:,}" for value in values]
        history = sparkline([value % 90 for value in values[:10]], 10)
        waits = "waiting" if values[WAITING] > 9_000 else "ok"
        return [name_of(index), *numbers, "transaction", history, waits]

    def sort_value(self, index: int, column_key: str, /) -> Any:
        return self.sort_values(column_key)[index]

    def sort_values(self, column_key: str, /) -> Sequence[Any]:
        if column_key not in self._index:
            return [name_of(index) for index in range(len(self._values))]
        number = self._index[column_key]
        return [None if values[number] % 41 == 0 else values[number] for values in self._values]

    def style_at(self, index: int, /) -> str | None:
        return "warning" if self._values[index][1] > 9_000 else None


def name_of(index: int) -> str:
    """A pool's name, which starts with its unique number."""
    return f"{index:04}/edge-{index % 97}.app"


class PoolsApp(App[None]):
    """The table alone on the screen."""

    def __init__(self, count: int = 200, *, ascii_only: bool = False) -> None:
        super().__init__()
        self.grid = Grid(COLUMNS, ascii_only=ascii_only)
        self._count = count

    def compose(self) -> ComposeResult:
        yield self.grid

    def on_mount(self) -> None:
        self.grid.set_source(Pools(1, self._count))
        self.grid.sort_by("cl_waiting", reverse=True)
