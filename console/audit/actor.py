"""Who is at the keyboard: user, SSH client, sudo caller. Facts of this process only; no secrets."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from console.audit.processes import boot_id, process_start


@dataclass(frozen=True, slots=True)
class Actor:
    """The origin of an operation. None: not known, or not through it."""

    user: str
    uid: int
    host: str
    """The machine Pooldeck runs on."""
    pid: int
    sudo_user: str | None
    """Who called sudo (`$SUDO_USER`)."""
    ssh_client: str | None
    """`address port port` as sshd put it into `$SSH_CLIENT`."""
    started: str | None = None
    """When the process started, in clock ticks since boot: tells it from a later one of the same id."""
    boot: str | None = None
    """The machine's boot id."""

    @classmethod
    def current(cls, environ: Mapping[str, str]) -> Actor:
        """Return the actor of this process."""
        uid = os.getuid()
        try:
            user = pwd.getpwuid(uid).pw_name
        except KeyError:
            user = str(uid)
        pid = os.getpid()
        return cls(
            user=user,
            uid=uid,
            host=socket.gethostname(),
            pid=pid,
            sudo_user=environ.get("SUDO_USER") or None,
            ssh_client=environ.get("SSH_CLIENT") or None,
            started=process_start(pid),
            boot=boot_id(),
        )

    def as_dict(self) -> dict[str, object]:
        """Return it for a journal record, without what is not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}
