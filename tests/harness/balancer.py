"""A real HAProxy in front of some bouncers, as a fleet on several hosts has one: TCP, round robin.

A bouncer that refuses is taken out at its next check, five times a second, and a connect that it refuses goes
to another one.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from console.lab.process import Launcher
from console.lab.server import Server, program

_CONFIG = """\
global
    maxconn 2000
defaults
    mode tcp
    retries 3
    option redispatch 1
    timeout connect 2s
    timeout client 1h
    timeout server 1h
frontend clients
    bind {host}:{port}
    default_backend bouncers
backend bouncers
    balance roundrobin
{servers}"""


class Balancer(Server):
    """One HAProxy.

    Attributes:
        members: the bouncers behind it, by name; their ports are read at its start.
    """

    kind = "haproxy"

    def __init__(self, name: str, directory: Path, launcher: Launcher, members: Mapping[str, Server]) -> None:
        super().__init__(name, directory, launcher)
        self.members = dict(members)
        self.config_path = directory / "haproxy.cfg"

    def prepare(self) -> None:
        """Write its configuration."""
        servers = "".join(
            f"    server {name} {one.host}:{one.port} check inter 200ms fall 1 rise 1\n"
            for name, one in self.members.items()
        )
        text = _CONFIG.format(host=self.host, port=self.port, servers=servers)
        self.launcher.write_file(self.config_path, text)

    def argv(self) -> Sequence[str | Path]:
        """See `Server.argv`."""
        return [program("haproxy", "haproxy"), "-db", "-f", self.config_path]

    def ready(self) -> bool:
        """True when it listens."""
        try:
            with socket.create_connection((self.host, self.port), timeout=2.0):
                return True
        except OSError:
            return False
