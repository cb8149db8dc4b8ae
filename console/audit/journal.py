"""The journal: append-only JSON lines, each carrying the SHA-256 of the line before.

It is on disk (fsync) before `append` returns, or `append` raises and nothing may be sent. Several processes
may write at once: a record is added under an exclusive lock of the file. Nothing here rewrites a record;
the one thing it takes back is its own half-written line when the disk is full. `append` blocks: call
it in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from console.audit.actor import Actor
from console.clock import Clock
from console.errors import JournalError

FIRST = "0" * 64
"""`previous` of the first record."""
_LOCK_TRIES = 100
_LOCK_PAUSE_S = 0.05
_TAIL_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Flaw:
    """A place where the journal is not what was written."""

    line: int
    """1-based."""
    reason: str


class Journal:
    """One journal file. Safe to share between threads and, by its lock, between processes."""

    def __init__(self, path: Path, clock: Clock, actor: Actor) -> None:
        self.path = path
        self._clock = clock
        self._actor = actor

    def append(self, kind: str, fields: Mapping[str, Any]) -> str:
        """Add one record and return its hash.

        Args:
            kind: what is recorded: `intent`, `undo`, `outcome`, `refused`.
            fields: JSON-able; must hold no secret.

        Raises:
            JournalError: it is not safely on disk.
        """
        try:
            with self._locked() as handle:
                return self._write(handle, kind, fields)
        except OSError as error:
            raise JournalError(
                f"the journal cannot be written: {error.strerror or error}",
                where=str(self.path),
                hint="nothing is sent without a record; free space or mend its permissions",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self.path, flags, 0o600)
        try:
            os.fchmod(handle, 0o600)
            _lock(handle)
            yield handle
        finally:
            os.close(handle)

    def _write(self, handle: int, kind: str, fields: Mapping[str, Any]) -> str:
        size = os.fstat(handle).st_size
        last, torn = _last_line(handle, size)
        at = datetime.fromtimestamp(self._clock.wall_s(), UTC)
        record = {
            "at": at.isoformat(timespec="milliseconds"),
            "kind": kind,
            "who": self._actor.as_dict(),
            **fields,
            "previous": line_hash(last) if last is not None else FIRST,
        }
        text = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        # A byte of a name that is not UTF-8 is a lone surrogate here; its replacement is JSON's own escape.
        line = text.encode("utf-8", "backslashreplace")
        # A line cut by a crash stays as evidence: it is closed, chained, and shown by `verify_journal`.
        data = (b"\n" if torn else b"") + line + b"\n"
        try:
            _write_all(handle, data, size)
            os.fsync(handle)
            if size == 0:
                _sync_folder(self.path.parent)
        except OSError:
            os.ftruncate(handle, size)
            raise
        return line_hash(line)


def verify_journal(path: Path) -> tuple[Flaw, ...]:
    """Return every record that was changed, removed, reordered or cut; empty when the chain holds.

    Records cut off at the very end leave no trace in the file itself.

    Raises:
        JournalError: the file cannot be read.
    """
    flaws: list[Flaw] = []
    previous = FIRST
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                line = raw.removesuffix(b"\n")
                reason = _flaw_of(line, ended=raw.endswith(b"\n"), previous=previous)
                if reason is not None:
                    flaws.append(Flaw(number, reason))
                previous = line_hash(line)
    except OSError as error:
        raise JournalError(f"the journal cannot be read: {error.strerror}", where=str(path)) from error
    return tuple(flaws)


def line_hash(line: bytes) -> str:
    """Return the SHA-256 of a record's line, its newline left off, as 64 hex digits."""
    return hashlib.sha256(line).hexdigest()


def _flaw_of(line: bytes, *, ended: bool, previous: str) -> str | None:
    try:
        record = json.loads(line)
    except ValueError:
        return "the record is cut or was overwritten"
    if not isinstance(record, dict):
        return "the record is cut or was overwritten"
    if not ended:
        return "the record is cut: its line does not end"
    if record.get("previous") != previous:
        return "it does not follow the record before it: that one was changed, removed or moved"
    return None


def _lock(handle: int) -> None:
    for attempt in range(_LOCK_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == _LOCK_TRIES - 1:
                raise OSError(errno.EAGAIN, "another process holds its lock") from None
            time.sleep(_LOCK_PAUSE_S)
        else:
            return


def _last_line(handle: int, size: int) -> tuple[bytes | None, bool]:
    """Return the last line, and whether it lacks its newline. (None, False) for an empty file."""
    if size == 0:
        return None, False
    torn = os.pread(handle, 1, size - 1) != b"\n"
    end = size if torn else size - 1
    tail = b""
    start = end
    while start > 0 and b"\n" not in tail:
        step = min(_TAIL_BYTES, start)
        start -= step
        tail = os.pread(handle, step, start) + tail
    return tail.rpartition(b"\n")[2], torn


def _write_all(handle: int, data: bytes, offset: int) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(handle, data[written:], offset + written)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
