"""Disk space set aside beside the journal, so that an outcome can be recorded on a disk that filled up.

What was begun must be told even then; so nothing is begun before the reserve is whole, but for what lets
clients go that wait (RESUME, MEND, ENABLE). It is given up piece by piece, no more than a record needs, for
others may be filling the same disk. Called under the journal's lock.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

RESERVE_BYTES = 262_144
"""Room for the outcomes of about a hundred targets of one run."""
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PAGE_BYTES = 4_096


def reserve_path(journal: Path) -> Path:
    """Return where a journal's reserve is: `journal.reserve` beside `journal.jsonl`."""
    return journal.with_suffix(".reserve")


def fill_reserve(journal: Path) -> None:
    """Make the reserve, or fill it up again after some of it was given up.

    Raises:
        OSError: there is no room for it; it is left as it was.
    """
    handle = os.open(reserve_path(journal), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(handle).st_size
        if size >= RESERVE_BYTES:
            return
        os.fchmod(handle, 0o600)
        try:
            _fill(handle, size)
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def give_up(journal: Path, bytes_needed: int) -> bool:
    """Free some of the reserve; False when nothing is left of it.

    Raises:
        OSError: it cannot be made smaller.
    """
    try:
        handle = os.open(reserve_path(journal), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(handle).st_size
        if size == 0:
            return False
        pages = -(-bytes_needed // _PAGE_BYTES) + 1
        os.ftruncate(handle, max(0, size - pages * _PAGE_BYTES))
        # Some file systems hand out freed blocks only once the change is on disk.
        os.fsync(handle)
    finally:
        os.close(handle)
    return True


def _fill(handle: int, size: int) -> None:
    while size < RESERVE_BYTES:
        # Random bytes: a file system that compresses would set no room aside for zeros.
        size += os.pwrite(handle, os.urandom(RESERVE_BYTES - size), size)
