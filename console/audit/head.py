"""The journal's head: a small file beside it that says where the journal ends.

Records cut off the very end leave no trace in the journal itself; the head tells. It has two slots of one
disk sector each, and the older one is overwritten in place: a crash can spoil only that, and a full disk does
not matter. The head is written after the record is on disk and is not synced, so after a crash the journal
may be ahead of it, never behind. Everything here is called under the journal's lock.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from console.audit.lines import FIRST

SLOT_BYTES = 512


class HeadTrouble(StrEnum):
    """Why there is no head to go by."""

    MISSING = "missing"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Head:
    """Where the journal ended when its last record was written."""

    records: int
    """The number (`seq`) of that record; 0: none was written yet."""
    size_bytes: int
    last: str
    """The hash of its line; `FIRST` when there is none."""

    def encode(self) -> bytes:
        """Return it as one slot: a line of JSON with its own checksum, filled up with spaces."""
        values = {"last": self.last, "records": self.records, "size_bytes": self.size_bytes}
        check = hashlib.sha256(json.dumps(values).encode()).hexdigest()
        text = json.dumps({**values, "check": check})
        return text.encode().ljust(SLOT_BYTES - 1) + b"\n"


NOTHING_YET = Head(0, 0, FIRST)


def head_path(journal: Path) -> Path:
    """Return where a journal's head is: `journal.head` beside `journal.jsonl`."""
    return journal.with_suffix(".head")


def read_head(journal: Path) -> Head | HeadTrouble:
    """Read the head; CHANGED when any byte of it is not as it was written.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        data = head_path(journal).read_bytes()
    except FileNotFoundError:
        return HeadTrouble.MISSING
    slots = [_decode(data[:SLOT_BYTES]), _decode(data[SLOT_BYTES:])]
    good = [slot for slot in slots if slot is not None]
    if len(good) < len(slots):
        return HeadTrouble.CHANGED
    return max(good, key=lambda slot: slot.records)


def make_head(journal: Path, head: Head) -> None:
    """Write a head where there is none, or in place of one that was changed.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    path = head_path(journal)
    new = path.with_suffix(".head-new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(new, flags, 0o600)
    try:
        os.fchmod(handle, 0o600)
        _write_whole(handle, head.encode() * 2, 0)
        os.fsync(handle)
    finally:
        os.close(handle)
    new.replace(path)


def move_head(journal: Path, head: Head) -> None:
    """Overwrite the older slot.

    Raises:
        OSError: it cannot be written.
    """
    handle = os.open(head_path(journal), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        slots = [_decode(os.pread(handle, SLOT_BYTES, number * SLOT_BYTES)) for number in range(2)]
        records = [-1 if slot is None else slot.records for slot in slots]
        _write_whole(handle, head.encode(), records.index(min(records)) * SLOT_BYTES)
    finally:
        os.close(handle)


def _decode(slot: bytes) -> Head | None:
    try:
        values: Any = json.loads(slot)
        head = Head(int(values["records"]), int(values["size_bytes"]), str(values["last"]))
        return head if head.encode() == slot else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _write_whole(handle: int, data: bytes, offset: int) -> None:
    if os.pwrite(handle, data, offset) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
