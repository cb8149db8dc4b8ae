"""From the store to the screen: one message per snapshot, from any thread, and nothing else.

It must not read or keep a snapshot's contents: the app's reactive holds the one that is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from textual.message import Message
from textual.message_pump import MessagePump

from console.model.fleet import FleetSnapshot


class SnapshotSource(Protocol):
    """What the console needs of the fleet's store."""

    @property
    def latest(self) -> FleetSnapshot | None:
        """The newest snapshot; None before the first."""
        ...

    def subscribe(self, callback: Callable[[FleetSnapshot], None]) -> Callable[[], None]:
        """Call `callback` with each new snapshot until the returned function is called."""
        ...


class SnapshotArrived(Message, bubble=False):
    """A new snapshot. While the app is busy only the newest waits."""

    def __init__(self, snapshot: FleetSnapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        """A newer snapshot makes a waiting older one worthless."""
        return isinstance(message, SnapshotArrived)


def connect(store: SnapshotSource, pump: MessagePump) -> Callable[[], None]:
    """Send every snapshot, and the one there already is, to `pump`; the returned function ends it."""
    stop = store.subscribe(lambda snapshot: _post(pump, snapshot))
    latest = store.latest
    if latest is not None:
        _post(pump, latest)
    return stop


def _post(pump: MessagePump, snapshot: FleetSnapshot) -> None:
    pump.post_message(SnapshotArrived(snapshot))
