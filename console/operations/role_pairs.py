"""What a rotation with two roles needs of Postgres nodes. `console.postgres.role_pairs` has the real one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import SecretStr

from console.model.role_pair import PairReading


class RolePairs(Protocol):
    """Two roles of the inventory's Postgres nodes, by the nodes' names.

    Each change is one transaction: a NodeError says that nothing has changed, unless contact was lost while
    it was committed; every one of them may be done again.
    """

    async def read_pair(self, node: str, role: str, to: str, *, timeout_s: float) -> PairReading:
        """Read both.

        Raises:
            NodeError: the node did not answer.
        """
        ...

    async def stand_in(
        self, node: str, role: str, to: str, verifier: str, *, existed: bool | None, timeout_s: float
    ) -> bool | None:
        """Give `to` the rights of `role`, LOGIN and a verifier; it is made where there is none.

        `existed`: whether `to` was there when it was planned; another answer by now is refused. None: it may
        be ours.

        Returns:
            Whether the verifier reads back so; None: that may not be read.

        Raises:
            ValueError: it is no verifier. NodeError: see above.
        """
        ...

    async def stand_down(
        self,
        node: str,
        to: str,
        *,
        verifier: str,
        existed: bool,
        could_log_in: bool,
        stored: str | None,
        granted: Sequence[str],
        timeout_s: float,
    ) -> str | None:
        """Bring the second role back to what it was; return what stays all the same, None: nothing.

        Args:
            node: the inventory's name.
            to: the role; with another secret than `verifier` it is left alone.
            verifier: what it was given.
            existed: it was there before.
            could_log_in: it had LOGIN.
            stored: its own verifier; "" for none; None: not known.
            granted: what it was made a member of.
            timeout_s: for all of it.

        Raises:
            NodeError: see above.
        """
        ...

    async def let_log_in(self, node: str, role: str, *, may: bool, timeout_s: float) -> None:
        """ALTER ROLE … LOGIN, or NOLOGIN.

        Raises:
            NodeError: see above.
        """
        ...

    async def try_login(
        self, node: str, role: str, secret: SecretStr, databases: Sequence[str], *, timeout_s: float
    ) -> str | None:
        """Log in directly to each database; return why it could not be tried, None: let in everywhere.

        Raises:
            NodeError: it was refused.
        """
        ...

    async def try_auth_query(
        self, node: str, role: str, secret: SecretStr, database: str, query: str, *, timeout_s: float
    ) -> None:
        """Run a pooler's auth_query as `role` would, and look at nothing of the answer.

        Raises:
            NodeError: it was refused, or the login was.
        """
        ...
