"""The seam between Pooldeck and the network: routes in, local endpoints and command results out.

`console.transport.ssh` is the real one; `console.transport.fake` stands in where a test needs a fault
that no real server can make. Nothing here does IO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from console.errors import NodeError


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A listening TCP socket, named as seen from the route's host."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A PostgreSQL-style Unix socket in `directory`."""

    directory: str
    port: int

    @property
    def path(self) -> str:
        """The socket file."""
        return f"{self.directory}/.s.PGSQL.{self.port}"

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach one listening socket."""

    host: str | None
    """The inventory's host name to go through over SSH; None: straight from here."""
    address: TcpAddress | UnixAddress
    tls: bool
    """TLS is spoken inside. A tunnel's near end is then a loopback port, since libpq speaks no TLS over
    Unix sockets; otherwise it is a Unix socket in a 0700 folder."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a driver on this machine connects to."""

    host: str
    """A host name or address, or the directory of a Unix socket (starts with `/`)."""
    port: int
    hostaddr: str | None = None
    """Dial this address while `host` is the name TLS verifies (libpq's meaning); None: dial `host`."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a remote command left."""

    exit_status: int | None
    """None when the server reported a signal or nothing."""
    stdout: bytes
    stderr: bytes
    truncated: bool
    """True when output went over the bound and the rest was dropped."""
    signal: str | None = None
    """The signal that ended the command, without SIG (RFC 4254, 6.10); None when none did."""


class Transport(Protocol):
    """Reaches nodes. One for a program run; every method is safe to call concurrently."""

    async def endpoint(self, route: Route, *, timeout_s: float) -> Endpoint:
        """Return a local endpoint for `route`, connecting SSH and opening the near end where needed.

        The same route gives the same endpoint while its tunnel lives.

        Raises:
            NodeError: phase `ssh` or `tunnel`; DeadlineError when it took longer than `timeout_s`.
        """
        ...

    def failure_of(self, endpoint: Endpoint) -> NodeError | None:
        """Say why the far end of `endpoint` last could not be reached; None when it could, or is direct.

        A tunnel's far end is dialled only when a driver connects, and the driver then sees no more than
        a closed socket: ask here for the reason.
        """
        ...

    async def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        max_output_bytes: int = 1_048_576,
    ) -> CommandResult:
        """Run a command on an inventory host, each word quoted for its shell.

        Raises:
            NodeError: phase `ssh`; DeadlineError when it did not end within `timeout_s`.
        """
        ...

    async def close(self) -> None:
        """Close every tunnel and connection; near ends are removed. Safe to call twice."""
        ...
