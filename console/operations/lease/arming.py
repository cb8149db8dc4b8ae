"""How a guardian comes to stand by: its sessions and its keepers, all at once, within a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from console.operations.lasting import Tally, telling
from console.operations.lease.standby import Standby
from console.operations.lease.watch import Guarded, Watch

_log = logging.getLogger(__name__)


async def stand_by(
    watches: Mapping[str, Watch],
    standby: Standby,
    guarded: Sequence[Guarded],
    *,
    limit_s: float,
    tell: Callable[[str], None],
) -> tuple[Mapping[str, asyncio.Task[None]], tuple[str, ...]]:
    """Open a session on every bouncer and arm the keepers; return how each opening ended, and notes.

    All are over: what took longer than `limit_s` is cancelled. `tell` is told how far it is, while it lasts.
    """
    sessions, keepers = Tally("session open", len(watches)), Tally("keeper armed")
    opening = {name: sessions.count(watch.open()) for name, watch in watches.items()}
    keeping = asyncio.create_task(standby.arm(guarded, keepers, timeout_s=limit_s))
    try:
        async with telling(tell, lambda: f"{sessions.words}{f', {keepers.words}' if keepers.of else ''}"):
            await asyncio.wait({*opening.values(), keeping}, timeout=limit_s + 1.0)
    finally:
        for task in (*opening.values(), keeping):
            task.cancel()
        await asyncio.gather(*opening.values(), keeping, return_exceptions=True)
    return opening, _notes_of(keeping)


def _notes_of(keeping: asyncio.Task[tuple[str, ...]]) -> tuple[str, ...]:
    """Keepers are a second net: nothing that goes wrong with them is more than a note."""
    if keeping.cancelled():
        return ("keepers: not armed in time",)
    error = keeping.exception()
    if error is not None:
        _log.error("keepers", exc_info=error)
        return (f"keepers: internal error: {type(error).__name__}",)
    return keeping.result()
