"""What the clients are asked to do: groups of equal clients, as JSON. It holds no password."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

KEPT: None = None
"""`lifetime_s` of a client that keeps its connection for ever."""
NEW = 0.0
"""`lifetime_s` of a client that opens a new connection for each transaction."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some clients that do the same: a transaction, a rest of `interval_ms`, again.

    A transaction is BEGIN, one INSERT into the ledger, COMMIT: three round trips, so that a pause meets it
    anywhere.

    Attributes:
        name: unique in a run; a row of the report's table.
        host: an address or a socket's folder; a name would be looked up on the measuring thread.
        passfile: libpq's password file, read anew at each connect.
        lifetime_s: a connection's age at which its client opens another one, between two transactions, as
            application pools do; KEPT: never; NEW: after each transaction. Ages are spread by ±25 %.
        prepared: the INSERT is prepared once a connection (protocol level).
        patience_s: a transaction that takes longer, connect and retries included, has failed.
    """

    name: str
    host: str
    port: int
    passfile: str
    user: str = "app"
    database: str = "app"
    clients: int = 4
    lifetime_s: float | None = KEPT
    prepared: bool = False
    sslmode: str = "disable"
    sslrootcert: str | None = None
    interval_ms: float = 20.0
    patience_s: float = 30.0

    def parameters(self) -> dict[str, str]:
        """Return libpq's."""
        tls = {} if self.sslrootcert is None else {"sslrootcert": self.sslrootcert}
        return {
            "host": self.host,
            "port": str(self.port),
            "user": self.user,
            "dbname": self.database,
            "passfile": self.passfile,
            "sslmode": self.sslmode,
            "gssencmode": "disable",
            "application_name": f"load-{self.name}"[:63],
            **tls,
        }


def to_json(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the first line of standard input."""
    return {"groups": [asdict(group) for group in groups]}


def from_json(told: dict[str, Any]) -> list[Group]:
    """Read it again."""
    return [Group(**one) for one in told["groups"]]
