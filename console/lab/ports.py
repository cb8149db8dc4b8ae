"""Free loopback ports that no two of our processes pick at once.

A lease is a file lock on the port's number plus a bind check, so parallel test workers and two labs do not
collide. A foreign program may still take the port between the check and the server's own bind: whoever
starts a server retries with another lease.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from console.errors import LabError

LOOPBACK = "127.0.0.1"
FIRST_PORT = 20_000
LAST_PORT = 32_000
"""Below Linux's ephemeral range (32768 up), so no outgoing connection sits on one."""
ATTEMPTS = 200


class PortLease:
    """A port that is ours until `release`, which is safe to call twice."""

    def __init__(self, number: int, lock: int | None) -> None:
        self.number = number
        self._lock = lock

    def release(self) -> None:
        """Let others have the number."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


def lease_port() -> PortLease:
    """Return a port that nothing on this machine listens on.

    Raises:
        LabError: none of many tries was free.
    """
    chooser = random.SystemRandom()
    for _ in range(ATTEMPTS):
        number = chooser.randint(FIRST_PORT, LAST_PORT)
        lock = _lock(number)
        if lock is None:
            continue
        if is_free(number):
            return PortLease(number, lock)
        os.close(lock)
    raise LabError(
        f"no free port among {ATTEMPTS} tried between {FIRST_PORT} and {LAST_PORT}",
        where=LOOPBACK,
        hint="see what listens there with `ss -tlnp`",
    )


def is_free(number: int) -> bool:
    """Say whether a TCP server could bind `number` on loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do, so that connections of an earlier one in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, number))
            probe.listen(1)
        except OSError:
            return False
    return True


def _lock(number: int) -> int | None:
    handle = os.open(_lock_dir() / str(number), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _lock_dir() -> Path:
    folder = Path(tempfile.gettempdir()) / f"pooldeck-ports-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise LabError(
            "the folder of port locks belongs to someone else",
            where=str(folder),
            hint="remove it, or set TMPDIR",
        )
    return folder
