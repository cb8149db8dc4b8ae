"""The guardian's process: `python -m console.cli.guardian FD [ssh]`, started by a run, never by a person.

It makes the guardian's own ways out and hands over to `console.operations.lease.guardian`. It is no command
of `pooldeck`, and imports as little as it can: clients of nobody wait for it, but an operator does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from console.config.schema import Inventory
    from console.operations.lease.ward import Means


def guardian_command() -> tuple[str, ...]:
    """Return the command that starts a guardian.

    `-P`: whatever folder the run was started in, no module is taken from there.
    """
    return (sys.executable, "-P", "-m", "console.cli.guardian")


def main(argv: Sequence[str]) -> int:
    """Be a guardian; `argv` is the number of its end of the socket pair, and `ssh` if that will be needed."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(
        format=f"%(asctime)s guardian {os.getpid()} %(levelname)s %(message)s", level=logging.WARNING
    )
    logging.getLogger("console.operations.lease").setLevel(logging.INFO)
    link = socket.socket(fileno=int(argv[0]))
    # For this process alone: a password command must not hold the line open.
    link.set_inheritable(False)
    link.setblocking(False)

    from console.audit.actor import Actor
    from console.audit.journal import Journal
    from console.clock import SystemClock
    from console.config.paths import XdgPaths
    from console.operations.lease.guardian import guard
    from console.operations.lease.store import LeaseStore

    # It may have been started ahead of its order: what will be needed is loaded before that comes.
    from console.poolers import connect  # noqa: F401

    if "ssh" in argv[1:]:
        from console.transport import ssh  # noqa: F401

    state = XdgPaths().state
    actor = Actor.current(os.environ)
    journal = Journal(state / "journal.jsonl", SystemClock(), actor)
    return asyncio.run(guard(link, _means, journal, LeaseStore(state), actor))


@asynccontextmanager
async def _means(inventory: Inventory) -> AsyncIterator[Means]:
    from console.config.credentials import Credentials
    from console.config.paths import XdgPaths
    from console.operations.lease.base import GUARDIAN_NAME
    from console.operations.lease.store import BootClock
    from console.operations.lease.ward import Means
    from console.poolers.connect import PoolerConnector

    clock = BootClock()
    credentials = Credentials()
    if any(bouncer.host is not None for bouncer in inventory.bouncers):
        from console.transport.ssh import SshTransport

        ssh = SshTransport(inventory.hosts, clock=clock, runtime_dir=XdgPaths().runtime)
        try:
            connector = PoolerConnector(inventory, ssh, credentials, application_name=GUARDIAN_NAME)
            yield Means(inventory, connector, ssh, credentials, ssh.retry_now, clock)
        finally:
            await ssh.close()
        return
    from console.transport.direct import DirectTransport

    direct = DirectTransport()
    connector = PoolerConnector(inventory, direct, credentials, application_name=GUARDIAN_NAME)
    yield Means(inventory, connector, direct, credentials, lambda _: None, clock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
