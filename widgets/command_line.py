"""The line at the bottom for `:` commands and `/` filters, with completion and history.

It knows no command: a callable completes, messages carry what was typed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, Static

from widgets.cells import clean, fit

SHOWN_COMPLETIONS = 6
HISTORY_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Completion:
    """One way to go on."""

    text: str
    """Replaces what stands between `start` and the cursor."""
    description: str = ""
    start: int | None = None
    """Index in the line; None is the beginning of the word before the cursor."""


Completer: TypeAlias = Callable[[str, int], Sequence[Completion]]
"""(text, cursor) to completions, best first. Must answer at once: it runs on every key."""


def no_completions(_text: str, _cursor: int) -> Sequence[Completion]:
    """A completer that knows nothing."""
    return ()


def applied(completion: Completion, text: str, cursor: int) -> tuple[str, int]:
    """The line with a completion put in, and where the cursor then is."""
    start = completion.start
    if start is None:
        start = len(text[:cursor]) - len(text[:cursor].split(" ")[-1])
    head = text[:start] + completion.text
    return head + text[cursor:], len(head)


class _Ghost(Suggester):
    """Shows the best completion behind the cursor; the right arrow takes it."""

    def __init__(self, complete: Callable[[str], str | None]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._complete = complete

    async def get_suggestion(self, value: str) -> str | None:
        return self._complete(value)


class _Line(Input):
    """The input, with the keys that its owner answers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "cycle(1)", "Complete", show=False),
        Binding("shift+tab", "cycle(-1)", "Complete back", show=False),
        Binding("up", "recall(-1)", "Earlier", show=False),
        Binding("down", "recall(1)", "Later", show=False),
        Binding("escape", "cancel", "Cancel", show=False),
    ]

    def __init__(self, owner: CommandLine) -> None:
        super().__init__(compact=True, select_on_focus=False, suggester=_Ghost(owner.ghost))
        self._owner = owner

    def action_cycle(self, step: int) -> None:
        """Put in the next completion."""
        self._owner.cycle(step)

    def action_recall(self, step: int) -> None:
        """Put in an earlier or later line."""
        self._owner.recall(step)

    def action_cancel(self) -> None:
        """Leave without doing anything."""
        self._owner.cancel()


class CommandLine(Vertical):
    """Hidden until `open`. Enter submits, Escape cancels; both hide it.

    Tab and shift+tab go through the completions, up and down through the lines submitted before with the
    same prefix. The prefix (`:` or `/`) says what kind of line it is and is in every message.
    """

    DEFAULT_CSS = """
    CommandLine { dock: bottom; height: auto; display: none; background: $panel; }
    CommandLine.-open { display: block; }
    CommandLine > .command-line--completions { height: auto; padding: 0 1; color: $text-muted; }
    CommandLine > Horizontal { height: 1; }
    CommandLine .command-line--prefix { width: 2; padding-left: 1; color: $text-accent; text-style: bold; }
    CommandLine Input { width: 1fr; background: $panel; }
    """

    class CommandLineMessage(Message, namespace="command_line"):
        """Base of its messages."""

        def __init__(self, line: CommandLine, prefix: str, text: str) -> None:
            super().__init__()
            self.line = line
            self.prefix = prefix
            self.text = text

        @property
        def control(self) -> CommandLine:
            """The sender."""
            return self.line

    class Submitted(CommandLineMessage, namespace="command_line"):
        """Enter; `text` without spaces around it."""

    class Cancelled(CommandLineMessage, namespace="command_line"):
        """Escape; `text` is what had been typed."""

    class Changed(CommandLineMessage, namespace="command_line"):
        """Another text stands in the line; for filters that act while one types."""

    def __init__(
        self, complete: Completer = no_completions, *, ascii_only: bool = False, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.complete = complete
        self.ascii_only = ascii_only
        self.prefix = ":"
        self._history: dict[str, list[str]] = {}
        self._came_from: Widget | None = None
        self._recalled: int | None = None
        self._draft = ""
        self._cycle: tuple[str, int, Sequence[Completion]] | None = None
        self._chosen = -1
        self._found: tuple[str, int, Sequence[Completion]] | None = None
        """What the completer said last: each key asks it for the list and for the text behind the cursor."""
        self._lines_shown = 0
        self._line = _Line(self)
        self._prefix_label = Static(":", classes="command-line--prefix", markup=False)
        self._completions = Static("", classes="command-line--completions", markup=False)

    def compose(self) -> ComposeResult:
        """Completions above, the line below."""
        yield self._completions
        with Horizontal():
            yield self._prefix_label
            yield self._line

    @property
    def text(self) -> str:
        """What stands in the line."""
        return self._line.value

    @property
    def is_open(self) -> bool:
        """Whether it is shown."""
        return self.has_class("-open")

    def open(self, prefix: str, text: str = "", complete: Completer | None = None) -> None:
        """Show the line with `text` in it, the cursor at its end, and take the focus."""
        if complete is not None:
            self.complete = complete
        self._found = None
        self.prefix = prefix
        self._prefix_label.update(prefix)
        if self.screen.focused is not self._line:
            self._came_from = self.screen.focused
        self._recalled, self._draft = None, ""
        self.add_class("-open")
        self._put(text, len(text))
        self._show_completions()
        # At once, not when the app gets round to it: the next key may be here already.
        self.screen.set_focus(self._line)

    def close(self) -> None:
        """Hide the line and give the focus back to where it was; says nothing."""
        if not self.is_open:
            return
        self.remove_class("-open")
        back, self._came_from = self._came_from, None
        if self._line.has_focus:
            self.screen.set_focus(back if back is not None and back.is_attached else None)

    def cancel(self) -> None:
        """What Escape does."""
        text = self.text
        self.close()
        self.post_message(self.Cancelled(self, self.prefix, text))

    def ghost(self, text: str) -> str | None:
        """The whole line with its best completion, when that only adds to what is typed."""
        for completion in self._completed(text, len(text)):
            line, _ = applied(completion, text, len(text))
            if line.startswith(text) and line != text:
                return line
        return None

    def _completed(self, text: str, cursor: int) -> Sequence[Completion]:
        if self._found is None or self._found[:2] != (text, cursor):
            self._found = (text, cursor, self.complete(text, cursor))
        return self._found[2]

    def cycle(self, step: int) -> None:
        """Put in the next (1) or last (-1) completion of what was typed."""
        if self._cycle is None:
            text, cursor = self.text, self._line.cursor_position
            self._cycle = (text, cursor, self._completed(text, cursor))
            self._chosen = -1 if step > 0 else 0
        text, cursor, completions = self._cycle
        if completions:
            self._chosen = (self._chosen + step) % len(completions)
            keep = self._cycle
            self._put(*applied(completions[self._chosen], text, cursor))
            self._cycle = keep
        self._show_completions()

    def recall(self, step: int) -> None:
        """Put in an earlier (-1) or later (1) line of the history."""
        lines = self._history.get(self.prefix, [])
        position = len(lines) if self._recalled is None else self._recalled
        wanted = position + step
        if not 0 <= wanted <= len(lines):
            return
        if self._recalled is None:
            self._draft = self.text
        text = self._draft if wanted == len(lines) else lines[wanted]
        self._put(text, len(text))
        self._recalled = None if wanted == len(lines) else wanted

    def _put(self, text: str, cursor: int) -> None:
        self._cycle = None
        self._line.value = text
        self._line.cursor_position = cursor

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._cycle is not None:
            text, cursor, completions = self._cycle
            # The change may be the completion that was just put in; anything else ends the cycle.
            if not completions or event.value != applied(completions[self._chosen], text, cursor)[0]:
                self._cycle = None
        if self.is_open:
            self._show_completions()
            self.post_message(self.Changed(self, self.prefix, event.value))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value.strip()
        lines = self._history.setdefault(self.prefix, [])
        if text and lines[-1:] != [text]:
            lines.append(text)
            del lines[:-HISTORY_LENGTH]
        self.close()
        self.post_message(self.Submitted(self, self.prefix, text))

    def _show_completions(self) -> None:
        if self._cycle is not None:
            completions, chosen = self._cycle[2], self._chosen
        else:
            completions, chosen = self._completed(self.text, self._line.cursor_position), -1
        first = max(0, min(chosen - SHOWN_COMPLETIONS + 1, len(completions) - SHOWN_COMPLETIONS))
        shown = completions[first : first + SHOWN_COMPLETIONS]
        width = max((len(completion.text) for completion in shown), default=0)
        lines = Text(no_wrap=True, overflow="ellipsis")
        for index, completion in enumerate(shown, first):
            sign = (">" if self.ascii_only else "›") if index == chosen else " "
            line = f"{sign} {fit(clean(completion.text), width)}  {clean(completion.description)}".rstrip()
            lines.append(("\n" if index > first else "") + line, style="bold" if index == chosen else "")
        left = len(completions) - first - len(shown)
        if left > 0:
            lines.append(f"\n  and {left} more")
        # Another height lays the whole screen out anew; most keys leave it as it is.
        count = len(shown) + (left > 0)
        changed, self._lines_shown = count != self._lines_shown, count
        self._completions.display = bool(shown)
        self._completions.update(lines, layout=changed)
