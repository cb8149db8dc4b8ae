"""A field for a secret: shown as dots, never copied or cut, and empty once it was taken.

It must not judge or keep what is typed.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual import events
from textual.widgets import Input


class SecretInput(Input):
    """One line that nobody can read. Pasting is welcome: passwords come from password managers."""

    def __init__(
        self, entered: Callable[[SecretInput], None], *, ascii_only: bool = False, id: str | None = None
    ) -> None:
        """`entered` is called at Enter, before the next key is read."""
        super().__init__(password=True, select_on_focus=False, max_length=1024, id=id)
        self._entered = entered
        self._dot = "*" if ascii_only else "•"

    async def _on_key(self, event: events.Key) -> None:
        """Answer Enter at once, and hand on what comes after the focus has gone: a slow line delivers both.

        Textual's own Enter is answered last of all, and in a message that holds what was typed.
        """
        focused = self.screen.focused
        if focused is not self and focused is not None:
            focused.post_message(events.Key(event.key, event.character))
        elif event.key == "enter":
            self._entered(self)
        else:
            return
        event.stop()
        event.prevent_default()

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
