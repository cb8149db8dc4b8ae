"""Asks what a run wants to know about a target, as long as it wants to know it. It decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from console.tui.parts import content, hanging
from console.tui.progress import Question
from console.view.cells import Cell, Tone

LOOK_S = 0.5


class ChoiceScreen(ModalScreen[str | None]):
    """The answer; None: none, because it was left or is wanted no more."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Not now", id="choice.leave"),
        Binding("up", "app.focus_previous", "Previous", show=False),
        Binding("down", "app.focus_next", "Next", show=False),
        Binding("pageup", "page(-1)", "Up", show=False),
        Binding("pagedown", "page(1)", "Down", show=False),
    ]

    def __init__(
        self,
        first: Question,
        now: Callable[[], Question | None],
        clock_s: Callable[[], float],
        *,
        ascii_only: bool,
    ) -> None:
        """`now` returns the question as it is by now, None when it is over; `clock_s` is monotonic."""
        super().__init__()
        self._question = first
        self._now = now
        self._clock_s = clock_s
        self._ascii_only = ascii_only
        self._is_over = False
        self._title = Static("", id="choice-title", markup=False)
        self._about = Static("", id="choice-about", markup=False)

    def compose(self) -> ComposeResult:
        """Who it is about, then what can be answered; the most patient answer first."""
        with VerticalScroll(id="choice", can_focus=False):
            yield self._title
            with VerticalScroll(id="choice-page", can_focus=False):
                yield self._about
            for key, _, means in self._choices:
                yield Button(key, id=f"choice-{key}")
                yield Static(means, classes="choice-means", markup=False)
            yield Static("Esc: not now; a on the run's screen asks again.", id="choice-keys", markup=False)

    @property
    def _choices(self) -> list[tuple[str, str, str]]:
        """The answer, its name, what it means."""
        return [(key, *words.partition(": ")[::2]) for key, words in self._question.choices]

    def on_mount(self) -> None:
        """Focus the most patient answer, and follow the question."""
        for button, (_, name, _) in zip(self.query(Button), self._choices, strict=True):
            button.label = name.capitalize()
        self.query(Button).first().focus()
        self._look()
        self.set_interval(LOOK_S, self._look)

    def _look(self) -> None:
        found = self._now()
        if found is None:
            self._leave(None)
        if found is None or self._is_over:
            return
        self._question = found
        left_s = found.left_s(self._clock_s())
        words = f"{found.target}: {found.text} {left_s:.0f} s to answer."
        title = Cell(words, Tone.WARN)
        self._title.update(content([title], ascii_only=self._ascii_only))
        width = self._about.content_size.width
        lines = [hanging(Cell(line), width) for line in found.about]
        self._about.update(content(lines, separator="\n", ascii_only=self._ascii_only))

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self._leave((event.button.id or "").removeprefix("choice-"))

    def action_leave(self) -> None:
        """Leave it unanswered for now."""
        self._leave(None)

    def _leave(self, answer: str | None) -> None:
        """Leave once: the question may be over in the moment in which it is answered."""
        if not self._is_over:
            self._is_over = True
            self.dismiss(answer)

    def action_page(self, pages: int) -> None:
        """Scroll who it is about."""
        page = self.query_one("#choice-page")
        page.scroll_relative(y=pages * max(1, page.size.height - 1), animate=False)
