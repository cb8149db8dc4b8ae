"""What every command shares: the global options, and the stack of parts that reach the fleet.

Imports below the command line happen inside functions, so that `pooldeck --help` stays quick.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from console.clock import Clock
    from console.config.credentials import Credentials
    from console.config.schema import Inventory
    from console.poolers.connect import PoolerConnector
    from console.transport.base import Transport


@dataclass(frozen=True, slots=True)
class Globals:
    """Options that stand before the verb."""

    fleet: Path | None = None
    read_only: bool = False
    log_file: Path | None = None
    ascii_only: bool = False


@dataclass(frozen=True, slots=True)
class Stack:
    """The parts that reach a fleet, made once a run and closed together."""

    inventory: Inventory
    inventory_path: Path
    clock: Clock
    transport: Transport
    """An `SshTransport` when the inventory has hosts."""
    credentials: Credentials
    connector: PoolerConnector


def read_inventory(options: Globals) -> tuple[Inventory, Path]:
    """Find and read the inventory.

    Raises:
        UsageError: there is none; InventoryError: it has mistakes.
    """
    from console.config.load import find_inventory, load_inventory

    path = find_inventory(options.fleet)
    return load_inventory(path), path


def bouncers_and_nodes(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the last term of a selector by name: bouncers, or Postgres nodes for a verb on those.

    [] without an inventory.
    """
    from console.errors import PooldeckError

    before, term = _last_term(incomplete)
    try:
        inventory, _ = read_inventory(Globals(fleet=context.find_root().params.get("fleet")))
    except PooldeckError:
        return []
    from console.operations.registry import REGISTRY

    spec = REGISTRY.get(context.command.name or "")
    nodes = inventory.postgres if spec is not None and spec.on_node else inventory.bouncers
    return [f"{before}{node.name}" for node in nodes if node.name.startswith(term)]


def _last_term(selector: str) -> tuple[str, str]:
    """Part what is being typed from what stands before it, `!` included."""
    comma = selector.rfind(",") + 1
    start = comma + (selector[comma:].startswith("!"))
    return selector[:start], selector[start:]


@asynccontextmanager
async def open_stack(options: Globals) -> AsyncIterator[Stack]:
    """Build the parts that reach the fleet; near ends of tunnels are gone when it is left.

    Raises:
        UsageError: no inventory, or mistakes in it.
    """
    from console.clock import SystemClock
    from console.config.credentials import Credentials
    from console.poolers.connect import PoolerConnector

    inventory, path = read_inventory(options)
    clock = SystemClock()
    transport = _transport(inventory, clock)
    credentials = Credentials()
    try:
        yield Stack(
            inventory=inventory,
            inventory_path=path,
            clock=clock,
            transport=transport,
            credentials=credentials,
            connector=PoolerConnector(inventory, transport, credentials),
        )
    finally:
        await transport.close()


def _transport(inventory: Inventory, clock: Clock) -> Transport:
    if not inventory.hosts:
        from console.transport.direct import DirectTransport

        return DirectTransport()
    from console.config.paths import XdgPaths
    from console.transport.ssh import SshTransport

    return SshTransport(inventory.hosts, clock=clock, runtime_dir=XdgPaths().runtime)
