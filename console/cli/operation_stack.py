"""The operations of one process, made from the parts that reach the fleet: one builder for every driver.

Commands and the console get the same journal, policy and ways out. It opens nothing by itself, but for a
guardian that is started ahead where a command will want one.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from console.cli.context import Globals, Stack, open_stack

if TYPE_CHECKING:
    from pathlib import Path

    from console.operations.lease.client import GuardianLeases
    from console.operations.past import Past
    from console.operations.reach import Reach
    from console.operations.service import OperationService


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with."""

    stack: Stack
    service: OperationService


@asynccontextmanager
async def open_desk(options: Globals, *, leased: bool) -> AsyncIterator[Desk]:
    """Build it all for one command; when it is left, every run is over and tunnels are closed.

    Args:
        options: the global ones.
        leased: a run under a lease is to come, so its guardian is started while the plan is read.

    Raises:
        UsageError: no inventory, or mistakes in it.
    """
    async with open_stack(options) as stack:
        service, leases = _parts(stack, options, may_prompt=True)
        if leased:
            leases.prepare()
        try:
            async with service:
                yield Desk(stack, service)
        finally:
            leases.dismiss()


def operation_service(stack: Stack, options: Globals) -> OperationService:
    """Return the service; whoever asked for it closes it before the stack is left.

    Raises:
        UsageError: the state folder cannot be made.
    """
    return _parts(stack, options, may_prompt=False)[0]


def _parts(stack: Stack, options: Globals, *, may_prompt: bool) -> tuple[OperationService, GuardianLeases]:
    from console.audit.actor import Actor
    from console.audit.journal import Journal
    from console.cli.guardian import guardian_command
    from console.config.paths import XdgPaths
    from console.operations.lease.client import GuardianLeases
    from console.operations.lease.legacy import LeaseLegacy
    from console.operations.service import OperationService

    actor = Actor.current(os.environ)
    state = XdgPaths().state
    journal = Journal(state / "journal.jsonl", stack.clock, actor)
    leases = GuardianLeases(stack.inventory, guardian_command(), state, actor=actor)
    service = OperationService(
        stack.inventory,
        _reach(stack, leases, state, LeaseLegacy(state, journal), may_prompt=may_prompt),
        journal,
        stack.clock,
        read_only=options.read_only,
        actor=actor,
    )
    return service, leases


def _reach(stack: Stack, leases: GuardianLeases, state: Path, past: Past, *, may_prompt: bool) -> Reach:
    """Return every way out that operations use."""
    from console.cli.wallet import CommandLineWallet
    from console.operations.lease.locks import BouncerLocks
    from console.operations.reach import Reach
    from console.operations.rotate.run_file import RunFiles
    from console.postgres.activity import PostgresActivity, PostgresBackends
    from console.postgres.connect import PostgresConnector
    from console.postgres.role_pairs import PostgresRolePairs
    from console.postgres.roles import PostgresRoles
    from console.postgres.sessions import PostgresNodes
    from console.postgres.switching import PostgresSwitching

    inventory = stack.inventory
    connector = PostgresConnector(inventory, stack.transport, stack.credentials)
    return Reach(
        connector=stack.connector,
        transport=stack.transport,
        nodes=PostgresNodes(connector, inventory),
        switching=PostgresSwitching(connector),
        clients=stack.connector,
        roles=PostgresRoles(connector),
        pairs=PostgresRolePairs(connector),
        logins=stack.connector,
        wallet=CommandLineWallet(stack.credentials, may_prompt=may_prompt),
        run_files=RunFiles(state),
        past=past,
        locks=BouncerLocks(state, inventory.fleet),
        leases=leases,
        backends=PostgresBackends(
            PostgresActivity(connector),
            [node.name for node in inventory.postgres],
            limit_s=inventory.defaults.query_timeout_s,
        ),
    )
