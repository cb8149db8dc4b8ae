"""The folder that holds this process's near ends, and the removal of what dead processes left.

Every process has a folder of its own with a lock file it holds (flock) while it lives; the kernel lets go
of the lock however the process ends. A folder whose lock is free is therefore nobody's and is removed.
Only folders with our name, owned by us, are touched. Everything here blocks, briefly.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from console.errors import NodeError, Phase

_PREFIX = "t-"
_LOCK = "lock"
_SOCKET_TAIL = "/t-00000000/ffff/.s.PGSQL.65535"
_PATH_LIMIT = 103
"""Bytes of a Unix socket's path without its end mark: 107 on Linux, 103 on macOS and the BSDs."""
_GATE_WAIT_S = 2.0


class RunFolder:
    """This process's folder of near ends; 0700."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock
        self._made = 0

    def new_folder(self) -> Path:
        """Make a folder for one tunnel; 0700, with a short name."""
        self._made += 1
        folder = self.path / f"{self._made:x}"
        folder.mkdir(mode=0o700)
        return folder

    def remove(self) -> None:
        """Remove the folder and let go of its lock. Safe to call twice."""
        lock, self._lock = self._lock, None
        if lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(lock)


def open_run_folder(runtime_dir: Path) -> RunFolder:
    """Sweep what dead processes left, then make this process's folder.

    Its place is `runtime_dir`, or, when socket paths in there would be too long for the kernel,
    `/tmp/pooldeck-UID`; that one is swept too.

    Raises:
        NodeError: phase `tunnel`, when no safe folder can be made.
    """
    try:
        root = _root(runtime_dir)
        with _gate(root):
            _sweep(root)
            path = root / f"{_PREFIX}{secrets.token_hex(4)}"
            path.mkdir(mode=0o700)
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise NodeError(
            Phase.TUNNEL,
            f"no folder for the tunnels' sockets: {error.strerror or error}",
            where=str(error.filename or runtime_dir),
            hint="it must be a directory of yours, with mode 0700; set XDG_RUNTIME_DIR to one",
        ) from error
    return RunFolder(path, lock)


def _root(runtime_dir: Path) -> Path:
    if len(os.fsencode(runtime_dir.absolute())) + len(_SOCKET_TAIL) <= _PATH_LIMIT:
        root = runtime_dir.absolute()
    else:
        root = Path("/tmp") / f"pooldeck-{os.getuid()}"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(1, "it belongs to somebody else, or is no directory", str(root))
    if stat.S_IMODE(found.st_mode) & 0o077:
        root.chmod(0o700)
    return root


@contextlib.contextmanager
def _gate(root: Path) -> Iterator[None]:
    """Keep other processes from sweeping a folder between its making and its locking."""
    gate = os.open(root / f"{_PREFIX}gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        until_s = time.monotonic() + _GATE_WAIT_S
        while True:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.02)
        yield
    finally:
        os.close(gate)


def _sweep(root: Path) -> None:
    for path in root.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process's race with us; the next start tries again
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and _is_dead(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_dead(path: Path) -> bool:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
