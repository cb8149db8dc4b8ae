"""Workarounds for Textual, each with the version it was seen in.

Nothing else may go round the framework.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress

from textual.app import ScreenStackError
from textual.css.query import NoMatches
from textual.widget import MountError


def while_widgets_leave() -> AbstractContextManager[None]:
    """Ignore that a widget of ours is gone already.

    8.2.8: when the app ends, a screen's widgets leave one by one, innermost first, while timers and workers
    of the screen still run and no flag of the screen tells it; at last the app's own timers find no screen.
    What they would draw is wanted no more.
    """
    return suppress(NoMatches, MountError, ScreenStackError)
