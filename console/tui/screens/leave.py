"""Asks before leaving while an operation runs. It decides nothing; the app leaves or stays."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.screen import ModalScreen

from widgets.confirm import Confirm


class LeaveScreen(ModalScreen[bool]):
    """True: leave."""

    def __init__(self, running: Sequence[str]) -> None:
        super().__init__()
        self._titles = tuple(running)

    def compose(self) -> ComposeResult:
        """One question."""
        names = "\n".join(f"  {title}" for title in self._titles)
        yield Confirm(
            "Leave while an operation runs?",
            f"{names}\n\nLeaving stops it and undoes it: what is paused is resumed first.",
            ok_label="Leave",
        )

    @on(Confirm.Confirmed)
    def _leave(self) -> None:
        self.dismiss(True)

    @on(Confirm.Cancelled)
    def _stay(self) -> None:
        self.dismiss(False)
