"""The console: screens over one snapshot, and the lifetime of what feeds it.

It is handed ready-made parts and decides nothing about poolers: the collector reads, the service plans and
runs, the guard allows. Leaving the app ends the collector and waits until every run has undone what it must.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.reactive import reactive
from textual.screen import Screen

from console.clock import Clock
from console.config.schema import Inventory
from console.config.selector import parse_selector
from console.errors import PooldeckError, UsageError
from console.model.fleet import FleetSnapshot
from console.operations.process.reader import ProcessReader
from console.operations.registry import REGISTRY
from console.operations.service import OperationService
from console.operations.verb import Verb
from console.tui import bridge, details, navigation
from console.tui.bridge import SnapshotArrived, SnapshotSource
from console.tui.claims import ReadClaims
from console.tui.freshness import freshness_of
from console.tui.help import help_sections
from console.tui.log_buffer import LogBuffer
from console.tui.names import Names
from console.tui.operating import Operating
from console.tui.palette import CommandProvider, OperationProvider
from console.tui.screens.base import DeckScreen, Keys
from console.tui.screens.leave import LeaveScreen
from console.tui.screens.tables import FleetScreen, TableScreen
from console.tui.screens.text import HelpScreen
from console.tui.sessions import Watcher
from console.tui.textual_quirks import PlainCrash, while_widgets_leave
from console.tui.theme import THEMES
from console.tui.unended import ReadUnended
from console.view.cells import Cell

_log = logging.getLogger(__name__)


class PooldeckApp(PlainCrash[int]):
    """Pooldeck on a terminal. Returns 0."""

    TITLE = "Pooldeck"
    CSS_PATH = "styles/deck.tcss"
    COMMANDS: ClassVar[set[Any]] = {CommandProvider, OperationProvider}
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", key_display="?", id="deck.help"),
        # First of all, so that what follows it in one burst of a slow line is typed into it.
        Binding("colon", "command", "Command", key_display=":", priority=True, id="deck.command"),
        Binding("P", "plan('pause')", "Pause", show=False, id="deck.pause"),
        Binding("R", "plan('resume')", "Resume", show=False, id="deck.resume"),
        Binding("L", "plan('reload')", "Reload", show=False, id="deck.reload"),
        Binding("M", "plan('mend')", "Mend", show=False, id="deck.mend"),
        Binding("a", "actions", "Actions", id="deck.actions"),
        Binding("escape", "back", "Back", show=False, id="deck.back"),
        Binding("minus", "last_view", "Last view", show=False, id="deck.last"),
        Binding("f", "freeze", "Freeze", show=False, id="deck.freeze"),
        Binding("l", "view('log')", "Log", show=False, id="deck.log"),
        Binding("o", "view('runs')", "Operations", show=False, id="deck.runs"),
        Binding("q", "leave", "Quit", id="deck.quit"),
        Binding("ctrl+c,ctrl+q", "leave", "Quit", show=False, priority=True, id="deck.interrupt"),
    ]

    snapshot: reactive[FleetSnapshot | None] = reactive[FleetSnapshot | None](None)
    """What is shown. Snapshots are compared by identity."""

    def __init__(
        self,
        store: SnapshotSource,
        inventory: Inventory,
        service: OperationService | None = None,
        *,
        clock: Clock,
        log: LogBuffer,
        collector: Watcher | None = None,
        claims: ReadClaims | None = None,
        processes: ProcessReader | None = None,
        unended: ReadUnended | None = None,
        read_only: bool = False,
        ascii_only: bool = False,
        theme: str = "pooldeck-dark",
    ) -> None:
        """Take the parts.

        Args:
            store: where snapshots come from.
            inventory: the fleet's names.
            service: plans and runs operations; None shows them as not available. Entered and left here.
            clock: for ages.
            log: what the log panel shows.
            collector: fills `store` while it is entered; None when something else does.
            claims: reads what is under a lease on this machine; None: nobody can say.
            processes: asks hosts for bouncers' processes; None: no host can be asked.
            unended: reads what dead runs of this machine left no end of; None: nobody can say.
            read_only: operations are shown, and refused with that reason.
            ascii_only: draw with ASCII characters only.
            theme: one of our two themes.
        """
        super().__init__()
        self.inventory = inventory
        self.clock = clock
        self.log_buffer = log
        self.processes = processes
        self.read_only = read_only
        self.ascii_only = ascii_only
        self.verbs: tuple[Verb, ...] = tuple(spec.verb for spec in REGISTRY.values())
        self.names = Names(self)
        self.operating = Operating(self, service, claims, unended, collector)
        self.frozen = False
        self._store = store
        self._collector = collector
        self._newest: FleetSnapshot | None = None
        self._disconnect: Callable[[], None] = lambda: None
        self._lifetime: asyncio.Task[None] | None = None
        self._end = asyncio.Event()
        self._not_reading = False
        self.views = navigation.Views()
        for own in THEMES:
            self.register_theme(own)
        self.theme = theme
        self.set_class(ascii_only, "-ascii")

    @property
    def service(self) -> OperationService | None:
        """Plans and runs operations; None where there are none."""
        return self.operating.service

    # -- lifetime -----------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[Any]:
        """The fleet lies under everything else."""
        return FleetScreen()

    def on_mount(self) -> None:
        """Start what feeds the screen."""
        self._disconnect = bridge.connect(self._store, self)
        self._lifetime = asyncio.create_task(self._live(), name="pooldeck lifetime")
        self.operating.start()
        self.set_interval(1.0, self._tick)

    async def _live(self) -> None:
        """Hold collector and service open until the app ends; both are entered and left by this task."""
        try:
            async with AsyncExitStack() as stack:
                if self.service is not None:
                    await stack.enter_async_context(self.service)
                if self._collector is not None:
                    await stack.enter_async_context(self._collector)
                await self._end.wait()
        except PooldeckError as error:
            _log.error("nothing is read any more: %s", error)
            self._not_reading = True
            self.complain(error)
            self._tick()

    async def on_unmount(self) -> None:
        """Stop watching, let every run undo what it must, and close."""
        self._disconnect()
        self._end.set()
        if self._lifetime is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._lifetime
        await self.operating.close()

    def on_snapshot_arrived(self, message: SnapshotArrived) -> None:
        """Show a snapshot, or keep it while frozen."""
        self._newest = message.snapshot
        self.operating.see(message.snapshot)
        if not self.frozen:
            self.snapshot = message.snapshot

    def _tick(self) -> None:
        self.operating.tick()
        with while_widgets_leave():
            if isinstance(self.screen, DeckScreen):
                self.screen.tick()

    def freshness(self) -> tuple[Cell, ...]:
        """Return what the top line says about mode and age of what is shown."""
        return freshness_of(self, not_reading=self._not_reading)

    # -- errors -------------------------------------------------------------------------------

    def complain(self, error: PooldeckError) -> None:
        """Show an error and keep it in the log."""
        text = f"{error}; {error.hint}" if error.hint else str(error)
        if not isinstance(error, UsageError):
            _log.error("%s", text)
        self.notify(text, severity="error", timeout=8, markup=False)

    # -- views --------------------------------------------------------------------------------

    def open_view(self, name: str, *arguments: Any) -> None:
        """Go to a view; see `navigation.Views`."""
        self.views.open(self, name, *arguments)

    def open_pools(self, selector: str) -> None:
        """Show the pools of what a selector chooses; "" is the whole fleet.

        Raises:
            SelectorError: it cannot be read or chooses nothing.
        """
        if not selector:
            self.open_view("pools", None)
            return
        chosen = parse_selector(selector).select(self.inventory.bouncers)
        self.open_pools_of(tuple(dict.fromkeys(part.name for part in chosen)))

    def open_pools_of(self, names: tuple[str, ...]) -> None:
        """Show the pools of these bouncers."""
        self.open_view("pools", names)

    def open_processes(self, selector: str) -> None:
        """Show the processes of what a selector chooses; "" is the marked rows, or the row under the cursor.

        Raises:
            UsageError: it chooses nothing, or no host can be asked.
        """
        if self.processes is None:
            raise UsageError("this session cannot ask the hosts of bouncers")
        self.open_view("process", self.operating.bouncers_of(selector))

    def open_detail(self, bouncer: str, database: str | None, user: str | None, *, raw: bool) -> None:
        """Describe a bouncer or one of its pools."""
        self.open_view("detail", details.of_bouncer(self.inventory, bouncer, database, user, raw=raw))

    def open_postgres(self, name: str) -> None:
        """Describe a Postgres node."""
        self.open_view("detail", details.of_postgres(name))

    def action_view(self, name: str) -> None:
        """Go to a view without arguments."""
        self.open_view(name)

    def action_last_view(self) -> None:
        """Swap with the view before."""
        self.views.swap(self)

    async def action_back(self) -> None:
        """Take off the filter, else go back one view."""
        self.go_back()

    def go_back(self) -> None:
        """Take off the filter, else go back one view."""
        screen = self.screen
        if not (isinstance(screen, TableScreen) and screen.unfilter()):
            self.views.back(self)

    def action_help(self) -> None:
        """Help for where one is."""
        screen = self.screen
        if isinstance(screen, HelpScreen):
            return
        columns = screen.panel.view.columns if isinstance(screen, TableScreen) else ()
        name = "keys and commands"
        own: Keys = ()
        if isinstance(screen, TableScreen):
            name = screen.panel.view.name
        elif isinstance(screen, DeckScreen) and screen.KEYS:
            name, own = screen.place, screen.KEYS
        self.push_screen(HelpScreen(f"help: {name}", help_sections(self, columns, own)))

    def action_command(self) -> None:
        """Open the command line."""
        screen = self.screen
        if isinstance(screen, DeckScreen):
            screen.open_command()

    def action_freeze(self) -> None:
        """Stop refreshing, or go on with the newest snapshot."""
        self.frozen = not self.frozen
        if not self.frozen and self._newest is not None:
            self.snapshot = self._newest
        self._tick()

    # -- what commands ask --------------------------------------------------------------------

    @property
    def table(self) -> TableScreen:
        """The table screen in use.

        Raises:
            UsageError: another kind of screen is shown.
        """
        if isinstance(self.screen, TableScreen):
            return self.screen
        raise UsageError("there is no table here; :fleet or :pools has one")

    def set_filter(self, text: str) -> None:
        """Filter the table in use."""
        self.table.filter_changed(text)

    def faults_only(self) -> None:
        """Show only rows that need a look, or all again."""
        self.table.action_faults()

    def sort(self, column: str) -> None:
        """Sort the table in use."""
        if not self.table.panel.sort_by_name(column):
            raise UsageError(f"there is no column {column!r}; columns are {', '.join(self.sortable())}")

    def sortable(self) -> list[str]:
        """Return the columns of the table in use."""
        if not isinstance(self.screen, TableScreen):
            return []
        return [column.key for column in self.screen.panel.view.columns]

    def set_theme(self, name: str) -> None:
        """Change the colours; "" takes the other of our two."""
        own = [theme.name for theme in THEMES]
        if not name:
            self.theme = own[1] if self.theme == own[0] else own[0]
            return
        wanted = name if name in self.available_themes else f"pooldeck-{name}"
        if wanted not in self.available_themes:
            raise UsageError(f"there is no theme {name!r}; try dark or light")
        self.theme = wanted

    # -- operations ---------------------------------------------------------------------------

    def action_plan(self, op: str) -> None:
        """Open the plan of an operation on the marked rows, else the row under the cursor."""
        try:
            self.operating.open_chosen(op)
        except UsageError as error:
            self.complain(error)

    def plan_of(self, op: str, selector: str) -> None:
        """Open the plan of an operation on what a selector names."""
        try:
            self.operating.open_plan(op, selector)
        except UsageError as error:
            self.complain(error)

    def action_command_palette(self) -> None:
        """Open the palette of every command."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(placeholder="Find a command"))

    def action_actions(self) -> None:
        """Offer the operations for the chosen rows."""
        if self.service is not None:
            self.push_screen(CommandPalette(providers=[OperationProvider], placeholder="Plan an operation"))

    def get_key_display(self, binding: Binding) -> str:
        """Write a key for the footer."""
        shown = super().get_key_display(binding)
        return shown if shown.isascii() or not self.ascii_only else binding.key

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """None of Textual's own: ours are in `commands`."""
        del screen
        return ()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer actions on rows only where there are rows; dimmed where they cannot be had."""
        del parameters
        if action in ("actions", "plan"):
            if not isinstance(self.screen, TableScreen):
                return False
            return True if self.service is not None else None
        if action == "command":
            screen = self.screen
            return isinstance(screen, DeckScreen) and screen.is_built and not screen.takes_typing
        return True

    # -- leaving ------------------------------------------------------------------------------

    def action_leave(self) -> None:
        """Leave, or ask first while an operation runs."""
        unfinished = self.operating.unfinished()
        if not unfinished:
            self.exit(0)
        elif not isinstance(self.screen, LeaveScreen):
            self.push_screen(LeaveScreen(unfinished), lambda leave: self.exit(0) if leave else None)
