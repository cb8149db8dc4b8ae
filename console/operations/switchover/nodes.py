"""What a switchover needs of Postgres nodes, and of logins through poolers. Protocols only."""

from __future__ import annotations

from typing import Protocol

from console.model.switching import Asked, NodeState, PatroniView, Writing


class SwitchNodes(Protocol):
    """Postgres nodes by the inventory's names.

    Every method raises NodeError when the node did not answer: what was to be changed may have been.
    AdminError: it refused, and nothing has happened.
    """

    async def state(self, node: str, *, timeout_s: float) -> NodeState:
        """Read a node."""
        ...

    async def state_at(
        self, node: str, host: str | None, address: tuple[str, int], *, timeout_s: float
    ) -> NodeState:
        """Read whatever answers at an address, as it is reached from a host, with the node's login."""
        ...

    async def mark(self, node: str, *, timeout_s: float) -> Writing:
        """Flush the log of a primary, and read how far it has come and who writes."""
        ...

    async def fence(self, node: str, *, timeout_s: float) -> None:
        """Make new transactions read-only on the whole server."""
        ...

    async def unfence(self, node: str, *, timeout_s: float) -> None:
        """Take the fence back."""
        ...

    async def promote(self, node: str, *, timeout_s: float) -> None:
        """Ask a replica to become a primary; returns before it is one."""
        ...


class PatroniNodes(Protocol):
    """Patroni's REST API, by the inventory's names of Postgres nodes.

    Every method raises NodeError when it did not answer: what was asked for may have been begun.
    """

    async def view(self, node: str, *, timeout_s: float) -> PatroniView:
        """Read how the Patroni of a node sees itself and its cluster."""
        ...

    async def switch_over(self, node: str, leader: str, candidate: str, *, timeout_s: float) -> Asked:
        """Ask for a switchover, by Patroni's names of both; return what became of it, which takes seconds."""
        ...


class ClientSide(Protocol):
    """Logins through poolers, as `probe_user`."""

    async def ask_as_client(self, name: str, database: str, query: str) -> tuple[str | None, ...]:
        """Return the first row of a query that changes nothing.

        Raises:
            NodeError, CredentialError: the login or the query failed.
        """
        ...
