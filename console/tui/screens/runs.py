"""Runs of this session: the list, and one run's events and result. Leaving a screen leaves the run alone."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from console.errors import PooldeckError
from console.operations.outcome import Event, EventKind, RunReceipt
from console.operations.service import Run
from console.tui.parts import content
from console.tui.plan_text import OUTCOME_TONES, receipt_cells
from console.tui.screens.base import BACK, DeckScreen
from console.tui.sources import to_ascii
from console.tui.theme import TONE_NAMES
from console.view.cells import Cell, Tone
from widgets.cells import Toned
from widgets.grid import Column, Grid, ListRow, ListSource
from widgets.grid_messages import Activated
from widgets.log_view import Level, LogLine, LogView

_LEVELS: dict[EventKind, Level] = {EventKind.WARNING: "WARNING", EventKind.UNDOING: "WARNING"}


def clock_text(wall_s: float) -> str:
    """UTC time of day."""
    return time.strftime("%H:%M:%S", time.gmtime(wall_s))


class RunScreen(DeckScreen):
    """One run: its events as they come, then its result."""

    BINDINGS: ClassVar[list[BindingType]] = [
        BACK,
        Binding("ctrl+x", "stop", "Stop and undo", id="run.stop"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    @property
    def place(self) -> str:
        """In the banner."""
        return f"run: {self._run.plan.title}"

    def body(self) -> Iterable[Widget]:
        """Result above, events below."""
        yield Static("", id="outcome", markup=False)
        yield LogView(limit=2_000, id="events")

    def on_mount(self) -> None:
        """Follow the run; the follower ends with this screen, the run does not."""
        super().on_mount()
        self._state([Cell("RUNNING  Esc leaves it running; o finds it again; ctrl+x stops and undoes it")])
        self.query_one(LogView).focus()
        self._follow()

    @work(exclusive=True, group="run")
    async def _follow(self) -> None:
        view = self.query_one(LogView)
        told: Event | None = None
        async for event in self._run.events():
            if is_news(event, told):
                view.write(self._line(event))
                told = event
        try:
            receipt = await self._run.receipt()
        except PooldeckError as error:
            self._state([Cell(f"FAILED  {error}", Tone.BAD)])
            return
        self._state(receipt_cells(receipt))
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is over cannot be stopped."""
        if action == "stop" and self._run.done:
            return False
        return super().check_action(action, parameters)

    def _line(self, event: Event) -> LogLine:
        text = to_ascii(event.text) if self.deck.ascii_only else event.text
        return LogLine(clock_text(event.at_s), _LEVELS.get(event.kind, "INFO"), event.target, text)

    def _state(self, lines: list[Cell]) -> None:
        ascii_only = self.deck.ascii_only
        self.query_one("#outcome", Static).update(content(lines, separator="\n", ascii_only=ascii_only))

    def action_stop(self) -> None:
        """Stop the run; it undoes what it must and says so."""
        if self._run.done:
            self.notify("this run is over", timeout=3)
        else:
            self._run.cancel()
            self._state([Cell("STOPPING  what was begun is being undone", Tone.WARN)])


def is_news(event: Event, told: Event | None) -> bool:
    """What is waited for comes several times a second: a line each would push the rest off the screen."""
    waits = event.kind is EventKind.WAITING and told is not None and told.kind is EventKind.WAITING
    return not waits or told is None or told.target != event.target or event.at_s - told.at_s >= 1.0


class RunsScreen(DeckScreen):
    """Every run of this session, newest first."""

    BINDINGS: ClassVar[list[BindingType]] = [BACK]
    COLUMNS = (
        Column("started", "started", 8),
        Column("operation", "operation", 24, min_width=12),
        Column("outcome", "outcome", 10),
        Column("detail", "detail", 40, flex=True),
    )

    def body(self) -> Iterable[Widget]:
        """One table."""
        ascii_only = self.deck.ascii_only
        yield Grid(
            self.COLUMNS, fixed_columns=2, empty_text="no operation was run yet", ascii_only=ascii_only
        )

    @property
    def place(self) -> str:
        """In the banner."""
        return "operations of this session"

    def on_mount(self) -> None:
        """Show the list."""
        super().on_mount()
        self.query_one(Grid).focus()

    def tick(self) -> None:
        """Refresh the list with the clock: runs end without a snapshot."""
        super().tick()
        if self.is_built:
            self._list()

    @work(exclusive=True, group="runs")
    async def _list(self) -> None:
        rows = []
        for run in reversed(self._runs()):
            receipt = await _receipt_of(run)
            rows.append(ListRow(run.id, _cells(run, receipt), {"started": run.started_at_s}))
        self.query_one(Grid).set_source(ListSource(rows))

    def _runs(self) -> tuple[Run, ...]:
        return self.deck.service.runs if self.deck.service is not None else ()

    @on(Activated)
    def _open(self, message: Activated) -> None:
        message.stop()
        for run in self._runs():
            if run.id == message.key:
                self.app.push_screen(RunScreen(run))


async def _receipt_of(run: Run) -> RunReceipt | str | None:
    """Return the receipt of a finished run, why it has none, or None while it runs."""
    if not run.done:
        return None
    try:
        return await run.receipt()
    except PooldeckError as error:
        return str(error)


def _cells(run: Run, receipt: RunReceipt | str | None) -> list[str | Toned]:
    head: list[str | Toned] = [clock_text(run.started_at_s), run.plan.title]
    if receipt is None:
        return [*head, Toned("running", "accent"), ""]
    if isinstance(receipt, str):
        return [*head, Toned("failed", "error"), receipt]
    tone = TONE_NAMES.get(OUTCOME_TONES[receipt.outcome], "accent")
    detail = "; ".join(target.detail for target in receipt.targets)
    return [*head, Toned(receipt.outcome.value, tone), detail]
