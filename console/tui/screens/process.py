"""How bouncers are supervised, and what their hosts tell of their processes: read when asked for.

A host is asked once when the screen is opened, and again by a key: each answer costs it a few processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from console.model.fleet import FleetSnapshot
from console.operations.process.report import ProcessReport
from console.tui import keys
from console.tui.screens.text import TextScreen
from console.view import numbers
from console.view.cells import Cell, Tone
from console.view.details import Section

LIMIT_S = 60.0
"""For all of them; one that takes longer is told as such, and nothing goes on unseen."""
_TONES = {
    "warning": Tone.WARN,
    "console": Tone.WARN,
    "restart": Tone.WARN,
    "process": Tone.STRONG,
    "started by": Tone.INFO,
}


class ProcessScreen(TextScreen):
    """A section for each bouncer, as `pooldeck process` prints it."""

    KEYS = keys.PROCESS
    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "read", "Read again", id="process.read")]

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names
        self._reports: dict[str, ProcessReport] = {}
        self._reading_since_s: float | None = None
        self._read_s: float | None = None
        """When the last reading ended, on the monotonic clock; None: none has."""
        self._late: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """In the banner."""
        one = len(self._names) == 1
        return f"process of {self._names[0]}" if one else f"processes of {len(self._names)} bouncers"

    def on_mount(self) -> None:
        """Read once."""
        super().on_mount()
        self._read()

    def action_read(self) -> None:
        """Read again, unless it is being read."""
        if self._reading_since_s is None:
            self._read()

    @work(exclusive=True, group="process")
    async def _read(self) -> None:
        reader = self.deck.processes
        assert reader is not None, "the app opens this screen only with a reader"
        self._reading_since_s = self.deck.clock.monotonic_s()
        self._late = ()
        fresh: dict[str, ProcessReport] = {}

        def took(report: ProcessReport) -> None:
            fresh[report.bouncer] = self._reports[report.bouncer] = report
            self.refresh_now()

        self.refresh_now()
        try:
            async with asyncio.timeout(LIMIT_S):
                await reader.read(self._names, done=took)
        except TimeoutError:
            self._late = tuple(name for name in self._names if name not in fresh)
        finally:
            self._reading_since_s = None
            self._read_s = self.deck.clock.monotonic_s()
        self.refresh_now()

    def tick(self) -> None:
        """Tell how long it is being read, and how old it is."""
        super().tick()
        if self.is_built:
            self.say(self._note())

    def _note(self) -> Cell:
        now_s = self.deck.clock.monotonic_s()
        if self._reading_since_s is not None:
            done = f"{len(self._reports)} of {len(self._names)} read" if len(self._names) > 1 else "reading"
            return Cell(
                f"{done}, for {now_s - self._reading_since_s:.0f} s (at most {LIMIT_S:g} s)", Tone.INFO
            )
        if self._late:
            names = ", ".join(self._late)
            return Cell(f"not read within {LIMIT_S:g} s: {names}; r reads again", Tone.BAD)
        age_s = now_s - (self._read_s if self._read_s is not None else now_s)
        return Cell(
            f"read {numbers.duration_s(age_s) if age_s >= 1 else 'now'}{' ago' * (age_s >= 1)}", Tone.DIM
        )

    def sections(self, snapshot: FleetSnapshot | None) -> Sequence[Section]:
        """See `TextScreen.sections`."""
        del snapshot
        return [self._section(name) for name in self._names]

    def _section(self, name: str) -> Section:
        report = self._reports.get(name)
        if report is None:
            words = "not read in time" if name in self._late else "being read: its host is asked"
            return Section(name, (("", Cell(words, Tone.DIM)),))
        return Section(
            name, tuple((label, Cell(words, _tone(report, label))) for label, words in report.lines())
        )


def _tone(report: ProcessReport, label: str) -> Tone:
    if label == "process" and report.look.process is None:
        return Tone.BAD
    if label == "version" and report.version_waits:
        return Tone.WARN
    return _TONES.get(label, Tone.PLAIN)
