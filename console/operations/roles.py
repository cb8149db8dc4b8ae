"""What a rotation needs besides admin consoles: roles of Postgres nodes, logins as a client, and secrets.

`console.postgres.roles` and `console.poolers.connect` make the real ones; drivers bring the secrets.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pydantic import SecretStr

from console.model.role import RoleReading


class PendingChange(Protocol):
    """A verifier that is stored and not in force yet."""

    async def commit(self) -> bool | None:
        """Put it in force; say whether it reads back so, None: that may not be read.

        Raises:
            NodeError: no answer: whether it is in force is not known.
        """
        ...


class Roles(Protocol):
    """Roles of the inventory's Postgres nodes, by the nodes' names."""

    async def read(self, node: str, role: str, *, timeout_s: float) -> RoleReading:
        """Read a role.

        Raises:
            NodeError: the node did not answer.
        """
        ...

    def change(
        self, node: str, role: str, verifier: str, *, timeout_s: float
    ) -> AbstractAsyncContextManager[PendingChange]:
        """Give a role another verifier; in force once it is committed, undone when left before.

        Raises:
            ValueError: it is no verifier. NodeError: refused, or no answer; nothing has changed.
        """
        ...

    async def lets_in(
        self, node: str, role: str, secret: SecretStr, *, database: str, timeout_s: float
    ) -> bool:
        """Log in to a node as a role and hang up; False: the password was refused.

        Args:
            node: the inventory's name.
            role: who logs in.
            secret: with what.
            database: where.
            timeout_s: for all of it.

        Raises:
            NodeError: neither, e.g. pg_hba.conf has no line for us.
        """
        ...

    async def position(self, node: str, *, timeout_s: float) -> str:
        """Return how far the log of a primary has come.

        Raises:
            NodeError: the node did not answer.
        """
        ...

    async def replayed(self, node: str, position: str, *, timeout_s: float) -> bool:
        """Say whether a replica has replayed up to `position`.

        Raises:
            NodeError: the node did not answer.
        """
        ...


class Logins(Protocol):
    """Logs in through poolers as their clients do."""

    async def log_in_as(
        self, name: str, database: str, user: str, password: SecretStr, *, query: bool, timeout_s: float
    ) -> None:
        """Log in through the pooler `name`, run a query when `query`, and hang up.

        Raises:
            NodeError: phase `auth` when it is refused; DeadlineError: neither let in nor refused in time.
        """
        ...

    async def ask_as(
        self, name: str, database: str, user: str, password: SecretStr, query: str, *, timeout_s: float
    ) -> tuple[str | None, ...]:
        """Log in as `log_in_as` does, and return the first row of a query that changes nothing.

        Raises:
            NodeError: likewise.
        """
        ...


class Wallet(Protocol):
    """Where a rotation gets secrets from, and hands a generated one to."""

    async def secret(self, source: str, *, role: str, which: str) -> SecretStr:
        """Return the secret that a source has.

        Args:
            source: `prompt`, `generate`, `fd:NUMBER` or `command:COMMAND LINE`.
            role: whose.
            which: `new` or `old`, for people.

        Raises:
            CredentialError: it could not be had. UsageError: this driver has no such source.
        """
        ...

    async def hand_over(self, where: str, secret: SecretStr, *, role: str) -> None:
        """Give a secret away: `fd:NUMBER`, or `command:COMMAND LINE`, which reads it from its input.

        Raises:
            CredentialError: it was not taken.
        """
        ...
