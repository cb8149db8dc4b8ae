"""A panel that asks before something is done, made so that it cannot be answered by accident.

It must not know what is confirmed, and decides nothing: it asks for a phrase and reports that it was typed.
The guard checks the phrase again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from rich.console import RenderableType
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from widgets.cells import clean


class _PhraseInput(Input):
    """An input that must be typed into."""

    class PasteRefused(Message):
        """Someone tried to paste."""

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.post_message(self.PasteRefused())

    def action_paste(self) -> None:
        """Refuse the paste key as well."""
        self.post_message(self.PasteRefused())


class Confirm(Vertical):
    """Shows what will happen and asks for a phrase, or only for OK.

    Cancel has the focus and Escape cancels. OK works when all hold: `arm_after_s` has passed, the phrase
    is typed, `lock_ok` is not in force. Typing goes to the phrase wherever the focus is, and Enter
    then answers with it. After OK it answers no more: exactly one of its two messages is sent.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", id="confirm.cancel"),
        Binding("left", "app.focus_previous", "Previous", show=False),
        Binding("right", "app.focus_next", "Next", show=False),
    ]
    DEFAULT_CSS = """
    Confirm {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        background: $surface; color: $foreground; border: heavy $warning; padding: 0 1;
    }
    Confirm > .confirm--title { text-style: bold; color: $text-warning; height: auto; }
    Confirm > .confirm--body { height: auto; max-height: 60vh; }
    Confirm > .confirm--body > * { height: auto; }
    Confirm > .confirm--ask { height: auto; margin-top: 1; }
    Confirm > .confirm--status { height: auto; color: $text-warning; }
    Confirm > Horizontal { height: auto; align-horizontal: right; }
    Confirm Button { margin-left: 2; }
    Confirm Button:focus { text-style: bold reverse; }
    Confirm.-typing #confirm-cancel:focus { text-style: none; }
    Confirm.-typing #confirm-phrase { text-style: bold; }
    """

    class Confirmed(Message):
        """OK. `phrase` is what was typed, "" where none was asked for."""

        def __init__(self, confirm: Confirm, phrase: str) -> None:
            super().__init__()
            self.confirm = confirm
            self.phrase = phrase

        @property
        def control(self) -> Confirm:
            """The sender."""
            return self.confirm

    class Cancelled(Message):
        """Cancel or Escape."""

        def __init__(self, confirm: Confirm) -> None:
            super().__init__()
            self.confirm = confirm

        @property
        def control(self) -> Confirm:
            """The sender."""
            return self.confirm

    def __init__(
        self,
        title: str,
        body: RenderableType | Widget,
        *,
        phrase: str | None = None,
        accepts: Callable[[str], bool] | None = None,
        arm_after_s: float = 0.0,
        ok_label: str = "OK",
        focus_on: Literal["cancel", "ok"] = "cancel",
        typed_later: str | None = None,
        id: str | None = None,
    ) -> None:
        """Make the panel.

        Args:
            title: what will be done to what, one line.
            body: a renderable, or a widget of the caller's such as a `PlanView`.
            phrase: what must be typed; None asks for OK alone.
            accepts: says whether what was typed is the phrase; None: it must be typed exactly.
            arm_after_s: OK stays off for this long after the panel appears or is unlocked; 0 is at once.
            ok_label: the verb.
            focus_on: "ok" lets Enter alone confirm, for harmless things; not used when a phrase is asked.
            typed_later: what is said to someone who types although OK first leads to where that is done;
                it is lost, and no key of the console. None: keys are keys.
            id: as for every widget.
        """
        super().__init__(id=id)
        self._typed_later = typed_later
        self._body = body if isinstance(body, Widget) else Static(body, markup=False)
        self._phrase = phrase
        self._accepts = accepts
        self._arm_after_s = arm_after_s
        self._focus_ok = focus_on == "ok" and phrase is None
        self._armed = False
        self._locked: str | None = None
        self._answered = False
        self._typing = False
        self._note = ""
        self._noted = ""
        """What was typed when it was noted."""
        self._timer: Timer | None = None
        self._input = _PhraseInput(select_on_focus=False, id="confirm-phrase")
        self._ask = Static("", classes="confirm--ask", markup=False)
        self._title = Static(clean(title), classes="confirm--title", markup=False)
        self._status = Static("", classes="confirm--status", markup=False)
        self._ok = Button(ok_label, variant="warning", id="confirm-ok", disabled=True)
        self._cancel = Button("Cancel", id="confirm-cancel")

    def compose(self) -> ComposeResult:
        """Title, body, phrase, state, buttons."""
        yield self._title
        with VerticalScroll(classes="confirm--body", can_focus=False):
            yield self._body
        if self._phrase is not None:
            self._ask.update(_ask(self._phrase))
            yield self._ask
            yield self._input
        yield self._status
        with Horizontal():
            yield self._cancel
            yield self._ok

    def on_mount(self) -> None:
        """Focus Cancel and start the delay."""
        self._cancel.focus()
        self._arm_later()

    @property
    def ready(self) -> bool:
        """Whether OK would confirm now."""
        return self._armed and self._is_typed and self._locked is None and not self._answered

    @property
    def _is_typed(self) -> bool:
        if self._phrase is None:
            return True
        typed = self._input.value
        return typed == self._phrase if self._accepts is None else self._accepts(typed)

    @property
    def locked(self) -> str | None:
        """Why OK is locked, or None."""
        return self._locked

    def update_body(self, body: RenderableType) -> None:
        """Show newer numbers. A body given as a widget is updated through that widget.

        Raises:
            TypeError: the body was given as a widget.
        """
        if not isinstance(self._body, Static):
            raise TypeError("the body is a widget of the caller's: update that")
        self._body.update(body)

    def ask_for(self, title: str, phrase: str | None, accepts: Callable[[str], bool] | None = None) -> None:
        """Ask for newer words, e.g. because a number in them moved; what was typed stays.

        Raises:
            TypeError: it asked for a phrase and is to ask for none, or the other way round.
        """
        if (phrase is None) != (self._phrase is None):
            raise TypeError("a panel either asks for a phrase or does not: make another one")
        self._title.update(clean(title))
        self._phrase, self._accepts = phrase, accepts
        if phrase is not None:
            self._ask.update(_ask(phrase))
        self._refresh_state()

    def lock_ok(self, reason: str) -> None:
        """Switch OK off because what was shown no longer holds, and say why."""
        self._locked = reason
        self._refresh_state()

    def unlock_ok(self) -> None:
        """What is shown holds again: the phrase is asked for anew and the delay starts again."""
        self._locked = None
        self._input.value = ""
        self._arm_later()

    def _arm_later(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._armed = self._arm_after_s <= 0
        if not self._armed:
            self._timer = self.set_timer(self._arm_after_s, self._arm)
        self._refresh_state()

    def _arm(self) -> None:
        self._armed = True
        self._refresh_state()

    def _refresh_state(self) -> None:
        self._ok.disabled = not self.ready
        if self._locked is not None:
            note = f"Locked: {clean(self._locked)}"
        elif self._note:
            note = self._note
        elif not self._armed:
            note = f"OK can be used {self._arm_after_s:g} s after this appeared."
        else:
            note = ""
        self._status.update(note)
        self._status.display = bool(note)
        # Focus moves a moment after it is asked for: at the start nothing has it yet.
        if self._focus_ok and self.ready and self.screen.focused in (None, self._cancel):
            self._focus_ok = False
            self._ok.focus()

    def on_key(self, event: events.Key) -> None:
        """Take typing to the phrase wherever the focus is; it does not move.

        Moving it would split a burst of keys (a slow line delivers several at once) between two widgets, and
        mix up their order.
        """
        if self._phrase is None:
            if self._typed_later is not None and event.is_printable:
                event.stop()
                self._say_later()
            return
        if event.key == "backspace":
            self._input.action_delete_left()
        elif event.key == "enter" and self._typing and self._cancel.has_focus:
            self._submit()
        elif event.is_printable and (self._typing or event.key != "space"):
            self._typing = True
            self._input.insert_text_at_cursor(event.character or "")
        else:
            return
        event.stop()

    def on_descendant_focus(self) -> None:
        """After Tab, Enter is again the key of what has the focus, and the focus is shown again."""
        self._typing = False
        self.remove_class("-typing")

    def on_paste(self, event: events.Paste) -> None:
        """Refuse a paste that the phrase's field did not get, too."""
        if self._phrase is not None:
            event.stop()
            self.post_message(_PhraseInput.PasteRefused())
        elif self._typed_later is not None:
            event.stop()
            self._say_later()

    def _say_later(self) -> None:
        self._note = self._typed_later or ""
        self._refresh_state()

    def action_cancel(self) -> None:
        """Answer no."""
        if not self._answered:
            self._answered = True
            self._refresh_state()
            self.post_message(self.Cancelled(self))

    def _confirm(self) -> None:
        if self.ready:
            phrase = self._input.value if self._phrase is not None else ""
            self._answered = True
            self._refresh_state()
            self.post_message(self.Confirmed(self, phrase))

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button is self._ok:
            self._confirm()
        elif event.button is self._cancel:
            self.action_cancel()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        # Typing and Enter in one burst: the news of what was typed comes after the answer to Enter.
        if self._input.value != self._noted:
            self._note = ""
        self.set_class(bool(event.value) and self._typing, "-typing")
        self._refresh_state()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self._submit()

    def _submit(self) -> None:
        if not self.ready and self._armed and self._locked is None and not self._answered:
            self._say("That is not the phrase.")
        self._confirm()

    @on(_PhraseInput.PasteRefused)
    def _refused(self, event: _PhraseInput.PasteRefused) -> None:
        event.stop()
        self._say("Pasting is refused: type the phrase.")

    def _say(self, note: str) -> None:
        self._note, self._noted = note, self._input.value
        self._refresh_state()


def _ask(phrase: str) -> Text:
    return Text.assemble("Type ", (clean(phrase), "bold underline"), " to go on:")
