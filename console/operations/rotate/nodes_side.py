"""The Postgres nodes of a rotation: the verifier is stored on each primary, and awaited on the replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from console.config.scram import fingerprint
from console.errors import DeadlineError, NodeError, Phase, PooldeckError
from console.operations.roles import PendingChange, Roles
from console.operations.rotate.scheme import Scheme

_POLL_S = 0.1
_SURE_TRIES = 5
_SURE_PAUSE_S = 0.5


@dataclass(slots=True)
class NodesSide:
    """Where the role's password is stored."""

    scheme: Scheme
    roles: Roles
    timeout_s: float
    tell: Callable[[str], None]
    changed: set[str] = field(default_factory=set)
    """Nodes that may have another verifier than before."""

    async def store(
        self, stored: Mapping[str, str | None], before_commit: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Store a verifier on every primary, and wait until the replicas have it.

        `before_commit` is called in the last moment in which nothing is in force anywhere: every node has
        taken its statement by then, so what may wait or be refused is over.

        Raises:
            NodeError: it is not everywhere; `changed` says where it may be.
        """
        async with AsyncExitStack() as stack:
            pending: dict[str, PendingChange] = {}
            for reading in self.scheme.primaries:
                verifier = stored[reading.node]
                if verifier is None:
                    raise NodeError(Phase.PROTOCOL, "the verifier to store is not known", where=reading.node)
                self.tell(f"{reading.node}: ALTER ROLE … PASSWORD with the verifier {fingerprint(verifier)}")
                pending[reading.node] = await stack.enter_async_context(
                    self.roles.change(reading.node, self.scheme.role, verifier, timeout_s=self.timeout_s)
                )
            if before_commit is not None:
                await before_commit()
            for node, change in pending.items():
                await self._commit(node, change, stored[node] or "")
        await await_replicas(self.scheme, self.roles, self.timeout_s)

    async def _commit(self, node: str, change: PendingChange, verifier: str) -> None:
        self.changed.add(node)
        try:
            found = await change.commit()
        except NodeError as error:
            found = await self._reads_so(node, verifier)
            if not found:
                if found is False:
                    self.changed.discard(node)
                raise NodeError(error.phase, error.message, where=node, hint=error.hint) from None
        if found is False:
            raise NodeError(Phase.PROTOCOL, "pg_authid does not have the verifier stored", where=node)

    async def _reads_so(self, node: str, verifier: str) -> bool | None:
        """Say whether a node has a verifier after all; None: that cannot be told."""
        for _ in range(_SURE_TRIES):
            try:
                reading = await self.roles.read(node, self.scheme.role, timeout_s=self.timeout_s)
            except PooldeckError:
                await asyncio.sleep(_SURE_PAUSE_S)
                continue
            return None if reading.stored is None else reading.stored == verifier
        return None


async def await_replicas(scheme: Scheme, roles: Roles, timeout_s: float) -> None:
    """Wait until the replicas have replayed what their primaries wrote.

    Raises:
        NodeError: one did not answer. DeadlineError: one has not within `timeout_s`.
    """
    end = asyncio.get_running_loop().time() + timeout_s
    positions = {
        primary: await roles.position(primary, timeout_s=timeout_s)
        for primary in dict.fromkeys(scheme.replicas.values())
    }
    for replica, primary in scheme.replicas.items():
        while not await roles.replayed(replica, positions[primary], timeout_s=timeout_s):
            if asyncio.get_running_loop().time() >= end:
                raise DeadlineError(
                    Phase.PROTOCOL,
                    f"it has not replayed what {primary} wrote within {timeout_s:g} s",
                    limit_s=timeout_s,
                    where=replica,
                )
            await asyncio.sleep(_POLL_S)
