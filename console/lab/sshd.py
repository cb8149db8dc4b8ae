"""A real OpenSSH server on loopback that stands for one host of the fleet.

It runs as the lab's unprivileged account, so it can let in that account only, by key; PAM, passwords and
root play no part. Keys are made here, without ssh-keygen.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from console.lab.ports import LOOPBACK
from console.lab.process import Launcher
from console.lab.server import Server, program
from console.lab.tools import unpacked_root

SETTINGS: Mapping[str, str] = {
    "ListenAddress": LOOPBACK,
    "PubkeyAuthentication": "yes",
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "UsePAM": "no",
    "StrictModes": "no",
    "PidFile": "none",
    "PrintMotd": "no",
    "UseDNS": "no",
    "LogLevel": "VERBOSE",
    "MaxSessions": "100",
    "MaxStartups": "100",
    "AllowTcpForwarding": "yes",
    "AllowStreamLocalForwarding": "yes",
    "StreamLocalBindUnlink": "yes",
}


class KeyPair:
    """An ed25519 key in OpenSSH's format."""

    def __init__(self, path: Path, launcher: Launcher) -> None:
        """Read the key in `path`, or make one there (0600) with its `.pub` beside it."""
        self.path = path
        public_path = path.with_name(f"{path.name}.pub")
        if not (path.exists() and public_path.exists()):
            key = Ed25519PrivateKey.generate()
            public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
            private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            launcher.write_file(public_path, public + b"\n")
            launcher.write_file(path, private)
        self.public = public_path.read_text(encoding="utf-8").strip()
        """`ssh-ed25519 AAAA…`"""


class SshServer(Server):
    """One sshd; `user_keys` may log in as the lab's account.

    Attributes:
        user: the only account it lets in.
        host_key: its own key.
        settings: sshd_config; changed ones count from the next start.
    """

    kind = "sshd"
    patience_s = 3.0

    def __init__(
        self,
        name: str,
        directory: Path,
        launcher: Launcher,
        *,
        user_keys: Sequence[KeyPair],
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, directory, launcher, port=port)
        self.program = program("sshd", "openssh-server")
        self.user = launcher.account.name
        self.user_keys = list(user_keys)
        self.settings = {**SETTINGS, **(settings or {})}
        self.host_key = KeyPair(directory / "host_key", launcher)
        self.config_path = directory / "sshd_config"
        self.authorized_keys_path = directory / "authorized_keys"

    @property
    def version(self) -> str:
        """What it calls itself: `9.2p1`; "" when it does not answer."""
        found = re.search(r"OpenSSH_(\S+)", self._banner())
        return found[1] if found else ""

    @property
    def known_hosts_line(self) -> str:
        """Its line for a known_hosts file, with the newline."""
        return f"[{self.host}]:{self.port} {self.host_key.public}\n"

    def prepare(self) -> None:
        """Write sshd_config and authorized_keys."""
        keys = "".join(f"{key.public}\n" for key in self.user_keys)
        self.launcher.write_file(self.authorized_keys_path, keys)
        values = {
            "Port": str(self.port),
            "HostKey": str(self.host_key.path),
            "AuthorizedKeysFile": str(self.authorized_keys_path),
            "AllowUsers": self.user,
            **_unpacked_helpers(self.program),
            **self.settings,
        }
        lines = "".join(f"{key} {value}\n" for key, value in values.items())
        self.launcher.write_file(self.config_path, lines)

    def argv(self) -> Sequence[str | Path]:
        """See `Server.argv`."""
        return [self.program, "-D", "-e", "-f", self.config_path]

    def ready(self) -> bool:
        """True when it greets."""
        return self._banner().startswith("SSH-2.0-")

    def _banner(self) -> str:
        try:
            with socket.create_connection((self.host, self.port), timeout=2.0) as link:
                return link.recv(255).decode(errors="replace").strip()
        except OSError:
            return ""


def _unpacked_helpers(program: Path) -> dict[str, str]:
    """Return where an unpacked sshd (9.8 and later) finds its helpers: their places are compiled in."""
    if not program.is_relative_to(unpacked_root().parent):
        return {}
    helpers = {"SshdSessionPath": "sshd-session", "SshdAuthPath": "sshd-auth"}
    places = {key: unpacked_root() / "usr/lib/openssh" / name for key, name in helpers.items()}
    return {key: str(path) for key, path in places.items() if path.exists()}
