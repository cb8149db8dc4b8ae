"""Logins to Postgres nodes without a pooler between, with the password that poolers log in with.

A wrong password of an ini file stays unseen until a server connection is needed (pgbouncer-admin.md,
section 4, fact 11). So it is tried where they will use it, before any client may need one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from console.errors import NodeError, Phase, PooldeckError
from console.operations.roles import Roles
from console.operations.rotate.scheme import DirectLogin, Scheme


@dataclass(frozen=True, slots=True)
class DirectLogins:
    """The logins of a rotation's role."""

    scheme: Scheme
    roles: Roles
    timeout_s: float
    tell: Callable[[str], None]
    warn: Callable[[str], None]

    async def prove(self, secret: SecretStr, other: SecretStr | None) -> None:
        """Log in everywhere with the secret that is to be good, and with the one that must not be.

        Where that cannot be tried from here it is only told.

        Raises:
            NodeError: the secret is refused, or the other one is not.
        """
        done = await asyncio.gather(
            *(self._prove(login, secret, other) for login in self.scheme.direct), return_exceptions=True
        )
        for result in done:
            if isinstance(result, BaseException):
                raise result

    async def _prove(self, login: DirectLogin, secret: SecretStr, other: SecretStr | None) -> None:
        role = self.scheme.role
        opened = await self._opens(login, secret)
        if opened is None:
            return
        if not opened:
            raise NodeError(
                Phase.AUTH, f"a direct login as {role} with the secret is refused", where=str(login)
            )
        if other is not None and await self._opens(login, other):
            self.warn(f"{login}: the other secret is let in from here too, so direct logins prove nothing")
            return
        self.tell(f"{login}: {role} is let in with the secret, without a pooler between")

    async def _opens(self, login: DirectLogin, secret: SecretStr) -> bool | None:
        """Say whether a secret is let in; None: that cannot be tried."""
        try:
            return await self.roles.lets_in(
                login.node, self.scheme.role, secret, database=login.database, timeout_s=self.timeout_s
            )
        except PooldeckError as error:
            self.warn(
                f"{login}: a direct login as {self.scheme.role} cannot be tried from here: {error.message}"
            )
            return None
