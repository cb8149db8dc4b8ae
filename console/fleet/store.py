"""Holds the newest `FleetSnapshot` and tells those who wait for it. Lives on one event loop.

It must not make snapshots (the collector does, or a recording) nor know who listens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from console.model.fleet import FleetSnapshot

Listener = Callable[[FleetSnapshot], None]

_log = logging.getLogger(__name__)


class FleetStore:
    """The newest snapshot of a run."""

    def __init__(self) -> None:
        self._latest: FleetSnapshot | None = None
        self._listeners: dict[object, Listener] = {}
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def latest(self) -> FleetSnapshot | None:
        """The newest snapshot; None before the first."""
        return self._latest

    @property
    def generation(self) -> int:
        """The newest snapshot's generation; 0 before the first."""
        return self._latest.generation if self._latest is not None else 0

    def publish(self, snapshot: FleetSnapshot) -> None:
        """Make `snapshot` the newest and tell everybody, on the caller's stack.

        A listener that fails is logged with its traceback and the others are told all the same.
        """
        self._latest = snapshot
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        for listener in tuple(self._listeners.values()):
            try:
                listener(snapshot)
            except Exception:
                _log.exception("a listener failed on snapshot %d", snapshot.generation)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every snapshot from now on; it must be quick. Returns what ends that."""
        key = object()
        self._listeners[key] = listener

        def unsubscribe() -> None:
            self._listeners.pop(key, None)

        return unsubscribe

    async def next_after(self, generation: int, timeout_s: float) -> FleetSnapshot:
        """Return the newest snapshot once its generation is above `generation`.

        Raises:
            TimeoutError: none came within `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            while self._latest is None or self._latest.generation <= generation:
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.add(waiter)
                try:
                    await waiter
                finally:
                    self._waiters.discard(waiter)
        return self._latest
