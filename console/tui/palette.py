"""The command palette: every command of the command line, and each operation for the chosen rows.

Entries come from the same tables as the command line; nothing here acts, an operation opens its plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from console.errors import UsageError
from console.tui import commands
from console.tui.screens.base import DeckScreen
from console.tui.screens.tables import TableScreen

if TYPE_CHECKING:
    from console.tui.app import PooldeckApp

Entry = tuple[str, str, Callable[[], None]]


class _Entries(Provider):
    """Shows all entries, or those that match."""

    @property
    def deck(self) -> PooldeckApp:
        """The app."""
        return cast("PooldeckApp", self.app)

    def entries(self) -> Iterator[Entry]:
        """Title, help and what happens."""
        raise NotImplementedError

    async def discover(self) -> Hits:
        """Everything, before anything is typed."""
        for title, help_, call in self.entries():
            # As content: a name may hold what markup would take for a style.
            shown = Content(title).stylize("dim") if title.startswith("(") else Content(title)
            yield DiscoveryHit(shown, call, text=title, help=help_)

    async def search(self, query: str) -> Hits:
        """What matches, best first."""
        matcher = self.matcher(query)
        for title, help_, call in self.entries():
            score = matcher.match(title)
            if score > 0:
                yield Hit(score, matcher.highlight(title), call, help=help_)


class CommandProvider(_Entries):
    """The commands that need no argument; those that do open the command line."""

    def entries(self) -> Iterator[Entry]:
        """See `_Entries.entries`."""
        for command in commands.VIEW_COMMANDS:
            title = f":{command.name}"
            if command.argument and command.name not in ("pools", "theme", "process"):
                open_line = partial(self._open_line, f"{command.name} ")
                yield title, command.help, open_line
            else:
                yield title, command.help, partial(self._run, command.name)

    def _run(self, line: str) -> None:
        try:
            commands.run(self.deck, line)
        except UsageError as error:
            self.deck.complain(error)

    def _open_line(self, text: str) -> None:
        screen = self.deck.screen
        if isinstance(screen, DeckScreen):
            screen.open_command(text)


class OperationProvider(_Entries):
    """Each verb of the registry, for the marked rows or the row under the cursor.

    One that cannot be had there is shown all the same, dimmed and with the reason; choosing it tells it.
    """

    def entries(self) -> Iterator[Entry]:
        """See `_Entries.entries`."""
        deck = self.deck
        if deck.service is None or not isinstance(self.screen, TableScreen):
            return
        for verb in deck.verbs:
            missing = deck.operating.cannot(verb)
            line, more = deck.operating.line_of(verb)
            title = f"{verb.title} {line.removeprefix(verb.name).strip()}".rstrip()
            if missing is not None:
                tell = partial(deck.notify, f"{verb.title}: {missing}", severity="warning", markup=False)
                yield f"({title})", f"Not here: {missing}. {verb.summary}", tell
            elif more:
                gap = "" if title.endswith("/") else " "
                yield (
                    f"{title}{gap}...",
                    f"{verb.summary} Goes on in the command line.",
                    partial(self._type, line),
                )
            else:
                yield f"{title} ...", verb.summary, partial(self._plan, line)

    def _type(self, line: str) -> None:
        screen = self.deck.screen
        if isinstance(screen, DeckScreen):
            screen.open_command(line)

    def _plan(self, line: str) -> None:
        try:
            commands.run(self.deck, line)
        except UsageError as error:
            self.deck.complain(error)
