"""Reads configuration files, within bounds: a device or a dump given by mistake must not fill the memory."""

from __future__ import annotations

import errno
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
"""Ten thousand poolers take 2 MiB."""


def read_bounded(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return a file's content.

    Raises:
        OSError: it cannot be read, or holds more than `limit` bytes (EFBIG).
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit // 1024 // 1024} MiB", str(path))
    return content
