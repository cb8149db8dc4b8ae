"""Tells at the start what runs of this machine died without writing down how they ended."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from console.errors import PooldeckError
from console.model.unended import Unended
from console.operations.unended import told

if TYPE_CHECKING:
    from console.tui.app import PooldeckApp

SHOWN_S = 20.0
_log = logging.getLogger(__name__)
ReadUnended = Callable[[], Awaitable[tuple[Unended, ...]]]


async def tell_unended(deck: PooldeckApp, read: ReadUnended) -> None:
    """Put each into the log, and show the latest of this fleet."""
    try:
        found = [one for one in await read() if one.fleet == deck.inventory.fleet]
    except (PooldeckError, OSError) as error:
        _log.warning("what earlier runs left without an end cannot be read: %s", error)
        return
    for one in found:
        _log.warning("%s", told(one))
    if found:
        more = f" ({len(found) - 1} more in the log: l)" if len(found) > 1 else ""
        deck.notify(f"{told(found[-1])}{more}", severity="warning", timeout=SHOWN_S, markup=False)
