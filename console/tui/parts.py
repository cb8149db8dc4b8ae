"""The lines around every table: environment banner, totals, filter, note, and the small-terminal message.

They draw what they are given and repaint only when that changed; none of them reads a snapshot.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from console.tui.sources import to_ascii
from console.tui.theme import TONE_STYLES
from console.view.cells import Cell
from widgets.banner import Banner, BannerTone
from widgets.grid import Grid

_NARROWEST = 16
MIN_WIDTH, MIN_HEIGHT = 40, 10
"""Below this nothing useful can be shown."""
SMALL = f"Terminal too small: Pooldeck needs {MIN_WIDTH} x {MIN_HEIGHT}. Nothing was stopped. q quits."


def content(cells: Iterable[Cell], *, separator: str = "", ascii_only: bool = False) -> Content:
    """Join cells into one styled line."""
    parts: list[Content] = []
    for cell in cells:
        text = to_ascii(cell.text) if ascii_only else cell.text
        parts.append(Content.styled(text, TONE_STYLES[cell.tone]))
    return Content(separator).join(parts)


def hanging(cell: Cell, width: int) -> Cell:
    """Return a cell of one paragraph broken for `width` columns; what goes on below is indented more."""
    if width < _NARROWEST or len(cell.text) <= width:
        return cell
    indent = " " * (len(cell.text) - len(cell.text.lstrip()))
    lines = textwrap.wrap(cell.text, width, subsequent_indent=f"{indent}  ", break_on_hyphens=False)
    return replace(cell, text="\n".join(lines))


class Line(Static):
    """One line that repaints only when its text or tone changed."""

    DEFAULT_CSS = """
    Line { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *, ascii_only: bool, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", id=id, classes=classes, markup=False)
        self._ascii_only = ascii_only
        self._shown: tuple[Cell, ...] | None = None

    def show(self, cells: Sequence[Cell], *, separator: str = "   ") -> None:
        """Show `cells` side by side."""
        if self._shown != (shown := tuple(cells)):
            self._shown = shown
            # A line as wide as its text has to be laid out anew; the others keep their place.
            text = content(shown, separator=separator, ascii_only=self._ascii_only)
            self.update(text, layout=self.id == "freshness")

    @property
    def text(self) -> str:
        """What is shown, without its colours."""
        return "   ".join(cell.text for cell in self._shown or ())


class Note(Line):
    """What explains the row in use: as many lines as it takes, within bounds, and a mark where it is cut."""

    LINES, LINES_SMALL, SMALL_HEIGHT = 4, 1, 16
    """Most lines; on a terminal that is lower than the last one, fewer."""

    def show(self, cells: Sequence[Cell], *, separator: str = "   ") -> None:
        """Show `cells` one after the other."""
        shown = tuple(cells)
        if self._shown != shown:
            self._shown = shown
            self._draw(separator)

    def on_resize(self) -> None:
        """Wrap anew."""
        self._draw("   ")

    def _draw(self, separator: str) -> None:
        width = self.content_size.width
        if not width:
            return
        most = self.LINES if self.app.size.height >= self.SMALL_HEIGHT else self.LINES_SMALL
        text = content(self._shown or (), separator=separator, ascii_only=self._ascii_only)
        lines = text.wrap(width)
        if len(lines) > most:
            mark = "~" if self._ascii_only else "…"
            last = Content(" ").join(line.rstrip() for line in lines[most - 1 :])
            lines = [*lines[: most - 1], Content.assemble(last.truncate(width - 1), mark)]
        self.styles.height = max(1, len(lines))
        self.update(Content("\n").join(lines), layout=False)


class PlainGrid(Grid):
    """A grid whose rows are looked at, not marked; `opens` says whether Enter does something there."""

    opens = False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer no key that would do nothing."""
        if action in ("toggle_mark", "mark_range", "clear_marks"):
            return False
        if action == "activate":
            return self.opens
        return super().check_action(action, parameters)


class OpeningGrid(PlainGrid):
    """One whose rows open something."""

    opens = True


_TONES: dict[str, BannerTone] = {"production": "danger", "staging": "caution", "development": "calm"}


class TopLine(Horizontal):
    """Which environment this is, as a word on a ground of its own colour; what is shown; how old it is."""

    DEFAULT_CSS = """
    TopLine { height: 1; background: $panel; }
    TopLine > Banner { width: auto; }
    TopLine > #place { padding: 0 1; text-style: bold; }
    TopLine > #freshness { width: auto; padding: 0 1; }
    """

    def __init__(self, fleet: str, environment: str, *, ascii_only: bool) -> None:
        super().__init__()
        self._fleet = fleet
        self._environment = environment
        self._ascii_only = ascii_only

    def compose(self) -> ComposeResult:
        """Word, place, freshness."""
        yield Banner(self._environment, tone=_TONES.get(self._environment, "danger"))
        yield Line(ascii_only=self._ascii_only, id="place")
        yield Line(ascii_only=self._ascii_only, id="freshness")

    def show(self, place: str, freshness: Sequence[Cell]) -> None:
        """Show where the user is and how fresh it is."""
        separator = " - " if self._ascii_only else " · "
        self.query_one("#place", Line).show([Cell(separator.join(filter(None, (self._fleet, place))))])
        self.query_one("#freshness", Line).show(freshness)
