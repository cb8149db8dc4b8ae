"""The smaller widgets, each alone on a screen; keeps the messages it gets."""

from __future__ import annotations

from typing import TypeVar

from textual.app import App, ComposeResult
from textual.message import Message
from textual.widget import Widget

from widgets.banner import Banner

Kind = TypeVar("Kind", bound=Message)


class PartApp(App[None]):
    """One widget and the messages of those that send any."""

    def __init__(self, *parts: Widget) -> None:
        super().__init__()
        self.parts = parts
        self.seen: list[Message] = []

    def compose(self) -> ComposeResult:
        yield from self.parts

    def _keep(self, message: Message) -> None:
        self.seen.append(message)

    on_confirm_confirmed = on_confirm_cancelled = _keep
    on_command_line_submitted = on_command_line_cancelled = on_command_line_changed = _keep

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [message for message in self.seen if isinstance(message, kind)]


def banners() -> list[Widget]:
    """All three tones."""
    return [
        Banner("development", "lab", "calm"),
        Banner("staging", "eu-west, 12 poolers", "caution"),
        Banner("production", "payments, 140 poolers", "danger"),
    ]
