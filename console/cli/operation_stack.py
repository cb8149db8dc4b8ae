"""The operations of one process, made from the parts that reach the fleet: one builder for every driver.

Commands and the console get the same journal, policy and ways out. It opens nothing by itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.context import Globals, Stack

if TYPE_CHECKING:
    from console.audit.actor import Actor
    from console.operations.past import Past
    from console.operations.reach import Reach
    from console.operations.service import OperationService


def operation_service(stack: Stack, options: Globals) -> OperationService:
    """Return the service; whoever asked for it closes it before the stack is left.

    Raises:
        UsageError: the state folder cannot be made.
    """
    from console.audit.actor import Actor
    from console.audit.journal import Journal
    from console.config.paths import XdgPaths
    from console.operations.lease.legacy import LeaseLegacy
    from console.operations.service import OperationService

    actor = Actor.current(os.environ)
    state = XdgPaths().state
    journal = Journal(state / "journal.jsonl", stack.clock, actor)
    return OperationService(
        stack.inventory,
        reach_of(stack, actor, state, LeaseLegacy(state, journal)),
        journal,
        stack.clock,
        read_only=options.read_only,
        actor=actor,
    )


def reach_of(stack: Stack, actor: Actor, state: Path, past: Past) -> Reach:
    """Return every way out that operations use."""
    from console.cli.guardian import guardian_command
    from console.operations.lease.client import GuardianLeases
    from console.operations.lease.locks import BouncerLocks
    from console.operations.reach import Reach
    from console.postgres.activity import PostgresActivity, PostgresBackends
    from console.postgres.connect import PostgresConnector
    from console.postgres.sessions import PostgresNodes

    inventory = stack.inventory
    connector = PostgresConnector(inventory, stack.transport, stack.credentials)
    return Reach(
        connector=stack.connector,
        transport=stack.transport,
        nodes=PostgresNodes(connector, inventory),
        past=past,
        locks=BouncerLocks(state, inventory.fleet),
        leases=GuardianLeases(inventory, guardian_command(), state, actor=actor),
        backends=PostgresBackends(
            PostgresActivity(connector),
            [node.name for node in inventory.postgres],
            limit_s=inventory.defaults.query_timeout_s,
        ),
    )
