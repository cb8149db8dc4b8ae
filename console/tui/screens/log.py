"""The log panel: what the console noticed, newest last. It reads the log buffer and nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from console.tui.log_buffer import LogEntry
from console.tui.screens.base import BACK, DeckScreen
from console.tui.sources import to_ascii
from console.view.cells import Cell, Tone
from widgets.log_view import LEVELS, Level, LogLine, LogView


class LogScreen(DeckScreen):
    """Everything logged, with a lowest level."""

    BINDINGS: ClassVar[list[BindingType]] = [
        BACK,
        Binding("e", "errors", "Warnings only", id="log.errors"),
        Binding("j", "by(1)", "Down", show=False),
        Binding("k", "by(-1)", "Up", show=False),
    ]

    class Logged(Message, bubble=False):
        """A new entry, from whichever thread logged it."""

        def __init__(self, entry: LogEntry) -> None:
            super().__init__()
            self.entry = entry

    def __init__(self) -> None:
        super().__init__()
        self._stop: Callable[[], None] = lambda: None

    def body(self) -> Iterable[Widget]:
        """One log."""
        yield LogView(limit=5_000, id="log")

    @property
    def place(self) -> str:
        """In the banner."""
        return "log"

    def on_mount(self) -> None:
        """Show what there is and follow."""
        view = self.query_one(LogView)
        for entry in self.deck.log_buffer.entries():
            view.write(self._line(entry))
        self._stop = self.deck.log_buffer.listen(lambda entry: self._tell(entry))
        super().on_mount()
        view.focus()

    def on_unmount(self) -> None:
        """Stop following."""
        self._stop()

    def _tell(self, entry: LogEntry) -> None:
        self.post_message(self.Logged(entry))

    def on_log_screen_logged(self, message: Logged) -> None:
        """Add an entry."""
        self.query_one(LogView).write(self._line(message.entry))

    def _line(self, entry: LogEntry) -> LogLine:
        text = to_ascii(entry.text) if self.deck.ascii_only else entry.text
        when = time.strftime("%H:%M:%S", time.gmtime(entry.wall_s))
        return LogLine(when, _level(entry.level), entry.source, text)

    def action_errors(self) -> None:
        """Show warnings and errors only, or everything again."""
        view = self.query_one(LogView)
        view.minimum_level = "DEBUG" if view.minimum_level == "WARNING" else "WARNING"
        only = view.minimum_level == "WARNING"
        self.say(Cell("warnings and errors only; e shows all" if only else "", Tone.INFO))

    def action_by(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one(LogView).scroll_relative(y=lines, animate=False)


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return LEVELS[3]
    return LEVELS[2] if number >= logging.WARNING else LEVELS[1] if number >= logging.INFO else LEVELS[0]
