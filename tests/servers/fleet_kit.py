"""What tests and benches of whole fleets share: bouncers on a real sshd, one address in front, `pooldeck`.

The address is that of `so_reuseport` peers, or of a real HAProxy.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, APP_USERS, MONITOR
from console.lab.server import Server
from console.lab.sshd import KeyPair, SshServer
from tests.faults.fault_kit import FaultShell
from tests.harness.balancer import Balancer
from tests.harness.clients import Group
from tests.harness.servers import MakePgBouncer, Workshop, pgbouncer_executable
from tests.servers.load_kit import LEAVES_S, every_kind

GROUP = "edge"
HOST = "host"


class HostShell(FaultShell):
    """Runs `pooldeck` on bouncers of one host, each reached over SSH by its Unix socket."""

    limit_s = 100.0
    """A busy machine restarts four in half a minute."""

    def __init__(
        self,
        servers: Mapping[str, PgBouncerServer],
        sshd: SshServer,
        folder: Path,
        *,
        peer_group: str | None = None,
    ) -> None:
        self.servers = dict(servers)
        self.started = contextlib.ExitStack()
        self.sshd = sshd
        self.fleet = folder / "fleet.toml"
        self.state = folder / "state"
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(sshd.known_hosts_line)
        secrets = self.server.secrets
        document: dict[str, Any] = {
            "fleet": "test",
            "environment": "development",
            "defaults": {
                "admin_user": ADMIN,
                "monitor_user": MONITOR,
                "probe_user": APP_USERS[1],
                "probe_database": "app",
                "admin_password_from": "env:ADMIN_WORD",
                "monitor_password_from": "env:MONITOR_WORD",
                "probe_password_from": "env:PROBE_WORD",
            },
            "hosts": {
                HOST: {
                    "hostname": sshd.host,
                    "port": sshd.port,
                    "user": sshd.user,
                    "identity_file": str(sshd.user_keys[0].path),
                    "known_hosts_file": str(known_hosts),
                    "proxy_jump": "none",
                }
            },
            "bouncers": [_entry(name, server, peer_group) for name, server in servers.items()],
        }
        self.fleet.write_text(tomli_w.dumps(document))
        self.environ = {
            **os.environ,
            "XDG_STATE_HOME": str(self.state),
            "ADMIN_WORD": secrets.password(ADMIN),
            "MONITOR_WORD": secrets.password(MONITOR),
            "PROBE_WORD": secrets.password(APP_USERS[1]),
        }

    def approved(self, *words: str) -> list[str]:
        """Return a command with the approval of its own plan.

        Raises:
            RuntimeError: the plan is blocked or refused.
        """
        code, lines = self.json_lines(*words, "--plan")
        if code or lines[0].get("blocked"):
            raise RuntimeError(f"pooldeck {' '.join(words)} --plan: {code} {lines}")
        return [*words, "--approve", lines[0]["hash"]]


def _entry(name: str, server: PgBouncerServer, peer_group: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "host": HOST,
        "unix": str(server.socket_dir),
        "port": server.port,
        **({"peer_group": peer_group} if peer_group is not None else {}),
        "config_file": str(server.config_path),
        "process": {
            "kind": "command",
            "start_command": list(server.start_command),
            "pid_file": str(server.pid_path),
        },
    }


class Fleet:
    """Some bouncers that stand in for one another, on one host.

    Attributes:
        bouncers: by name.
        front: what clients connect to.
        program: the link that every start command leads through; `switch` makes it lead elsewhere.
        shell: runs `pooldeck`.
    """

    def __init__(
        self, bouncers: Mapping[str, PgBouncerServer], front: Server, program: Path, shell: HostShell
    ) -> None:
        self.bouncers = dict(bouncers)
        self.front = front
        self.program = program
        self.shell = shell

    def switch(self, version: str) -> None:
        """Put another version where the start commands lead, as a package upgrade does."""
        fresh = self.program.with_suffix(".new")
        fresh.symlink_to(pgbouncer_executable(version)[1])
        fresh.rename(self.program)

    def versions(self) -> set[str]:
        """Ask each bouncer what it is."""
        found = set()
        for server in self.bouncers.values():
            with server.admin() as console:
                row = console.execute("SHOW VERSION").fetchone()
                found.add("" if row is None else str(row[0]).removeprefix("PgBouncer "))
        return found

    def adopt(self) -> bool:
        """Find each bouncer's process again; False when one does not run."""
        return all([server.adopt() for server in self.bouncers.values()])

    def pids(self) -> dict[str, int | None]:
        """The bouncers' processes as last adopted."""
        return {name: server.pid for name, server in self.bouncers.items()}

    def groups(self, passwords: str, *, tls_ca: Path | None = None) -> list[Group]:
        """Return all kinds of clients of the front."""
        one = next(iter(self.bouncers.values()))
        groups = every_kind(one, passwords, tls_ca=tls_ca)
        return [replace(group, host=self.front.host, port=self.front.port) for group in groups]


def coming_back(groups: Sequence[Group]) -> list[Group]:
    """Return the same clients, as applications' pools are: none keeps a connection for ever."""
    return [replace(one, lifetime_s=LEAVES_S) if one.lifetime_s is None else one for one in groups]


@contextlib.contextmanager
def fleet(
    workshop: Workshop,
    make: MakePgBouncer,
    folder: Path,
    version: str,
    *,
    count: int = 4,
    balanced: bool = False,
    peer_group: str | None = GROUP,
    **ini: Any,
) -> Iterator[Fleet]:
    """Start a fleet; what runs at its end is found and ended, whoever started it.

    Args:
        workshop: keeps the servers.
        make: makes the bouncers.
        folder: for inventory and state.
        version: of all of them.
        count: how many.
        balanced: they have ports of their own, and HAProxy in front; else they share one (`so_reuseport`).
        peer_group: as in the inventory; None: they do not stand in for one another.
        ini: settings of all of them.
    """
    bouncers: dict[str, PgBouncerServer] = {}
    place = workshop.launcher.make_dir(workshop.place("bin"))
    program = place / "pgbouncer"
    program.symlink_to(pgbouncer_executable(version)[1])
    shared: dict[str, Any] = {} if balanced or count == 1 else {"so_reuseport": 1}
    port: int | None = None
    try:
        for number in range(1, count + 1):
            name = f"edge-{number}"
            made = make(version, name=name, port=port, start=False, **shared, **ini)
            made.executable = program
            made.start()
            bouncers[name] = made
            port = made.port if shared else None
        front: Server = bouncers["edge-1"]
        if balanced:
            front = workshop.keep(Balancer("front", workshop.place("front"), workshop.launcher, bouncers))
            front.start()
        key = KeyPair(workshop.base / "id_ed25519", workshop.launcher)
        sshd = workshop.keep(
            SshServer("fleet-host", workshop.place("sshd"), workshop.launcher, user_keys=[key])
        )
        sshd.start()
        with HostShell(bouncers, sshd, folder, peer_group=peer_group) as shell:
            yield Fleet(bouncers, front, program, shell)
    finally:
        for server in bouncers.values():
            server.adopt()
