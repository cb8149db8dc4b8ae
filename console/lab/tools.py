"""Where the lab's programs are on this machine: installed, or unpacked into the cache folder.

Standard library only: it is asked before the virtual environment exists.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from console.lab.packages import cache_dir

TOOLS = {
    "initdb": "postgresql",
    "pgbench": "postgresql",
    "pgbouncer": "pgbouncer",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
}
"""Program → Debian package that brings it."""


def unpacked_root() -> Path:
    """Return the folder that holds this machine's missing packages when they could not be installed."""
    return cache_dir() / "machine" / "root"


def find_tool(name: str) -> Path | None:
    """Return a program's path, the newest PostgreSQL's where several are there; None when it is missing.

    PostgreSQL's own folder is preferred to the PATH: Debian's /usr/bin holds wrappers that want a cluster.
    """
    for root in (Path("/"), unpacked_root()):
        servers = sorted(root.glob(f"usr/lib/postgresql/*/bin/{name}"), key=_major, reverse=True)
        if servers:
            return servers[0]
        for folder in ("usr/sbin", "usr/local/sbin", "usr/bin", "bin"):
            if os.access(root / folder / name, os.X_OK):
                return root / folder / name
    found = shutil.which(name)
    return Path(found) if found else None


def library_path() -> dict[str, str]:
    """Return the environment that unpacked programs need; empty when nothing is unpacked."""
    root = unpacked_root()
    if not root.is_dir():
        return {}
    folders = [str(path) for path in (*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*"))]
    return {"LD_LIBRARY_PATH": ":".join(folders)}


def _major(path: Path) -> int:
    text = path.parent.parent.name
    return int(text) if text.isdigit() else 0
