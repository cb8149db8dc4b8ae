"""Screens of text: the details of a row, its raw form, and help. They scroll; they change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from console.model.fleet import FleetSnapshot
from console.tui.parts import content
from console.tui.screens.base import BACK, DeckScreen
from console.view.cells import Cell
from console.view.details import Section, as_text


class TextScreen(DeckScreen):
    """Sections of labelled lines."""

    BINDINGS: ClassVar[list[BindingType]] = [
        BACK,
        Binding("c", "copy", "Copy", id="text.copy"),
        Binding("j", "scroll(1)", "Down", show=False, id="text.down"),
        Binding("k", "scroll(-1)", "Up", show=False, id="text.up"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[Section, ...] = ()
        self._width = 80

    def body(self) -> Iterable[Widget]:
        """One scrolling text."""
        with VerticalScroll(id="page"):
            yield Static("", id="text", markup=False)

    def on_mount(self) -> None:
        """Focus the text, so that the arrows scroll it."""
        super().on_mount()
        page = self.query_one("#page")
        page.can_focus = True
        page.focus()

    def on_resize(self, event: events.Resize) -> None:
        """Wrap anew."""
        super().on_resize(event)
        if event.size.width != self._width:
            self._width, self._shown = event.size.width, ()
            self.refresh_now()

    def sections(self, snapshot: FleetSnapshot | None) -> Sequence[Section]:
        """What is to be shown."""
        raise NotImplementedError

    def refresh_now(self) -> None:
        """Show the newest state; a text that did not change is not drawn again."""
        super().refresh_now()
        if not self.is_built:
            return
        sections = tuple(self.sections(self.deck.snapshot))
        if sections != self._shown:
            self._shown = sections
            self.query_one("#text", Static).update(self._content(sections))

    def _content(self, sections: Sequence[Section]) -> Content:
        ascii_only = self.deck.ascii_only
        blocks = []
        for section in sections:
            width = min(28, max((len(label) for label, _ in section.lines), default=0))
            lines = [Content.styled(section.title, "bold $text-accent")]
            for label, cell in section.lines:
                if len(label) > width:
                    # Too long to stand beside its text.
                    lines += [
                        Content.styled(f"  {part}", "$text-muted") for part in wrap(label, self._width - 5)
                    ]
                    label = ""
                head = Content.styled(f"  {label:<{width}}  ", "$text-muted")
                first, *rest = wrap(cell.text, max(20, self._width - width - 7)) or [""]
                lines.append(Content.assemble(head, content([Cell(first, cell.tone)], ascii_only=ascii_only)))
                for line in rest:
                    text = Cell(" " * (width + 4) + line, cell.tone)
                    lines.append(content([text], ascii_only=ascii_only))
            blocks.append(Content("\n").join(lines))
        return Content("\n\n").join(blocks)

    def action_scroll(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one("#page").scroll_relative(y=lines, animate=False)

    def action_copy(self) -> None:
        """Copy the whole text through the terminal (OSC 52)."""
        self.app.copy_to_clipboard(as_text(self._shown))
        self.notify("copied", timeout=3)


class DetailScreen(TextScreen):
    """Everything known of one row, kept up to date."""

    def __init__(self, title: str, make: Callable[[FleetSnapshot], Sequence[Section]]) -> None:
        super().__init__()
        self._title = title
        self._make = make

    @property
    def place(self) -> str:
        """In the banner."""
        return self._title

    def sections(self, snapshot: FleetSnapshot | None) -> Sequence[Section]:
        """See `TextScreen.sections`."""
        if snapshot is None:
            return (Section("Nothing read yet", (("", Cell("waiting for the first answers")),)),)
        return self._make(snapshot)


class HelpScreen(TextScreen):
    """Keys, columns and commands of where one was."""

    def __init__(self, title: str, sections: Sequence[Section]) -> None:
        super().__init__()
        self._title = title
        self._sections = tuple(sections)

    @property
    def place(self) -> str:
        """In the banner."""
        return self._title

    def sections(self, snapshot: FleetSnapshot | None) -> Sequence[Section]:
        """See `TextScreen.sections`."""
        del snapshot
        return self._sections
