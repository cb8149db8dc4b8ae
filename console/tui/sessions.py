"""Our own sessions on bouncers: given up where one shuts down, since a console keeps it from exiting (T13).

Who watches the fleet closes and opens them, and sees by itself when a shutdown waits for nobody but us. Runs
of this console know it before: a SHUTDOWN was answered, or something was refused for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from console.errors import UsageError
from console.operations.outcome import SHUTTING_DOWN, Event, EventKind, Outcome, RunReceipt
from console.operations.service import Run


class Watcher(AbstractAsyncContextManager[Any], Protocol):
    """What watches the fleet while it is entered; a `FleetCollector` is one."""

    def rest(self, name: str, reason: str, /) -> None:
        """Close our session on a bouncer until another process answers there."""
        ...

    def rest_over(self, name: str, /) -> None:
        """Watch it again: its process has exited."""
        ...

    def retry(self, name: str, /) -> None:
        """Try a login now, and take whoever answers."""
        ...


class OwnSessions:
    """Those of one console."""

    def __init__(self, watcher: Watcher | None) -> None:
        """`watcher` None: somebody else watches, and nothing can be given up."""
        self._watcher = watcher
        self._ending: set[tuple[str, str]] = set()
        """Run and bouncer of each shutdown that began."""

    def heed(self, run: Run, event: Event) -> None:
        """Give up the session on a bouncer that has begun to shut down: it may wait for just that."""
        if event.kind is EventKind.ENDING and self._watcher is not None:
            for item in run.plan.targets:
                if str(item.target) == event.target:
                    self._ending.add((run.id, item.target.bouncer))
                    self._watcher.rest(item.target.bouncer, SHUTTING_DOWN)

    def heed_end(self, run: Run, receipt: RunReceipt) -> None:
        """Take from a receipt which bouncers shut down, and which were seen to exit."""
        if self._watcher is None:
            return
        for item in receipt.targets:
            name = item.target.bouncer
            if item.shuts_down:
                self._watcher.rest(name, SHUTTING_DOWN)
            elif (run.id, name) in self._ending and item.outcome is Outcome.OK:
                self._watcher.rest_over(name)

    def retry(self, names: Iterable[str]) -> None:
        """Try logins now, also where one shuts down.

        Raises:
            UsageError: somebody else watches the fleet.
        """
        if self._watcher is None:
            raise UsageError("this console does not watch the fleet itself")
        for name in names:
            self._watcher.retry(name)
