"""What a keeper is told: one target of a lease, and how its pooler is reached from its own host.

It reads one file at most, the certificate authorities', and connects nowhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from console.config.schema import SYSTEM_ROOTS, Bouncer, Inventory
from console.errors import CredentialError, NodeError, Phase, UsageError
from console.operations.lease.base import Cover
from console.transport.base import TcpAddress, UnixAddress

RESCUE_S = 600.0
"""How long a keeper tries to resume; longer than any client waits by default, for a pooler that hangs."""
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class KeeperOrder:
    """What a keeper is to keep. No secret in it."""

    lease_id: str
    bouncer: str
    database: str | None
    """None: a global pause."""
    address: TcpAddress | UnixAddress
    """As seen from the host."""
    user: str
    """One of the pooler's `admin_users`."""
    sslmode: str
    """libpq's word; of no meaning with a Unix socket."""
    ca_pem: str | None
    """For verify-ca and verify-full; None: the authorities that the host trusts."""
    lift: tuple[str, ...]
    """As a `Cover`'s: exactly one RESUME, and what shields clients from trap T4 around it."""
    identity: Mapping[str, str]
    """As a `Cover`'s: settings that tell the process from its neighbours."""
    ttl_s: float
    """Lifted so long after the last `renew`."""
    carried_bytes: int | None = None
    """`carried_bytes()` when it was planned; a pooler that has carried less by now was restarted since."""
    connect_timeout_s: float = 5.0
    query_timeout_s: float = 5.0
    rescue_s: float = RESCUE_S
    """How long it is tried to resume, new logins included."""

    def __post_init__(self) -> None:
        """Refuse what no keeper can keep.

        Raises:
            ValueError: with what is wrong.
        """
        if sum(statement.startswith("RESUME") for statement in self.lift) != 1:
            raise ValueError(f"a keeper's lift needs exactly one RESUME: {self.lift}")
        if not all(_NAME.fullmatch(name) for name in (self.lease_id, self.bouncer)):
            raise ValueError(f"not to be a folder's name: {self.lease_id!r}, {self.bouncer!r}")

    @property
    def key(self) -> str:
        """What the keeper's folder is called; a database may have any name, so that is hashed."""
        if self.database is None:
            return f"{self.lease_id}-{self.bouncer}"
        return f"{self.lease_id}-{self.bouncer}@{hashlib.sha256(self.database.encode()).hexdigest()[:12]}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values, as the host wants them."""
        address = {**asdict(self.address), "user": self.user}
        if isinstance(self.address, TcpAddress):
            address |= {"sslmode": self.sslmode, "ca_pem": self.ca_pem}
        return {**asdict(self), "identity": dict(self.identity), "address": address, "key": self.key}


def order_for(
    inventory: Inventory, cover: Cover, lease_id: str, *, ttl_s: float, carried_bytes: int | None = None
) -> KeeperOrder:
    """Return the order for one target of a lease.

    It reads the file of certificate authorities, as libpq would here: its content goes to the host.

    Raises:
        UsageError: no such bouncer. NodeError: a keeper cannot log in as the inventory says (phase
        credentials or tls).
    """
    name = cover.target.bouncer
    bouncer = next((each for each in inventory.bouncers if each.name == name), None)
    if bouncer is None:
        raise UsageError(f'no bouncer "{name}" in this inventory')
    if bouncer.admin_user is None:
        raise CredentialError("the inventory names no admin user", where=name)
    sslmode, ca_pem = _trust(bouncer)
    defaults = inventory.defaults
    return KeeperOrder(
        lease_id=lease_id,
        bouncer=name,
        database=cover.target.database,
        address=_address(bouncer),
        user=bouncer.admin_user,
        sslmode=sslmode,
        ca_pem=ca_pem,
        lift=cover.lift,
        identity=cover.identity,
        ttl_s=ttl_s,
        carried_bytes=carried_bytes,
        connect_timeout_s=bouncer.connect_timeout_s or defaults.connect_timeout_s,
        query_timeout_s=bouncer.query_timeout_s or defaults.query_timeout_s,
    )


def _address(bouncer: Bouncer) -> TcpAddress | UnixAddress:
    if bouncer.unix is not None:
        return UnixAddress(str(bouncer.unix), bouncer.listen_port)
    return TcpAddress(bouncer.tcp_host or "", bouncer.listen_port)


def _trust(bouncer: Bouncer) -> tuple[str, str | None]:
    """Return the TLS mode and the authorities' PEM text, by libpq's rules (its manual, "SSL Support")."""
    mode = bouncer.sslmode or "prefer"
    if bouncer.unix is not None or mode in ("disable", "allow", "prefer"):
        return mode, None
    if bouncer.sslcert is not None:
        raise NodeError(
            Phase.TLS, "a keeper cannot log in with a client certificate (sslcert)", where=bouncer.name
        )
    if bouncer.sslrootcert == SYSTEM_ROOTS:
        return "verify-full", None
    path = bouncer.sslrootcert or Path.home() / ".postgresql/root.crt"
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        # What stands between the certificates is for people, and may be no ASCII, which `ssl` insists on.
        return "verify-ca" if mode == "require" else mode, "\n".join(_CERTIFICATE.findall(text))
    except OSError as error:
        if mode == "require":
            return mode, None
        raise NodeError(
            Phase.TLS, f"the certificate authorities in {path} cannot be read", where=bouncer.name
        ) from error
