"""Builds the app on the fixed recording: store, inventory and clock of a test's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual import events
from textual.app import App
from textual.keys import _character_to_key
from textual.pilot import Pilot

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import Clock, FixedClock
from console.config.schema import Bouncer, Inventory, PostgresNode
from console.fleet.store import FleetStore
from console.model.fleet import FleetSnapshot
from console.operations.reach import Reach
from console.operations.service import OperationService
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer
from tests.harness.leases import FakeLeases
from tests.tui.fakes import FakeFleet, SamePooler
from tests.tui.recording import MONOTONIC_S, WALL_S, snapshot
from tests.unit.operations.fake_pooler import FakePooler


def inventory_of(picture: FleetSnapshot) -> Inventory:
    """Return the inventory that would give this snapshot."""
    return Inventory(
        fleet=picture.fleet,
        environment=picture.environment,
        bouncers=tuple(
            Bouncer(
                name=pooler.info.name,
                tcp="127.0.0.1:6432",
                labels=dict(pooler.info.labels),
                monitor_user="monitor",
                admin_user="admin",
                config_file="/etc/pgbouncer/pgbouncer.ini",
            )
            for pooler in picture.poolers
        ),
        postgres=tuple(
            PostgresNode(name=node.name, role=node.role, tcp=node.address) for node in picture.postgres
        ),
    )


def fake_service(
    picture: FleetSnapshot,
    pooler: FakePooler | FakeFleet,
    journal: Path,
    clock: Clock,
    *,
    read_only: bool = False,
    inventory: Inventory | None = None,
    leases: FakeLeases | None = None,
) -> OperationService:
    """Return the real service on poolers that answer as told."""
    fleet = pooler if isinstance(pooler, FakeFleet) else SamePooler(pooler)
    return OperationService(
        inventory or inventory_of(picture),
        Reach(connector=fleet, leases=leases or FakeLeases()),
        Journal(journal, clock, Actor.current({})),
        clock,
        read_only=read_only,
    )


async def until(pilot: Pilot[Any], holds: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Wait until something is so, letting the app work meanwhile."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s: {text_of(pilot.app)}"
        await pilot.pause()


async def burst(pilot: Pilot[Any], *keys: str) -> None:
    """Press keys all at once, as a slow line delivers them.

    `pilot.press` waits for an idle process twice after each, 40 ms at least and seconds where others work:
    that is for tests of what each key does.
    """
    app = pilot.app
    assert app._driver is not None
    for name in keys:
        key = _character_to_key(name) if len(name) == 1 else name
        event = events.Key(key, name if len(name) == 1 else None)
        event.set_sender(app)
        app._driver.send_message(event)
    await pilot.pause()


def text_of(app: App[Any]) -> str:
    """Return the screen as text, a line a row."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def recorded_app(picture: FleetSnapshot | None = None, **more: Any) -> PooldeckApp:
    """Return an app that shows one snapshot of the recording; its store is `app._store`."""
    picture = picture or snapshot()
    store = FleetStore()
    store.publish(picture)
    return PooldeckApp(
        store,
        inventory_of(picture),
        more.pop("service", None),
        clock=more.pop("clock", FixedClock(wall=WALL_S + 1, monotonic=MONOTONIC_S + 1)),
        log=more.pop("log", LogBuffer()),
        **more,
    )
