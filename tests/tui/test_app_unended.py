"""The console tells at its start what a dead run of this machine left without an end."""

from __future__ import annotations

import logging

from console.model.unended import Unended
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer
from tests.tui.driving import recorded_app, until

LEFT = Unended("restart", "edge-1a", None, "shop", "alice@bastion", "r1", None)


def shown(app: PooldeckApp) -> str:
    """Return what the notices on the screen say."""
    return " ".join(toast.message for toast in app._notifications)


async def test_it_is_shown_once_and_stays_in_the_log() -> None:
    async def read() -> tuple[Unended, ...]:
        return (LEFT, Unended("restart", "edge-9", None, "another fleet", "bob@bastion", "r2", None))

    log = LogBuffer()
    logger = logging.getLogger("console")
    logger.addHandler(log)
    try:
        app = recorded_app(unended=read, log=log)
        app.inventory = app.inventory.model_copy(update={"fleet": "shop"})
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: "left no end on record" in shown(app))
            assert "restart edge-1a of alice@bastion" in shown(app)
            assert "pooldeck process edge-1a" in shown(app)
            assert "edge-9" not in shown(app)
    finally:
        logger.removeHandler(log)
    (entry,) = [one for one in log.entries() if "no end on record" in one.text]
    assert "edge-1a" in entry.text
