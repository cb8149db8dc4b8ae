"""Builds the app on the fixed recording: store, inventory and clock of a test's own."""

from __future__ import annotations

from typing import Any

from console.clock import FixedClock
from console.config.schema import Bouncer, Inventory, PostgresNode
from console.fleet.store import FleetStore
from console.model.fleet import FleetSnapshot
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer
from tests.tui.recording import MONOTONIC_S, WALL_S, snapshot


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
                config_file="/etc/pgbouncer/pgbouncer.ini",
            )
            for pooler in picture.poolers
        ),
        postgres=tuple(
            PostgresNode(name=node.name, role=node.role, tcp=node.address)  # type: ignore[arg-type]
            for node in picture.postgres
        ),
    )


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
