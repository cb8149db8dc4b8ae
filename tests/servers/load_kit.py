"""What tests under load share: groups of clients on a real bouncer, their passwords and their ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import APP_DATABASE, PostgresServer
from console.lab.secrets import APP_USERS, Secrets
from console.lab.tls import CertificateAuthority
from console.model.version import Version
from tests.harness.clients import Group, ledger
from tests.harness.clients.wish import NEW


def passfile(secrets: Secrets, folder: Path) -> str:
    """Write libpq's password file for the clients; anew, when passwords have changed."""
    path = folder / "load-pgpass"
    path.touch(mode=0o600)
    path.write_text(secrets.pgpass())
    return str(path)


def make_ledger(postgres: PostgresServer) -> None:
    """Make the clients' table in the application database anew."""
    with postgres.connect(APP_DATABASE, user=APP_USERS[0]) as owner:
        ledger.create(owner)


def client_tls(authority: CertificateAuthority) -> dict[str, Any]:
    """Return the settings of a bouncer that takes clients with TLS and without."""
    made = authority.server_certificate("load")
    return {
        "client_tls_sslmode": "allow",
        "client_tls_cert_file": made.cert_path,
        "client_tls_key_file": made.key_path,
    }


PREPARED_IN_POOLS = Version(1, 21)
"""Since then prepared statements work in transaction pools."""
LEAVES_S = 1.0


def every_kind(
    server: PgBouncerServer, passwords: str, *, prefix: str = "", tls_ca: Path | None = None
) -> list[Group]:
    """Return all kinds of clients on one bouncer: 10 of them, and 4 with TLS when `tls_ca` is given.

    Those of the session pool leave once a second: while they stay no pause can complete. Below 1.21 they
    are also the ones with prepared statements.
    """
    where: dict[str, Any] = {"host": server.host, "port": server.port, "passfile": passwords}
    pooled = server.version >= PREPARED_IN_POOLS
    session: dict[str, Any] = {**where, "database": "app_session", "lifetime_s": LEAVES_S, "clients": 2}
    groups = [
        Group(f"{prefix}kept", **where, clients=4),
        Group(f"{prefix}new", **where, clients=2, lifetime_s=NEW, interval_ms=100),
        Group(f"{prefix}session", **session),
        Group(f"{prefix}prepared", **(where if pooled else session) | {"clients": 2}, prepared=True),
    ]
    if tls_ca is not None:
        where |= {"sslmode": "verify-full", "sslrootcert": str(tls_ca), "clients": 2}
        groups += [
            Group(f"{prefix}tls kept", **where),
            Group(f"{prefix}tls new", **where, lifetime_s=NEW, interval_ms=100),
        ]
    return groups
