"""`fleet.toml` of a lab, and the files it names: known_hosts and the password file.

It writes what the inventory schema reads; it neither reads inventories nor holds a password in one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from console.lab.bouncer import PgBouncerServer
from console.lab.layout import PEER_GROUP, BouncerPlan
from console.lab.postgres import APP_DATABASE, PostgresServer
from console.lab.secrets import ADMIN, MONITOR, PROBE, SUPERUSER
from console.lab.sshd import SshServer

FLEET_NAME = "lab"
HEADER = "# Written by `pooldeck lab up`; the next one writes it anew.\n\n"


def fleet_toml(
    directory: Path,
    bouncers: Sequence[tuple[BouncerPlan, PgBouncerServer]],
    hosts: Mapping[str, SshServer],
    postgres: Sequence[PostgresServer],
) -> str:
    """Return the inventory of a lab as TOML."""
    document: dict[str, Any] = {
        "fleet": FLEET_NAME,
        "environment": "development",
        "defaults": {
            "admin_user": ADMIN,
            "monitor_user": MONITOR,
            "password_from": f"pgpass:{directory / 'pgpass'}",
            "probe_user": PROBE,
            "probe_database": APP_DATABASE,
        },
        "hosts": {name: _host(directory, server) for name, server in hosts.items()},
        "bouncers": [_bouncer(directory, plan, server) for plan, server in bouncers],
        "postgres": [_postgres(server) for server in postgres],
    }
    return HEADER + tomli_w.dumps(document)


def known_hosts(hosts: Mapping[str, SshServer]) -> str:
    """Return a known_hosts file for the lab's SSH hosts."""
    return "".join(server.known_hosts_line for server in hosts.values())


def _host(directory: Path, server: SshServer) -> dict[str, Any]:
    return {
        "hostname": server.host,
        "port": server.port,
        "user": server.user,
        "identity_file": str(directory / "ssh" / "id_ed25519"),
        "known_hosts_file": str(directory / "ssh" / "known_hosts"),
    }


def _bouncer(directory: Path, plan: BouncerPlan, server: PgBouncerServer) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": plan.name, "kind": "pgbouncer"}
    if plan.host is not None:
        entry["host"] = plan.host
    if plan.access == "ssh-unix":
        entry |= {"unix": str(server.socket_dir), "port": server.port}
    else:
        entry["tcp"] = f"{server.host}:{server.port}"
    if plan.access == "tls":
        entry |= {"sslmode": "verify-full", "sslrootcert": str(directory / "tls" / "ca.crt")}
    if plan.peer_id is not None:
        entry["peer_group"] = PEER_GROUP
    entry["labels"] = {"zone": plan.zone, "role": plan.serves}
    entry["config_file"] = str(server.config_path)
    entry["process"] = {
        "kind": "command",
        "start_command": list(server.start_command),
        "pid_file": str(server.pid_path),
    }
    return entry


def _postgres(server: PostgresServer) -> dict[str, Any]:
    return {
        "name": server.name,
        "role": server.role,
        "tcp": f"{server.host}:{server.port}",
        "databases": [APP_DATABASE],
        "user": MONITOR,
        "admin_user": SUPERUSER,
        "labels": {"zone": "a" if server.name == "primary" else "b"},
    }
