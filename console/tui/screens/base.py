"""What every screen has: banner, note, command line, footer; snapshots only while it can be seen.

Subclasses give a body and take snapshots. It must not hold state that outlives the screen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Footer, Input, Static

from console.errors import UsageError
from console.model.fleet import FleetSnapshot
from console.tui import commands
from console.tui.parts import MIN_HEIGHT, MIN_WIDTH, SMALL, Note, TopLine
from console.tui.textual_quirks import while_widgets_leave
from console.view.cells import Cell, Tone
from widgets.command_line import CommandLine, no_completions

if TYPE_CHECKING:
    from console.tui.app import PooldeckApp


BACK = Binding("escape", "app.back", "Back", id="deck.back")
"""For the footer of every screen that one can go back from."""


Keys = tuple[tuple[str, str], ...]
"""Keys and what they do, for help."""


class DeckScreen(Screen[None]):
    """A screen of Pooldeck."""

    ALLOW_SELECT: ClassVar[bool] = False
    KEYS: ClassVar[Keys] = ()
    """The screen's own; () for those whose keys are the same everywhere."""

    def compose(self) -> ComposeResult:
        """Banner, body, note, command line, footer."""
        deck = self.deck
        with Vertical(id="deck"):
            yield TopLine(deck.inventory.fleet, deck.inventory.environment, ascii_only=deck.ascii_only)
            yield from self.body()
            yield Note(ascii_only=deck.ascii_only, id="note")
            yield CommandLine(ascii_only=deck.ascii_only, id="command")
            yield Footer(show_command_palette=False, compact=True)
        yield Static(SMALL, id="too-small", markup=False)

    @property
    def deck(self) -> PooldeckApp:
        """The app."""
        return cast("PooldeckApp", self.app)

    # -- for subclasses -----------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """What stands between banner and note."""
        raise NotImplementedError

    @property
    def place(self) -> str:
        """Where the user is, for the banner."""
        raise NotImplementedError

    def show(self, snapshot: FleetSnapshot) -> None:
        """Show a snapshot; called only while the screen can be seen."""

    def filter_changed(self, text: str) -> None:
        """Filter while it is typed.

        Raises:
            UsageError: this screen has nothing to filter, or the filter cannot be read.
        """
        raise UsageError(f"nothing to filter here by {text!r}")

    @property
    def filter_text(self) -> str:
        """The filter in force."""
        return ""

    # -- snapshots ----------------------------------------------------------------------------

    is_built = False
    """True once the widgets of `compose` are there: the clock may tick before."""

    def on_mount(self) -> None:
        """Follow the app's snapshot."""
        self.is_built = True
        self.watch(self.app, "snapshot", self._snapshot_changed, init=False)
        self.refresh_now()

    @property
    def is_seen(self) -> bool:
        """True when this screen is on top, or only a dialog lies over it."""
        for screen in reversed(self.app.screen_stack):
            if screen is self:
                return True
            if not isinstance(screen, ModalScreen):
                return False
        return False

    def _snapshot_changed(self) -> None:
        if self.is_seen:
            self.refresh_now()

    def on_screen_resume(self) -> None:
        """Catch up with what was missed while hidden."""
        self.refresh_now()

    def refresh_now(self) -> None:
        """Show the app's snapshot and freshness."""
        if not self.is_built:
            return
        snapshot = self.deck.snapshot
        with while_widgets_leave():
            if snapshot is not None:
                self.show(snapshot)
            self.tick()

    def tick(self) -> None:
        """Refresh what depends on the time alone."""
        if self.is_built:
            with while_widgets_leave():
                self.query_one(TopLine).show(self.place, self.deck.freshness())

    def say(self, cell: Cell) -> None:
        """Show a line above the footer."""
        self.query_one("#note", Note).show([cell])

    # -- size ---------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Show a plain message instead of a mess when the terminal is too small."""
        was_small = self.has_class("-too-small")
        small = event.size.width < MIN_WIDTH or event.size.height < MIN_HEIGHT
        if small and not was_small:
            self._focused_when_large = self.focused
        self.set_class(small, "-too-small")
        self.set_class(event.size.height < Note.SMALL_HEIGHT, "-low")
        if was_small and not small:
            self.call_after_refresh(self._focus_again)

    _focused_when_large: Widget | None = None

    def _focus_again(self) -> None:
        """What is hidden loses the focus, or never had it: without it a plan could not be answered."""
        before = self._focused_when_large
        if before is not None and before.is_attached:
            self.set_focus(before)
        elif self.focused is None and self.AUTO_FOCUS:
            self.query(self.AUTO_FOCUS).focus()

    @property
    def takes_typing(self) -> bool:
        """Whether keys are text now, so that `:` and `/` are no commands."""
        return isinstance(self.focused, Input)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave `/` to whoever is typing."""
        del parameters
        return action != "filter" or (self.is_built and not self.takes_typing)

    # -- command line and filter ---------------------------------------------------------------

    @property
    def command_line(self) -> CommandLine:
        """The line at the bottom."""
        return self.query_one("#command", CommandLine)

    def open_command(self, text: str = "") -> None:
        """Open the command line."""
        deck = self.deck
        self._remember_focus()
        self.command_line.open(":", text, complete=lambda line, at: commands.complete(deck, line, at))

    def open_filter(self, text: str | None = None) -> None:
        """Open the filter line with `text`; None takes the filter in force."""
        self._remember_focus()
        shown = self.filter_text if text is None else text
        self.command_line.open("/", shown, complete=no_completions)

    _focused_before: Widget | None = None

    def _remember_focus(self) -> None:
        if not self.command_line.is_open:
            self._focused_before = self.focused

    def _give_focus_back(self) -> None:
        if self._focused_before is not None and self._focused_before.is_attached:
            self.set_focus(self._focused_before)

    @on(CommandLine.Changed)
    def _typed(self, message: CommandLine.Changed) -> None:
        message.stop()
        if message.prefix == "/":
            self._try_filter(message.text)

    @on(CommandLine.Submitted)
    def _entered(self, message: CommandLine.Submitted) -> None:
        message.stop()
        self._give_focus_back()
        if message.prefix == "/":
            try:
                self.filter_changed(message.text)
            except UsageError:
                # What cannot be read is given back to be mended; the reason stands above it.
                self.open_filter(message.text)
                self._try_filter(message.text)
            return
        try:
            commands.run(self.deck, message.text)
        except UsageError as error:
            self.deck.complain(error)

    @on(CommandLine.Cancelled)
    def _left(self, message: CommandLine.Cancelled) -> None:
        message.stop()
        self._give_focus_back()
        if message.prefix == "/":
            self._try_filter("")

    def _try_filter(self, text: str) -> None:
        try:
            self.filter_changed(text)
        except UsageError as error:
            if self.command_line.is_open:
                self.say(Cell(error.message, Tone.WARN))
            else:
                self.deck.complain(error)
