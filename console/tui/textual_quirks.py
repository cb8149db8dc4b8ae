"""Workarounds for Textual, each with the version it was seen in.

Nothing else may go round the framework.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from typing import TypeVar

import rich
from rich.segment import Segments
from rich.traceback import Traceback
from textual.app import App, ScreenStackError
from textual.css.query import NoMatches
from textual.widget import MountError


def while_widgets_leave() -> AbstractContextManager[None]:
    """Ignore that a widget of ours is gone already.

    8.2.8: when the app ends, a screen's widgets leave one by one, innermost first, while timers and workers
    of the screen still run and no flag of the screen tells it; at last the app's own timers find no screen.
    What they would draw is wanted no more.
    """
    return suppress(NoMatches, MountError, ScreenStackError)


R = TypeVar("R")


class PlainCrash(App[R]):
    """An app whose crash report has no values in it.

    8.2.8: the report prints the locals of every frame, and what was typed into a field is among them.
    """

    def _fatal_error(self) -> None:
        self.bell()
        traceback = Traceback(show_locals=False, width=None, suppress=[rich])
        self._exit_renderables.append(Segments(self.console.render(traceback, self.console.options)))
        self._close_messages_no_wait()
