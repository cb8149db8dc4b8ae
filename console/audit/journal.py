"""The journal: append-only JSON lines, numbered, each carrying the SHA-256 of the line before.

It is on disk (fsync) before `append` returns, or `append` raises and nothing may be sent. Several processes
may write at once: a record is added under an exclusive lock of the file. Nothing here rewrites a record;
the one thing it takes back is its own half-written line when the disk is full. `append` blocks: call
it in a thread. Beside it lie its head (`console.audit.head`) and its reserve (`console.audit.reserve`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from console.audit.actor import Actor
from console.audit.end import End, find_end
from console.audit.head import Head, HeadTrouble, make_head, move_head, read_head
from console.audit.lines import line_hash
from console.audit.reserve import NO_SPACE, fill_reserve, give_up
from console.audit.verify import verify_journal
from console.clock import Clock
from console.errors import JournalError

__all__ = ["Journal", "verify_journal"]

_LOCK_PAUSES_S = (0.001, 0.002, 0.005, 0.01, 0.02, *(0.05,) * 100)
"""Between tries for the lock, five seconds in all: a writer holds it for as long as one fsync takes."""
_TURN_LIMIT_S = 30.0
_REOPEN_TRIES = 5


class Journal:
    """One journal file. Safe to share between threads and, by its lock, between processes."""

    def __init__(self, path: Path, clock: Clock, actor: Actor) -> None:
        self.path = path
        self._clock = clock
        self._actor = actor
        self._turn = threading.Lock()

    def append(self, kind: str, fields: Mapping[str, Any], *, last_resort: bool = False) -> str:
        """Add one record and return its hash.

        Args:
            kind: what is recorded: `intent`, `undo`, `outcome`, `refused`, …
            fields: JSON-able; must hold no secret. The journal's own keys (`at`, `kind`, `who`, `seq`,
                `previous`, `torn`, `head_file`) win over them.
            last_resort: it tells what was already done, or lets clients go that wait, so on a full disk it
                takes of the reserve. Every other record is refused unless the reserve is whole.

        Raises:
            JournalError: it is not safely on disk.
        """
        try:
            with self._in_turn(), self._locked() as handle:
                return self._add(handle, kind, fields, last_resort=last_resort)
        except OSError as error:
            raise JournalError(
                f"the journal cannot be written: {error.strerror or error}",
                where=str(self.path),
                hint="nothing is sent without a record; free space or mend its permissions",
            ) from error

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        # Threads of one process wait here, where the next one goes on at once, not by trying for the lock.
        if not self._turn.acquire(timeout=_TURN_LIMIT_S):
            raise OSError(errno.EAGAIN, "other records of this process wait for the disk")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_REOPEN_TRIES):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(self.path, flags, 0o600)
            try:
                os.fchmod(handle, 0o600)
                _lock(handle)
                if not _is_at(handle, self.path):
                    # Removed or moved away while we waited: a record in it would be seen by nobody.
                    continue
                yield handle
                return
            finally:
                os.close(handle)
        raise OSError(errno.EBUSY, "it is replaced all the time")

    def _add(self, handle: int, kind: str, fields: Mapping[str, Any], *, last_resort: bool) -> str:
        size = os.fstat(handle).st_size
        head = read_head(self.path)
        end = find_end(handle, size, head, self.path)
        line = self._line(kind, fields, end)
        # A line cut by a crash stays as evidence: it is closed, chained, and shown by `verify_journal`.
        data = (b"\n" if end.open_line else b"") + line + b"\n"
        told = Head(end.seq, size + len(data), line_hash(line))
        if last_resort:
            self._write_at_last(handle, data, size)
            # The record counts for more than the head, and the next record brings that up to date.
            with contextlib.suppress(OSError):
                _tell(self.path, head, told)
            return told.last
        if head is HeadTrouble.MISSING and not end.head_lost:
            # There from before the first record on, so that its absence always means something.
            make_head(self.path, end.before)
            _sync_folder(self.path.parent)
            head = end.before
        fill_reserve(self.path)
        _write(handle, data, size)
        try:
            _tell(self.path, head, told)
        except OSError:
            _take_back(handle, size)
            raise
        return told.last

    def _write_at_last(self, handle: int, data: bytes, size: int) -> None:
        while True:
            try:
                _write(handle, data, size)
            except OSError as error:
                if error.errno not in NO_SPACE or not give_up(self.path, len(data)):
                    raise
            else:
                return

    def _line(self, kind: str, fields: Mapping[str, Any], end: End) -> bytes:
        at = datetime.fromtimestamp(self._clock.wall_s(), UTC)
        record = {
            **fields,
            "at": at.isoformat(timespec="milliseconds"),
            "kind": kind,
            "who": self._actor.as_dict(),
            "seq": end.seq,
            "previous": end.previous,
            **end.remarks,
        }
        text = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        # A byte of a name that is not UTF-8 is a lone surrogate here; its replacement is JSON's own escape.
        return text.encode("utf-8", "backslashreplace")


def _tell(journal: Path, head: Head | HeadTrouble, told: Head) -> None:
    """Bring the head up to date; one that was lost is made anew only now that a record tells of it."""
    if isinstance(head, HeadTrouble):
        make_head(journal, told)
    else:
        move_head(journal, told)


def _lock(handle: int) -> None:
    for pause_s in _LOCK_PAUSES_S:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause_s)
        else:
            return
    raise OSError(errno.EAGAIN, "another process holds its lock")


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _write(handle: int, data: bytes, offset: int) -> None:
    """Put it on disk whole, or leave the file as it was.

    Raises:
        OSError: it is not on disk.
    """
    written = 0
    try:
        while written < len(data):
            written += os.pwrite(handle, data[written:], offset + written)
        os.fsync(handle)
    except OSError:
        _take_back(handle, offset)
        raise


def _take_back(handle: int, size: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(handle, size)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
