"""A field for a secret: shown as dots, never copied or cut, and empty once it was taken.

It must not judge or keep what is typed.
"""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Input


class SecretInput(Input):
    """One line that nobody can read. Pasting is welcome: passwords come from password managers."""

    def __init__(self, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(password=True, select_on_focus=False, max_length=1024, id=id)
        self._dot = "*" if ascii_only else "•"

    def take(self) -> str:
        """Return what was typed, and forget it."""
        taken, self.value = self.value, ""
        return taken

    def action_copy(self) -> None:
        """Copy nothing: Textual 8.2.8 would copy what is behind the dots."""

    def action_cut(self) -> None:
        """Cut nothing, for the same reason; what is marked stays."""

    @property
    def _value(self) -> Text:
        """What is drawn instead; Textual's own has no ASCII form."""
        return Text(self._dot * len(self.value), no_wrap=True, overflow="ignore", end="")
