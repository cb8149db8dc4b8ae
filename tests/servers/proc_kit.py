"""What every process of the machine shows of itself while something runs: command lines and environments."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path

LIMIT_S = 10.0
_OLD_EVERY = 50


class Onlooker:
    """Reads /proc/*/cmdline and /proc/*/environ all the time, and keeps what has one of some words in it."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [word.encode() for word in words]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.rounds = 0
        self.programs: set[str] = set()
        """What was seen running, by the first word."""
        self.caught: list[str] = []

    def __enter__(self) -> Onlooker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(LIMIT_S)

    def _look(self) -> None:
        old = {entry.name for entry in Path("/proc").iterdir()}
        while not self._stop.wait(0.005):
            for entry in Path("/proc").iterdir():
                # What ran before is looked at now and then: it lives long.
                if entry.name.isdecimal() and (entry.name not in old or not self.rounds % _OLD_EVERY):
                    self._read(entry)
            self.rounds += 1

    def _read(self, entry: Path) -> None:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                content = (entry / name).read_bytes()
                if name == "cmdline":
                    self.programs.add(content.split(b"\0", 1)[0].decode(errors="replace"))
                if any(word in content for word in self._words):
                    self.caught.append(f"{entry.name}/{name}")
