"""The Postgres nodes of a rotation with two roles: the second role made and tried, or either one shut out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from console.config.scram import fingerprint
from console.errors import NodeError, Phase
from console.operations.role_pairs import RolePairs
from console.operations.roles import Roles
from console.operations.rotate.nodes_side import await_replicas
from console.operations.rotate.two_roles import Half, TwoRolesScheme
from console.operations.rotate.two_roles_file import NodeBefore


@dataclass(frozen=True, slots=True)
class TwoRolesNodes:
    """Both roles on all primaries. Every method may be called again after it failed."""

    scheme: TwoRolesScheme
    pairs: RolePairs
    roles: Roles
    timeout_s: float
    tell: Callable[[str], None]
    warn: Callable[[str], None]

    def before(self) -> dict[str, NodeBefore]:
        """Return what the second role is on each node before anything is done."""
        return {
            node: NodeBefore(pair.exists, pair.can_log_in, pair.stored, pair.grants(self.scheme.role))
            for node, pair in self.scheme.pairs.items()
        }

    async def stand_in(self, verifier: str) -> None:
        """Make the second role, or change it, on every primary.

        Raises:
            NodeError: it was refused, or there was no answer.
        """
        scheme = self.scheme
        for node in scheme.pairs:
            self.tell(f"{node}: {scheme.to} with the verifier {fingerprint(verifier)}")
            existed = scheme.pairs[node].exists if scheme.half is Half.FIRST else None
            found = await self.pairs.stand_in(
                node, scheme.role, scheme.to, verifier, existed=existed, timeout_s=self.timeout_s
            )
            if found is False:
                raise NodeError(Phase.PROTOCOL, "pg_authid does not have the verifier stored", where=node)

    async def prove(self, secret: SecretStr) -> tuple[str, ...]:
        """Log in directly as the second role, and ask what it is to ask; return what was seen.

        Raises:
            NodeError: one was refused.
        """
        scheme, seen = self.scheme, []
        for node in scheme.pairs:
            databases = scheme.databases.get(node, ())
            not_tried = await self.pairs.try_login(
                node, scheme.to, secret, databases, timeout_s=self.timeout_s
            )
            if not_tried is not None:
                self.warn(f"a direct login as {scheme.to} could not be tried: {not_tried}")
            elif databases:
                seen.append(f"{scheme.to} is let in directly on {node}: {', '.join(databases)}")
        for asked in scheme.auth_queries:
            await self.pairs.try_auth_query(
                asked.node, scheme.to, secret, asked.database, asked.query, timeout_s=self.timeout_s
            )
            seen.append(f"{scheme.to} may ask the auth_query on {asked.node}/{asked.database}")
        return tuple(seen)

    async def stand_down(self, before: Mapping[str, NodeBefore], verifier: str) -> None:
        """Take the second role out again; what stays all the same is a warning.

        Raises:
            NodeError: it was refused, or there was no answer.
        """
        for node, was in before.items():
            left = await self.pairs.stand_down(
                node,
                self.scheme.to,
                verifier=verifier,
                existed=was.existed,
                could_log_in=was.could_log_in,
                stored=was.stored,
                granted=was.granted,
                timeout_s=self.timeout_s,
            )
            if left is not None:
                self.warn(left)

    async def let_first_in(self, *, may: bool) -> None:
        """Let the first role log in, or not, where that is not so already, and wait for the replicas.

        Raises:
            NodeError: it was refused, or there was no answer.
        """
        scheme = self.scheme
        for node in scheme.pairs:
            pair = await self.pairs.read_pair(node, scheme.role, scheme.to, timeout_s=self.timeout_s)
            if pair.old_can_log_in is may:
                continue
            self.tell(f"{node}: {scheme.role} {'LOGIN' if may else 'NOLOGIN'}")
            await self.pairs.let_log_in(node, scheme.role, may=may, timeout_s=self.timeout_s)
        await self.replicas()

    async def replicas(self) -> None:
        """Wait for the replicas. Raises NodeError."""
        await await_replicas(self.scheme.base, self.roles, self.timeout_s)
