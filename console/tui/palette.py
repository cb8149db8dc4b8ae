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
            yield DiscoveryHit(Content(title), call, text=title, help=help_)

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
            if command.argument and command.name not in ("pools", "theme"):
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
        if hasattr(screen, "open_command"):
            screen.open_command(text)


class OperationProvider(_Entries):
    """Each verb of the registry, for the marked rows or the row under the cursor."""

    def entries(self) -> Iterator[Entry]:
        """See `_Entries.entries`."""
        deck = self.deck
        screen = self.screen
        if deck.service is None or not isinstance(screen, TableScreen):
            return
        refused = " Not in this session: it is read-only." if deck.read_only else ""
        for verb in deck.verbs:
            selector = ",".join(screen.selectors(verb.name))
            if not selector:
                return
            title = f"{verb.title} {selector} ..."
            yield title, f"{verb.summary}{refused}", partial(self._plan, verb.name, selector)

    def _plan(self, op: str, selector: str) -> None:
        try:
            self.deck.open_plan(op, selector)
        except UsageError as error:
            self.deck.complain(error)
