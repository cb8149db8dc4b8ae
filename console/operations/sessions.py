"""What an operation needs of sessions with an admin console, and the check that they meet one process.

`console.poolers` makes the real ones (`AdminReader`, `AdminWriter`); nothing outside operations may ask a
connector for a writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from console.errors import NodeError, Phase
from console.model.rows import Setting
from console.model.table import ResultTable
from console.poolers.base import Dialect

CLOSE_LIMIT_S = 2.0
IDENTITY_KEYS = ("peer_id", "pidfile", "unix_socket_dir", "listen_addr", "listen_port", "logfile", "conffile")
"""Settings that tell the processes of one so_reuseport port apart (trap T21)."""


class ReadSession(Protocol):
    """A session that only asks."""

    async def show(self, what: str, *, timeout_s: float) -> ResultTable:
        """Return the answer to `SHOW what`."""
        ...

    async def close(self) -> None:
        """End the session; safe to call twice and while a statement is pending."""
        ...


class WriteSession(ReadSession, Protocol):
    """A session that can act: an `AdminWriter`."""

    async def execute(self, statement: str, timeout_s: float | None) -> str:
        """Send one statement and return its command tag."""
        ...


class Connector(Protocol):
    """Opens sessions by the inventory's names."""

    async def reader(self, name: str, *, as_admin: bool = False) -> ReadSession:
        """Open a session that only asks, as the monitor user, or as the admin user."""
        ...

    async def writer(self, name: str) -> WriteSession:
        """Open a session that can act, as the admin user."""
        ...

    async def probe(self, name: str) -> str:
        """Log in through a bouncer as one of its clients would and run a query; say in words what was tried.

        Without a `probe_user` in the inventory only the admin console is logged in to.

        Raises:
            NodeError: it did not succeed.
        """
        ...


async def close_quietly(*sessions: ReadSession | None) -> None:
    """Close sessions that may be broken already; each gets a moment, none may hold up a result."""
    for session in sessions:
        if session is None:
            continue
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await session.close()
        except (OSError, NodeError, TimeoutError):
            continue


def identity(config: Mapping[str, Setting]) -> tuple[str | None, ...]:
    """Return what tells this process from its peers, in the order of `IDENTITY_KEYS`."""
    return tuple(config[key].value if key in config else None for key in IDENTITY_KEYS)


async def require_one_process(
    dialect: Dialect, expected: Mapping[str, Setting], *sessions: ReadSession, where: str, timeout_s: float
) -> None:
    """Make sure that every session reached the process that was observed.

    Behind a so_reuseport port or a balancer each login may meet another process, and a RESUME would then
    not reach the one that was paused.

    Raises:
        NodeError: phase `protocol`: they differ, and nothing was sent.
    """
    wanted = identity(expected)
    for session in sessions:
        met = identity(dialect.parse_config(await session.show("CONFIG", timeout_s=timeout_s)))
        if met != wanted:
            keys = ", ".join(
                key for key, left, right in zip(IDENTITY_KEYS, wanted, met, strict=True) if left != right
            )
            raise NodeError(
                Phase.PROTOCOL,
                f"two logins met two different processes ({keys} differ), so nothing was sent",
                where=where,
                hint="give each process its own address or Unix socket in the inventory",
            )
