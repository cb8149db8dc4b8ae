"""Screens made of tables: the fleet (bouncers above, Postgres nodes below) and the pools.

They route keys to the panel that has the focus. What rows say is `console.view`'s, what they cost the grid's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_uppercase
from typing import Any, ClassVar

from textual import events, on
from textual.binding import Binding, BindingType
from textual.widget import Widget

from console.errors import UsageError
from console.model.fleet import FleetSnapshot
from console.tui.parts import Line, Note
from console.tui.screens.base import BACK, DeckScreen
from console.tui.tables import TablePanel
from console.tui.views import BOUNCERS, POSTGRES, pools_view
from console.view.cells import Cell, Tone
from console.view.filters import FilterError
from console.view.fleet import BouncerRow
from console.view.pools import PoolRow
from console.view.postgres import PostgresRow
from console.view.totals import fleet_totals, strip
from widgets.grid_messages import Activated, CursorLost, CursorMoved, MarksChanged

ACTION_LETTERS = "PRLM"
"""Capitals that open a plan; no table sorts by them."""
_SORT_LETTERS = [letter for letter in ascii_uppercase if letter not in f"{ACTION_LETTERS}G"]


class TableScreen(DeckScreen):
    """A screen of one or more table panels."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/", priority=True, id="table.filter"),
        Binding("M", "mend", "Mend", id="table.mend"),
        Binding("d", "detail", "Detail", id="table.detail"),
        Binding("y", "raw", "Raw", show=False, id="table.raw"),
        Binding("x", "processes", "Processes", show=False, id="table.processes"),
        Binding("c", "copy", "Copy", show=False, id="table.copy"),
        Binding("z,ctrl+z", "faults", "Faults only", show=False, id="table.faults"),
        Binding("less_than_sign", "sort_neighbour(-1)", "Sort left", show=False, id="table.sort-left"),
        Binding("greater_than_sign", "sort_neighbour(1)", "Sort right", show=False, id="table.sort-right"),
        Binding("0", "sort_default", "Faults first", show=False, id="table.sort-default"),
        *(
            Binding(letter, f"sort_letter('{letter}')", f"Sort by {letter}", show=False)
            for letter in _SORT_LETTERS
        ),
    ]

    @property
    def panels(self) -> Sequence[TablePanel[Any]]:
        """All panels, top to bottom."""
        return list(self.query(TablePanel).results(TablePanel))

    @property
    def panel(self) -> TablePanel[Any]:
        """The panel that has the focus, else the first."""
        for panel in self.panels:
            if panel.grid.has_focus:
                return panel
        return self._last_panel or self.panels[0]

    _last_panel: TablePanel[Any] | None = None
    _filter_error: str | None = None
    """What is wrong with the filter that is being typed."""

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Remember the table that was last used: the command line speaks about it."""
        for panel in self.panels:
            if panel.grid is event.widget:
                self._last_panel = panel
                self._show_note()

    def show(self, snapshot: FleetSnapshot) -> None:
        """Show a snapshot in every panel."""
        known = self.deck.operating.known
        for panel in self.panels:
            panel.show(snapshot, known)
        self._show_note()

    def _show_note(self) -> None:
        self._note_mend()
        cells: list[Cell] = []
        if self._filter_error is not None:
            self.say(Cell(self._filter_error, Tone.WARN))
            return
        marked = len(self.panel.grid.marked)
        if marked:
            cells.append(Cell(f"{marked} marked", Tone.INFO))
        note = self.panel.note_of_cursor()
        if note is not None:
            cells.append(note)
        self.query_one("#note", Note).show(cells)

    @on(CursorMoved)
    @on(MarksChanged)
    def _moved(self, message: CursorMoved | MarksChanged) -> None:
        message.stop()
        self._show_note()

    @on(CursorLost)
    def _lost(self, message: CursorLost) -> None:
        """Say so when a row went away under the cursor: the next key must not hit its neighbour unseen."""
        message.stop()
        if not self.panel.is_filtered:
            key = message.key
            place = "/".join(map(str, key)) if isinstance(key, tuple) else str(key)
            self.notify(
                f"{place} is gone; the cursor is on its neighbour",
                severity="warning",
                timeout=4,
                markup=False,
            )

    def action_processes(self) -> None:
        """Show the processes of the marked bouncers, else of the one under the cursor."""
        try:
            self.deck.open_processes("")
        except UsageError as error:
            self.deck.complain(error)

    # -- filter -------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a filter."""
        self.open_filter()

    @property
    def filter_text(self) -> str:
        """The filter in force on the panel in use."""
        return self.panel.filter.text

    def filter_changed(self, text: str) -> None:
        """Filter while it is typed; see `DeckScreen.filter_changed`."""
        self._filter_error = None
        try:
            self.panel.set_filter(text)
        except FilterError as error:
            if self.command_line.is_open:
                self._filter_error = str(error)
            raise UsageError(str(error)) from error
        finally:
            self._show_note()

    def action_faults(self) -> None:
        """Show only rows that need a look, or all again."""
        self.panel.toggle_faults()
        self._show_note()

    def unfilter(self) -> bool:
        """Take the filter off; False when there is none."""
        self._filter_error = None
        filtered = self.panel.is_filtered
        if filtered:
            self.panel.clear_filter()
            self._show_note()
        return filtered

    # -- sort ---------------------------------------------------------------------------------

    def action_sort_letter(self, letter: str) -> None:
        """Sort by the column with this capital."""
        if not self.panel.sort_by_letter(letter):
            self.notify(f"no column of this table sorts by {letter}; ? lists them", timeout=3)

    def action_sort_neighbour(self, step: int) -> None:
        """Sort by the next column to the right or left."""
        self.panel.sort_by_neighbour(step)

    def action_sort_default(self) -> None:
        """Sort faults first."""
        self.panel.sort_by_name("")

    # -- what the rest of the app asks --------------------------------------------------------

    def action_copy(self) -> None:
        """Copy the marked rows, or the one under the cursor, through the terminal (OSC 52)."""
        text = self.panel.copy_text()
        self.app.copy_to_clipboard(text)
        count = text.count("\n")
        self.notify(f"{count} row{'s' if count != 1 else ''} copied, tab-separated", timeout=3)

    def action_mend(self) -> None:
        """Open the plan that mends the chosen rows; none of them being forgotten, that of all that are."""
        chosen = self.panel.target_rows()
        if self.panel.grid.marked or any(row in self._forgotten for row in chosen):
            self.deck.action_plan("mend")
        else:
            self.deck.plan_of("mend", ",".join(row.key for row in self._forgotten))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show the key that mends where there is something to mend; elsewhere it is the app's."""
        if action == "mend":
            return bool(self._forgotten) and self.deck.service is not None
        return super().check_action(action, parameters)

    _forgotten: Sequence[BouncerRow] = ()
    """Rows of the table in use that show a pause that nobody alive will end."""

    def _note_mend(self) -> None:
        had = bool(self._forgotten)
        rows = self.panel.all_rows
        self._forgotten = [row for row in rows if isinstance(row, BouncerRow) and row.forgotten]
        if had != bool(self._forgotten):
            self.refresh_bindings()

    def action_detail(self) -> None:
        """Describe the row under the cursor."""
        self._open_details(raw=False)

    def action_raw(self) -> None:
        """Show the row under the cursor as it was read."""
        self._open_details(raw=True)

    def _open_details(self, *, raw: bool) -> None:
        row = self.panel.cursor_row
        if isinstance(row, PostgresRow):
            self.deck.open_postgres(row.key)
        elif isinstance(row, PoolRow):
            self.deck.open_detail(row.bouncer, row.key[1] or None, row.key[2] or None, raw=raw)
        elif isinstance(row, BouncerRow):
            self.deck.open_detail(row.key, None, None, raw=raw)


class FleetScreen(TableScreen):
    """Totals, every bouncer, every Postgres node."""

    def body(self) -> Iterable[Widget]:
        """Two lines of totals, two tables."""
        ascii_only = self.deck.ascii_only
        yield Line(ascii_only=ascii_only, id="totals-1", classes="totals")
        yield Line(ascii_only=ascii_only, id="totals-2", classes="totals")
        yield TablePanel(BOUNCERS, ascii_only=ascii_only, id="bouncers")
        yield TablePanel(POSTGRES, ascii_only=ascii_only, id="postgres")

    def on_mount(self) -> None:
        """Start on the bouncers; the lower table is as high as it has rows, within a third."""
        nodes = len(self.deck.inventory.postgres)
        lower = self.query_one("#postgres", TablePanel)
        lower.display = nodes > 0
        lower.styles.height = nodes + 1
        lower.styles.max_height = "33%"
        super().on_mount()
        self.panels[0].grid.focus()

    @property
    def place(self) -> str:
        """In the banner."""
        return "fleet"

    def show(self, snapshot: FleetSnapshot) -> None:
        """Show a snapshot; bouncers are summed once for table and totals."""
        super().show(snapshot)
        rows = self.query_one("#bouncers", TablePanel).all_rows
        first, second = strip(fleet_totals(rows))
        self.query_one("#totals-1", Line).show(first, separator="  ")
        self.query_one("#totals-2", Line).show(second, separator="  ")

    @on(Activated)
    def _open(self, message: Activated) -> None:
        """Enter: the pools of the marked bouncers, else of this one; a Postgres node's details."""
        message.stop()
        panel = self.panel
        if panel.id == "postgres":
            self.action_detail()
            return
        names = [row.key for row in panel.target_rows()]
        if names:
            self.deck.open_pools_of(tuple(names))


class PoolsScreen(TableScreen):
    """Every pool of the chosen bouncers in one table."""

    BINDINGS: ClassVar[list[BindingType]] = [BACK]

    def __init__(self, bouncers: tuple[str, ...] | None) -> None:
        super().__init__()
        self.bouncers = bouncers
        """None: the whole fleet."""

    def body(self) -> Iterable[Widget]:
        """One table."""
        chosen = None if self.bouncers is None else frozenset(self.bouncers)
        yield TablePanel(pools_view(chosen), ascii_only=self.deck.ascii_only, id="pools")

    @property
    def place(self) -> str:
        """In the banner."""
        if self.bouncers is None:
            return "pools of the fleet"
        if len(self.bouncers) <= 2:
            return f"pools of {' and '.join(self.bouncers)}"
        return f"pools of {len(self.bouncers)} bouncers"

    def on_mount(self) -> None:
        """Focus the table."""
        super().on_mount()
        self.panel.grid.focus()

    @on(Activated)
    def _open(self, message: Activated) -> None:
        message.stop()
        self.action_detail()
