"""A journal as lines of bytes: their hash, what they hold, and reading them from either end.

It only reads, and knows nothing of what a record means.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

FIRST = "0" * 64
"""`previous` of the first record."""
LARGEST_SEQ = 2**53
"""No record has a higher number; one that claims to is taken for one without."""
_BLOCK_BYTES = 65_536


def line_hash(line: bytes) -> str:
    """Return the SHA-256 of a record's line, its newline left off, as 64 hex digits."""
    return hashlib.sha256(line).hexdigest()


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line; None: it was cut or overwritten and is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def seq_of(record: dict[str, Any]) -> int | None:
    """Return a record's running number; None before records had one, or when it is no such number."""
    seq = record.get("seq")
    if isinstance(seq, int) and not isinstance(seq, bool) and 1 <= seq <= LARGEST_SEQ:
        return seq
    return None


def size_of(path: Path) -> int:
    """Return a journal's size in bytes.

    Raises:
        OSError: it is not there, or no regular file: a pipe has no size to go by.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    return found.st_size


def forward(path: Path, size_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a file's first `size_bytes`, each with its newline unless it lacks one.

    Raises:
        OSError: it cannot be read.
    """
    left = size_bytes
    with path.open("rb") as stream:
        for raw in stream:
            if left <= 0:
                return
            yield raw[:left]
            left -= len(raw)


def backward(handle: int, size_bytes: int, *, limit_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the lines of a file's first `size_bytes` from the last to the first, without their newlines.

    Args:
        handle: an open file.
        size_bytes: where to begin.
        limit_bytes: how far to go back; None: to the beginning. A line cut by that is left out.
    """
    if size_bytes == 0:
        return
    floor = 0 if limit_bytes is None else max(0, size_bytes - limit_bytes)
    start = size_bytes if os.pread(handle, 1, size_bytes - 1) != b"\n" else size_bytes - 1
    later: list[bytes] = []
    while start > floor:
        step = min(_BLOCK_BYTES, start - floor)
        start -= step
        parts = os.pread(handle, step, start).split(b"\n")
        if len(parts) == 1:
            later.append(parts[0])
            continue
        yield b"".join(chain((parts[-1],), reversed(later)))
        yield from reversed(parts[1:-1])
        later = [parts[0]]
    if floor == 0:
        yield b"".join(reversed(later))


def count_lines(handle: int, start: int, end: int) -> int:
    """Return how many lines lie between two offsets; one without its newline counts."""
    count = 0
    at = start
    last = b"\n"
    while at < end:
        block = os.pread(handle, min(_BLOCK_BYTES, end - at), at)
        if not block:
            break
        count += block.count(b"\n")
        last = block[-1:]
        at += len(block)
    return count + (last != b"\n")
