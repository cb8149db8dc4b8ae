"""Disks that are really full: a small file system for one test, and what fills it."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

LIMIT_S = 60.0
DISK_BYTES = 1_048_576


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 1 MiB; skips the test where that is not allowed."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount: {mounted.stderr.decode(errors='replace').strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], timeout=LIMIT_S, check=True)


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Use up the disk, but for whole pages in `leave_bytes`."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    with filler.open("ab", buffering=0) as handle:
        handle.write(b"f" * (free.f_bavail * free.f_frsize - leave_bytes))
        if not leave_bytes:
            use_up(handle)
    return filler


def use_up(handle: BinaryIO) -> None:
    """Write until there is no room for a byte."""
    while True:
        try:
            handle.write(b"f")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                return
            raise
