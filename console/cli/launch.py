"""Opens the interactive console: builds its parts, hands them over, and leaves nothing behind.

The one place where the command line reaches the screens, and only at the moment they are wanted.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING

import typer

from console.cli.context import Globals, open_stack, read_inventory
from console.cli.diagnostics import ExitCode, on_terminal
from console.errors import UsageError

if TYPE_CHECKING:
    from console.tui.log_buffer import LogBuffer


def launch_console(options: Globals) -> None:
    """Run the console until it is left.

    Raises:
        UsageError: there is no terminal, or the inventory cannot be used.
    """
    if not on_terminal(sys.stdin, sys.stdout):
        raise UsageError(
            "the console needs a terminal",
            hint="`pooldeck status` prints the fleet for scripts; `pooldeck --help` lists the rest",
        )
    # Mistakes in the inventory are told before the screen is taken over.
    read_inventory(options)
    code = asyncio.run(_console(options))
    if code:
        raise typer.Exit(code)


async def _console(options: Globals) -> int:
    from console.cli.operation_stack import operation_service
    from console.fleet.collector import FleetCollector
    from console.fleet.store import FleetStore
    from console.operations.lease.legacy import lease_legacy
    from console.operations.process.reader import ProcessReader
    from console.postgres.connect import PostgresConnector
    from console.tui.app import PooldeckApp

    log = _log_buffer()
    async with open_stack(options) as stack:
        store, legacy = FleetStore(), lease_legacy(stack.clock)
        nodes = PostgresConnector(stack.inventory, stack.transport, stack.credentials)
        app = PooldeckApp(
            store,
            stack.inventory,
            operation_service(stack, options),
            clock=stack.clock,
            log=log,
            collector=FleetCollector(stack.inventory, stack.connector, nodes, store, stack.clock),
            processes=ProcessReader(stack.inventory, stack.connector, stack.transport, stack.clock),
            claims=legacy.claims,
            unended=legacy.unended,
            read_only=options.read_only,
            ascii_only=options.ascii_only,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            # A closed terminal or a shutdown leaves by the same door as `q`: runs undo, tunnels close.
            loop.add_signal_handler(number, app.exit, ExitCode.INTERRUPTED)
        code = await app.run_async()
        # None after a crash of the app, which has its own return code then.
        return (app.return_code or 0) if code is None else code


def _log_buffer() -> LogBuffer:
    from console.tui.log_buffer import LogBuffer

    buffer = LogBuffer()
    logger = logging.getLogger("console")
    logger.addHandler(buffer)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    # Nothing may write over the screen.
    logger.propagate = False
    return buffer
