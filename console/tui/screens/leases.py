"""What is held on this machine, by whom, until when. Enter opens the plan of a resume; nothing else acts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.widget import Widget

from console.errors import UsageError
from console.model.claims import Claim
from console.tui import keys
from console.tui.parts import OpeningGrid
from console.tui.screens.base import BACK, DeckScreen
from console.tui.sources import to_ascii
from console.tui.textual_quirks import while_widgets_leave
from console.tui.views import selector_of
from console.view import numbers
from console.view.cells import Cell, Tone
from widgets.cells import Toned
from widgets.grid import Column, Grid, ListRow, ListSource
from widgets.grid_messages import Activated, CursorMoved


class LeasesScreen(DeckScreen):
    """Every target under a lease, those that nobody alive will end first."""

    KEYS = keys.LEASES
    BINDINGS: ClassVar[list[BindingType]] = [BACK]
    COLUMNS = (
        Column("target", "target", 18, min_width=12),
        Column("ends", "ends", 12),
        Column("who", "by", 16, min_width=12),
        Column("since", "since", 8, align="right"),
        Column("title", "run", 20, flex=True, min_width=12),
    )

    def body(self) -> Iterable[Widget]:
        """One table."""
        ascii_only = self.deck.ascii_only
        yield OpeningGrid(
            self.COLUMNS, fixed_columns=1, empty_text="reading the leases", ascii_only=ascii_only
        )

    @property
    def place(self) -> str:
        """In the banner."""
        return "leases"

    def on_mount(self) -> None:
        """Show the list."""
        super().on_mount()
        self.query_one(Grid).focus()

    def tick(self) -> None:
        """Refresh with the clock: leases change without a snapshot."""
        super().tick()
        if not self.is_built:
            return
        claims = self.deck.operating.claims
        now_s = self.deck.clock.wall_s()
        with while_widgets_leave():
            grid = self.query_one(Grid)
            grid.empty_text = (
                "what is held cannot be read here (l tells why)"
                if claims is None
                else "nothing is held by a run of this machine"
            )
            ordered = sorted(claims or (), key=lambda claim: (claim.alive, claim.until_wall_s))
            grid.set_source(ListSource([self._row(claim, now_s) for claim in ordered]))
            self._note()

    def _row(self, claim: Claim, now_s: float) -> ListRow:
        left_s = max(0.0, claim.until_wall_s - now_s)
        since_s = max(0.0, now_s - claim.since_wall_s)
        ends = Toned(f"in {left_s:.0f} s", "warning") if claim.alive else Toned("by nobody", "error")
        name = _name(claim)
        texts = [name, claim.who, claim.title]
        if self.deck.ascii_only:
            texts = [to_ascii(text) for text in texts]
        cells: list[str | Toned] = [texts[0], ends, texts[1], numbers.age(since_s), texts[2]]
        values = {"target": name, "ends": left_s, "who": claim.who, "since": since_s, "title": claim.title}
        return ListRow((claim.lease_id, claim.run_id, name), cells, values)

    @on(CursorMoved)
    def _moved(self, message: CursorMoved) -> None:
        message.stop()
        self._note()

    @property
    def _chosen(self) -> Claim | None:
        key = self.query_one(Grid).cursor_key
        for claim in self.deck.operating.claims or ():
            if (claim.lease_id, claim.run_id, _name(claim)) == key:
                return claim
        return None

    def _note(self) -> None:
        claim = self._chosen
        if claim is None:
            self.say(Cell(""))
        elif claim.alive:
            words = f"{_name(claim)} is let go by itself in time; Enter plans to resume it now"
            self.say(Cell(words, Tone.DIM))
        else:
            words = f"{_name(claim)}: the run and its guardian are dead; Enter plans the resume"
            self.say(Cell(words, Tone.BAD))

    @on(Activated)
    def _activated(self, message: Activated) -> None:
        """Open the plan that resumes the target under the cursor."""
        message.stop()
        claim = self._chosen
        if claim is None:
            return
        try:
            self.deck.operating.open_plan("resume", selector_of(claim.bouncer, claim.database or ""))
        except UsageError as error:
            self.deck.complain(error)


def _name(claim: Claim) -> str:
    return claim.bouncer if claim.database is None else f"{claim.bouncer}/{claim.database}"
