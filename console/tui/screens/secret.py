"""Asks for the secrets of an operation, before it is agreed to. What is typed leaves as `SecretStr` only.

It must not keep them: once it is answered its fields are empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import SecretStr
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from console.errors import UsageError
from console.operations.plan import Plan
from console.operations.secrets_wanted import SecretWanted
from console.tui.parts import content
from console.view.cells import Cell, Tone
from widgets.secret_input import SecretInput

Typed = Mapping[str, SecretStr]
"""By `SecretWanted.which`."""


class SecretScreen(ModalScreen[Typed | None]):
    """Fields for one or more secrets; None: it was left without them.

    Enter goes to the next field, and from the last one gives what was typed, when all is as it must be.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="secret.back"),
        Binding("up", "app.focus_previous", "Previous", show=False),
        Binding("down", "app.focus_next", "Next", show=False),
    ]

    def __init__(self, title: str, wanted: Sequence[SecretWanted], *, ascii_only: bool) -> None:
        """`wanted` are those that can be typed; of those that need not be, an empty field means none."""
        super().__init__()
        self._title = title
        self._wanted = tuple(wanted)
        self._ascii_only = ascii_only
        self._fields = {one.which: self._field(f"secret-{one.which}") for one in wanted}
        self._again = {one.which: self._field(f"secret-{one.which}-again") for one in wanted if one.twice}
        self._ok = Button("Use", variant="warning", id="secret-ok", disabled=True)

    def _field(self, id: str) -> SecretInput:
        return SecretInput(self._entered, ascii_only=self._ascii_only, id=id)

    def compose(self) -> ComposeResult:
        """A field each, what is wrong, buttons."""
        with VerticalScroll(id="secrets", can_focus=False):
            yield Static(self._title, id="secrets-title", markup=False)
            for one in self._wanted:
                yield Static(_label(one), classes="secrets-label", markup=False)
                yield self._fields[one.which]
                if one.twice:
                    yield Static("again", classes="secrets-label", markup=False)
                    yield self._again[one.which]
            yield Static("", id="secrets-status", markup=False)
            with Horizontal():
                yield Button("Back", id="secret-back")
                yield self._ok

    def on_mount(self) -> None:
        """Begin with the first field."""
        self._inputs[0].focus()
        self._judge()

    @property
    def _inputs(self) -> list[SecretInput]:
        return list(self.query(SecretInput).results(SecretInput))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._judge()

    def _entered(self, field: SecretInput) -> None:
        inputs = self._inputs
        place = inputs.index(field)
        if place + 1 < len(inputs):
            self.set_focus(inputs[place + 1])
        else:
            self._judge()
            if not self._ok.disabled:
                self._give()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button is self._ok:
            self._give()
        else:
            self.action_leave()

    def action_leave(self) -> None:
        """Go back without."""
        self._empty()
        self.dismiss(None)

    def _give(self) -> None:
        typed = {which: SecretStr(field.value) for which, field in self._fields.items() if field.value}
        self._empty()
        self.dismiss(typed)

    def _empty(self) -> None:
        for field in (*self._fields.values(), *self._again.values()):
            # Its messages are not waited for: nothing is to be judged any more.
            with field.prevent(Input.Changed):
                field.take()

    def _judge(self) -> None:
        wrong, warnings = self._wrong()
        self._ok.disabled = wrong is not None
        cells = [Cell(wrong, Tone.WARN)] if wrong else [Cell(f"mind: {text}", Tone.WARN) for text in warnings]
        said = cells or [Cell("Enter in the last field takes it.", Tone.DIM)]
        status = self.query_one("#secrets-status", Static)
        status.update(content(said, separator="\n", ascii_only=self._ascii_only))

    def _wrong(self) -> tuple[str | None, Sequence[str]]:
        """Say what is not as it must be, and what is to be minded; never a word of what was typed."""
        warnings: list[str] = []
        for one in self._wanted:
            value = self._fields[one.which].value
            if not value:
                if one.is_typed:
                    return f"The {one.which} password is wanted.", ()
                continue
            if one.judge is not None:
                judged = one.judge(value)
                if judged.refused is not None:
                    return f"The {one.which} password is not taken: {judged.refused}.", ()
                warnings += judged.warnings
            again = self._again.get(one.which)
            if again is not None and again.value != value:
                return "The two are not the same." if again.value else "Type it again below.", ()
        values = [field.value for field in self._fields.values() if field.value]
        if len(set(values)) < len(values):
            return "The new password is the old one.", ()
        return None, warnings


def typeable(plan: Plan) -> tuple[SecretWanted, ...]:
    """Return the secrets of a plan that can be typed."""
    wanted = plan.spec.secrets(plan.parameters) if plan.spec.secrets is not None else ()
    return tuple(one for one in wanted if one.may_be_typed)


def refuse_descriptors(plan: Plan) -> None:
    """Refuse a source that only a shell can have.

    Raises:
        UsageError: a descriptor is named, which would be one of the console's own.
    """
    for one in plan.spec.secrets(plan.parameters) if plan.spec.secrets is not None else ():
        if one.source.startswith("fd:"):
            raise UsageError(
                f"the {one.which} password cannot come from {one.source}, a descriptor of the console itself",
                hint="name a command:LINE, or leave it out and type it here",
            )


def wants(wanted: Sequence[SecretWanted]) -> str:
    """Say which have to be typed."""
    names = " and ".join(f"the {one.which} password of {one.role}" for one in wanted if one.is_typed)
    return f"First type {names}: it is kept for this run only."


def _label(one: SecretWanted) -> str:
    optional = "" if one.is_typed else ", if you have it"
    purpose = f": {one.purpose}" if one.purpose else ""
    return f"{one.which} password of {one.role}{optional}{purpose}"
