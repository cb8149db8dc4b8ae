"""A transport for faults that no real server can make. Tests of everything else use real servers.

It reaches nothing: what each route, command or probe gives is what the test put in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from console.errors import DeadlineError, NodeError, Phase
from console.transport.base import CommandResult, Endpoint, Route


@dataclass(slots=True)
class FakeTransport:
    """Implements `Transport`; an unknown route or command is a NodeError, never a guess.

    Attributes:
        endpoints: what `endpoint` returns or raises for a route.
        failures: what `failure_of` says.
        results: what `run` returns or raises for a host and its words.
        hang: hosts whose every call takes longer than its limit.
        calls: every call so far, as (method, subject).
    """

    endpoints: Mapping[Route, Endpoint | NodeError] = field(default_factory=dict)
    failures: Mapping[Endpoint, NodeError] = field(default_factory=dict)
    results: Mapping[tuple[str, tuple[str, ...]], CommandResult | NodeError] = field(default_factory=dict)
    hang: frozenset[str] = frozenset()
    calls: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    async def endpoint(self, route: Route, *, timeout_s: float) -> Endpoint:
        """See `Transport.endpoint`."""
        self.calls.append(("endpoint", f"{route.host} -> {route.address}"))
        await self._maybe_hang(route.host, timeout_s)
        found = self.endpoints.get(route)
        if found is None:
            found = NodeError(Phase.TUNNEL, "the test knows no such route", where=str(route.address))
        if isinstance(found, NodeError):
            raise found
        return found

    def failure_of(self, endpoint: Endpoint) -> NodeError | None:
        """See `Transport.failure_of`."""
        return self.failures.get(endpoint)

    async def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",  # noqa: ARG002
        max_output_bytes: int = 1_048_576,
    ) -> CommandResult:
        """See `Transport.run`."""
        self.calls.append(("run", f"{host}: {' '.join(argv)}"))
        await self._maybe_hang(host, timeout_s)
        found = self.results.get((host, tuple(argv)))
        if found is None:
            found = NodeError(Phase.SSH, "the test knows no such command", where=host)
        if isinstance(found, NodeError):
            raise found
        kept = found.stdout[:max_output_bytes]
        truncated = found.truncated or len(kept) < len(found.stdout)
        return CommandResult(found.exit_status, kept, found.stderr, truncated, found.signal)

    async def close(self) -> None:
        """See `Transport.close`."""
        self.closed = True

    async def _maybe_hang(self, host: str | None, timeout_s: float) -> None:
        if host in self.hang:
            await asyncio.sleep(timeout_s)
            raise DeadlineError(
                Phase.SSH, f"no SSH connection within {timeout_s:g} s", limit_s=timeout_s, where=host
            )
