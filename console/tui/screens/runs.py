"""Runs of this session: the list, and one run as it goes. Leaving a screen leaves the run alone."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from console.operations.outcome import Event, EventKind
from console.operations.service import Run
from console.tui import keys
from console.tui.parts import OpeningGrid, PlainGrid, content, hanging
from console.tui.plan_text import plan_steps
from console.tui.progress import OUTCOME_TONES, Progress, TargetState
from console.tui.receipt_text import receipt_cells
from console.tui.screens.base import BACK, DeckScreen
from console.tui.screens.choice import ChoiceScreen
from console.tui.screens.text import HelpScreen
from console.tui.sources import to_ascii
from console.tui.textual_quirks import while_widgets_leave
from console.tui.theme import TONE_NAMES
from console.view import numbers
from console.view.cells import Cell, Tone
from console.view.details import Section
from widgets.cells import Toned
from widgets.grid import Column, Grid, ListRow, ListSource
from widgets.grid_messages import Activated, CursorMoved
from widgets.log_view import Level, LogLine, LogView

_LEVELS: dict[EventKind, Level] = {EventKind.WARNING: "WARNING", EventKind.UNDOING: "WARNING"}
_REPEATED = frozenset({EventKind.WAITING, EventKind.HOLDING, EventKind.PREPARING, EventKind.ASKING})
"""Told again and again while they last."""
_NAME_COLUMNS = 12


def clock_text(wall_s: float) -> str:
    """UTC time of day."""
    return time.strftime("%H:%M:%S", time.gmtime(wall_s))


class RunScreen(DeckScreen):
    """One run: how each target stands, the events as they come, then its result."""

    KEYS = keys.RUN
    BINDINGS: ClassVar[list[BindingType]] = [
        BACK,
        Binding("e", "end_hold", "End hold", id="run.end-hold"),
        Binding("a", "answer", "Answer", id="run.answer"),
        Binding("s", "steps", "Steps", id="run.steps"),
        Binding("ctrl+x", "stop", "Stop", id="run.stop"),
        Binding("pageup", "result(-1)", "Result up", show=False, priority=True, id="run.up"),
        Binding("pagedown", "result(1)", "Result down", show=False, priority=True, id="run.down"),
    ]
    COLUMNS = (
        Column("state", "state", 11),
        Column("since", "since", 8),
        Column("detail", "detail", 40, flex=True, min_width=16),
    )

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._shown: tuple[object, ...] = ()
        self._put_off: set[str] = set()
        """Targets whose question was left for later."""
        self._offered: tuple[bool | None, ...] = ()

    @property
    def place(self) -> str:
        """In the banner."""
        return f"run: {self._run.plan.title}"

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self.deck.operating.progress_of(self._run)

    def body(self) -> Iterable[Widget]:
        """What is held and the result above, targets in the middle, events below."""
        yield Static("", id="hold", markup=False)
        with VerticalScroll(id="outcome", can_focus=False):
            yield Static("", id="words", markup=False)
        # As wide as the names are, unless that took the room of what is told of them.
        longest = max(map(len, self.progress.states), default=0)
        width = max(_NAME_COLUMNS, min(longest, self.app.size.width // 4))
        columns = (Column("target", "target", width, min_width=_NAME_COLUMNS), *self.COLUMNS)
        yield PlainGrid(columns, fixed_columns=1, ascii_only=self.deck.ascii_only, id="targets")
        yield LogView(limit=2_000, id="events")

    def on_mount(self) -> None:
        """Follow the run; the follower ends with this screen, the run does not."""
        super().on_mount()
        self.query_one(Grid).focus()
        self._follow()

    @work(exclusive=True, group="run")
    async def _follow(self) -> None:
        view = self.query_one(LogView)
        told: Event | None = None
        async for event in self._run.events():
            if is_news(event, told):
                view.write(self._line(event))
                told = event
            self.tick()

    def tick(self) -> None:
        """Refresh what moves with the run and with the clock."""
        super().tick()
        if not self.is_built:
            return
        with while_widgets_leave():
            self._draw(self.progress)
        self._put_off &= self.progress.questions.keys()
        asked = [name for name in self.progress.questions if name not in self._put_off]
        if asked and self.is_current:
            self._ask(asked[0])

    def _ask(self, name: str) -> None:
        questions = self.progress.questions

        def answered(choice: str | None) -> None:
            if choice is not None:
                self._run.answer(name, choice)
            self._put_off.add(name)

        screen = ChoiceScreen(
            questions[name],
            lambda: self.progress.questions.get(name),
            self.deck.clock.monotonic_s,
            ascii_only=self.deck.ascii_only,
        )
        self.app.push_screen(screen, answered)

    def action_steps(self) -> None:
        """Show the plan's steps in order."""
        steps = plan_steps(self._run.plan)
        lines = tuple(
            line
            for number, step in enumerate(steps, 1)
            for line in (
                (f"{number}", Cell(f"{step.where}: {step.what}")),
                ("", Cell(f"then {step.then}", Tone.DIM)),
            )
        )
        screen = HelpScreen(f"steps: {self._run.plan.title}", [Section("In this order", lines)])
        self.app.push_screen(screen)

    def action_answer(self) -> None:
        """Answer what the run asks."""
        for name in list(self.progress.questions)[:1]:
            self._ask(name)

    def _draw(self, progress: Progress) -> None:
        states = tuple(progress.states.values())
        if progress.over:
            states = tuple(sorted(states, key=lambda state: not state.trouble))
        page = self.query_one("#words", Static)
        width = page.content_size.width
        held = tuple(hanging(cell, width) for cell in self._holding(progress))
        words = tuple(hanging(cell, width) for cell in self._words(progress))
        shown = (held, words, states)
        if shown == self._shown:
            return
        self._shown = shown
        ascii_only = self.deck.ascii_only
        page.update(content(words, separator="\n", ascii_only=ascii_only))
        hold = self.query_one("#hold", Static)
        hold.display = bool(held)
        hold.update(content(held, separator="\n", ascii_only=ascii_only))
        self.query_one(Grid).set_source(ListSource([self._row(state) for state in states]))
        self._note()
        self._offer()

    def _offer(self) -> None:
        """Have the footer made anew where a key came or went: it makes every one of its widgets again."""
        offered = tuple(self.check_action(name, ()) for name in ("stop", "result", "end_hold", "answer"))
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def _words(self, progress: Progress) -> tuple[Cell, ...]:
        if progress.receipt is not None:
            return tuple(receipt_cells(progress.receipt))
        if progress.failed is not None:
            return (Cell(f"FAILED  {progress.failed}", Tone.BAD),)
        return tuple(self._going(progress))

    def _holding(self, progress: Progress) -> tuple[Cell, ...]:
        hold = progress.hold
        if hold is None:
            return ()
        left_s = hold.left_s(self.deck.clock.monotonic_s())
        count = numbers.count(hold.waiting) if hold.waiting else "No"
        clients = f"{count} client{'s wait' if hold.waiting > 1 else ' waits'}"
        longest = f", the longest {numbers.duration_s(hold.maxwait_s)}" if hold.waiting else ""
        they = "it is" if len(hold.targets) == 1 else "they are"
        return (
            Cell(f"HOLDING {hold.name}:  {left_s:.0f} s LEFT"),
            Cell(f"{clients}{longest}. At the end {they} resumed; e ends the hold."),
        )

    def _going(self, progress: Progress) -> list[Cell]:
        undone = self._run.plan.spec.undone_by_stop
        if self._now:
            word = "UNDOING NOW" if undone else "STOPPING NOW"
            return [Cell(f"{word}  without waiting for the current step", Tone.WARN)]
        if self._run.stopping:
            words = "then it is undone; ctrl+x again: undo now" if undone else "ctrl+x again: now"
            return [Cell(f"STOPPING  after the current step; {words}", Tone.WARN)]
        keys = f"Esc leaves it running; o finds it again; ctrl+x stops {'and undoes ' if undone else ''}it"
        if progress.hold is not None:
            return [Cell(keys, Tone.DIM)]
        lines = [Cell(f"RUNNING  {keys}")]
        if len(progress.states) > 1:
            lines.append(Cell(progress.counts, Tone.INFO))
        if progress.stage:
            lines.append(Cell(progress.stage, Tone.INFO))
        return lines

    def _row(self, state: TargetState) -> ListRow:
        since = "" if state.since_s is None else clock_text(state.since_s)
        word = state.word if (tone := TONE_NAMES.get(state.tone)) is None else Toned(state.word, tone)
        texts = (state.target, since, state.detail)
        if self.deck.ascii_only:
            texts = (to_ascii(texts[0]), texts[1], to_ascii(texts[2]))
        name, since, detail = texts
        values = {"target": state.target, "state": state.word, "since": state.since_s, "detail": detail}
        return ListRow(state.target, [name, word, since, detail], values)

    @on(CursorMoved)
    def _moved(self, message: CursorMoved) -> None:
        message.stop()
        self._note()

    def _note(self) -> None:
        """Tell the detail of the target under the cursor in full: the table may cut it."""
        state = self.progress.states.get(str(self.query_one(Grid).cursor_key))
        words = "" if state is None or not state.detail else f"{state.target}: {state.detail}"
        self.say(Cell(words, Tone.DIM if state is None or not state.trouble else Tone.BAD))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is over cannot be stopped; what is not held cannot be let go."""
        if action == "stop" and self._run.done:
            return False
        if action == "result":
            return self.is_built and self.query_one("#outcome").max_scroll_y > 0
        if action == "steps":
            return bool(plan_steps(self._run.plan))
        if action == "answer":
            return self.is_built and bool(self.progress.questions)
        if action == "end_hold":
            return self.is_built and not self._run.done and self.progress.hold is not None
        return super().check_action(action, parameters)

    def _line(self, event: Event) -> LogLine:
        text = to_ascii(event.text) if self.deck.ascii_only else event.text
        return LogLine(clock_text(event.at_s), _LEVELS.get(event.kind, "INFO"), event.target, text)

    _now = False
    """It was asked not to wait for the current step."""

    def action_stop(self) -> None:
        """Stop the run after its current step and undo; a second time: undo now."""
        if self._run.done:
            self.notify("this run is over", timeout=3)
            return
        self._now = self._run.stopping
        self._run.cancel()
        self.tick()

    def action_end_hold(self) -> None:
        """Let go now what is held: its regular end, only earlier."""
        self._run.end_hold()

    def action_result(self, pages: int) -> None:
        """Scroll the result while the focus stays where it is."""
        page = self.query_one("#outcome")
        page.scroll_relative(y=pages * max(1, page.size.height - 1), animate=False)


def is_news(event: Event, told: Event | None) -> bool:
    """What lasts is told several times a second: a line each would push the rest off the screen."""
    if told is None or event.kind not in _REPEATED or told.kind is not event.kind:
        return True
    pause_s = 5.0 if event.kind is EventKind.HOLDING else 1.0
    return told.target != event.target or event.at_s - told.at_s >= pause_s


class RunsScreen(DeckScreen):
    """Every run of this session, newest first."""

    KEYS = keys.RUNS
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
        yield OpeningGrid(
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
            operating = self.deck.operating
            rows = [
                ListRow(run.id, _cells(run, operating.progress_of(run)), {"started": run.started_at_s})
                for run in reversed(operating.runs)
            ]
            with while_widgets_leave():
                self.query_one(Grid).set_source(ListSource(rows))

    @on(Activated)
    def _open(self, message: Activated) -> None:
        message.stop()
        for run in self.deck.operating.runs:
            if run.id == message.key:
                self.app.push_screen(RunScreen(run))


def _cells(run: Run, progress: Progress) -> list[str | Toned]:
    head: list[str | Toned] = [clock_text(run.started_at_s), run.plan.title]
    receipt = progress.receipt
    if progress.failed is not None:
        return [*head, Toned("failed", "error"), progress.failed]
    if receipt is None:
        word = "holding" if progress.hold is not None else "running"
        return [*head, Toned(word, "warning" if progress.hold is not None else "accent"), progress.counts]
    tone = TONE_NAMES.get(OUTCOME_TONES[receipt.outcome], "accent")
    details = "; ".join(target.detail for target in receipt.targets)
    detail = details if len(receipt.targets) == 1 else receipt.counts
    return [*head, Toned(receipt.outcome.value, tone), detail]
