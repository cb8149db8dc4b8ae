"""Logins that prove a rotation: the new secret is let in, the old one is not, and a query is answered.

With SCRAM pass-through a good login does more than prove: PgBouncer keeps its keys for server logins, so one
through each pooler has to come before any client goes on (pgbouncer-admin.md, section 4, facts 9 and 10).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from console.errors import DeadlineError, NodeError, Phase
from console.operations.roles import Logins
from console.operations.rotate.layout import Place

_PAUSED_LIMIT_S = 3.0
"""A login to a pool that was never used waits for the end of the pause: that is no refusal."""
_LOCKED = "server_login_retry"
"""A pool that had a failed server login is locked; the next client lifts that and is itself refused."""


@dataclass(frozen=True, slots=True)
class Canaries:
    """Logins of one role through one pooler."""

    logins: Logins
    bouncer: str
    role: str
    timeout_s: float

    async def is_let_in(self, place: Place, secret: SecretStr, *, paused: bool) -> str | None:
        """Log in; None: let in, or waiting for the end of the pause. Else why not."""
        limit_s = min(self.timeout_s, _PAUSED_LIMIT_S) if paused else self.timeout_s
        try:
            await self._log_in(place, secret, query=False, limit_s=limit_s)
        except DeadlineError as error:
            if paused and error.phase in (Phase.AUTH, Phase.PROTOCOL):
                return None
            return error.message
        except NodeError as error:
            return error.message
        return None

    async def is_served(self, place: Place, secret: SecretStr) -> str | None:
        """Log in and run a query; None: it was answered. A second try lifts the lock of a failed pool."""
        problem: str | None = None
        for _ in range(2):
            try:
                await self._log_in(place, secret, query=not place.is_console, limit_s=self.timeout_s)
            except NodeError as error:
                problem = error.message
                if _LOCKED not in problem:
                    break
            else:
                return None
        return problem

    async def is_refused(self, place: Place, secret: SecretStr) -> str | None:
        """Log in with a secret that must not do; None: it was refused. Else what happened."""
        try:
            await self._log_in(place, secret, query=False, limit_s=self.timeout_s)
        except NodeError as error:
            return None if error.phase is Phase.AUTH else error.message
        return "it was let in"

    async def _log_in(self, place: Place, secret: SecretStr, *, query: bool, limit_s: float) -> None:
        await self.logins.log_in_as(
            self.bouncer, place.database, self.role, secret, query=query, timeout_s=limit_s
        )
