"""The console's memory of what was logged: bounded, from any thread, for the log panel.

It must not write anywhere; `--log-file` does that beside it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

CAPACITY = 5_000
"""Entries kept; the oldest go first."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One message."""

    wall_s: float
    level: int
    """As in `logging`."""
    source: str
    """The logger's name without `console.`."""
    text: str
    """The first line of the message; nothing of an exception but its own words."""


class LogBuffer(logging.Handler):
    """Keeps the last messages and tells a listener of each new one, on the thread that logged it."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        super().__init__(logging.INFO)
        self._entries: deque[LogEntry] = deque(maxlen=capacity)
        self._guard = threading.Lock()
        self._listeners: list[Callable[[LogEntry], None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record in; never raises, as logging demands."""
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text = f"{text}: {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        except (TypeError, ValueError) as error:
            text = f"a message that could not be written: {error}"
        entry = LogEntry(record.created, record.levelno, record.name.removeprefix("console."), text)
        with self._guard:
            self._entries.append(entry)
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(entry)

    def entries(self) -> tuple[LogEntry, ...]:
        """Return what is kept, oldest first."""
        with self._guard:
            return tuple(self._entries)

    def listen(self, listener: Callable[[LogEntry], None]) -> Callable[[], None]:
        """Call `listener` for every new entry until the returned function is called."""
        with self._guard:
            self._listeners.append(listener)

        def stop() -> None:
            with self._guard:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return stop
