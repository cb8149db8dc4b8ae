"""The transport of a fleet without hosts: everything is reached from here, and paramiko is never loaded.

Loading it takes longer than all the rest of a short command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from console.errors import NodeError, Phase
from console.transport.base import CommandResult, Endpoint, Route, TcpAddress, UnixAddress


class DirectTransport:
    """Implements `console.transport.base.Transport` for routes without a host."""

    async def endpoint(self, route: Route, *, timeout_s: float) -> Endpoint:  # noqa: ARG002
        """See `Transport.endpoint`."""
        return direct_endpoint(route.address)

    def failure_of(self, endpoint: Endpoint) -> NodeError | None:  # noqa: ARG002
        """See `Transport.failure_of`."""
        return None

    async def run(self, host: str, argv: Sequence[str], **_: Any) -> CommandResult:  # noqa: ARG002
        """See `Transport.run`.

        Raises:
            NodeError: always.
        """
        raise NodeError(Phase.SSH, "the inventory has no [hosts], so there is no SSH", where=host)

    async def close(self) -> None:
        """See `Transport.close`."""


def direct_endpoint(address: TcpAddress | UnixAddress) -> Endpoint:
    """Return the endpoint of an address that is reached without SSH: the address itself."""
    if isinstance(address, UnixAddress):
        return Endpoint(address.directory, address.port)
    return Endpoint(address.host, address.port)
