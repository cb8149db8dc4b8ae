"""A standard stream while something is under way: a reader that has stopped, or gone, holds nothing up.

Lines are written by a thread of its own: a terminal stopped with Ctrl-S, or a pipe that nobody empties, would
otherwise stop the loop, and with it the heartbeat of a pause. It says nothing by itself.
"""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TextIO

from console.cli.diagnostics import printable


class Outlet:
    """Lines to one stream, in their order.

    Attributes:
        error: why the stream could not be written to; None while it can. What comes after it is dropped.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Take the stream; None is one that was closed before we started."""
        self.error: OSError | None = None
        self.is_terminal = stream is not None and stream.isatty()
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._encoding = (stream.encoding if stream is not None else None) or "utf-8"
        self._queue: SimpleQueue[str | Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._shown = 0
        """Columns of the line that can still be written over; 0: none."""

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None when it is none."""
        if not self.is_terminal or self._descriptor is None:
            return None
        try:
            return os.get_terminal_size(self._descriptor).columns or None
        except OSError:
            return None

    def line(self, text: str) -> None:
        """Write lines; what was written with `rewrite` is gone then."""
        self._put(f"{self._erasing()}{printable(text)}\n")

    def rewrite(self, text: str) -> None:
        """Show one line that the next one takes the place of; on a terminal only."""
        room = (self.width or 80) - 1
        shown = printable(text).replace("\n", " ")[:room]
        self._put(f"{self._erasing()}{shown}")
        self._shown = len(shown)

    def settle(self) -> None:
        """Take away what was written with `rewrite`."""
        if self._shown:
            self._put(self._erasing())

    async def drained(self, *, limit_s: float | None, enough: asyncio.Event | None = None) -> bool:
        """Wait until all is written, and say whether it is; False when the time is up, or `enough` is set."""
        if self._thread is None:
            return True
        loop = asyncio.get_running_loop()
        written = asyncio.Event()
        self._queue.put(lambda: loop.call_soon_threadsafe(written.set))
        events = [written] if enough is None else [written, enough]
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return written.is_set()

    def close(self) -> None:
        """End it once all is written; nothing may be written afterwards. The stream stays open."""
        if self._thread is not None:
            self._queue.put(None)

    def _erasing(self) -> str:
        """Return what takes the last line away without escape codes, which not every terminal knows."""
        shown, self._shown = self._shown, 0
        return f"\r{' ' * shown}\r" if shown else ""

    def _put(self, text: str) -> None:
        if self._descriptor is None:
            self._write_here(text)
            return
        if self._thread is None:
            # A daemon: a write that never returns must not keep the process. It holds no lock of Python's.
            self._thread = threading.Thread(target=self._write_all, name="outlet", daemon=True)
            self._thread.start()
        self._queue.put(text)

    def _write_here(self, text: str) -> None:
        if self._stream is None or self.error is not None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            self.error = error

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            if not isinstance(item, str):
                item()
            elif self.error is None:
                try:
                    self._write(item.encode(self._encoding, "backslashreplace"))
                except OSError as error:
                    self.error = error

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None, "else it is written here"
        while data:
            data = data[os.write(self._descriptor, data) :]


def _descriptor(stream: TextIO | None) -> int | None:
    if stream is None:
        return None
    try:
        return stream.fileno()
    except (io.UnsupportedOperation, ValueError):
        return None
