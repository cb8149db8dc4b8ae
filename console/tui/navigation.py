"""Which view is shown and which was before: `:pools`, Esc, `-`.

The fleet lies at the bottom of the screen stack. A view opened by name lies straight on it; what is drilled
into lies on top of where one was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.screen import Screen

from console.tui.details import Details
from console.tui.screens.leases import LeasesScreen
from console.tui.screens.log import LogScreen
from console.tui.screens.process import ProcessScreen
from console.tui.screens.runs import RunsScreen
from console.tui.screens.tables import PoolsScreen
from console.tui.screens.text import DetailScreen

if TYPE_CHECKING:
    from console.tui.app import PooldeckApp

View = tuple[str, tuple[Any, ...]]
FLEET: View = ("fleet", ())
DRILLED = frozenset({"detail", "process"})
"""Views that lie on top of where one was."""


class Views:
    """The current view, the one before, and how to get there."""

    def __init__(self) -> None:
        self._last: View = FLEET

    def current(self, app: PooldeckApp) -> View:
        """Return the view on screen."""
        view: View | None = getattr(app.screen, "deck_view", None)
        return view or FLEET

    def open(self, app: PooldeckApp, name: str, *arguments: Any) -> None:
        """Go to a view; the same one again does nothing."""
        wanted: View = (name, arguments)
        now = self.current(app)
        if wanted == now and len(app.screen_stack) > 1:
            return
        if now != wanted:
            self._last = now
        if name == "fleet":
            _pop_to_fleet(app)
            return
        if name not in DRILLED:
            _pop_to_fleet(app)
        screen = _make(name, arguments)
        screen.deck_view = wanted  # type: ignore[attr-defined]
        app.push_screen(screen)

    def swap(self, app: PooldeckApp) -> None:
        """Go to the view before this one."""
        name, arguments = self._last
        self.open(app, name, *arguments)

    def back(self, app: PooldeckApp) -> None:
        """Go back one screen; the fleet is the last."""
        if len(app.screen_stack) > 1:
            self._last = self.current(app)
            app.pop_screen()


def _pop_to_fleet(app: PooldeckApp) -> None:
    while len(app.screen_stack) > 1:
        app.pop_screen()


def _make(name: str, arguments: tuple[Any, ...]) -> Screen[None]:
    match name:
        case "pools":
            (bouncers,) = arguments
            return PoolsScreen(bouncers)
        case "detail":
            (wanted,) = arguments
            assert isinstance(wanted, Details)
            return DetailScreen(wanted.title, wanted.sections)
        case "process":
            (names,) = arguments
            return ProcessScreen(names)
        case "log":
            return LogScreen()
        case "runs":
            return RunsScreen()
        case "leases":
            return LeasesScreen()
        case _:
            raise AssertionError(f"no view {name!r}")
