"""The last lines of a log: bounded, and drawn only as far as they are on screen.

Must not read files, clocks or loggers; lines are given to it from the event loop's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap
from typing import ClassVar, Literal, TypeAlias

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from widgets.cells import clean, fit, width_of

Level: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LEVELS: tuple[Level, ...] = ("DEBUG", "INFO", "WARNING", "ERROR")
LEVEL_WIDTH = max(len(level) for level in LEVELS)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One record; a text of several lines, or one that is too long, takes several lines of the view."""

    when: str
    """The time as it is to be shown."""
    level: Level
    source: str
    text: str


class LogView(ScrollView, can_focus=True):
    """A log tail. While its end is on screen it follows; scrolled back, it stays where it is."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"log-view--{level.lower()}" for level in LEVELS} | {
        "log-view--dim"
    }
    DEFAULT_CSS = """
    LogView { background: $surface; color: $foreground; scrollbar-size: 1 1; height: 1fr; }
    LogView > .log-view--dim { color: $text-muted; }
    LogView > .log-view--debug { color: $text-muted; }
    LogView > .log-view--info { color: $text-success; }
    LogView > .log-view--warning { color: $text-warning; text-style: bold; }
    LogView > .log-view--error { color: $text-error; text-style: bold; }
    """
    ALLOW_SELECT = False

    minimum_level: reactive[Level] = reactive[Level]("DEBUG")
    """Records below it are kept but not shown."""

    def __init__(self, *, limit: int = 2_000, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._records: deque[LogLine] = deque(maxlen=limit)
        self._lines: list[tuple[LogLine, str, bool]] = []
        """Record, text, and whether that is the beginning of a line of the record."""
        self._pending = False
        self._follows = True
        self.dropped = 0
        """Records that made room for newer ones."""

    @property
    def records(self) -> tuple[LogLine, ...]:
        """All records kept, oldest first."""
        return tuple(self._records)

    def write(self, record: LogLine) -> None:
        """Add a record. Many in a row cost one repaint."""
        if len(self._records) == self._records.maxlen:
            self.dropped += 1
        self._records.append(record)
        self._update_soon()

    def clear(self) -> None:
        """Forget all records."""
        self._records.clear()
        self.dropped = 0
        self._update_soon()

    def on_mount(self) -> None:
        """Show what was written before."""
        self._update_soon()

    def watch_minimum_level(self) -> None:
        """Show other records."""
        self._update_soon()

    def _update_soon(self) -> None:
        if not self._pending and self.is_attached:
            self._pending = True
            self.call_next(self._update)

    def _update(self) -> None:
        self._pending = False
        follow = self._follows
        top = self._lines[self.scroll_offset.y][0] if self.scroll_offset.y < len(self._lines) else None
        lowest = LEVELS.index(self.minimum_level)
        self._lines = [
            (record, line, first)
            for record in self._records
            if LEVELS.index(record.level) >= lowest
            for line, first in self._wrapped(record)
        ]
        # No line is wider than the view: nothing to scroll sideways.
        self.virtual_size = Size(0, len(self._lines))
        if follow:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)
        elif top is not None:
            # Older records went: the same ones stay in view as long as they are kept.
            kept = (i for i, (record, *_) in enumerate(self._lines) if record is top)
            self.scroll_to(y=next(kept, 0), animate=False, force=True)
        self.refresh()

    def on_resize(self) -> None:
        """Wrap anew."""
        self._update_soon()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow from now on when the end is on screen; a view that only got smaller goes on following."""
        super().watch_scroll_y(old_value, new_value)
        self._follows = round(new_value) >= self.max_scroll_y

    def _wrapped(self, record: LogLine) -> Iterator[tuple[str, bool]]:
        """The record's text as lines that fit, and whether each begins one of its own."""
        room = max(20, self.scrollable_content_region.width - self._indent(record))
        for line in record.text.splitlines() or [""]:
            text = clean(f"{record.source}: {line}")
            if width_of(text) <= room:
                yield text, True
                continue
            parts = wrap(text, room, subsequent_indent="  ", break_on_hyphens=False)
            for number, part in enumerate(parts):
                yield part, number == 0

    @staticmethod
    def _indent(record: LogLine) -> int:
        return width_of(record.when) + 1 + LEVEL_WIDTH + 1

    def render_line(self, y: int) -> Strip:
        """One line; Textual asks only for those on screen."""
        width, base = self.size.width, self.rich_style
        index = self.scroll_offset.y + y
        if index >= len(self._lines):
            text = "no log records" if not self._lines and y == 0 else ""
            return Strip([Segment(fit(text, width), base + self._style("dim"))]).adjust_cell_length(
                width, base
            )
        record, line, first = self._lines[index]
        segments = [Segment(" " * self._indent(record), base), Segment(line, base)]
        if first:
            segments[:1] = [
                Segment(f"{clean(record.when)} ", base + self._style("dim")),
                Segment(f"{record.level:<{LEVEL_WIDTH}} ", base + self._style(record.level.lower())),
            ]
        return Strip(segments).crop_extend(0, width, base)

    def _style(self, name: str) -> Style:
        return self.get_component_styles(f"log-view--{name}").partial_rich_style
