"""Where the lab's programs are on this machine: installed, or unpacked into the cache folder.

Standard library only: it is asked before the virtual environment exists.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

TOOLS = {
    "initdb": "postgresql",
    "pgbench": "postgresql",
    "pgbouncer": "pgbouncer",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
}
"""Program → Debian package that brings it."""
TEST_TOOLS = {"haproxy": "haproxy"}
"""Likewise, for tests and benches only."""


def cache_dir() -> Path:
    """Return the cache folder: `$POOLDECK_CACHE`, else /var/cache/pooldeck for root, else ~/.cache/pooldeck.

    Root's is not in its home: the servers that run from it do so as another user.
    """
    told = os.environ.get("POOLDECK_CACHE")
    if told:
        return Path(told)
    if os.geteuid() == 0:
        return Path("/var/cache/pooldeck")
    return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache" / "pooldeck"


def unpacked_root() -> Path:
    """Return the folder that holds this machine's missing packages when they could not be installed."""
    return cache_dir() / "machine" / "root"


def find_tool(name: str) -> Path | None:
    """Return a program's path, the newest PostgreSQL's where several are there; None when it is missing.

    PostgreSQL's own folder is preferred to the PATH: Debian's /usr/bin holds wrappers that want a cluster.
    """
    servers = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_major, reverse=True)
    folders = [Path(folder) for folder in ("/usr/sbin", "/usr/local/sbin", "/usr/bin", "/bin")]
    candidates = [*servers, *(folder / name for folder in folders), unpacked_root().parent / "bin" / name]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which(name)
    return Path(found) if found else None


def pip_wheel() -> Path | None:
    """Return the pip that was unpacked for a Python without ensurepip; None when there is none."""
    wheels = sorted(unpacked_root().glob("usr/share/python-wheels/pip-*.whl"))
    return wheels[-1] if wheels else None


def write_wrappers() -> None:
    """Write `machine/bin/NAME` for every unpacked program: it sets the library path and becomes it."""
    root = unpacked_root()
    folders = [str(path) for path in (*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*"))]
    wrappers = root.parent / "bin"
    wrappers.mkdir(exist_ok=True)
    for pattern in ("usr/bin/*", "usr/sbin/*", "usr/lib/postgresql/*/bin/*"):
        for program in sorted(root.glob(pattern)):
            wrapper = wrappers / program.name
            wrapper.write_text(
                f'#!/bin/sh\nLD_LIBRARY_PATH="{":".join(folders)}" exec "{program}" "$@"\n', encoding="utf-8"
            )
            wrapper.chmod(0o755)


def _major(path: Path) -> int:
    text = path.parent.parent.name
    return int(text) if text.isdigit() else 0
